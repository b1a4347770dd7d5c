"""Tests of it_study.study.run_record."""

import ast
import importlib.metadata
import pathlib
import sys

import fakes

import it_study
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.study import run_record


def test_delusive_sources_are_counted(tmp_path):
  corpus = natinst.open_corpus(fakes.write_small_corpus(tmp_path))
  conditions = [Condition(examples='delusive', num_examples=1), Condition()]
  # One per task; the negative examples of this corpus use the labels.
  assert run_record.delusive_sources(corpus, conditions) == {
    'classification': {'negatives': 2},
    'generation': {'negatives': 3},
  }
  assert run_record.delusive_sources(corpus, [Condition()]) == {}


def test_tasks_are_counted_by_split_and_kind(tmp_path):
  corpus = natinst.open_corpus(fakes.write_small_corpus(tmp_path))
  counts = run_record.task_counts(corpus)
  assert counts == {
    'train_tasks': 3,
    'classification_train_tasks': 1,
    'test_tasks': 2,
    'classification_test_tasks': 1,
  }


def test_versions_name_what_decides_a_score():
  versions = run_record.versions()
  assert versions['nltk'] == importlib.metadata.version('nltk')
  assert versions['rapidfuzz'] == importlib.metadata.version('rapidfuzz')
  assert versions['python'] == sys.version.split()[0]
  assert versions['it_study'] == it_study.__version__
  # It is only used in tests.
  assert 'rouge-score' not in versions


def test_every_package_that_scores_is_recorded():
  imported = set()
  folder = pathlib.Path(it_study.__file__).parent / 'evaluation'
  for path in folder.glob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        imported |= {alias.name for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        imported.add(node.module)
  packages = {name.partition('.')[0] for name in imported}
  # `tokenizers` serves `score --track xlingual`, which no study runs.
  packages -= {'it_study', 'tokenizers', *sys.stdlib_module_names}
  assert packages >= {'nltk', 'rapidfuzz'}
  assert packages <= set(run_record.PACKAGES)
