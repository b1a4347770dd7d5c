"""Tests of it_study.study.finished: finished work is checked and repaired."""

import json
import shutil

import fake_bucket
import fakes
import pytest

from it_study.conditions import Condition
from it_study.errors import InputError
from it_study.storage import manifest
from it_study.study import finished, run
from it_study.study.run_record import RunRecord

NAME = 'natinst_def_original_ex_original2_n5'
TRAINING = f'trainings/{NAME}_seed0'
CELL = f'cells/{NAME}_seed0__natinst_def_original_ex_original2__test'
PREDICT = f'predict {NAME}_seed0 natinst_def_original_ex_original2 test'


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('files') / 'corpus')


def run_study(corpus, study_dir) -> list[str]:
  """Runs a study with one training; returns the calls of its engine."""
  engine = fakes.Engine(corpus)
  run.run_study(
    corpus=corpus,
    conditions=[Condition.from_name(NAME)],
    seeds=(0,),
    study_dir=study_dir,
    engine=engine,
    splits=('test',),
    record=RunRecord(config='SEED = 0\n'),
  )
  return engine.calls


@pytest.fixture(name='whole', scope='module')
def _whole(corpus, tmp_path_factory):
  study_dir = tmp_path_factory.mktemp('whole') / 'study'
  run_study(corpus, study_dir)
  return study_dir


@pytest.fixture(name='study')
def _study(whole, tmp_path):
  return shutil.copytree(whole, tmp_path / 'study')


def forget_hashes(folder):
  """Writes DONE as former versions did."""
  record = manifest.read_done(folder).record
  (folder / 'DONE').write_text(json.dumps(record, indent=2) + '\n')


def test_done_lists_sizes_and_hashes(whole):
  done = manifest.read_done(whole / CELL)
  assert list(done.record) == ['seconds']
  assert list(done.files) == list(finished.CELL_FILES)
  entry = done.files['metrics.json']
  assert entry['bytes'] == (whole / CELL / 'metrics.json').stat().st_size
  assert len(entry['sha256']) == 64
  done = manifest.read_done(whole / TRAINING)
  assert done.record == {
    'train_steps': 4,
    'train_seconds': 1.5,
    'seed': 0,
    'num_examples': 9,
    'num_cut_targets': 2,
  }
  assert list(done.files) == ['training.json']


@pytest.mark.parametrize('name', ['predictions.jsonl', 'inference.json'])
def test_edited_files_are_refused(study, corpus, name):
  path = study / CELL / name
  edited = path.read_bytes().replace(b'0', b'1', 1)
  path.write_bytes(edited)
  with pytest.raises(InputError) as caught:
    run_study(corpus, study)
  assert str(caught.value) == (
    f'{path} has changed since it was written. Restore it, or remove the '
    f'folder {study / CELL} and run the study again.'
  )
  assert path.read_bytes() == edited
  # The message helps.
  shutil.rmtree(study / CELL)
  assert run_study(corpus, study) == [PREDICT]


@pytest.mark.parametrize('former', [False, True])
@pytest.mark.parametrize('name', ['predictions.jsonl', 'inference.json'])
def test_a_cell_without_a_file_is_run_again(
  study, whole, corpus, name, former, caplog
):
  if former:
    forget_hashes(study / CELL)
  (study / CELL / name).unlink()
  assert run_study(corpus, study) == [PREDICT]
  assert caplog.messages == [
    f'{study / CELL / name} is missing; running {CELL} again.'
  ]
  for path in ('results.jsonl', f'{CELL}/{name}'):
    assert (study / path).read_bytes() == (whole / path).read_bytes()
  assert manifest.read_done(study / CELL).files


@pytest.mark.parametrize('former', [False, True])
def test_metrics_are_computed_again(study, whole, corpus, former, caplog):
  if former:
    forget_hashes(study / CELL)
  done = (study / CELL / 'DONE').read_bytes()
  path = study / CELL / 'metrics.json'
  path.write_bytes(b'{"num_in')
  assert run_study(corpus, study) == []
  size = (whole / CELL / 'metrics.json').stat().st_size
  fault = (
    'is damaged (not JSON: Unterminated string starting at column 2; expected '
    'one JSON object)'
    if former
    else f'has 8 bytes, not {size}'
  )
  assert caplog.messages == [f'{path} {fault}; writing it again.']
  assert path.read_bytes() == (whole / CELL / 'metrics.json').read_bytes()
  assert (study / CELL / 'DONE').read_bytes() == done


