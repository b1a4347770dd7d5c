"""Greedy decoding against a loop without a cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.inference import token_loop
from it_study.inference.token_loop import decode_tokens
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config

MODEL = T5(
  T5Config(
    vocab_size=29,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=2,
  )
)
PROMPTS = np.array(
  [[5, 6, 7, 8, 1], [9, 3, 1, 0, 0], [4, 1, 0, 0, 0], [2, 2, 2, 20, 1]],
  np.int32,
)


@pytest.fixture(scope='module')
def params():
  return partitioning.init_params(
    model=MODEL, seed=0, mesh=partitioning.make_mesh()
  )


def decode(params, prompts=PROMPTS, length=9, **options):
  return np.asarray(
    decode_tokens(
      model=MODEL,
      params=params,
      encoder_input_tokens=prompts,
      max_decode_length=length,
      **options,
    )
  )


def decode_without_cache(params, prompts, length, eos_id):
  """The whole model again for every token."""
  apply = jax.jit(MODEL.apply)
  shifted = np.zeros((len(prompts), length), np.int32)
  decoded = np.zeros((len(prompts), length), np.int32)
  everywhere = np.ones_like(decoded)
  ended = np.zeros(len(prompts), bool)
  for step in range(length):
    logits = apply({'params': params}, prompts, shifted, everywhere)
    tokens = np.where(ended, 0, np.argmax(logits[:, step], axis=-1))
    decoded[:, step] = tokens
    if step + 1 < length:
      shifted[:, step + 1] = tokens
    ended |= tokens == eos_id
  return decoded


def common_token(params):
  """A token that some rows decode early, to serve as end of sequence."""
  decoded = decode(params, eos_id=-1)
  for token in np.unique(decoded):
    rows = (decoded == token).any(axis=1)
    if token and rows.any() and not rows.all():
      return int(token)
  raise AssertionError(decoded)


def test_same_tokens_as_without_a_cache(params):
  eos_id = common_token(params)
  expected = decode_without_cache(params, PROMPTS, 9, eos_id)
  decoded = decode(params, eos_id=eos_id)
  assert decoded.dtype == np.int32
  np.testing.assert_array_equal(decoded, expected)


def test_zeros_after_the_end_of_sequence(params):
  eos_id = common_token(params)
  ended = 0
  for row in decode(params, eos_id=eos_id):
    places = np.flatnonzero(row == eos_id)
    if len(places):
      ended += 1
      assert len(places) == 1
      assert not row[places[0] + 1 :].any()
    else:
      assert row[-1] != 0
  assert 0 < ended < len(PROMPTS)


def test_any_of_several_tokens_ends_a_row(params):
  endless = decode(params, eos_id=-1)
  one, two = int(endless[0, 0]), int(endless[1, 1])
  ends = {one, two}
  for row, free in zip(
    decode(params, eos_id=one, other_ends=(two,)), endless, strict=True
  ):
    length = next((k for k, t in enumerate(free) if t in ends), len(free))
    expected = [*free[:length], one][: len(free)]
    assert row.tolist() == expected + [0] * (len(free) - len(expected))


def test_several_ends_share_a_probability():
  logits = jnp.log(jnp.array([[0.1, 0.2, 0.3, 0.4]]))
  merged = token_loop.merge_ends(logits, (1, 3))
  np.testing.assert_allclose(np.exp(merged), [[0.1, 0.6, 0.3, 0.0]], rtol=1e-6)
  assert token_loop.merge_ends(logits, (1,)) is logits


def test_longer_padding_changes_no_token(params):
  longer = np.pad(PROMPTS, ((0, 0), (0, 11)))
  np.testing.assert_array_equal(decode(params, longer), decode(params))


def test_a_row_does_not_depend_on_the_others(params):
  whole = decode(params)
  for row in range(len(PROMPTS)):
    np.testing.assert_array_equal(
      decode(params, PROMPTS[row : row + 1])[0], whole[row]
    )


def test_longer_decoding_keeps_the_first_tokens(params):
  np.testing.assert_array_equal(
    decode(params, length=20, eos_id=-1)[:, :9],
    decode(params, length=9, eos_id=-1),
  )


def test_stops_once_every_row_has_ended(params, monkeypatch):
  steps = []
  step = T5.decode_step

  def counted(self, tokens, cache, index):
    jax.debug.callback(lambda _: steps.append(1), index)
    return step(self, tokens, cache, index)

  monkeypatch.setattr(T5, 'decode_step', counted)
  prompts = PROMPTS[:1]
  # A length that no other test uses, so that it is compiled here.
  first = int(decode(params, prompts, length=3)[0, 0])
  steps.clear()
  decoded = decode(params, prompts, length=17, eos_id=first)
  jax.effects_barrier()
  assert decoded.tolist() == [[first] + [0] * 16]
  assert len(steps) == 1


def test_a_row_of_padding_stays_empty(params):
  prompts = np.concatenate([PROMPTS, np.zeros((2, 5), np.int32)])
  decoded = decode(params, prompts)
  np.testing.assert_array_equal(decoded[:4], decode(params))
  assert not decoded[4:].any()


def test_compiled_once_per_shape_and_config(params):
  prompts = np.ones((3, 6), np.int32)
  decode(params, prompts)
  compiled = token_loop._decode_tokens._cache_size()
  again = T5(MODEL.config)
  decode_tokens(
    model=again,
    params=params,
    encoder_input_tokens=prompts + 1,
    max_decode_length=9,
  )
  assert token_loop._decode_tokens._cache_size() == compiled
  decode(params, np.ones((3, 7), np.int32))
  assert token_loop._decode_tokens._cache_size() == compiled + 1


def test_accepts_numpy_parameters(params):
  plain = jax.tree.map(np.asarray, params)
  np.testing.assert_array_equal(decode(plain), decode(params))
