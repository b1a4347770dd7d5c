"""The layers of a decoder-only Transformer, over a sequence or step by step.

Shape letters, as in `it_study.models` and `it_study.models.decoder_only`:
  B batch            L prompt length     T target length     E emb_dim
  Q query length     K key length        D head_dim          N decoded rows
  S decoding steps   J num_kv_heads
"""

from collections.abc import Sequence
import dataclasses
import functools

from flax import linen as nn, struct
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from it_study.models import layers
from it_study.models.decoder_only import rotary
from it_study.models.decoder_only.attention import (
  GroupedQueryAttention,
  Groups,
  OwnKeysAndValues,
)
from it_study.models.decoder_only.config import DecoderConfig, norm_settings
from it_study.models.decoder_only.masks import Masks, bias, is_near
from it_study.models.layer_loop import through_layers


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


class DecoderLayer(nn.Module):
  """Causal self-attention and MLP, each with its norms and residual."""

  config: DecoderConfig

  def setup(self):
    config = self.config
    norm = functools.partial(layers.RmsNorm, **norm_settings(config))
    self.self_attention = GroupedQueryAttention(config)
    self.mlp = layers.Mlp(
      mlp_dim=config.mlp_dim,
      emb_dim=config.emb_dim,
      activations=config.mlp_activations,
      dtype=config.dtype,
      use_bias=config.mlp_bias,
    )
    if config.norm_place in ('before', 'around'):
      self.pre_self_attention_layer_norm = norm()
      self.pre_mlp_layer_norm = norm()
    if config.norm_place in ('after', 'around'):
      self.post_self_attention_layer_norm = norm()
      self.post_mlp_layer_norm = norm()

  def __call__(
    self,
    x: Float[Array, 'B Q E'],
    *,
    masks: Masks,
    has_window: Bool[Array, ''],
    deterministic: bool,
  ) -> Float[Array, 'B Q E']:
    """Applies the layer; there is no dropout."""
    del deterministic
    return self.after(x, masks=masks, has_window=has_window)[0]

  def after(
    self,
    x: Float[Array, 'B Q E'],
    *,
    masks: Masks,
    has_window: Bool[Array, ''] | bool,
    before: Groups = (),
  ) -> tuple[Float[Array, 'B Q E'], OwnKeysAndValues]:
    """Applies the layer after what `before` holds the keys and values of.

    Returns:
      The output, and the keys and values of `x`.
    """
    mask, rotation = masks.of_layer(jnp.asarray(has_window))
    update, own = self.self_attention(
      self._norm_before('self_attention', x),
      rotation,
      mask=mask,
      segments=masks.segments,
      before=before,
      is_causal=masks.is_causal,
    )
    x = layers.split_batch(x + self._norm_after('self_attention', update))
    return layers.split_batch(x + self._mlp_update(x)), own

  def step(
    self,
    x: Float[Array, 'N E'],
    prompts: Groups,
    stored: tuple[Float[Array, 'N J D S'], Float[Array, 'N J S D']],
    step: Int[Array, ''] | int,
    rotation: rotary.Rotation,
    *,
    prompt_biases: Sequence[Float32[Array, '_ _']],
    step_bias: Float32[Array, ' S'],
  ) -> tuple[
    Float[Array, 'N E'], Float[Array, 'N J D S'], Float[Array, 'N J S D']
  ]:
    """Applies the layer to one token per row.

    Args:
      x: Input of the layer.
      prompts: The layer's keys and values of the prompts.
      stored: The layer's keys and values of the steps.
      step: Number of the step.
      rotation: Cosines and sines of the rows' positions, of length 1.
      prompt_biases: Bias of each group's tokens.
      step_bias: Bias of the steps.

    Returns:
      The output, and keys and values of the steps with this one's added.
    """
    keys, values = stored
    normed = self._norm_before('self_attention', x)
    key, value = self.self_attention.keys_and_values(normed[:, None], rotation)
    keys = lax.dynamic_update_slice(keys, key.swapaxes(2, 3), (0, 0, 0, step))
    values = lax.dynamic_update_slice(values, value, (0, 0, step, 0))
    update = self.self_attention.step(
      normed,
      rotation,
      prompts,
      (keys, values),
      prompt_biases=prompt_biases,
      step_bias=step_bias,
    )
    x = x + self._norm_after('self_attention', update)
    return x + self._mlp_update(x), keys, values

  def _mlp_update(self, x: Float[Array, '*rows E']) -> Float[Array, '*rows E']:
    return self._norm_after('mlp', self.mlp(self._norm_before('mlp', x)))

  def _norm_before(
    self, part: str, x: Float[Array, '*rows E']
  ) -> Float[Array, '*rows E']:
    if self.config.norm_place == 'after':
      return x
    return getattr(self, f'pre_{part}_layer_norm')(x)

  def _norm_after(
    self, part: str, x: Float[Array, '*rows E']
  ) -> Float[Array, '*rows E']:
    if self.config.norm_place == 'before':
      return x
    return getattr(self, f'post_{part}_layer_norm')(x)