def test_a_study_of_a_former_version_is_not_touched(study, corpus, caplog):
  for folder in (*study.glob('cells/*'), *study.glob('trainings/*')):
    forget_hashes(folder)
  before = {path: path.read_bytes() for path in study.rglob('DONE')}
  assert run_study(corpus, study) == []
  assert {path: path.read_bytes() for path in before} == before
  assert not caplog.messages


def test_a_training_s_files_are_restored_from_each_other(
  study, whole, corpus, caplog
):
  for name, content in (('training.json', b''), ('DONE', b'\0' * 9)):
    (study / TRAINING / name).write_bytes(content)
    assert run_study(corpus, study) == []
    restored = (study / TRAINING / name).read_bytes()
    assert restored == (whole / TRAINING / name).read_bytes()
  assert caplog.messages == [
    f'{study / TRAINING}/training.json is damaged (empty; expected one JSON '
    'object); writing it again.',
    f'{study / TRAINING}/DONE is damaged (holds NUL bytes, as a crash of the '
    'machine leaves them; expected one JSON object); writing it again.',
  ]


def test_a_flipped_digit_in_done_does_not_reach_the_record(
  study, whole, corpus, caplog
):
  path = study / TRAINING / 'DONE'
  path.write_text(path.read_text().replace('steps": 4', 'steps": 5'))
  assert run_study(corpus, study) == []
  assert caplog.messages == [
    f'{path} differs from training.json, which has not changed; writing it '
    'again.'
  ]
  assert path.read_bytes() == (whole / TRAINING / 'DONE').read_bytes()


def test_a_training_without_either_is_trained_again(study, whole, corpus):
  for name in ('training.json', 'DONE'):
    (study / TRAINING / name).write_bytes(b'')
  assert run_study(corpus, study) == [f'train {NAME} 0']
  for name in ('training.json', 'DONE'):
    restored = (study / TRAINING / name).read_bytes()
    assert restored == (whole / TRAINING / name).read_bytes()
  results = 'results.jsonl'
  assert (study / results).read_bytes() == (whole / results).read_bytes()


@pytest.mark.parametrize('former', [False, True])
def test_a_training_that_went_on_is_refused(study, corpus, former):
  if former:
    forget_hashes(study / TRAINING)
  path = study / TRAINING / 'training.json'
  path.write_text(path.read_text().replace('4', '8'))
  with pytest.raises(InputError) as caught:
    run_study(corpus, study)
  assert str(caught.value) == (
    f'{path} has changed since DONE was written with the same contents. Remove '
    f'{path} to restore it, or the folder {study / TRAINING} to train again.'
  )


def test_a_damaged_study_record_says_what_to_remove(study, corpus):
  (study / 'run.json').write_bytes((study / 'run.json').read_bytes()[:30])
  with pytest.raises(
    InputError,
    match=r'/run\.json: not JSON: .* If corpus and vocabulary are still those '
    r'of the study, remove the file: this run writes it again\.$',
  ):
    run_study(corpus, study)
  (study / 'run.json').write_text('{"seeds": ["0"]}')
  with pytest.raises(
    InputError, match=r"run\.json: seeds: expected a list of int, got \['0'\]\."
  ):
    run_study(corpus, study)
  (study / 'run.json').unlink()
  assert run_study(corpus, study) == []


def test_edited_predictions_in_a_bucket_are_refused(
  corpus, tmp_path, monkeypatch
):
  there = tmp_path / 'bucket'
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  with fake_bucket.serve(there) as url:
    monkeypatch.setenv('STORAGE_EMULATOR_HOST', url)
    run_study(corpus, 'gs://bucket/one')
    done = manifest.read_done(there / 'one' / CELL)
    assert list(done.files) == list(finished.CELL_FILES)
    path = there / 'one' / CELL / 'predictions.jsonl'
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'other'))
    with pytest.raises(
      InputError,
      match=rf'^gs://bucket/one/{CELL}/predictions\.jsonl has \d+ bytes, not '
      rf'\d+\. Restore it, or remove the folder gs://bucket/one/{CELL} and',
    ):
      run_study(corpus, 'gs://bucket/one')
    # What follows from the rest is repaired there.
    path.unlink()
    (there / 'one' / TRAINING / 'training.json').write_bytes(b'')
    assert run_study(corpus, 'gs://bucket/one') == [PREDICT]
    assert manifest.find_change(path) is None
    assert (there / 'one' / TRAINING / 'training.json').stat().st_size > 9
