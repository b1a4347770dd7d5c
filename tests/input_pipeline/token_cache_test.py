"""Tests of it_study.input_pipeline.token_cache."""

import json
import resource

import numpy as np
import pytest

from it_study.errors import InputError
from it_study.input_pipeline.token_cache import (
  DamagedCacheError,
  open_token_cache,
  write_token_cache,
)

EXAMPLES = (
  {'inputs': [5, 6, 1], 'targets': [7, 1]},
  {'inputs': np.array([8, 1]), 'targets': np.array([9, 4, 1])},
)


def test_sequences_are_read_back(tmp_path):
  cache = write_token_cache(tmp_path / 'cache', iter(EXAMPLES))
  assert len(cache) == 2
  assert cache.sequence('inputs', 0).tolist() == [5, 6, 1]
  assert cache.sequence('targets', 1).tolist() == [9, 4, 1]
  assert cache.sequence('targets', 1).dtype == np.int32
  rows = cache.read(np.array([1, 0, 1]))
  assert [row['inputs'].tolist() for row in rows] == [[8, 1], [5, 6, 1], [8, 1]]
  assert rows[0]['targets'].tolist() == [9, 4, 1]
  assert cache.read([]) == []
  assert cache.sequence_lengths('inputs').tolist() == [3, 2]
  reopened = open_token_cache(tmp_path / 'cache')
  assert reopened.fingerprint == cache.fingerprint
  assert reopened.sequence('inputs', 1).tolist() == [8, 1]


def test_truncated_targets_are_counted(tmp_path):
  assert write_token_cache(tmp_path / 'a', EXAMPLES).num_cut_targets is None
  known = [{**row, 'is_target_cut': k == 1} for k, row in enumerate(EXAMPLES)]
  cache = write_token_cache(tmp_path / 'b', [*known, known[1]])
  assert cache.num_cut_targets == 2
  assert open_token_cache(tmp_path / 'b').num_cut_targets == 2
  # The count is not part of the tokens.
  same = write_token_cache(tmp_path / 'c', [*EXAMPLES, EXAMPLES[1]])
  assert cache.fingerprint == same.fingerprint


def test_the_fingerprint_depends_on_where_sequences_end(tmp_path):
  one = write_token_cache(tmp_path / 'a', EXAMPLES)
  moved = (
    {'inputs': [5, 6], 'targets': [7, 1]},
    {'inputs': [1, 8, 1], 'targets': [9, 4, 1]},
  )
  other = write_token_cache(tmp_path / 'b', moved)
  for feature in ('inputs', 'targets'):
    one_after_another, others = (
      np.concatenate([row[feature] for row in cache.read([0, 1])]).tolist()
      for cache in (one, other)
    )
    assert one_after_another == others
  assert one.fingerprint != other.fingerprint


def test_writing_again_replaces_the_cache(tmp_path):
  write_token_cache(tmp_path / 'cache', EXAMPLES)
  assert len(write_token_cache(tmp_path / 'cache', EXAMPLES[:1])) == 1


def test_a_failed_write_leaves_nothing(tmp_path):
  def broken():
    yield EXAMPLES[0]
    raise OSError('no space')

  with pytest.raises(OSError, match='no space'):
    write_token_cache(tmp_path / 'cache', broken())
  assert list(tmp_path.iterdir()) == []


@pytest.fixture(name='little_room')
def _little_room():
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures('little_room')
def test_a_full_disk_is_reported(tmp_path):
  with pytest.raises(
    InputError,
    match=r'cannot write tokens to .*: write\(\) failed: File too large\. Free '
    'some space, or set IT_STUDY_CACHE to another folder',
  ):
    write_token_cache(
      tmp_path / 'cache', [{'inputs': range(1000), 'targets': [1]}] * 200
    )
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('targets', [[], [[1]]])
def test_a_bad_sequence_is_named(tmp_path, targets):
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
  file = tmp_path / 'cache' / 'lengths.npy'
  file.write_bytes(file.read_bytes()[:-4])
  with pytest.raises(
    DamagedCacheError,
    match=r'lengths\.npy should have bytes 144, found 140\. Delete the folder',
  ):
    open_token_cache(tmp_path / 'cache')


