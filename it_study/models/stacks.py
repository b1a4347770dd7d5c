"""T5's layers and its two stacks, over a sequence or one step at a time.

Shape letters, as in `it_study.models`:
  B batch            L prompt length     T target length
  E emb_dim          H num_heads         D head_dim
  N decoded rows     S decoding steps
"""

import dataclasses

from flax import linen as nn, struct
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int
import numpy as np

from it_study.models import layers
from it_study.models.attention import Attention
from it_study.models.config import T5Config
from it_study.models.cudnn_attention import SegmentCodes
from it_study.models.dot_product_attention import MASKED
from it_study.models.kernels.distance_bias import DistanceBias
from it_study.models.kernels.flash_attention import Segments
from it_study.models.layer_loop import through_layers

# How a layer is told which keys a query sees.
EncoderMask = Float32[Array, 'B 1 #L L'] | SegmentCodes | Segments
SelfMask = Float32[Array, 'B 1 #T T'] | SegmentCodes | Segments
CrossMask = Float32[Array, 'B 1 #T L'] | SegmentCodes | Segments

# Keys and values of one layer.
KeysAndValues = tuple[Float[Array, 'B H L D'], Float[Array, 'B H L D']]


@struct.dataclass
class DecodeCache:
  """What a decoding step needs besides its tokens; a pytree.

  Attributes:
    self_keys: Keys of the targets in each layer, filled up to the step.
    self_values: Values of the targets in each layer, filled up to the step.
    cross_keys: Keys of the encoded prompt in each layer.
    cross_values: Values of the encoded prompt in each layer.
    prompt_bias: 0 for tokens of the prompt, `MASKED` for padding.
    distance_bias: Position bias of the distances from 1 - S to S - 1.
  """

  self_keys: tuple[Float[Array, 'N H D S'], ...]
  self_values: tuple[Float[Array, 'N H S D'], ...]
  cross_keys: tuple[Float[Array, 'B H D L'], ...]
  cross_values: tuple[Float[Array, 'B H L D'], ...]
  prompt_bias: Float32[Array, 'B 1 L']
  distance_bias: Float32[Array, 'H distances']


class EncoderLayer(nn.Module):
  """Self-attention and MLP, each pre-normalised and residual."""

  config: T5Config

  def setup(self):
    config = self.config
    self.pre_attention_layer_norm = layers.RmsNorm(config.dtype)
    self.attention = _attention(config)
    self.pre_mlp_layer_norm = layers.RmsNorm(config.dtype)
    self.mlp = _mlp(config)
    self.dropout = _dropout(config)

  def __call__(
    self,
    x: Float[Array, 'B L E'],
    *,
    mask: EncoderMask,
    position_bias: Float32[Array, 'H L L'] | DistanceBias,
    deterministic: bool,
  ) -> Float[Array, 'B L E']:
    normed = self.pre_attention_layer_norm(x)
    update = self.attention(
      normed,
      normed,
      mask=mask,
      position_bias=position_bias,
      deterministic=deterministic,
    )
    x = layers.split_batch(
      x + self.dropout(update, deterministic=deterministic)
    )
    update = self.mlp(self.pre_mlp_layer_norm(x), deterministic=deterministic)
    return layers.split_batch(
      x + self.dropout(update, deterministic=deterministic)
    )


