"""Writes t5x_golden.npz: outputs of T5X's own T5 on tiny models and batches.

Run from the root of the repository, with T5X on the import path:

  python tests/golden/make_t5x_golden.py

`tests/models/t5_test.py` compares our model with the file, which does not
require T5X; `tests/models/t5x_parity_test.py` compares the file with T5X.
"""

import pathlib
from typing import Any

import jax
import numpy as np

PATH = pathlib.Path(__file__).with_name('t5x_golden.npz')

# 3 heads of 8 on a width of 16: swapping two axes changes a shape.
DIMENSIONS = {
  'vocab_size': 37,
  'emb_dim': 16,
  'num_heads': 3,
  'head_dim': 8,
  'mlp_dim': 20,
}
VARIANTS = {
  'v1_1': {
    'num_encoder_layers': 2,
    'num_decoder_layers': 2,
    'mlp_activations': ('gelu', 'linear'),
  },
  'v1_0': {
    'num_encoder_layers': 1,
    'num_decoder_layers': 1,
    'mlp_activations': ('relu',),
    'logits_via_embedding': True,
  },
}
# Chosen so that some rows of the greedy outputs end early and some do not.
SEEDS = {'v1_1': 84, 'v1_0': 26}
MAX_DECODE_LENGTH = 12


def t5x_module(variant: str) -> Any:
  """Returns T5X's Transformer of a variant, at the tiny size."""
  # isort: off
  from t5x.examples.t5 import network
  # isort: on

  return network.Transformer(
    network.T5Config(dropout_rate=0.0, **DIMENSIONS, **VARIANTS[variant])
  )


