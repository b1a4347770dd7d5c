"""Passes through a decoder-only Transformer that keep keys and values.

Each layer is called through a compiled function of its own. A caller that is
not compiled itself thus needs programs of one layer alone, which are compiled
much sooner and take less memory than those of all layers. In a caller that is
compiled, each function is traced once for all layers.

Shape letters, as in `it_study.models` and `it_study.models.decoder_only`:
  B batch            L prompt length     T target length     E emb_dim
  Q query length     D head_dim          N decoded rows      S decoding steps
  J num_kv_heads
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

from flax import linen as nn, struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32

from it_study.models.decoder_only import rotary
from it_study.models.decoder_only.attention import Groups, OwnKeysAndValues
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.masks import Masks, bias, is_near
from it_study.models.decoder_only.stack import DecoderLayer, windows

# Parameters of the stack, by module.
_Params = Mapping[str, Any]


@struct.dataclass
class Prefix:
  """A group of prompts that the stack has read; a pytree.

  Attributes:
    keys: Keys of the prompts in each layer.
    values: Values of the prompts in each layer.
  """

  keys: tuple[Float[Array, 'B J D L'], ...]
  values: tuple[Float[Array, 'B J L D'], ...]

  @property
  def shape(self) -> tuple[int, int]:
    """Number of prompts, and the length that they are padded to."""
    return self.values[0].shape[0], self.values[0].shape[2]


# Groups of consecutive prompts, each padded to a length of its own.
Prompts = tuple[Prefix, ...]


@struct.dataclass
class DecodeCache:
  """What a decoding step needs besides its tokens; a pytree.

  Attributes:
    self_keys: Keys of the steps in each layer, filled up to the step.
    self_values: Values of the steps in each layer, filled up to the step.
    prompts: Keys and values of the prompts.
    prompt_lengths: Position of step 0: the number of tokens of each prompt
      without the last, which step 0 reads.
  """

  self_keys: tuple[Float[Array, 'N J D S'], ...]
  self_values: tuple[Float[Array, 'N J S D'], ...]
  prompts: Prompts
  prompt_lengths: Int32[Array, ' B']


def read(
  config: DecoderConfig,
  params: _Params,
  x: Float[Array, 'B Q E'],
  *,
  masks: Masks,
  before: Prompts = (),
) -> Prefix:
  """Returns the keys and values of `x` in every layer, after `before`."""
  keys, values = [], []
  for index in range(config.num_layers):
    x, own = _after(config, params, index, x, masks, before)
    keys.append(own[0])
    values.append(own[1])
  return Prefix(keys=tuple(keys), values=tuple(values))


def after_prompts(
  config: DecoderConfig,
  params: _Params,
  x: Float[Array, 'B T E'],
  prompts: Prompts,
  *,
  masks: Masks,
) -> Float[Array, 'B T E']:
  """Applies the layers after prompts."""
  for index in range(config.num_layers):
    x, _ = _after(config, params, index, x, masks, prompts)
  return x


def start(
  config: DecoderConfig,
  prompts: Prompts,
  *,
  prompt_lengths: Int32[Array, ' B'],
  max_decode_length: int,
  rows_per_prompt: int,
) -> DecodeCache:
  """Returns the cache of step 0."""
  rows = prompt_lengths.shape[0] * rows_per_prompt
  shape = (rows, config.num_kv_heads)
  keys_shape = (*shape, config.head_dim, max_decode_length)
  values_shape = (*shape, max_decode_length, config.head_dim)
  layers = range(config.num_layers)
  return DecodeCache(
    self_keys=tuple(jnp.zeros(keys_shape, config.dtype) for _ in layers),
    self_values=tuple(jnp.zeros(values_shape, config.dtype) for _ in layers),
    prompts=prompts,
    prompt_lengths=prompt_lengths,
  )


def step(
  config: DecoderConfig,
  params: _Params,
  x: Float[Array, 'N E'],
  cache: DecodeCache,
  number: Int[Array, ''] | int,
) -> tuple[Float[Array, 'N E'], DecodeCache]:
  """Applies the layers to one token per row.

  Args:
    config: Configuration of the model.
    params: Parameters of the stack.
    x: Embedded tokens.
    cache: Cache of the steps before. A caller that is not compiled must not use
      it again: the steps' keys and values are updated in place.
    number: Number of the step.

  Returns:
    The output of the last layer, and the cache of the next step.
  """
  rotations, prompt_biases, step_biases = _step_masks(
    cache.prompt_lengths,
    number,
    config=config,
    shapes=tuple(group.shape for group in cache.prompts),
    num_rows=x.shape[0],
    num_steps=cache.self_keys[0].shape[3],
  )
  keys, values = [], []
  for index, has_window in enumerate(windows(config)):
    x, key, value = _apply_step(
      params[_name(index)],
      x,
      _of_layer(cache.prompts, index),
      (cache.self_keys[index], cache.self_values[index]),
      number,
      rotations[has_window],
      prompt_biases[has_window],
      step_biases[has_window],
      config=config,
      axis_rules=nn.get_logical_axis_rules(),
    )
    keys.append(key)
    values.append(value)
  return x, dataclasses.replace(
    cache, self_keys=tuple(keys), self_values=tuple(values)
  )


def join(parts: Sequence[Prompts], *, length: int) -> Prompts:
  """Joins parts of a batch to one group, padded to a length."""
  groups = [group for part in parts for group in part]
  return (_along_tokens(functools.partial(_join, length=length), groups),)


def append(
  beginnings: Prompts,
  lengths: Int[Array, ' B'],
  rests: Prompts,
  *,
  length: int,
) -> Prompts:
  """Puts rests after beginnings of several lengths, padded to a length.

  A single beginning may be that of all rests.
  """
  (before,), (after,) = beginnings, rests
  put = functools.partial(_append, lengths=lengths, length=length)
  return (_along_tokens(put, [before, after]),)


def _after(
  config: DecoderConfig,
  params: _Params,
  index: int,
  x: Float[Array, 'B Q E'],
  masks: Masks,
  before: Prompts,
) -> tuple[Float[Array, 'B Q E'], OwnKeysAndValues]:
  """Applies a layer after what it has read before."""
  return _apply_layer(
    params[_name(index)],
    x,
    masks,
    _of_layer(before, index),
    config=config,
    has_window=config.has_window(index),
    axis_rules=nn.get_logical_axis_rules(),
  )


def _name(layer: int) -> str:
  """Returns the name that Flax gives to a layer of a stack."""
  return f'layers_{layer}'


def _of_layer(prompts: Prompts, layer: int) -> Groups:
  """Returns a layer's keys and values of prompts."""
  return [(group.keys[layer], group.values[layer]) for group in prompts]


