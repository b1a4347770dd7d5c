"""What weights of any format are held to before a model takes them."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from it_study.errors import InputError
from it_study.models.config import T5Config

# Said of a mismatch; the rest is counted.
_NAMES_SHOWN = 3
# Axis of the vocabulary.
_VOCABULARY_AXES = {
  'token_embedder/embedding': 0,
  'decoder/logits_dense/kernel': 1,
}


def listed(names: Collection[str]) -> str:
  """The first names of some, and a verb.

  >>> listed({'d', 'c', 'b', 'a'})
  'a, b, c and 1 more are'
  """
  if not names:
    return 'nothing is'
  shown = ', '.join(sorted(names)[:_NAMES_SHOWN])
  rest = len(names) - _NAMES_SHOWN
  if rest > 0:
    return f'{shown} and {rest} more are'
  return f'{shown} {"is" if len(names) == 1 else "are"}'


def fits(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
  """Whether a parameter can be filled up to the shape that is wanted."""
  if len(shape) != len(wanted):
    return False
  axis = _VOCABULARY_AXES.get(name)
  return all(
    found <= size if number == axis else found == size
    for number, (found, size) in enumerate(zip(shape, wanted, strict=True))
  )


def fill_vocabulary(
  name: str, value: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
  """Copies the last row of a table of tokens until there are enough.

  The model's vocabulary is rounded up; the last row is a sentinel's, and no
  padding can be likelier than that. Other parameters are returned as they are.

  Args:
    name: of the parameter.
    value: all of it: a part's last row is not the table's.
    shape: wanted.
  """
  if name not in _VOCABULARY_AXES or value.ndim != len(shape):
    return value
  axis = _VOCABULARY_AXES[name]
  lacking = shape[axis] - value.shape[axis]
  if lacking <= 0:
    return value
  last = np.take(value, [-1], axis=axis)
  return np.concatenate([value, np.repeat(last, lacking, axis=axis)], axis=axis)


def infer_config(
  params: Mapping[str, Any], *, source: str = 'the checkpoint'
) -> T5Config:
  """The configuration of a T5, told from its parameters' names and shapes.

  Args:
    params: nested dict of anything with a shape.
    source: where they are from, for an error.

  Raises:
    InputError: they are no T5's; names the parameter that is missing.
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
      f'{source} does not hold the parameters of a T5: no {error.args[0]} '
      'among them. Name a checkpoint of an encoder-decoder T5.'
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
    # T5's two versions; the names do not tell one gate from another.
    mlp_activations=('gelu', 'linear') if is_gated else ('relu',),
    logits_via_embedding='logits_dense' not in decoder,
    relative_attention_num_buckets=num_buckets,
  )


def _num_layers(stack: Mapping[str, Any]) -> int:
  return sum(name.startswith('layers_') for name in stack)
