"""Tests of diagnose: one checkpoint decoded freely, constrained and ranked."""

import json
import pathlib

import fakes
import pytest

from it_study import cli
from it_study.commands import score_tables
from it_study.commands.runs import diagnose
from it_study.data import vocabularies

SETTINGS = (
  '--gin.IT_STUDY_VOCABULARY=byte',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 64, 'targets': 12}",
)
CONDITION = 'natinst_def_empty_ex_empty0'


@pytest.fixture(name='corpus')
def _corpus(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  monkeypatch.chdir(tmp_path)
  return str(fakes.write_small_corpus(tmp_path / 'corpus'))


def run(*words):
  return cli.main(list(words))


def test_a_diagnosis_separates_format_from_knowledge(corpus, tmp_path, capsys):
  training = tmp_path / 'training'
  assert (
    run(
      'train',
      '--gin_file=models/t5_1_1_tiny.gin',
      '--gin_file=runs/finetune.gin',
      f'--gin.CORPUS={corpus}',
      f'--gin.MODEL_DIR={training}',
      f'--gin.MIXTURE_OR_TASK_NAME={CONDITION}_n10',
      '--gin.TRAIN_STEPS=1',
      '--gin.BATCH_SIZE=4',
      '--quiet',
      *SETTINGS,
    )
    == 0
  )
  words = ('diagnose', str(training), f'--corpus={corpus}', '--out=out')
  words = (*words, f'--condition={CONDITION}', '--gin.INFER_BATCH_SIZE=128')
  capsys.readouterr()
  assert run(*words, '--json') == 0
  found = json.loads(capsys.readouterr().out)
  decodings = found['decodings']
  assert list(decodings) == [
    'greedy',
    'constrained',
    'ranked',
    'ranked_normalized',
    'ranked_conditional',
  ]
  assert decodings['greedy']['format_correctness'] < 100
  for name in list(decodings)[1:]:
    assert decodings[name]['format_correctness'] == 100
    beyond = decodings[name]['beyond_greedy']
    assert beyond['low'] < beyond['high']
    assert isinstance(beyond['varies'], bool)
  kept = decodings['constrained']['exact_match']
  assert found['format_error'] == pytest.approx(
    kept - decodings['greedy']['exact_match']
  )
  assert found['knowledge_error'] == pytest.approx(100 - kept)
  assert json.loads((tmp_path / 'out/results.json').read_text()) == found
  # A Hugging Face folder describes its size, and gives the same answers. The
  # former name of the command works too.
  assert run('convert', str(training), 'hf', '--from=it_study', '--to=hf') == 0
  capsys.readouterr()
  assert (
    run(
      'audit',
      'hf',
      f'--corpus={corpus}',
      '--out=out_hf',
      f'--condition={CONDITION}',
      '--json',
      *SETTINGS,
    )
    == 0
  )
  again = json.loads(capsys.readouterr().out)
  for name, entry in again['decodings'].items():
    assert entry['exact_match'] == decodings[name]['exact_match']
  # Only missing predictions are decoded again.
  kept_file = tmp_path / 'out/greedy/inference.json'
  before = kept_file.stat().st_mtime_ns
  (tmp_path / 'out/ranked/inference.json').unlink()
  assert run(*words) == 0
  assert 'Format errors: ' in capsys.readouterr().out
  assert kept_file.stat().st_mtime_ns == before
  assert (tmp_path / 'out/ranked/inference.json').is_file()
  assert run(*words, '--split=validation') == 2
  assert capsys.readouterr().err == (
    "it-study: out holds a diagnosis with a different split: it has 'test', "
    "this one 'validation'. Choose another --out.\n"
  )


def test_a_diagnosis_says_where_there_is_no_variance(capsys):
  def results(*, varies):
    scores = dict.fromkeys(('exact_match', 'format_correctness', 'skill'), 50.0)
    beyond = {'difference': 0.0, 'low': -60.0, 'high': 60.0, 'varies': varies}
    return {
      'decodings': {
        'greedy': scores,
        'constrained': {**scores, 'beyond_greedy': beyond},
      },
      'format_error': 0.0,
      'knowledge_error': 50.0,
    }

  diagnose._show(results(varies=True), pathlib.Path('out'))
  assert 'no variance' not in capsys.readouterr().out
  diagnose._show(results(varies=False), pathlib.Path('out'))
  printed = ' '.join(capsys.readouterr().out.split())
  assert '+0.0 [-60.0, +60.0]' in printed
  assert score_tables.NO_VARIATION in printed


def test_a_checkpoint_of_unknown_size_is_refused(corpus, tmp_path, capsys):
  folder = tmp_path / 'weights'
  folder.mkdir()
  assert run('audit', str(folder), f'--corpus={corpus}') == 2
  assert capsys.readouterr().err == (
    f'it-study: {folder}: the size of the model is unknown, since the folder '
    "has neither an it-study training's config.gin nor a Hugging Face "
    'config.json. Name its gin file, such as '
    '--gin_file=models/t5_1_1_large.gin.\n'
  )
  (folder / 'checkpoint-5').mkdir()
  for name in ('config.json', 'model.safetensors'):
    (folder / 'checkpoint-5' / name).touch()
  assert run('audit', str(folder), f'--corpus={corpus}') == 2
  assert capsys.readouterr().err.endswith(
    'large.gin. Weights are below it: checkpoint-5. Name that folder.\n'
  )