class DecoderLayer(nn.Module):
  """Causal self-attention, cross-attention to the prompt, and MLP."""

  config: T5Config

  def setup(self):
    config = self.config
    self.pre_self_attention_layer_norm = layers.RmsNorm(config.dtype)
    self.self_attention = _attention(config)
    self.pre_cross_attention_layer_norm = layers.RmsNorm(config.dtype)
    self.encoder_decoder_attention = _attention(config)
    self.pre_mlp_layer_norm = layers.RmsNorm(config.dtype)
    self.mlp = _mlp(config)
    self.dropout = _dropout(config)

  def __call__(
    self,
    x: Float[Array, 'B T E'],
    encoded: Float[Array, 'B L E'] | KeysAndValues,
    *,
    self_mask: SelfMask,
    cross_mask: CrossMask,
    position_bias: Float32[Array, 'H T T'] | DistanceBias,
    deterministic: bool,
  ) -> Float[Array, 'B T E']:
    """Applies the layer; `encoded` may be the prompt's keys and values."""
    normed = self.pre_self_attention_layer_norm(x)
    update = self.self_attention(
      normed,
      normed,
      mask=self_mask,
      position_bias=position_bias,
      deterministic=deterministic,
    )
    x = layers.split_batch(
      x + self.dropout(update, deterministic=deterministic)
    )
    update = self.encoder_decoder_attention(
      self.pre_cross_attention_layer_norm(x),
      encoded,
      mask=cross_mask,
      deterministic=deterministic,
    )
    x = layers.split_batch(
      x + self.dropout(update, deterministic=deterministic)
    )
    update = self.mlp(self.pre_mlp_layer_norm(x), deterministic=deterministic)
    return layers.split_batch(
      x + self.dropout(update, deterministic=deterministic)
    )

  def step(
    self,
    x: Float[Array, 'N E'],
    memory: tuple[
      Float[Array, 'N H D S'],
      Float[Array, 'N H S D'],
      Float[Array, 'B H D L'],
      Float[Array, 'B H L D'],
    ],
    step: Int[Array, ''] | int,
    *,
    self_bias: Float32[Array, 'H S'],
    cross_bias: Float32[Array, 'B 1 L'],
  ) -> tuple[
    Float[Array, 'N E'], Float[Array, 'N H D S'], Float[Array, 'N H S D']
  ]:
    """Applies the layer to one token per row.

    Args:
      x: Input of the layer.
      memory: The layer's arrays in the cache: self-attention's keys and values,
        cross-attention's keys and values.
      step: Position of the token.
      self_bias: Bias of self-attention.
      cross_bias: Bias of cross-attention.

    Returns:
      The output, and self-attention's keys and values with this step's added.
    """
    self_keys, self_values, cross_keys, cross_values = memory
    normed = self.pre_self_attention_layer_norm(x)
    key, value = self.self_attention.stored(normed[:, None])
    self_keys = lax.dynamic_update_slice_in_dim(self_keys, key, step, axis=3)
    self_values = lax.dynamic_update_slice_in_dim(
      self_values, value, step, axis=2
    )
    x = x + self.self_attention.step(
      normed, self_keys, self_values, bias=self_bias
    )
    x = x + self.encoder_decoder_attention.step(
      self.pre_cross_attention_layer_norm(x),
      cross_keys,
      cross_values,
      bias=cross_bias,
    )
    x = x + self.mlp(self.pre_mlp_layer_norm(x))
    return x, self_keys, self_values


class Encoder(nn.Module):
  """The stack of encoder layers."""

  config: T5Config

  def setup(self):
    config = self.config
    self.relpos_bias = _relative_bias(config, bidirectional=True)
    self.layers = [
      EncoderLayer(config) for _ in range(config.num_encoder_layers)
    ]
    self.encoder_norm = layers.RmsNorm(config.dtype)
    self.input_dropout = _dropout(config)
    self.output_dropout = nn.Dropout(config.dropout_rate)

  def __call__(
    self,
    x: Float[Array, 'B L E'],
    *,
    mask: EncoderMask,
    deterministic: bool,
  ) -> Float[Array, 'B L E']:
    length = x.shape[1]
    position_bias = (
      self.relpos_bias.by_steps()
      if isinstance(mask, Segments)
      else self.relpos_bias(length, length)  # [H, L, L]
    )
    x = self.input_dropout(x, deterministic=deterministic)
    x = through_layers(
      self,
      x,
      {'mask': mask, 'position_bias': position_bias},
      deterministic=deterministic,
    )
    return self.output_dropout(
      self.encoder_norm(x), deterministic=deterministic
    )


