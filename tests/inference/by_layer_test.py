"""Tests that models called layer by layer answer as if compiled as a whole."""

from decoder_golden_fixture import golden, golden_model
import jax
import numpy as np
import pytest

from it_study.inference import encoding, label_scores, label_trie, token_loop
from it_study.inference.label_scores import score_labels
from it_study.inference.sampling import Sampling
from it_study.inference.token_loop import decode_tokens
from it_study.models.decoder_only import cached_passes

variants = pytest.mark.parametrize('variant', list(golden.VARIANTS))
_PAD = -1
# 5 labels, which no chunk of 2 divides; the last is padding.
_LABELS = np.array(
  [[5, 1, _PAD], [7, 9, 1], [11, 1, _PAD], [3, 4, 1], [_PAD] * 3], np.int32
)


def prompts():
  texts = golden.prompts()[:4]
  rows = np.full((4, max(map(len, texts))), _PAD, np.int32)
  for row, text in zip(rows, texts, strict=True):
    row[: len(text)] = text
  return rows


def labels():
  return np.stack([np.where(_LABELS < 0, _PAD, _LABELS + k) for k in range(4)])


def as_one_program(monkeypatch):
  monkeypatch.setattr(encoding, 'is_by_layer', lambda model, mesh: False)


def decode(variant, **settings):
  model, params, _ = golden_model(variant)
  return np.asarray(
    decode_tokens(
      model=model,
      params=params,
      encoder_input_tokens=prompts(),
      max_decode_length=7,
      eos_id=1,
      **settings,
    )
  )


def score(variant, **settings):
  model, params, _ = golden_model(variant)
  return np.asarray(
    score_labels(
      model=model,
      params=params,
      encoder_input_tokens=prompts(),
      labels=labels(),
      **settings,
    )
  )


@variants
def test_answers_are_the_same(variant, monkeypatch):
  by_layer = decode(variant)
  as_one_program(monkeypatch)
  np.testing.assert_array_equal(by_layer, decode(variant))


def test_answers_in_label_spaces_are_the_same(monkeypatch):
  trie, roots = label_trie.build(
    [[(5, 6, 1), (5, 7, 1)], [(3, 1), (4, 4, 1)]] * 2
  )
  roots = np.array(roots, np.int32)
  by_layer = decode('llama', trie=trie, roots=roots)
  assert set(by_layer[:, 0]) <= {3, 4, 5}
  as_one_program(monkeypatch)
  expected = decode('llama', trie=trie, roots=roots)
  np.testing.assert_array_equal(by_layer, expected)


def test_drawn_answers_are_the_same(monkeypatch):
  keys = np.arange(8, dtype=np.uint32).reshape(4, 2)

  def draw():
    return decode('llama', sampling=Sampling(keys, temperature=2.0))

  by_layer = draw()
  as_one_program(monkeypatch)
  np.testing.assert_array_equal(by_layer, draw())


@variants
@pytest.mark.parametrize('chunk', [1, 6, 100])
def test_scores_are_the_same(variant, chunk, monkeypatch):
  monkeypatch.setattr(label_scores, '_CHUNK_TOKENS', chunk)
  by_layer = score(variant)
  assert by_layer.shape == (4, 5)
  assert not by_layer[:, 4].any()
  as_one_program(monkeypatch)
  monkeypatch.setattr(label_scores, '_CHUNK_TOKENS', 3)
  jax.clear_caches()
  np.testing.assert_allclose(by_layer, score(variant), atol=2e-5, rtol=0)


@pytest.mark.parametrize('ends', [(), (1, 2)])
def test_scores_of_several_ends_are_the_same(ends, monkeypatch):
  by_layer = score('llama', ends=ends)
  as_one_program(monkeypatch)
  np.testing.assert_allclose(
    by_layer, score('llama', ends=ends), atol=2e-5, rtol=0
  )


def test_one_program_serves_all_layers():
  jax.clear_caches()
  model, _, _ = golden_model('llama')
  assert model.config.num_layers > 1
  decode('llama')
  assert cached_passes._apply_layer._cache_size() == 1
  assert cached_passes._apply_step._cache_size() == 1
  assert not token_loop._decode_tokens._cache_size()