def test_missing_file_is_named(tmp_path):
  write_token_cache(tmp_path / 'cache', EXAMPLES)
  (tmp_path / 'cache' / 'tokens.arrayrecord').unlink()
  with pytest.raises(
    DamagedCacheError, match=r'tokens\.arrayrecord should .*, found none'
  ):
    open_token_cache(tmp_path / 'cache')


def flip(cache, token):
  """Flips a bit of a token on disk."""
  file = cache.path / 'tokens.arrayrecord'
  data = bytearray(file.read_bytes())
  data[data.index(np.array([token, 1], '<i4').tobytes())] ^= 1
  file.write_bytes(data)


def test_a_flipped_bit_is_detected_on_opening_and_on_reading(tmp_path):
  cache = write_token_cache(tmp_path / 'cache', EXAMPLES)
  flip(cache, token=8)
  with pytest.raises(DamagedCacheError, match='should have sha256'):
    open_token_cache(tmp_path / 'cache')
  with pytest.raises(
    DamagedCacheError,
    match=r'cache is damaged: Corrupted .*\. Restart the run: a',
  ):
    cache.read([0, 1])


def test_a_record_of_the_wrong_length_is_detected(tmp_path):
  cache = write_token_cache(tmp_path / 'cache', EXAMPLES)
  cache.lengths[1, 0] += 1
  assert cache.sequence('inputs', 0).tolist() == [5, 6, 1]
  with pytest.raises(
    DamagedCacheError, match='damaged: example 1 has the wrong length'
  ):
    cache.read([0, 1])


@pytest.mark.parametrize(
  'text',
  ['', '{"format"', '[]', '{}', '{"format": 3}', '[' * 10**5, '\0'],
)
def test_unreadable_description_is_named(tmp_path, text):
  write_token_cache(tmp_path / 'cache', EXAMPLES)
  (tmp_path / 'cache' / 'cache.json').write_text(text)
  with pytest.raises(DamagedCacheError, match=r'cache\.json cannot be read'):
    open_token_cache(tmp_path / 'cache')


def test_a_flipped_digit_in_the_description_is_noticed(tmp_path):
  cache = write_token_cache(tmp_path / 'cache', EXAMPLES)
  file = tmp_path / 'cache' / 'cache.json'
  text = file.read_text()
  file.write_text(
    text.replace(cache.fingerprint, 'abc' + cache.fingerprint[3:])
  )
  with pytest.raises(DamagedCacheError, match=r'cache\.json cannot be read'):
    open_token_cache(tmp_path / 'cache')
  # As earlier versions wrote it.
  description = json.loads(text)
  del description['checksum']
  file.write_text(json.dumps(description, indent=2) + '\n')
  opened = open_token_cache(tmp_path / 'cache')
  assert opened.fingerprint == cache.fingerprint


def test_an_epoch_is_shuffled_by_seed_and_epoch(tmp_path):
  cache = write_token_cache(tmp_path / 'cache', [EXAMPLES[0]] * 6)
  orders = [
    cache.epoch_order(seed=seed, epoch=epoch).tolist()
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
  ]
  assert orders[0] == orders[3] == [5, 3, 1, 0, 2, 4]
  assert len({tuple(order) for order in orders}) == 3
  assert {tuple(sorted(order)) for order in orders} == {tuple(range(6))}


def test_other_format_is_refused(tmp_path):
  write_token_cache(tmp_path / 'cache', EXAMPLES)
  file = tmp_path / 'cache' / 'cache.json'
  file.write_text(json.dumps({**json.loads(file.read_text()), 'format': 99}))
  with pytest.raises(InputError, match='has format 99; this version reads'):
    open_token_cache(tmp_path / 'cache')
