"""Tests of it_study.token_cache."""

import json

import numpy as np
import pytest

from it_study.errors import InputError
from it_study.token_cache import open_token_cache, write_token_cache

EXAMPLES = (
  {'inputs': [5, 6, 1], 'targets': [7, 1]},
  {'inputs': np.array([8, 1]), 'targets': np.array([9, 4, 1])},
)


def test_sequences_come_back(tmp_path):
  cache = write_token_cache(tmp_path / 'cache', iter(EXAMPLES))
  assert len(cache) == 2
  assert cache.sequence('inputs', 0).tolist() == [5, 6, 1]
  assert cache.sequence('targets', 1).tolist() == [9, 4, 1]
  assert cache.sequence('targets', 1).dtype == np.int32
  assert cache.sequence_lengths('inputs').tolist() == [3, 2]
  reopened = open_token_cache(tmp_path / 'cache')
  assert reopened.fingerprint == cache.fingerprint
  assert reopened.sequence('inputs', 1).tolist() == [8, 1]


def test_fingerprint_tells_where_sequences_end(tmp_path):
  one = write_token_cache(tmp_path / 'a', EXAMPLES)
  moved = (
    {'inputs': [5, 6], 'targets': [7, 1]},
    {'inputs': [1, 8, 1], 'targets': [9, 4, 1]},
  )
  other = write_token_cache(tmp_path / 'b', moved)
  assert one.tokens['inputs'].tolist() == other.tokens['inputs'].tolist()
  assert one.fingerprint != other.fingerprint


def test_writing_again_replaces(tmp_path):
  write_token_cache(tmp_path / 'cache', EXAMPLES)
  assert len(write_token_cache(tmp_path / 'cache', EXAMPLES[:1])) == 1


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
  def broken():
    yield EXAMPLES[0]
    raise OSError('no space')

  with pytest.raises(OSError, match='no space'):
    write_token_cache(tmp_path / 'cache', broken())
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('targets', [[], [[1]]])
def test_bad_sequence_is_named(tmp_path, targets):
  with pytest.raises(InputError, match="example 1 has 'targets' of shape"):
    write_token_cache(
      tmp_path / 'cache', [EXAMPLES[0], {'inputs': [1], 'targets': targets}]
    )


def test_empty_cache_can_be_opened(tmp_path):
  assert len(write_token_cache(tmp_path / 'cache', [])) == 0


def test_missing_cache_is_named(tmp_path):
  with pytest.raises(InputError, match=r'no token cache at .*absent'):
    open_token_cache(tmp_path / 'absent')


def test_truncated_file_is_named(tmp_path):
  write_token_cache(tmp_path / 'cache', EXAMPLES)
  file = tmp_path / 'cache' / 'targets.tokens'
  file.write_bytes(file.read_bytes()[:-4])
  with pytest.raises(
    InputError, match=r'targets\.tokens should have 20 bytes, found 16'
  ):
    open_token_cache(tmp_path / 'cache')


def test_other_format_is_refused(tmp_path):
  write_token_cache(tmp_path / 'cache', EXAMPLES)
  file = tmp_path / 'cache' / 'cache.json'
  file.write_text(json.dumps({**json.loads(file.read_text()), 'format': 99}))
  with pytest.raises(InputError, match='has format 99; this version reads'):
    open_token_cache(tmp_path / 'cache')