class Decoder(nn.Module):
  """The stack of layers and the logits matrix."""

  config: DecoderConfig

  def setup(self):
    config = self.config
    self.layers = [DecoderLayer(config) for _ in range(config.num_layers)]
    self.decoder_norm = layers.RmsNorm(**norm_settings(config))
    if not config.logits_via_embedding:
      self.logits_dense = layers.Dense(config.vocab_size, ('embed', 'vocab'))

  def __call__(
    self, x: Float[Array, 'B T E'], *, masks: Masks
  ) -> Float[Array, 'B T E']:
    x = through_layers(
      self,
      x,
      {'masks': masks},
      per_layer={'has_window': jnp.array(self._windows)},
      deterministic=True,
    )
    return self.decoder_norm(x)

  def prefix(
    self,
    x: Float[Array, 'B Q E'],
    *,
    masks: Masks,
    before: Prompts = (),
  ) -> Prefix:
    """Returns the keys and values of `x` in every layer, after `before`."""
    keys, values = [], []
    for index, layer in enumerate(self.layers):
      x, own = layer.after(
        x,
        masks=masks,
        has_window=self._windows[index],
        before=_of_layer(before, index),
      )
      keys.append(own[0])
      values.append(own[1])
    return Prefix(keys=tuple(keys), values=tuple(values))

  def after_prompts(
    self, x: Float[Array, 'B T E'], prompts: Prompts, *, masks: Masks
  ) -> Float[Array, 'B T E']:
    """Applies the stack after prompts."""
    for index, layer in enumerate(self.layers):
      x, _ = layer.after(
        x,
        masks=masks,
        has_window=self._windows[index],
        before=_of_layer(prompts, index),
      )
    return self.decoder_norm(x)

  def start(
    self,
    prompts: Prompts,
    *,
    prompt_lengths: Int32[Array, ' B'],
    max_decode_length: int,
    rows_per_prompt: int,
  ) -> DecodeCache:
    """Returns the cache of step 0."""
    config = self.config
    rows = prompt_lengths.shape[0] * rows_per_prompt
    shape = (rows, config.num_kv_heads)
    keys_shape = (*shape, config.head_dim, max_decode_length)
    values_shape = (*shape, max_decode_length, config.head_dim)
    layers_ = range(config.num_layers)
    return DecodeCache(
      self_keys=tuple(jnp.zeros(keys_shape, config.dtype) for _ in layers_),
      self_values=tuple(jnp.zeros(values_shape, config.dtype) for _ in layers_),
      prompts=prompts,
      prompt_lengths=prompt_lengths,
    )

  def step(
    self,
    x: Float[Array, 'N E'],
    cache: DecodeCache,
    step: Int[Array, ''] | int,
  ) -> tuple[Float[Array, 'N E'], DecodeCache]:
    """Applies the stack to one token per row; also returns the next cache."""
    config = self.config
    num_steps = cache.self_keys[0].shape[3]
    positions = cache.prompt_lengths + step  # [B]
    row_positions = jnp.repeat(positions, x.shape[0] // positions.shape[0])[
      :, None
    ]  # [N, 1]
    rotations = [
      rotary.rotation(rope, row_positions, head_dim=config.head_dim)
      for rope in (config.rope, config.local_rope or config.rope)
    ]
    from_steps = step - jnp.arange(num_steps)  # [S]
    distances = []  # [B, L] of each group, at least `step` in prompts
    start = 0
    for prompts in cache.prompts:
      rows, length = prompts.shape
      own = slice(start, start + rows)
      places = jnp.arange(length)  # [L]
      distances.append(
        jnp.where(
          places < cache.prompt_lengths[own, None],
          positions[own, None] - places,
          -1,
        )
      )
      start += rows
    keys, values = [], []
    for index, layer in enumerate(self.layers):
      has_window = self._windows[index]
      reach = config.window if has_window else None
      x, key, value = layer.step(
        x,
        _of_layer(cache.prompts, index),
        (cache.self_keys[index], cache.self_values[index]),
        step,
        rotations[has_window],
        prompt_biases=[
          bias((distance >= 0) & is_near(distance, reach))
          for distance in distances
        ],
        step_bias=bias((from_steps >= 0) & is_near(from_steps, reach)),
      )
      keys.append(key)
      values.append(value)
    cache = dataclasses.replace(
      cache, self_keys=tuple(keys), self_values=tuple(values)
    )
    return self.decoder_norm(x), cache

  @property
  def _windows(self) -> list[bool]:
    """Whether each layer has a window."""
    config = self.config
    return [config.has_window(layer) for layer in range(config.num_layers)]


def _of_layer(prompts: Prompts, layer: int) -> Groups:
  """Returns a layer's keys and values of prompts."""
  return [(group.keys[layer], group.values[layer]) for group in prompts]
