"""Tests of fitting weights to a model."""

import numpy as np

from it_study.checkpoints import fitting


def test_the_first_names_are_listed():
  assert fitting.listed(set()) == 'none'
  assert fitting.listed({'b'}) == 'b'
  assert fitting.listed({'c', 'b', 'a'}) == 'a, b, c'
  assert fitting.listed(set('edcba')) == 'a, b, c and 2 more'


def test_only_the_vocabulary_may_be_smaller_than_the_model():
  assert fitting.fits('token_embedder/embedding', (5, 2), (8, 2))
  assert not fitting.fits('token_embedder/embedding', (8, 2), (5, 2))
  assert not fitting.fits('token_embedder/embedding', (5, 1), (8, 2))
  assert fitting.fits('decoder/logits_dense/kernel', (2, 5), (2, 8))
  assert not fitting.fits('decoder/logits_dense/kernel', (2, 5), (3, 5))
  assert fitting.fits('a/kernel', (2, 5), (2, 5))
  assert not fitting.fits('a/kernel', (2, 5), (2, 8))
  assert not fitting.fits('a/kernel', (2,), (2, 8))


def test_a_vocabulary_is_filled_with_its_last_row():
  table = np.array([[1, 2], [3, 4]])
  filled = fitting.fill_vocabulary('token_embedder/embedding', table, (4, 2))
  assert filled.tolist() == [[1, 2], [3, 4], [3, 4], [3, 4]]
  filled = fitting.fill_vocabulary('decoder/logits_dense/kernel', table, (2, 3))
  assert filled.tolist() == [[1, 2, 2], [3, 4, 4]]
  assert fitting.fill_vocabulary('a/kernel', table, (4, 2)) is table
