"""Tests of it_study.feed."""

import collections

import numpy as np
import pytest

from it_study.errors import InputError
from it_study.feed import Feed, plan_epoch
from it_study.token_cache import write_token_cache


@pytest.fixture
def cache(tmp_path):
  """Eleven examples; the first token of both features is 100 + the index."""
  return write_token_cache(
    tmp_path / 'cache',
    [
      {
        'inputs': [100 + index, *[7] * (index % 4), 1],
        'targets': [100 + index, *[8] * (index % 3), 1],
      }
      for index in range(11)
    ],
  )


def make_feed(cache, **settings):
  defaults = {'batch_size': 3, 'lengths': {'inputs': 8, 'targets': 6}}
  return Feed(cache, **{**defaults, **settings})


def marks(tokens):
  """The examples whose first token is in an array, in order of appearance."""
  return [int(token) - 100 for token in tokens.ravel() if token >= 100]


def test_packed_batch(tmp_path):
  cache = write_token_cache(
    tmp_path / 'cache',
    [{'inputs': [7, 8, 1], 'targets': [3, 1]}] * 2
    + [{'inputs': [7, 8, 1], 'targets': [3, 1]}],
  )
  feed = make_feed(
    cache, batch_size=2, lengths={'inputs': 7, 'targets': 4}, pack=True
  )
  batch = {name: array.tolist() for name, array in feed.batch(0).items()}
  assert batch == {
    'encoder_input_tokens': [[7, 8, 1, 7, 8, 1, 0], [7, 8, 1, 0, 0, 0, 0]],
    'encoder_segment_ids': [[1, 1, 1, 2, 2, 2, 0], [1, 1, 1, 0, 0, 0, 0]],
    'encoder_positions': [[0, 1, 2, 0, 1, 2, 0], [0, 1, 2, 0, 0, 0, 0]],
    'decoder_input_tokens': [[0, 3, 0, 3], [0, 3, 0, 0]],
    'decoder_target_tokens': [[3, 1, 3, 1], [3, 1, 0, 0]],
    'decoder_segment_ids': [[1, 1, 2, 2], [1, 1, 0, 0]],
    'decoder_positions': [[0, 1, 0, 1], [0, 1, 0, 0]],
    'decoder_loss_weights': [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]],
  }


def test_unpacked_batch(tmp_path):
  cache = write_token_cache(
    tmp_path / 'cache', [{'inputs': [7, 8, 1], 'targets': [3, 1]}]
  )
  feed = make_feed(
    cache, batch_size=1, lengths={'inputs': 4, 'targets': 3}, pack=False
  )
  batch = feed.batch(0)
  assert {name: array.tolist() for name, array in batch.items()} == {
    'encoder_input_tokens': [[7, 8, 1, 0]],
    'decoder_input_tokens': [[0, 3, 0]],
    'decoder_target_tokens': [[3, 1, 0]],
    'decoder_loss_weights': [[1.0, 1.0, 0.0]],
  }
  types = {name: array.dtype.name for name, array in batch.items()}
  assert types.pop('decoder_loss_weights') == 'float32'
  assert set(types.values()) == {'int32'}


def test_overlong_sequences_keep_their_last_token(tmp_path):
  cache = write_token_cache(
    tmp_path / 'cache', [{'inputs': [5, 6, 7, 8, 1], 'targets': [3, 1]}]
  )
  feed = make_feed(cache, batch_size=1, lengths={'inputs': 3, 'targets': 2})
  batch = feed.batch(0)
  assert batch['encoder_input_tokens'].tolist() == [[5, 6, 1]]
  assert feed.num_cut == {'inputs': 1, 'targets': 0}


@pytest.mark.parametrize('pack', [True, False])
@pytest.mark.parametrize('batch_size', [1, 3, 5])
def test_every_example_once_an_epoch(cache, pack, batch_size):
  feed = make_feed(cache, pack=pack, batch_size=batch_size)
  steps = feed.num_steps(epochs=4)
  batches = [feed.batch(step) for step in range(steps)]
  stream = marks(np.concatenate([b['encoder_input_tokens'] for b in batches]))
  targets = marks(np.concatenate([b['decoder_target_tokens'] for b in batches]))
  assert stream == targets
  orders = [stream[11 * epoch : 11 * (epoch + 1)] for epoch in range(4)]
  for order in orders:
    assert sorted(order) == list(range(11))
  assert len({tuple(order) for order in orders}) == 4
  # No step more than it takes.
  fewer = sum(len(marks(b['encoder_input_tokens'])) for b in batches[:-1])
  assert fewer < 44


