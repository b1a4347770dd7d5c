"""Tests of it_study.input_pipeline.feed."""

import fractions

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from it_study.errors import InputError
from it_study.input_pipeline import row_layouts
from it_study.input_pipeline.feed import Feed
from it_study.input_pipeline.token_cache import write_token_cache
from it_study.input_pipeline.token_mixture import TokenMixture


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


def decoder_feed(cache, **settings):
  return make_feed(cache, layout=row_layouts.DECODER, **settings)


def test_decoder_batch(tmp_path):
  cache = write_token_cache(
    tmp_path / 'cache',
    [{'inputs': [7, 0], 'targets': [3, 0, 1]}] * 2
    + [{'inputs': [7, 0], 'targets': [3, 0, 1]}],
  )
  # 4 + 4 tokens fit two examples: the last token of each is not read.
  lengths = {'inputs': 5, 'targets': 3}
  feed = decoder_feed(cache, batch_size=2, lengths=lengths)
  batch = feed.batch(0)
  assert {name: array.tolist() for name, array in batch.items()} == {
    'decoder_input_tokens': [
      [7, 0, 3, 0, 7, 0, 3, 0],
      [7, 0, 3, 0, 0, 0, 0, 0],
    ],
    'decoder_target_tokens': [
      [0, 3, 0, 1, 0, 3, 0, 1],
      [0, 3, 0, 1, 0, 0, 0, 0],
    ],
    'decoder_loss_weights': [
      [0, 1, 1, 1, 0, 1, 1, 1],
      [0, 1, 1, 1, 0, 0, 0, 0],
    ],
    'decoder_segment_ids': [[1, 1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 0, 0, 0, 0]],
    'decoder_positions': [[0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 0, 0, 0, 0]],
  }
  types = {name: array.dtype.name for name, array in batch.items()}
  assert types.pop('decoder_loss_weights') == 'float32'
  assert set(types.values()) == {'int32'}
  # Prompts and targets, id 0 among them.
  assert feed.layout.count_tokens(batch) == 15
  assert feed.metadata()['layout'] == 'decoder'
  unpacked = decoder_feed(cache, batch_size=2, lengths=lengths, pack=False)
  for name, array in unpacked.batch(0).items():
    assert array[0].tolist() == batch[name][1].tolist()


def test_an_encoder_decoder_feed_names_no_layout(cache):
  # Checkpoints from before there were layouts do not name one.
  assert 'layout' not in make_feed(cache).metadata()


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
  # One step fewer would not be enough.
  fewer = sum(len(marks(b['encoder_input_tokens'])) for b in batches[:-1])
  assert fewer < 44


def test_a_batch_depends_on_seed_and_step_alone(cache):
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


@pytest.fixture(name='mixture', scope='module')
def _mixture(tmp_path_factory):
  """4 and 9 examples at 1 to 2; first tokens are 100 to 103, 200 to 208."""
  folder = tmp_path_factory.mktemp('mixture')
  parts = {
    name: write_token_cache(
      folder / name,
      [
        {'inputs': [mark + i, *[7] * (i % 4), 1], 'targets': [mark + i, 1]}
        for i in range(size)
      ],
    )
    for name, size, mark in (('four', 4, 100), ('nine', 9, 200))
  }
  rates = {'four': fractions.Fraction(1), 'nine': fractions.Fraction(2)}
  return TokenMixture(parts, rates=rates)


@pytest.mark.parametrize('num_hosts', [1, 2, 4])
@pytest.mark.parametrize('pack', [True, False])
def test_hosts_share_the_global_batch(cache, mixture, pack, num_hosts):
  share = 4 // num_hosts
  for tokens in (cache, mixture):
    whole = make_feed(tokens, batch_size=4, pack=pack)
    # Every host has its own feed, and starts at another step.
    hosts = [
      make_feed(tokens, batch_size=4, pack=pack) for _ in range(num_hosts)
    ]
    for step in (5, 6, 0):
      parts = [
        host.batch(step, rows=slice(share * rank, share * (rank + 1)))
        for rank, host in enumerate(hosts)
      ]
      for name, array in whole.batch(step).items():
        np.testing.assert_array_equal(
          array, np.concatenate([part[name] for part in parts])
        )