# The axis rules are read from the context, and so are a part of what is traced.
@functools.partial(
  jax.jit, static_argnames=('config', 'has_window', 'axis_rules')
)
def _apply_layer(
  params: Any,
  x: Float[Array, 'B Q E'],
  masks: Masks,
  before: Groups,
  *,
  config: DecoderConfig,
  has_window: bool,
  axis_rules: Any,
) -> tuple[Float[Array, 'B Q E'], OwnKeysAndValues]:
  del axis_rules
  apply: Callable[..., Any] = DecoderLayer(config, parent=None).apply
  return apply(
    {'params': params},
    x,
    masks=masks,
    has_window=has_window,
    before=before,
    method='after',
  )


@functools.partial(
  jax.jit,
  static_argnames=('config', 'axis_rules'),
  donate_argnames='stored',
)
def _apply_step(
  params: Any,
  x: Float[Array, 'N E'],
  prompts: Groups,
  stored: tuple[Float[Array, 'N J D S'], Float[Array, 'N J S D']],
  number: Int[Array, ''] | int,
  rotation: rotary.Rotation,
  prompt_biases: Sequence[Float32[Array, '_ _']],
  step_bias: Float32[Array, ' S'],
  *,
  config: DecoderConfig,
  axis_rules: Any,
) -> tuple[
  Float[Array, 'N E'], Float[Array, 'N J D S'], Float[Array, 'N J S D']
]:
  del axis_rules
  apply: Callable[..., Any] = DecoderLayer(config, parent=None).apply
  return apply(
    {'params': params},
    x,
    prompts,
    stored,
    number,
    rotation,
    prompt_biases=prompt_biases,
    step_bias=step_bias,
    method='step',
  )


