"""Tests of the SeqIO registrations in `tasks`."""

import collections
import os
import subprocess
import sys

import fakes
import pytest
import seqio

from it_study import conditions, seqio_lib
from it_study.data import vocabularies
import tasks  # noqa: F401  Registers the tasks under test.


@pytest.fixture(autouse=True)
def _use(tmp_path_factory, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  folder = tmp_path_factory.mktemp('tasks')
  seqio_lib.use_corpus(fakes.write_small_corpus(folder / 'corpus'))


def test_every_standard_condition_is_registered_by_its_name():
  registered = set(seqio.TaskRegistry.names())
  names = {condition.name for condition in conditions.common_grid()}
  assert len(names) == 3 * 5 * 9
  assert names <= registered
  assert {c.name for c in conditions.standard_grid()} <= names


def test_a_task_has_what_t5x_requires():
  task = seqio.get_mixture_or_task(fakes.NAME)
  assert list(task.splits) == ['train', 'validation', 'test']
  assert list(task.output_features) == ['inputs', 'targets']
  assert [f.__name__ for f in task.metric_fns] == ['exact_match_and_rouge']
  assert task.postprocess_fn is not None
  assert not task.supports_caching


@pytest.mark.parametrize(
  ('mixture', 'members'),
  [
    (
      'natinst_all_definitions',
      [
        'natinst_def_original_ex_original2',
        'natinst_def_simplified_ex_original2',
        'natinst_def_empty_ex_original2',
      ],
    ),
    (
      'natinst_all_examples',
      [
        'natinst_def_original_ex_original1',
        'natinst_def_original_ex_delusive1',
        'natinst_def_original_ex_empty0',
      ],
    ),
    (
      'natinst_extended_definitions',
      [
        'natinst_def_original_ex_original2',
        'natinst_def_simplified_ex_original2',
        'natinst_def_empty_ex_original2',
        'natinst_def_shuffled_ex_original2',
        'natinst_def_renamed_ex_original2',
      ],
    ),
  ],
)
def test_a_mixture_holds_its_conditions_in_equal_parts(mixture, members):
  found = seqio.get_mixture_or_task(mixture)
  assert {task.name: found.get_rate(task) for task in found.tasks} == (
    dict.fromkeys(members, 1.0)
  )


def test_a_mixture_gives_the_prompts_of_every_condition():
  mixture = seqio.get_mixture_or_task('natinst_all_definitions')
  dataset = mixture.get_dataset(
    fakes.LENGTHS, 'validation', shuffle=False, num_epochs=1, seed=0
  )
  vocabulary = mixture.output_features['inputs'].vocabulary
  starts = collections.Counter(
    vocabulary.decode(row['inputs'].tolist())[:11]
    for row in dataset.as_numpy_iterator()
  )
  assert set(starts) == {'Definition:', ' Positive E'}
  # Two of three conditions show a definition: one of all tasks, one of a third.
  assert starts['Definition:'] > starts[' Positive E'] / 2


def test_import_reads_no_file_and_chooses_no_vocabulary(tmp_path):
  code = (
    'import seqio, it_study.seqio_lib\n'
    'from it_study.corpus import natinst\n'
    'from it_study.data import tfds_builder\n'
    'def refuse(*a, **k): raise AssertionError(a)\n'
    'natinst.open_corpus = tfds_builder.build_rows = refuse\n'
    'import tasks\n'
    'task = seqio.get_mixture_or_task("natinst_def_empty_ex_empty0")\n'
    'print(type(task.output_features["inputs"].vocabulary).__name__)\n'
  )
  found = subprocess.run(
    [sys.executable, '-c', code],
    env={**os.environ, vocabularies.VARIABLE: str(tmp_path / 'none.model')},
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 0, found.stderr
  assert found.stdout == 'SentencePieceVocabulary\n'


def test_import_keeps_what_was_found_before():
  lines = (
    'import seqio',
    'from it_study import seqio_lib',
    'seqio_lib.resolve_on_first_use()',
    f'task = seqio.TaskRegistry.get({fakes.NAME!r})',
    'import tasks',
    f'assert seqio.TaskRegistry.get({fakes.NAME!r}) is task',
  )
  done = subprocess.run(
    [sys.executable, '-c', '\n'.join(lines)],
    capture_output=True,
    check=False,
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]


def test_a_script_whose_folder_has_a_tasks_module_finds_ours(tmp_path):
  # As with `python t5x/train.py`, whose folder has a tasks.py.
  (tmp_path / 'tasks.py').write_text('import seqio.deterministic\n')
  (tmp_path / 'train.py').write_text(
    'import importlib, sys\n'
    'importlib.import_module(sys.argv[1])\n'
    'import seqio\n'
    "print('natinst_all_definitions' in seqio.MixtureRegistry.names())\n"
  )

  def run(module):
    return subprocess.run(
      [sys.executable, tmp_path / 'train.py', module],
      env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
      capture_output=True,
      text=True,
      check=False,
    )

  assert run('it_study.tasks').stdout == 'True\n'
  assert "No module named 'seqio.deterministic'" in run('tasks').stderr


def test_the_short_name_holds_the_same_modules():
  lines = (
    'import tasks.natinst, tasks.mixtures',
    'import it_study.tasks',
    'assert tasks.natinst is it_study.tasks.natinst',
    'assert tasks.mixtures is it_study.tasks.mixtures',
  )
  done = subprocess.run(
    [sys.executable, '-c', '\n'.join(lines)],
    capture_output=True,
    check=False,
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]
