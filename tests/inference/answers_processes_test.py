"""Tests of predictions in several processes."""

import json

import answers_fixture
import fakes
import gguf_files
import pytest

from it_study import predictions, seqio_lib
from it_study.checkpoints.gguf import folder
from it_study.data import vocabularies

_IN_A_PROCESS = """
import sys
import jax
jax.config.update('jax_num_cpu_devices', 2)
from it_study import distributed
distributed.start()
import answers_fixture
from it_study import seqio_lib
corpus, weights, out = sys.argv[1:]
seqio_lib.use_corpus(corpus)
for kind, method in answers_fixture.RUNS:
  answers_fixture.predict(
    kind,
    method,
    weights=weights,
    folder=out,
    answer_dir=f'{out}/answers',
    batch_size=30,
    mesh_fsdp=2,
  )
print('done', jax.process_count(), jax.device_count())
"""


@pytest.mark.slow
def test_two_processes_give_the_same_answers_as_one(tmp_path, monkeypatch):
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  weights = folder.write_folder(
    gguf_files.write(tmp_path / 'm.gguf'), tmp_path / 'hf'
  )
  for said in fakes.run_in_two_processes(
    _IN_A_PROCESS, corpus, weights, tmp_path, folder=tmp_path
  ):
    assert said.splitlines()[-1] == 'done 2 4'
  # What a prediction sets is undone.
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)
  for kind, method in answers_fixture.RUNS:
    alone = predictions.read_predictions(
      answers_fixture.predict(
        kind,
        method,
        weights=weights,
        folder=tmp_path / 'alone',
        batch_size=32,
      )
    )
    together = predictions.read_predictions(
      tmp_path / kind / method / 'predictions.jsonl'
    )
    assert len(alone) == fakes.NUM_ROWS['test']
    for row, other in zip(alone, together, strict=True):
      assert row.prediction == other.prediction
      assert (row.scores is None) == (other.scores is None)
      if row.scores is not None:
        assert row.scores == pytest.approx(other.scores, rel=1e-5)
  # Rows without a label space were already decoded by the greedy run.
  path = tmp_path / 't5/ranked_conditional' / 'inference.json'
  assert json.loads(path.read_text())['num_kept_answers'] == 6


# The first batch runs out of memory in some of the processes.
_SHORT = """
import sys
import jax
jax.config.update('jax_num_cpu_devices', 2)
from it_study import distributed
distributed.start()
import fakes
from it_study import seqio_lib
from it_study.engines import native
from it_study.inference import prompt_batches
from it_study.errors import InputError
import tasks
corpus, out, short = sys.argv[1:]
seqio_lib.use_corpus(corpus)
prompt_batches._SHORTAGE_SECONDS = 3.0
encode = prompt_batches._Encoder.encode
batches = []

def encode_some(self, tokens, begins):
  batches.append(len(tokens))
  if len(batches) == 1 and str(jax.process_index()) in short:
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory')
  return encode(self, tokens, begins)

prompt_batches._Encoder.encode = encode_some
try:
  native.predict(
    model_config=fakes.tiny_model(),
    mixture_or_task_name='natinst_def_empty_ex_original1',
    task_feature_lengths=fakes.LENGTHS,
    infer_output_dir=out,
    batch_size=32,
  )
except InputError as error:
  print(error)
  # Exits like the command line, so that the other process is stopped.
  sys.exit(2)
print(batches[:2])
"""


@pytest.mark.slow
def test_processes_that_all_run_out_of_memory_continue(tmp_path, monkeypatch):
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  for said in fakes.run_in_two_processes(
    _SHORT, corpus, tmp_path / 'out', '01', folder=tmp_path
  ):
    assert said.splitlines()[-1] == '[32, 16]'
  assert predictions.read_predictions(tmp_path / 'out/predictions.jsonl')


@pytest.mark.slow
def test_one_process_running_out_of_memory_stops_all(tmp_path, monkeypatch):
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  (other, _), (short, said) = fakes.start_in_two_processes(
    _SHORT, corpus, tmp_path / 'out', '1', folder=tmp_path
  )
  assert short.wait(timeout=300) == 2
  assert (
    said.read_text()
    .splitlines()[-1]
    .startswith('only this process ran out of memory, with 32 prompts of ')
  )
  assert other.wait(timeout=300) != 0


_STOPPED = """
import os, signal, sys, time
import jax
from it_study import distributed
distributed.start()
import fakes
from it_study import seqio_lib
from it_study.engines import native
import tasks
corpus, out = sys.argv[1:]
seqio_lib.use_corpus(corpus)

def predict(on_progress):
  return native.predict(
    model_config=fakes.tiny_model(),
    mixture_or_task_name='natinst_def_empty_ex_original1',
    task_feature_lengths=fakes.LENGTHS,
    infer_output_dir=out,
    batch_size=4,
    on_progress=on_progress,
  )

def terminate_second(done, total):
  # The processes need some time to agree.
  time.sleep(0.3)
  if jax.process_index() == 1 and done == 4:
    os.kill(os.getpid(), signal.SIGTERM)

try:
  predict(terminate_second)
except SystemExit as stop:
  print(stop.code)
predict(None)
"""


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both_and_they_resume(
  tmp_path, monkeypatch
):
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  out = tmp_path / 'out'
  for said in fakes.run_in_two_processes(
    _STOPPED, corpus, out, folder=tmp_path
  ):
    assert said.splitlines()[-1] == '75'
  summary = json.loads((out / 'inference.json').read_text())
  assert 0 < summary['num_kept_answers'] < summary['num_instances']