class Decoder(nn.Module):
  """The stack of decoder layers and, as in T5X, the logits matrix."""

  config: T5Config

  def setup(self):
    config = self.config
    self.relpos_bias = _relative_bias(config, bidirectional=False)
    self.layers = [
      DecoderLayer(config) for _ in range(config.num_decoder_layers)
    ]
    self.decoder_norm = layers.RmsNorm(config.dtype)
    self.dropout = _dropout(config)
    if not config.logits_via_embedding:
      self.logits_dense = layers.Dense(config.vocab_size, ('embed', 'vocab'))

  def __call__(
    self,
    x: Float[Array, 'B T E'],
    encoded: Float[Array, 'B L E'],
    *,
    self_mask: SelfMask,
    cross_mask: CrossMask,
    deterministic: bool,
  ) -> Float[Array, 'B T E']:
    position_bias = self._causal_bias(x.shape[1], self_mask)
    x = self.dropout(x, deterministic=deterministic)
    x = through_layers(
      self,
      x,
      {
        'encoded': encoded,
        'self_mask': self_mask,
        'cross_mask': cross_mask,
        'position_bias': position_bias,
      },
      deterministic=deterministic,
    )
    return self.dropout(self.decoder_norm(x), deterministic=deterministic)

  def project(
    self, encoded: Float[Array, 'B L E']
  ) -> tuple[KeysAndValues, ...]:
    """Returns every layer's keys and values of encoded prompts."""
    return tuple(
      layer.encoder_decoder_attention.keys_and_values(encoded)
      for layer in self.layers
    )

  def after_projected(
    self,
    x: Float[Array, 'B T E'],
    projected: tuple[KeysAndValues, ...],
    *,
    self_mask: SelfMask,
    cross_mask: CrossMask,
  ) -> Float[Array, 'B T E']:
    """Applies the stack without dropout, given the result of `project`."""
    position_bias = self._causal_bias(x.shape[1], self_mask)
    for layer, keys_and_values in zip(self.layers, projected, strict=True):
      x = layer(
        x,
        keys_and_values,
        self_mask=self_mask,
        cross_mask=cross_mask,
        position_bias=position_bias,
        deterministic=True,
      )
    return self.decoder_norm(x)

  def start(
    self,
    encoded: Float[Array, 'B L E'],
    *,
    prompt_bias: Float32[Array, 'B 1 L'],
    max_decode_length: int,
    rows_per_prompt: int,
  ) -> DecodeCache:
    """Returns the cache of step 0."""
    config = self.config
    rows_and_heads = (encoded.shape[0] * rows_per_prompt, config.num_heads)
    keys_shape = (*rows_and_heads, config.head_dim, max_decode_length)
    values_shape = (*rows_and_heads, max_decode_length, config.head_dim)
    cross = [
      layer.encoder_decoder_attention.stored(encoded) for layer in self.layers
    ]
    return DecodeCache(
      self_keys=tuple(jnp.zeros(keys_shape, config.dtype) for _ in cross),
      self_values=tuple(jnp.zeros(values_shape, config.dtype) for _ in cross),
      cross_keys=tuple(key for key, _ in cross),
      cross_values=tuple(value for _, value in cross),
      prompt_bias=prompt_bias,
      distance_bias=self.relpos_bias.by_distance(
        max_decode_length, max_decode_length
      ),
    )

  def step(
    self, x: Float[Array, 'N E'], cache: DecodeCache, step: Int[Array, ''] | int
  ) -> tuple[Float[Array, 'N E'], DecodeCache]:
    """Applies the stack to one token per row; also returns the next cache."""
    num_steps = cache.self_keys[0].shape[3]
    # Position bias of query `step`: distances -step to S - 1 - step.
    bias = lax.dynamic_slice_in_dim(
      cache.distance_bias, num_steps - 1 - step, num_steps, axis=1
    )  # [H, S]
    bias = jnp.where(jnp.arange(num_steps) <= step, bias, MASKED)
    keys, values = [], []
    memories = zip(
      cache.self_keys,
      cache.self_values,
      cache.cross_keys,
      cache.cross_values,
      strict=True,
    )
    for layer, memory in zip(self.layers, memories, strict=True):
      x, key, value = layer.step(
        x, memory, step, self_bias=bias, cross_bias=cache.prompt_bias
      )
      keys.append(key)
      values.append(value)
    cache = dataclasses.replace(
      cache, self_keys=tuple(keys), self_values=tuple(values)
    )
    return self.decoder_norm(x), cache

  def _causal_bias(
    self, length: int, self_mask: SelfMask
  ) -> Float32[Array, 'H {length} {length}'] | DistanceBias:
    """Returns the position bias, with later positions masked."""
    if isinstance(self_mask, Segments):
      return self.relpos_bias.by_steps()
    future = np.triu(np.full((length, length), MASKED, np.float32), 1)
    return self.relpos_bias(length, length) + future


def _attention(config: T5Config) -> Attention:
  return Attention(
    num_heads=config.num_heads,
    head_dim=config.head_dim,
    emb_dim=config.emb_dim,
    dropout_rate=config.dropout_rate,
    dtype=config.dtype,
    keep_weights=config.remat_policy == 'full',
  )


def _mlp(config: T5Config) -> layers.Mlp:
  return layers.Mlp(
    mlp_dim=config.mlp_dim,
    emb_dim=config.emb_dim,
    activations=config.mlp_activations,
    dropout_rate=config.dropout_rate,
    dtype=config.dtype,
  )


def _relative_bias(
  config: T5Config, *, bidirectional: bool
) -> layers.RelativePositionBias:
  return layers.RelativePositionBias(
    num_heads=config.num_heads,
    num_buckets=config.relative_attention_num_buckets,
    max_distance=config.relative_attention_max_distance,
    bidirectional=bidirectional,
  )


def _dropout(config: T5Config) -> nn.Dropout:
  return nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))
