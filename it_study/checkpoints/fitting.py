"""Fits weights of any format to a model: shapes, vocabulary, configuration."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from it_study.errors import InputError
from it_study.models.config import T5Config

# Names shown of a mismatch; the rest is counted.
_NAMES_SHOWN = 3
# Parameters with a vocabulary axis, and that axis.
VOCABULARY_AXES = {
  'token_embedder/embedding': 0,
  'decoder/logits_dense/kernel': 1,
}


def listed(names: Collection[str]) -> str:
  """Returns the first names in sorted order, and the number of the others.

  >>> listed({'d', 'c', 'b', 'a'})
  'a, b, c and 1 more'
  """
  shown = ', '.join(sorted(names)[:_NAMES_SHOWN])
  rest = len(names) - _NAMES_SHOWN
  return f'{shown} and {rest} more' if rest > 0 else shown or 'none'


def fits(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
  """Returns whether a stored shape fits, or can be filled up to, `wanted`.

  Only the vocabulary axis may be shorter.
  """
  if len(shape) != len(wanted):
    return False
  axis = VOCABULARY_AXES.get(name)
  return all(
    stored <= size if number == axis else stored == size
    for number, (stored, size) in enumerate(zip(shape, wanted, strict=True))
  )


def fill_vocabulary(
  name: str, value: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
  """Pads a table of tokens to the model's vocabulary with its last row.

  The model's vocabulary is rounded up. The last row belongs to a sentinel, and
  copies of it cannot be likelier than the sentinel. Other parameters are
  returned unchanged.

  Args:
    name: Name of the parameter.
    value: The whole parameter; the last row of a shard is not the table's.
    shape: Shape to pad to.
  """
  if name not in VOCABULARY_AXES or value.ndim != len(shape):
    return value
  axis = VOCABULARY_AXES[name]
  lacking = shape[axis] - value.shape[axis]
  if lacking <= 0:
    return value
  last = np.take(value, [-1], axis=axis)
  return np.concatenate([value, np.repeat(last, lacking, axis=axis)], axis=axis)


def infer_config(
  params: Mapping[str, Any], *, source: str = 'the checkpoint'
) -> T5Config:
  """Infers the configuration of a T5 from its parameters' names and shapes.

  Args:
    params: Nested dict whose leaves have a shape.
    source: Origin of the parameters, for error messages.

  Raises:
    InputError: If they are not those of a T5; names the missing parameter.
  """
  try:
    encoder, decoder = params['encoder'], params['decoder']
    attention = encoder['layers_0']['attention']['query']['kernel']
    mlp = encoder['layers_0']['mlp']
    num_heads, num_buckets = encoder['relpos_bias']['rel_embedding'].shape
    vocab_size, emb_dim = params['token_embedder']['embedding'].shape
    mlp_dim = mlp['wo']['kernel'].shape[0]
  except KeyError as error:
    raise InputError(
      f'{source} does not hold the parameters of a T5: {error.args[0]} is '
      'missing. Name a checkpoint of an encoder-decoder T5.'
    ) from None
  is_gated = 'wi_0' in mlp
  return T5Config(
    vocab_size=vocab_size,
    emb_dim=emb_dim,
    num_heads=num_heads,
    head_dim=attention.shape[1] // num_heads,
    mlp_dim=mlp_dim,
    num_encoder_layers=_num_layers(encoder),
    num_decoder_layers=_num_layers(decoder),
    # T5 v1.1 and v1.0; the names do not identify the gate's activation.
    mlp_activations=('gelu', 'linear') if is_gated else ('relu',),
    logits_via_embedding='logits_dense' not in decoder,
    relative_attention_num_buckets=num_buckets,
  )


def _num_layers(stack: Mapping[str, Any]) -> int:
  return sum(name.startswith('layers_') for name in stack)
