"""What an earlier version wrote goes on working.

`golden/former_study.tar.xz` was written by commit 4b1c14e, before modules moved
into packages, with a byte vocabulary and a T5 of one layer:

    it-study study --gin_file=models/t5_1_1_tiny.gin --gin_file=runs/study.gin \
      --gin.CORPUS=CORPUS --gin.IT_STUDY_VOCABULARY=byte --gin.TRAIN_STEPS=4 …

It holds the corpus, the study and the cache folder. Left out to keep it small:
the report's pages, earlier checkpoints, and the second training's checkpoint.
"""

import csv
import hashlib
import json
import os
import pathlib
import tarfile

import fakes
import pytest
from safetensors import numpy as safetensors

_ARCHIVE = pathlib.Path(__file__).parent / 'golden/former_study.tar.xz'
TRAINING = 'STUDY/trainings/natinst_def_original_ex_original1_seed0'
CELL = (
  'STUDY/cells/natinst_def_original_ex_original1_seed0__'
  'natinst_def_original_ex_original1__test'
)


@pytest.fixture(name='former', autouse=True)
def _former(tmp_path, monkeypatch):
  with tarfile.open(_ARCHIVE) as archive:
    archive.extractall(tmp_path, filter='data')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setenv('IT_STUDY_VOCABULARY', '')
  return tmp_path


def contents(folder) -> dict[str, bytes]:
  return {
    str(path): path.read_bytes()
    for path in sorted(pathlib.Path(folder).rglob('*'))
    if path.is_file() and path.name != '.lock'
  }


def test_a_report_says_what_it_said():
  path = pathlib.Path('STUDY/report/results.csv')
  before = list(csv.reader(path.read_text().splitlines()))
  assert fakes.run_command('report', 'STUDY', '--quiet') == 0
  after = csv.reader(path.read_text().splitlines())
  # Columns may be added after its own.
  assert [line[: len(before[0])] for line in after] == before


def test_a_finished_study_is_not_run_again():
  folders = ('cells', 'trainings', 'answers')
  before = [contents(f'STUDY/{name}') for name in folders]
  assert (
    fakes.run_command(
      'study', '--gin_file=STUDY/study.gin', '--study_dir=STUDY', '--quiet'
    )
    == 0
  )
  assert [contents(f'STUDY/{name}') for name in folders] == before


@pytest.mark.slow
def test_rows_answers_and_checkpoint_give_the_same_predictions():
  expected = pathlib.Path(CELL, 'predictions.jsonl').read_bytes()
  rows = contents('cache/rows')
  for path in contents(CELL):
    os.unlink(path)
  assert (
    fakes.run_command(
      'study', '--gin_file=STUDY/study.gin', '--study_dir=STUDY', '--quiet'
    )
    == 0
  )
  # Rows of that version had no raw predictions.
  rows_now = [
    {k: v for k, v in json.loads(line).items() if k != 'raw_prediction'}
    for line in pathlib.Path(CELL, 'predictions.jsonl').read_text().splitlines()
  ]
  assert rows_now == list(map(json.loads, expected.splitlines()))
  assert contents('cache/rows') == rows


def test_a_checkpoint_has_the_same_weights():
  words = ('convert', TRAINING, 'WEIGHTS', '--from=it_study', '--to=hf')
  assert fakes.run_command(*words, '--quiet') == 0
  tensors = safetensors.load_file('WEIGHTS/model.safetensors')
  digest = hashlib.sha256()
  for name in sorted(tensors):
    digest.update(name.encode() + tensors[name].tobytes())
  assert digest.hexdigest() == (
    '416e9994d9e368f069519fa946c9249f2f4479133f4ce158b3f69f1755c91464'
  )


@pytest.mark.slow
def test_a_training_resumes():
  words = ('train', f'--gin_file={TRAINING}/config.gin', '--gin.TRAIN_STEPS=6')
  assert fakes.run_command(*words, '--quiet') == 0
  lines = pathlib.Path(TRAINING, 'metrics.jsonl').read_text().splitlines()
  steps = [json.loads(line) for line in lines]
  assert [line['step'] for line in steps] == [2, 4, 6]
  # As the earlier version resumes it.
  assert steps[-1]['loss'] == pytest.approx(6.0306313, rel=1e-5)
