"""Tests of it_study.data.tfds_builder: failed builds, progress, overlap."""

import errno
import pathlib
import subprocess
import sys

import fakes
import numpy as np
import pytest
import tensorflow_datasets as tfds

from it_study.corpus import natinst
from it_study.data import overlap, tfds_builder
from it_study.errors import InputError


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  folder = tmp_path_factory.mktemp('build')
  return natinst.open_corpus(fakes.write_small_corpus(folder / 'corpus'))


def rows_directory(data_dir):
  return data_dir / tfds_builder.NAME / tfds_builder.VERSION


def count(data_dir, split):
  builder = tfds.builder_from_directory(rows_directory(data_dir))
  return sum(1 for _ in builder.as_dataset(split))


def leftovers(data_dir):
  """Names beside the finished rows."""
  return {
    path.name
    for path in (data_dir / tfds_builder.NAME).iterdir()
    if path.name not in (tfds_builder.VERSION, '.lock')
  }


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_broken_task_leaves_nothing_behind(tmp_path, num_workers):
  directory = fakes.write_small_corpus(tmp_path / 'corpus')
  (directory / 'tasks/task2_echo.json').write_text('{"Definition": ')
  corpus, data_dir = natinst.open_corpus(directory), tmp_path / 'rows'
  with pytest.raises(InputError, match=r'task2_echo\.json: not JSON'):
    tfds_builder.build_rows(
      corpus=corpus, data_dir=data_dir, num_workers=num_workers
    )
  assert not rows_directory(data_dir).exists()
  assert not leftovers(data_dir)


def test_a_file_that_changes_during_the_build_ends_it(tmp_path):
  directory = fakes.write_small_corpus(tmp_path / 'corpus')
  path, data_dir = directory / 'tasks/task1_mood.json', tmp_path / 'rows'

  def meddle(phase, done, total):
    if (phase, done) == ('parse', total):
      path.write_text(path.read_text().replace('good', 'fine'))

  with pytest.raises(InputError, match='a file changed during the build'):
    tfds_builder.build_rows(
      corpus=natinst.open_corpus(directory),
      data_dir=data_dir,
      on_progress=meddle,
    )
  assert not rows_directory(data_dir).exists()


def test_progress_counts_files_and_rows(corpus, tmp_path, monkeypatch):
  monkeypatch.setattr(tfds_builder, '_ROWS_BETWEEN_REPORTS', 100)
  reports = []
  tfds_builder.build_rows(
    corpus, data_dir=tmp_path, on_progress=lambda *p: reports.append(p)
  )
  assert reports == [
    *[('parse', number, 5) for number in range(1, 6)],
    ('write', 100, 172),
    ('write', 172, 172),
  ]


def position_key(instance):
  return instance.position, 7


def test_the_overlap_check_gets_the_keys_of_stored_instances(
  corpus, tmp_path, monkeypatch
):
  calls = []

  def gate(keys, **settings):
    calls.append((keys, settings))
    return {'taken': len(keys)}

  monkeypatch.setattr(overlap, 'instance_keys', position_key)
  monkeypatch.setattr(overlap, 'gate', gate)
  tfds_builder.build_rows(
    corpus, data_dir=tmp_path, max_instances_per_task=3, allow_overlap=True
  )
  ((keys, settings),) = calls
  assert settings == {
    'corpus': corpus,
    'max_instances_per_task': 3,
    'allow': True,
  }
  assert {
    split: {name: array.shape for name, array in tasks.items()}
    for split, tasks in keys.items()
  } == {
    'train': {'task1_mood': (3, 2), 'task2_echo': (3, 2), 'task3_few': (2, 2)},
    'validation': {
      'task1_mood': (10, 2),
      'task2_echo': (10, 2),
      'task3_few': (10, 2),
    },
    'test': {'task4_entail': (100, 2), 'task5_title': (6, 2)},
  }
  titles = keys['test']['task5_title']
  assert titles.dtype == np.uint64
  assert titles.tolist() == [[position, 7] for position in range(6)]
  assert tfds_builder.stored_metadata(tmp_path)['taken'] == 3


def test_a_refused_overlap_writes_nothing(corpus, tmp_path, monkeypatch):
  def gate(keys, **settings):
    raise InputError('no')

  monkeypatch.setattr(overlap, 'gate', gate)
  with pytest.raises(InputError, match=r'^no$'):
    tfds_builder.build_rows(corpus, data_dir=tmp_path)
  assert not rows_directory(tmp_path).exists()
  assert not leftovers(tmp_path)


