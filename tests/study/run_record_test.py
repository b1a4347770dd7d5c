"""Tests of it_study.study.run_record."""

import fakes

from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.study import run_record


def test_delusive_sources_are_counted(tmp_path):
  corpus = natinst.open_corpus(fakes.write_small_corpus(tmp_path))
  conditions = [Condition(examples='delusive', num_examples=1), Condition()]
  # Of each task one; the negatives of this corpus stay inside the labels.
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
