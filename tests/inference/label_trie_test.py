"""Tests of decoding within label spaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.inference import label_trie
from it_study.inference.token_loop import decode_tokens
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config

MODEL = T5(
  T5Config(
    vocab_size=64,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
)
LENGTH = 6


@pytest.fixture(name='params', scope='module')
def _params():
  return partitioning.init_params(
    model=MODEL, seed=0, mesh=partitioning.make_mesh()
  )


def decode(params, prompts, spaces):
  trie, roots = label_trie.build(spaces)
  return np.asarray(
    decode_tokens(
      model=MODEL,
      params=params,
      encoder_input_tokens=prompts,
      max_decode_length=LENGTH,
      trie=trie,
      roots=np.array(roots, np.int32),
    )
  )


def said(row):
  """A row's tokens up to the end."""
  tokens = row.tolist()
  return tuple(tokens[: tokens.index(1) + 1]) if 1 in tokens else tuple(tokens)


def random_spaces(generator, count):
  spaces = []
  for _ in range(count):
    labels = {
      (*generator.integers(2, 64, size=generator.integers(1, LENGTH)), 1)
      for _ in range(generator.integers(1, 13))
    }
    spaces.append([tuple(map(int, label)) for label in labels])
  return spaces


@pytest.mark.parametrize('count', [1, 10, 300])
def test_every_answer_is_in_its_own_label_space(params, count):
  generator = np.random.default_rng(count)
  spaces = random_spaces(generator, count)
  prompts = generator.integers(2, 64, size=(count, 9)).astype(np.int32)
  decoded = decode(params, prompts, spaces)
  for row, labels in zip(decoded, spaces, strict=True):
    assert said(row) in labels


def test_rows_without_a_label_space_are_unrestricted(params):
  generator = np.random.default_rng(0)
  prompts = generator.integers(2, 64, size=(6, 9)).astype(np.int32)
  free = np.asarray(
    decode_tokens(
      model=MODEL,
      params=params,
      encoder_input_tokens=prompts,
      max_decode_length=LENGTH,
    )
  )
  spaces = [[(5, 1)] if k % 2 else [] for k in range(6)]
  mixed = decode(params, prompts, spaces)
  np.testing.assert_array_equal(mixed[::2], free[::2])
  assert all(said(row) == (5, 1) for row in mixed[1::2])


def test_each_step_takes_the_most_likely_allowed_token():
  trie, (root,) = label_trie.build([[(7, 9, 1), (7, 3, 1), (4, 1)]])
  logits = jnp.zeros((1, 64)).at[0, 7].set(1.0).at[0, 50].set(9.0)
  token, node = label_trie.choose(trie, jnp.array([root]), logits)
  assert token.tolist() == [7]
  # 3 and 9 are equally likely: the smaller id wins.
  token, node = label_trie.choose(trie, node, logits)
  assert token.tolist() == [3]
  token, _ = label_trie.choose(trie, node, logits)
  assert token.tolist() == [1]


def test_tables_of_similar_tries_have_the_same_shape():
  shapes = set()
  for seed in range(8):
    generator = np.random.default_rng(seed)
    trie, _ = label_trie.build(random_spaces(generator, 12))
    shapes.add(trie.tokens.shape)
  assert len(shapes) <= 3
  for tokens in (trie.tokens, trie.following):
    assert all(n & (n - 1) == 0 for n in tokens.shape)
  assert jax.tree.leaves(trie)[0] is trie.tokens
