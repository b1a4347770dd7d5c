"""Tests of how prompts are batched and padded."""

import types
import weakref

import jax.numpy as jnp
import numpy as np
import seqio

from it_study.inference import encoding, prompt_batches, token_loop
from it_study.inference.decoding import Decoding
from it_study.models import partitioning


def loaded_model_of(batch_size, *, longest):
  return prompt_batches.LoadedModel(
    model=types.SimpleNamespace(
      config=types.SimpleNamespace(pad_id=0, has_causal_prompts=False)
    ),
    params=None,
    mesh=partitioning.make_mesh(),
    vocabulary=seqio.ByteVocabulary(),
    max_length=longest,
    max_decode_length=1,
    batch_size=batch_size,
  )


def shapes_of(lengths, monkeypatch, *, batch_size=4, longest=80, encoded=None):
  """Shapes that are decoded; of parts that are encoded, into `encoded`."""
  shapes = []

  def encode(*, parts, length, **_):
    if encoded is not None:
      encoded.append([part.tokens.shape for part in parts])
    return jnp.zeros((sum(len(part.tokens) for part in parts), length, 1))

  def echo(*, encoder_input_tokens, **_):
    shapes.append(encoder_input_tokens.shape)
    return jnp.asarray(encoder_input_tokens)[:, :1]

  monkeypatch.setattr(encoding, 'encode', encode)
  monkeypatch.setattr(token_loop, 'decode_tokens', echo)
  loaded = loaded_model_of(batch_size, longest=longest)
  prompts = [
    np.full(length, 2 + index, np.int32) for index, length in enumerate(lengths)
  ]
  decoded = {}
  for indices, rows in prompt_batches.decode(
    loaded, prompts=prompts, decoding=Decoding(), method='greedy'
  ):
    for index, row in zip(indices, rows, strict=True):
      assert index not in decoded
      decoded[index] = row.tolist()
  assert decoded == {k: [2 + k] for k in range(len(lengths))}
  return shapes


def test_the_longest_come_first_padded_to_one_of_eight_lengths(monkeypatch):
  lengths = [5, 80, 12, 71, 33, 9, 11, 40, 10]
  assert shapes_of(lengths, monkeypatch) == [(4, 80), (4, 20), (1, 10)]


def test_every_new_shape_is_logged_once(monkeypatch, caplog):
  caplog.set_level('INFO', logger='it_study.inference.prompt_batches')
  shapes = shapes_of([5] * 12 + [80] * 4, monkeypatch)
  assert shapes == [(4, 80), *[(4, 10)] * 3]
  assert [record.getMessage() for record in caplog.records] == [
    'New batch shape, compiled at first use: 4 prompts x 80 tokens.',
    'New batch shape, compiled at first use: 4 prompts x 10 tokens.',
  ]


def test_a_part_of_a_batch_is_encoded_no_longer_than_its_prompts(monkeypatch):
  encoded = []
  lengths = [5, 80, 12, 71, 33, 9, 11, 40, 10, 10]
  shapes = shapes_of(lengths, monkeypatch, batch_size=8, encoded=encoded)
  assert shapes == [(8, 80), (2, 10)]
  assert encoded == [
    [(1, 80), (1, 80), (1, 40), (1, 40), (1, 20), (1, 20), (1, 10), (1, 10)],
    [(1, 10), (1, 10)],
  ]


def test_few_prompts_make_few_rows(monkeypatch):
  assert shapes_of([7] * 3, monkeypatch, batch_size=64) == [(4, 10)]
  assert shapes_of([7] * 33, monkeypatch, batch_size=64) == [(64, 10)]
  assert shapes_of([7] * 33, monkeypatch, batch_size=40) == [(40, 10)]


def test_an_empty_prompt_is_supported(monkeypatch):
  shapes = []

  def count(*, encoder_input_tokens, **_):
    shapes.append(encoder_input_tokens.shape)
    return jnp.zeros((encoder_input_tokens.shape[0], 1), jnp.int32)

  monkeypatch.setattr(encoding, 'encode', lambda **_: jnp.zeros((2, 2, 1)))
  monkeypatch.setattr(token_loop, 'decode_tokens', count)
  loaded = prompt_batches.LoadedModel(
    model=types.SimpleNamespace(
      config=types.SimpleNamespace(pad_id=0, has_causal_prompts=False)
    ),
    params=None,
    mesh=partitioning.make_mesh(),
    vocabulary=seqio.ByteVocabulary(),
    max_length=16,
    max_decode_length=1,
    batch_size=4,
  )
  prompts = [np.zeros(0, np.int32), np.array([1], np.int32)]
  (batch,) = prompt_batches.decode(
    loaded, prompts=prompts, decoding=Decoding(), method='greedy'
  )
  assert sorted(batch[0]) == [0, 1]
  assert shapes == [(2, 2)]


def test_encoded_prompts_are_freed_before_the_next_batch(monkeypatch):
  alive = []

  def encode(*, parts, length, **_):
    assert not alive
    encoded = jnp.zeros((sum(len(part.tokens) for part in parts), length, 1))
    alive.append(None)
    weakref.finalize(encoded, alive.pop)
    return encoded

  def first(*, encoder_input_tokens, encoded, **_):
    assert len(alive) == 1
    assert encoded.shape[:2] == encoder_input_tokens.shape
    return jnp.asarray(encoder_input_tokens)[:, :1]

  monkeypatch.setattr(encoding, 'encode', encode)
  monkeypatch.setattr(token_loop, 'decode_tokens', first)
  batches = prompt_batches.decode(
    loaded_model_of(2, longest=16),
    prompts=[np.full(4, 2, np.int32)] * 6,
    decoding=Decoding(),
    method='greedy',
  )
  assert len(list(batches)) == 3