def t5x_shapes(variant: str) -> dict[str, tuple[int, ...]]:
  """Returns the shape of each of T5X's parameters by its path, 'a/b/c'."""
  tokens = np.ones((1, 1), np.int32)
  params = jax.eval_shape(
    lambda: t5x_module(variant).init(
      jax.random.key(0), tokens, tokens, tokens, enable_dropout=False
    )['params']
  )
  return {
    '/'.join(key.key for key in path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(dict(params))
  }


def t5x_logits(
  variant: str, params: Any, batch: dict[str, np.ndarray]
) -> np.ndarray:
  """Returns logits, float32 `[batch, targets, vocab]`.

  Args:
    variant: Variant of T5, a key of `VARIANTS`.
    params: Nested parameters.
    batch: Arguments of the network, by name.
  """
  logits = t5x_module(variant).apply(
    {'params': params}, **batch, enable_dropout=False
  )
  return np.asarray(logits)


def t5x_greedy(
  variant: str, params: Any, prompts: np.ndarray, max_decode_length: int
) -> np.ndarray:
  """Decodes greedily by T5X; int32 `[batch, max_decode_length]`."""
  # isort: off
  from t5x import decoding
  # isort: on

  return _t5x_predictions(
    variant,
    params,
    prompts,
    max_decode_length,
    decode_fn=decoding.temperature_sample,
  )


def t5x_beam(
  variant: str, params: Any, prompts: np.ndarray, max_decode_length: int
) -> np.ndarray:
  """Decodes with four beams by T5X; int32 `[batch, max_decode_length]`."""
  # isort: off
  from t5x import decoding
  # isort: on

  return _t5x_predictions(
    variant,
    params,
    prompts,
    max_decode_length,
    decode_fn=decoding.beam_search,
    num_decodes=4,
  )


def _t5x_predictions(
  variant: str,
  params: Any,
  prompts: np.ndarray,
  max_decode_length: int,
  *,
  decode_fn: Any,
  num_decodes: int = 1,
) -> np.ndarray:
  # isort: off
  import seqio
  from t5x import models
  # isort: on

  vocabulary = seqio.PassThroughVocabulary(DIMENSIONS['vocab_size'], eos_id=1)
  model = models.EncoderDecoderModel(
    module=t5x_module(variant),
    input_vocabulary=vocabulary,
    output_vocabulary=vocabulary,
    optimizer_def=None,
    decode_fn=decode_fn,
  )
  tokens, _ = model.predict_batch_with_aux(
    params,
    {
      'encoder_input_tokens': prompts,
      'decoder_input_tokens': np.zeros(
        (len(prompts), max_decode_length), np.int32
      ),
    },
    num_decodes=num_decodes,
  )
  return np.asarray(tokens, np.int32)


def draw_params(
  shapes: dict[str, tuple[int, ...]], seed: int
) -> dict[str, np.ndarray]:
  """Draws random float16 parameters by path; scales are not 1."""
  random = np.random.default_rng(seed)
  params = {}
  for path, shape in sorted(shapes.items()):
    draw = random.normal(size=shape)
    if path.endswith('kernel'):
      draw /= np.sqrt(shape[0])
    elif path.endswith('scale'):
      draw = 1 + 0.1 * draw
    elif path.endswith('token_embedder/embedding'):
      # Small, or tied logits would always repeat the last token.
      draw *= 0.3
    params[path] = draw.astype(np.float16)
  return params


def nest(params: dict[str, np.ndarray]) -> dict[str, Any]:
  """Converts `{'a/b': x}` to `{'a': {'b': x}}`, and to float32."""
  nested = {}
  for path, value in params.items():
    *parents, name = path.split('/')
    node = nested
    for parent in parents:
      node = node.setdefault(parent, {})
    node[name] = value.astype(np.float32)
  return nested


def plain_batch() -> dict[str, np.ndarray]:
  """Returns four rows of one example each, of different lengths."""
  random = np.random.default_rng(1)
  prompts = random.integers(2, 37, (4, 21)).astype(np.int32)
  targets = random.integers(2, 37, (4, 7)).astype(np.int32)
  for row, (prompt_length, target_length) in enumerate(
    [(21, 7), (9, 7), (14, 3), (1, 1)]
  ):
    prompts[row, prompt_length:] = 0
    targets[row, target_length:] = 0
  return {
    'encoder_input_tokens': prompts,
    'decoder_input_tokens': np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
    'decoder_target_tokens': targets,
  }


def packed_batch() -> dict[str, np.ndarray]:
  """Returns three examples of `plain_batch` in two packed rows.

  Row 0 holds examples 1 and 2; row 1 holds example 0. Both end in padding.
  """
  plain = plain_batch()
  lengths = {0: (21, 7), 1: (9, 7), 2: (14, 3)}
  packed = {
    name: np.zeros((2, size), np.int32)
    for side, size in (('encoder', 24), ('decoder', 11))
    for name in _features(side)
  }
  for row, examples in enumerate([(1, 2), (0,)]):
    start = {'encoder': 0, 'decoder': 0}
    for segment, example in enumerate(examples, 1):
      for side, length in zip(start, lengths[example], strict=True):
        place = np.s_[row, start[side] : start[side] + length]
        for name in _features(side):
          if name.endswith('segment_ids'):
            packed[name][place] = segment
          elif name.endswith('positions'):
            packed[name][place] = np.arange(length)
          else:
            packed[name][place] = plain[name][example, :length]
        start[side] += length
  return packed


def greedy_prompts() -> np.ndarray:
  """Returns padded prompts, int32 `[8, 10]`."""
  random = np.random.default_rng(2)
  prompts = random.integers(2, 37, (8, 10)).astype(np.int32)
  for row, length in enumerate([10, 3, 7, 1, 10, 5, 8, 2]):
    prompts[row, length:] = 0
  return prompts


def _features(side: str) -> list[str]:
  tokens = {
    'encoder': ['encoder_input_tokens'],
    'decoder': ['decoder_input_tokens', 'decoder_target_tokens'],
  }
  return [*tokens[side], f'{side}_segment_ids', f'{side}_positions']


def main() -> None:
  arrays = {}
  for variant, seed in SEEDS.items():
    params = draw_params(t5x_shapes(variant), seed)
    for path, value in params.items():
      arrays[f'{variant}/params/{path}'] = value
    nested = nest(params)
    arrays[f'{variant}/plain_logits'] = t5x_logits(
      variant, nested, plain_batch()
    )
    arrays[f'{variant}/packed_logits'] = t5x_logits(
      variant, nested, packed_batch()
    )
    arrays[f'{variant}/greedy_tokens'] = t5x_greedy(
      variant, nested, greedy_prompts(), MAX_DECODE_LENGTH
    )
    arrays[f'{variant}/beam_tokens'] = t5x_beam(
      variant, nested, greedy_prompts(), MAX_DECODE_LENGTH
    )
  np.savez_compressed(PATH, **arrays)
  print(f'{PATH}: {PATH.stat().st_size} bytes')


if __name__ == '__main__':
  main()