@functools.partial(
  jax.jit, static_argnames=('config', 'shapes', 'num_rows', 'num_steps')
)
def _step_masks(
  prompt_lengths: Int32[Array, ' B'],
  number: Int[Array, ''] | int,
  *,
  config: DecoderConfig,
  shapes: tuple[tuple[int, int], ...],
  num_rows: int,
  num_steps: int,
) -> tuple[
  list[rotary.Rotation], list[list[Float32[Array, '_ _']]], list[Array]
]:
  """Returns what a step's full layers need, then those with a window.

  Args:
    prompt_lengths: Number of tokens of each prompt before its last.
    number: Number of the step.
    config: Configuration of the model.
    shapes: Shape of each group of prompts.
    num_rows: Number of decoded rows.
    num_steps: Number of steps that fit the cache.

  Returns:
    Rotations of the rows, biases of the tokens of each group of prompts, and
    biases of the steps, [S].
  """
  positions = prompt_lengths + number  # [B]
  row_positions = jnp.repeat(positions, num_rows // positions.shape[0])
  rotations = [
    rotary.rotation(rope, row_positions[:, None], head_dim=config.head_dim)
    for rope in (config.rope, config.local_rope or config.rope)
  ]
  from_steps = number - jnp.arange(num_steps)  # [S]
  distances = []  # [B, L] of each group, at least `number` in prompts
  first = 0
  for rows, length in shapes:
    own = slice(first, first + rows)
    places = jnp.arange(length)  # [L]
    distances.append(
      jnp.where(
        places < prompt_lengths[own, None], positions[own, None] - places, -1
      )
    )
    first += rows
  prompt_biases, step_biases = [], []
  for reach in (None, config.window):
    prompt_biases.append(
      [
        bias((distance >= 0) & is_near(distance, reach))
        for distance in distances
      ]
    )
    step_biases.append(bias((from_steps >= 0) & is_near(from_steps, reach)))
  return rotations, prompt_biases, step_biases


def _along_tokens(
  function: Callable[..., Array], groups: Sequence[Prefix]
) -> Prefix:
  """Calls a function with a layer's keys or values and their axis of tokens."""
  return Prefix(
    keys=jax.tree.map(
      functools.partial(function, axis=3), *(group.keys for group in groups)
    ),
    values=jax.tree.map(
      functools.partial(function, axis=2), *(group.values for group in groups)
    ),
  )


@functools.partial(jax.jit, static_argnames=('length', 'axis'))
def _join(
  *parts: Float[Array, '_ J _ _'], length: int, axis: int
) -> Float[Array, 'B J _ _']:
  """Joins rows of several lengths, padded along an axis."""

  def pad(array: Array) -> Array:
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - array.shape[axis])
    return jnp.pad(array, widths)

  return jnp.concatenate([pad(part) for part in parts])


@functools.partial(jax.jit, static_argnames=('length', 'axis'))
def _append(
  beginnings: Float[Array, '#B J *beginning'],
  rests: Float[Array, 'B J *rest'],
  *,
  lengths: Int[Array, ' B'],
  length: int,
  axis: int,
) -> Float[Array, 'B J *whole']:
  """Puts rests after beginnings of several lengths, along an axis."""
  beginnings = jnp.broadcast_to(beginnings, (len(rests), *beginnings.shape[1:]))
  longest = beginnings.shape[axis]
  places = jnp.arange(length)
  source = jnp.where(
    places < lengths[:, None], places, longest + places - lengths[:, None]
  )  # [B, length]
  source = jnp.minimum(source, longest + rests.shape[axis] - 1)
  return jnp.take_along_axis(
    jnp.concatenate([beginnings, rests], axis=axis),
    jnp.expand_dims(source, (1, 5 - axis)),
    axis=axis,
  )
