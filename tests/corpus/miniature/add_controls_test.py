"""Tests of adding control tasks to a copy of a corpus."""

import os

import fakes
import pytest

from it_study.audit import corpus_check
from it_study.corpus import findings, locate
from it_study.corpus.miniature.add_controls import MARKER, add_controls
from it_study.corpus.natinst import CONTROL_CATEGORIES, open_corpus
from it_study.errors import InputError
from it_study.evaluation import baselines


@pytest.fixture(name='source')
def _source(tmp_path):
  return fakes.write_small_corpus(tmp_path / 'corpus')


def test_controls_are_in_both_splits_outside_headline_numbers(source, tmp_path):
  before = open_corpus(source)
  corpus = open_corpus(add_controls(source, tmp_path / 'out'))
  for split, counts in (('train', [48, 12]), ('test', [12, 6])):
    tasks = corpus.tasks_of(split)
    assert tasks[: len(before.tasks_of(split))] == before.tasks_of(split)
    categories = [
      corpus.load(name).task.category
      for name in set(tasks) - set(before.tasks_of(split))
    ]
    assert [categories.count(c) for c in CONTROL_CATEGORIES] == counts
  expected, found = (
    baselines.expected_score('random', corpus=one) for one in (before, corpus)
  )
  assert found == expected
  for split in ('test', 'validation'):
    metrics, bare = (
      baselines.baseline_metrics('random', corpus=one, split=split)
      for one in (corpus, before)
    )
    assert metrics['classification'] == bare['classification']
    assert set(metrics['controls']) == set(CONTROL_CATEGORIES)


def test_the_source_is_not_changed(source, tmp_path):
  before = open_corpus(source).fingerprint()
  add_controls(source, tmp_path / 'out')
  assert open_corpus(source).fingerprint() == before
  assert not (source / MARKER).exists()


def test_an_interrupted_copy_is_resumed(source, tmp_path, monkeypatch):
  out = tmp_path / 'out'
  whole = open_corpus(add_controls(source, tmp_path / 'whole')).fingerprint()

  def fail(*paths):
    raise OSError(28, 'No space left on device')

  with monkeypatch.context() as patched:
    patched.setattr(os, 'link', fail)
    patched.setattr(os, 'replace', fail)
    with pytest.raises(InputError, match='No space left on device'):
      add_controls(source, out)
  with pytest.raises(InputError):
    open_corpus(out)
  assert open_corpus(add_controls(source, out)).fingerprint() == whole
  # Without links it copies.
  monkeypatch.setattr(os, 'link', fail)
  copied = add_controls(source, tmp_path / 'copied')
  assert open_corpus(copied).fingerprint() == whole


def test_other_directories_are_refused(source, tmp_path):
  with pytest.raises(InputError, match='is the corpus itself'):
    add_controls(source, source)
  other = tmp_path / 'other'
  other.mkdir()
  (other / 'thesis.txt').write_text('x')
  with pytest.raises(InputError, match='holds other files'):
    add_controls(source, other)
  assert [path.name for path in other.iterdir()] == ['thesis.txt']
  with pytest.raises(InputError, match='already has the control task'):
    add_controls(locate.find('miniature'), tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_real_tasks_with_controls_pass_the_check(natinst_dir, tmp_path):
  out = add_controls(natinst_dir, tmp_path / 'out')
  errors = [
    [finding.code for finding in findings.at_least(found, 'error')]
    for _, found in (corpus_check.check(natinst_dir), corpus_check.check(out))
  ]
  assert errors[0] == errors[1]