@pytest.mark.parametrize('phase', ['parse', 'write'])
def test_a_killed_build_is_restarted(corpus, tmp_path, phase):
  script = (
    'import os, signal, sys\n'
    'from it_study.corpus import natinst\n'
    'from it_study.data import tfds_builder\n'
    'tfds_builder._ROWS_BETWEEN_REPORTS = 50\n'
    'def stop(phase, done, total):\n'
    '  if phase == sys.argv[3]:\n'
    '    os.kill(os.getpid(), signal.SIGKILL)\n'
    'tfds_builder.build_rows(corpus=natinst.open_corpus(sys.argv[1]),\n'
    '  data_dir=sys.argv[2], num_workers=1, on_progress=stop)\n'
  )
  killed = subprocess.run(
    [sys.executable, '-c', script, corpus.directory, tmp_path, phase],
    cwd=pathlib.Path(__file__).parents[2],
  )
  assert killed.returncode == -9
  assert leftovers(tmp_path)
  assert not rows_directory(tmp_path).exists()
  tfds_builder.build_rows(corpus=corpus, data_dir=tmp_path)
  assert not leftovers(tmp_path)
  for split, number in fakes.NUM_ROWS.items():
    assert count(tmp_path, split) == number
  assert not list(rows_directory(tmp_path).glob('*incomplete*'))


def test_two_processes_build_one_after_the_other(corpus, tmp_path):
  script = (
    'import sys\n'
    'from it_study.corpus import natinst\n'
    'from it_study.data import tfds_builder\n'
    'corpus = natinst.open_corpus(sys.argv[1])\n'
    'print("ready", flush=True)\n'
    'sys.stdin.readline()\n'
    'parsed = []\n'
    'tfds_builder.build_rows(corpus=corpus, data_dir=sys.argv[2],\n'
    '  on_progress=lambda phase, done, total: parsed.append(phase))\n'
    'print(parsed.count("parse"))\n'
  )
  processes = [
    subprocess.Popen(
      [sys.executable, '-c', script, corpus.directory, tmp_path],
      cwd=pathlib.Path(__file__).parents[2],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    for _ in range(2)
  ]
  for process in processes:
    assert process.stdout.readline() == 'ready\n'
  outputs = []
  for process in processes:
    process.stdin.write('go\n')
    process.stdin.flush()
  for process in processes:
    outputs.append(process.communicate()[0])
    assert process.returncode == 0
  assert sorted(outputs) == ['0\n', '5\n']
  assert count(tmp_path, 'train') == 36
  assert not leftovers(tmp_path)


def test_an_unfinished_folder_is_rebuilt(corpus, tmp_path):
  tfds_builder.build_rows(corpus=corpus, data_dir=tmp_path)
  (rows_directory(tmp_path) / 'dataset_info.json').unlink()
  tfds_builder.build_rows(corpus=corpus, data_dir=tmp_path)
  assert count(tmp_path, 'train') == 36


@pytest.mark.parametrize('error', [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_reported(corpus, tmp_path, monkeypatch, error):
  def fill(**settings):
    raise OSError(error, 'full')

  monkeypatch.setattr(tfds_builder.spooled_rows, 'fill', fill)
  with pytest.raises(InputError, match=rf'no room for the rows in {tmp_path}'):
    tfds_builder.build_rows(corpus=corpus, data_dir=tmp_path)
  assert not leftovers(tmp_path)


def test_real_tasks_are_complete(natinst_dir, tmp_path):
  corpus = natinst.open_corpus(natinst_dir)
  tfds_builder.build_rows(corpus, data_dir=tmp_path, num_workers=2)
  builder = tfds.builder_from_directory(rows_directory(tmp_path))
  for split in natinst.SPLITS:
    rows = {
      (row['task'].decode(), row['id'].decode()): (
        row['input'].decode(),
        tuple(output.decode() for output in row['outputs']),
        row['position'],
      )
      for row in builder.as_dataset(split).as_numpy_iterator()
    }
    assert rows == {
      (task.name, instance.id): (
        instance.input,
        instance.outputs,
        instance.position,
      )
      for task, instance in corpus.rows(split)
    }
