"""The layers of a decoder-only Transformer, over a sequence or step by step.

Shape letters, as in `it_study.models` and `it_study.models.decoder_only`:
  B batch            L prompt length     T target length     E emb_dim
  Q query length     K key length        D head_dim          N decoded rows
  S decoding steps   J num_kv_heads
"""

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
  KeysAndValues,
  OwnKeysAndValues,
)
from it_study.models.decoder_only.config import DecoderConfig, norm_settings
from it_study.models.decoder_only.masks import Masks, bias, is_near
from it_study.models.layer_loop import through_layers


@struct.dataclass
class Prefix:
  """Prompts that the stack has read, all but their last token; a pytree.

  Attributes:
    keys: Keys of the prompts in each layer.
    values: Values of the prompts in each layer.
  """

  keys: tuple[Float[Array, 'B J L D'], ...]
  values: tuple[Float[Array, 'B J L D'], ...]


@struct.dataclass
class DecodeCache:
  """What a decoding step needs besides its tokens; a pytree.

  Attributes:
    self_keys: Keys of the steps in each layer, filled up to the step.
    self_values: Values of the steps in each layer, filled up to the step.
    prompt_keys: Keys of the prompts in each layer.
    prompt_values: Values of the prompts in each layer.
    prompt_lengths: Position of step 0: the number of tokens of each prompt
      without the last, which step 0 reads.
  """

  self_keys: tuple[Float[Array, 'N J D S'], ...]
  self_values: tuple[Float[Array, 'N J S D'], ...]
  prompt_keys: tuple[Float[Array, 'B J D L'], ...]
  prompt_values: tuple[Float[Array, 'B J L D'], ...]
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
    return self.after(x, masks=masks, has_window=has_window, before=None)[0]

  def after(
    self,
    x: Float[Array, 'B Q E'],
    *,
    masks: Masks,
    has_window: Bool[Array, ''] | bool,
    before: KeysAndValues | None,
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
    )
    x = layers.split_batch(x + self._norm_after('self_attention', update))
    return layers.split_batch(x + self._mlp_update(x)), own

  def step(
    self,
    x: Float[Array, 'N E'],
    memory: tuple[
      Float[Array, 'N J D S'],
      Float[Array, 'N J S D'],
      Float[Array, 'B J D L'],
      Float[Array, 'B J L D'],
    ],
    step: Int[Array, ''] | int,
    rotation: rotary.Rotation,
    *,
    prompt_bias: Float32[Array, 'B L'],
    step_bias: Float32[Array, ' S'],
  ) -> tuple[
    Float[Array, 'N E'], Float[Array, 'N J D S'], Float[Array, 'N J S D']
  ]:
    """Applies the layer to one token per row.

    Args:
      x: Input of the layer.
      memory: The layer's arrays in the cache: keys and values of the steps,
        then those of the prompts.
      step: Number of the step.
      rotation: Cosines and sines of the rows' positions, of length 1.
      prompt_bias: Bias of the prompts' tokens.
      step_bias: Bias of the steps.

    Returns:
      The output, and keys and values of the steps with this one's added.
    """
    keys, values, prompt_keys, prompt_values = memory
    normed = self._norm_before('self_attention', x)
    key, value = self.self_attention.keys_and_values(normed[:, None], rotation)
    keys = lax.dynamic_update_slice(keys, key.swapaxes(2, 3), (0, 0, 0, step))
    values = lax.dynamic_update_slice(values, value, (0, 0, step, 0))
    update = self.self_attention.step(
      normed,
      rotation,
      (prompt_keys, prompt_values),
      (keys, values),
      prompt_bias=prompt_bias,
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
    before: Prefix | None = None,
  ) -> Prefix:
    """Returns the keys and values of `x` in every layer, after `before`."""
    keys, values = [], []
    for index, layer in enumerate(self.layers):
      x, own = layer.after(
        x,
        masks=masks,
        has_window=self._windows[index],
        before=(
          None if before is None else (before.keys[index], before.values[index])
        ),
      )
      keys.append(own[0])
      values.append(own[1])
    return Prefix(keys=tuple(keys), values=tuple(values))

  def after_prefix(
    self, x: Float[Array, 'B T E'], prefix: Prefix, *, masks: Masks
  ) -> Float[Array, 'B T E']:
    """Applies the stack after a prefix."""
    for layer, has_window, keys, values in zip(
      self.layers, self._windows, prefix.keys, prefix.values, strict=True
    ):
      x, _ = layer.after(
        x, masks=masks, has_window=has_window, before=(keys, values)
      )
    return self.decoder_norm(x)

  def start(
    self,
    prefix: Prefix,
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
      prompt_keys=tuple(keys.swapaxes(2, 3) for keys in prefix.keys),
      prompt_values=prefix.values,
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
    places = jnp.arange(cache.prompt_values[0].shape[2])  # [L]
    from_prompt = positions[:, None] - places  # [B, L]
    in_prompt = places < cache.prompt_lengths[:, None]  # [B, L]
    keys, values = [], []
    memories = zip(
      cache.self_keys,
      cache.self_values,
      cache.prompt_keys,
      cache.prompt_values,
      strict=True,
    )
    for layer, has_window, memory in zip(
      self.layers, self._windows, memories, strict=True
    ):
      reach = config.window if has_window else None
      x, key, value = layer.step(
        x,
        memory,
        step,
        rotations[has_window],
        prompt_bias=bias(in_prompt & is_near(from_prompt, reach)),
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