def test_batch_depends_on_seed_and_step_alone(cache):
  first = make_feed(cache, seed=3)
  for step in range(6):
    first.batch(step)
  again = make_feed(cache, seed=3)
  for step in (40, 2, 17):
    for name, array in first.batch(step).items():
      np.testing.assert_array_equal(array, again.batch(step)[name])
  other = make_feed(cache, seed=4)
  assert marks(other.batch(0)['encoder_input_tokens']) != marks(
    first.batch(0)['encoder_input_tokens']
  )


def test_hosts_share_the_global_batch(cache):
  feed = make_feed(cache, batch_size=4)
  whole = feed.batch(5)
  parts = [feed.batch(5, rows=slice(start, start + 2)) for start in (0, 2)]
  for name, array in whole.items():
    np.testing.assert_array_equal(
      array, np.concatenate([part[name] for part in parts])
    )


def test_packing_needs_fewer_rows_and_steps(cache):
  unpacked, packed = make_feed(cache, pack=False), make_feed(cache, pack=True)
  assert unpacked.num_rows(epochs=2) == 22
  assert unpacked.num_steps(epochs=2) == 8
  assert packed.num_rows(epochs=2) < 16
  assert packed.num_rows(epochs=0) == 0


def test_plan_is_the_same_with_every_version_of_numpy():
  plan = plan_epoch(
    lengths={'inputs': np.full(6, 3), 'targets': np.full(6, 1)},
    row_lengths={'inputs': 6, 'targets': 9},
    seed=0,
    epoch=0,
  )
  assert plan.examples.tolist() == [5, 3, 1, 0, 2, 4]
  assert plan.row_starts.tolist() == [0, 2, 4, 6]


def test_first_fit_joins_the_earliest_row_with_room():
  lengths = np.array([4, 3, 2, 3, 1, 5])
  plan = plan_epoch(
    lengths={'inputs': lengths, 'targets': np.ones(6, np.int64)},
    row_lengths={'inputs': 6, 'targets': 2},
    seed=1,
    epoch=0,
  )
  order = plan_epoch(
    lengths={'inputs': lengths, 'targets': lengths},
    row_lengths={'inputs': 6, 'targets': 6},
    seed=1,
    epoch=0,
    pack=False,
  ).examples.tolist()
  rows = []
  for example in order:
    for row in rows:
      if len(row) < 2 and sum(lengths[row]) + lengths[example] <= 6:
        row.append(example)
        break
    else:
      rows.append([example])
  assert [plan.row(index).tolist() for index in range(len(plan))] == rows


def test_one_open_row_keeps_the_shuffled_order():
  settings = {
    'lengths': {'inputs': np.arange(1, 7), 'targets': np.ones(6, np.int64)},
    'row_lengths': {'inputs': 7, 'targets': 7},
    'seed': 5,
    'epoch': 2,
  }
  one = plan_epoch(**settings, max_open_rows=1)
  order = plan_epoch(**settings, pack=False)
  assert one.examples.tolist() == order.examples.tolist()
  for index in range(len(one)):
    assert sum(one.row(index) + 1) <= 7


def test_random_lengths_always_fit():
  random = np.random.default_rng(0)
  lengths = {
    'inputs': random.integers(1, 33, 500),
    'targets': random.integers(1, 9, 500),
  }
  plan = plan_epoch(
    lengths=lengths,
    row_lengths={'inputs': 32, 'targets': 8},
    seed=0,
    epoch=0,
    max_open_rows=16,
  )
  assert collections.Counter(plan.examples.tolist()) == dict.fromkeys(
    range(500), 1
  )
  for index in range(len(plan)):
    assert lengths['inputs'][plan.row(index)].sum() <= 32
    assert lengths['targets'][plan.row(index)].sum() <= 8


def test_metadata_names_what_fixes_the_batches(cache):
  metadata = make_feed(cache, seed=9).metadata()
  assert metadata.pop('cache') == cache.fingerprint
  assert metadata == {
    'num_examples': 11,
    'batch_size': 3,
    'lengths': {'inputs': 8, 'targets': 6},
    'seed': 9,
    'pack': True,
    'max_open_rows': 64,
  }


def test_bad_settings_are_named(cache, tmp_path):
  with pytest.raises(InputError, match='feed batch_size is 0; give 1 or more'):
    make_feed(cache, batch_size=0)
  with pytest.raises(InputError, match='feed targets is -1'):
    make_feed(cache, lengths={'inputs': 4, 'targets': -1})
  with pytest.raises(InputError, match=r"lengths are for \['inputs'\]"):
    make_feed(cache, lengths={'inputs': 4})
  empty = write_token_cache(tmp_path / 'empty', [])
  with pytest.raises(InputError, match='holds no examples'):
    make_feed(empty)