@hypothesis.given(
  steps=strategies.lists(strategies.integers(0, 60), min_size=1, max_size=6),
  batch_size=strategies.integers(1, 7),
  seed=strategies.integers(0, 2**32 - 1),
  pack=strategies.booleans(),
)
@hypothesis.settings(max_examples=25)
def test_a_mixture_s_batch_depends_on_seed_and_step_alone(
  mixture, steps, batch_size, seed, pack
):
  straight = make_feed(mixture, batch_size=batch_size, seed=seed, pack=pack)
  batches = [straight.batch(step) for step in range(max(steps) + 1)]
  other = make_feed(mixture, batch_size=batch_size, seed=seed, pack=pack)
  for step in steps:
    for name, array in other.batch(step).items():
      np.testing.assert_array_equal(array, batches[step][name])


def test_a_mixture_keeps_to_its_rates_over_epochs(mixture):
  feed = make_feed(mixture, pack=False)
  assert feed.num_steps(epochs=3) == 13
  stream = marks(
    np.concatenate(
      [feed.batch(step)['encoder_input_tokens'] for step in range(30)]
    )
  )
  is_four = np.array(stream) < 100
  assert is_four.reshape(-1, 3).sum(axis=1).tolist() == [1] * 30
  nines = [mark for mark in stream if mark >= 100]
  for start in range(0, 54, 9):
    assert sorted(nines[start : start + 9]) == list(range(100, 109))


def test_packing_keeps_every_example_of_a_mixture_s_epoch(mixture):
  packed, unpacked = (
    make_feed(mixture, batch_size=1, pack=pack) for pack in (True, False)
  )
  assert packed.num_rows(epochs=3) < unpacked.num_rows(epochs=3) == 39
  found = [
    sorted(
      mark
      for step in range(feed.num_steps(epochs=3))
      for mark in marks(feed.batch(step)['decoder_target_tokens'])
    )
    for feed in (packed, unpacked)
  ]
  assert found[0] == found[1]
  assert len(found[0]) == 39


def test_a_mixture_s_metadata_names_parts_and_rates(mixture):
  metadata = make_feed(mixture, lengths={'inputs': 3, 'targets': 2}).metadata()
  assert 'cache' not in metadata
  assert metadata['num_examples'] == 13
  assert {name: part['rate'] for name, part in metadata['parts'].items()} == {
    'four': '1/3',
    'nine': '2/3',
  }


def test_cut_sequences_of_all_parts_are_counted(mixture):
  feed = make_feed(mixture, lengths={'inputs': 3, 'targets': 2})
  assert feed.num_cut == {'inputs': 2 + 4, 'targets': 0}


def test_packing_needs_fewer_rows_and_steps(cache):
  unpacked, packed = make_feed(cache, pack=False), make_feed(cache, pack=True)
  assert unpacked.num_rows(epochs=2) == 22
  assert unpacked.num_steps(epochs=2) == 8
  assert packed.num_rows(epochs=2) < 16
  assert packed.num_rows(epochs=0) == 0


def test_metadata_names_what_determines_the_batches(cache):
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
  with pytest.raises(InputError, match='batch_size is 0; it must be 1 or more'):
    make_feed(cache, batch_size=0)
  with pytest.raises(InputError, match='feed targets is -1'):
    make_feed(cache, lengths={'inputs': 4, 'targets': -1})
  with pytest.raises(
    InputError,
    match=r"lengths are for \['inputs'\]; give one length for each of \['in",
  ):
    make_feed(cache, lengths={'inputs': 4})
  empty = write_token_cache(tmp_path / 'empty', [])
  with pytest.raises(InputError, match='holds no examples'):
    make_feed(empty)
