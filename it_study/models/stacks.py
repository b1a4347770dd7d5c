"""T5's layers and its two stacks, over a sequence or one step at a time.

Shape letters:
  B batch            L prompt length     T target length    S cache length
  E emb_dim          H num_heads         D head_dim         R rows a prompt
"""

from flax import linen as nn, struct
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from it_study.models import layers
from it_study.models.attention import MASKED, Attention
from it_study.models.config import T5Config
from it_study.models.cudnn_attention import SegmentCodes
from it_study.models.layer_loop import through_layers


@struct.dataclass
class DecodeCache:
  """What a decoding step needs besides its tokens; a pytree.

  Attributes:
    self_keys: one array a layer, `[B R, H, D, S]`, filled up to the step.
    self_values: one array a layer, `[B R, H, S, D]`, filled up to the step.
    cross_keys: one array a layer, `[B, H, D, L]`, of the encoded prompt.
    cross_values: one array a layer, `[B, H, L, D]`, of the encoded prompt.
    prompt_bias: float32 `[B, 1, L]`, 0 on tokens, far below 0 on padding.
    distance_bias: float32 `[H, 2 S - 1]`, of distances 1 - S to S - 1.
  """

  self_keys: tuple[jax.Array, ...]
  self_values: tuple[jax.Array, ...]
  cross_keys: tuple[jax.Array, ...]
  cross_values: tuple[jax.Array, ...]
  prompt_bias: jax.Array
  distance_bias: jax.Array


class EncoderLayer(nn.Module):
  """Self-attention and MLP, each on a normed copy and added back."""

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
    x: jax.Array,
    *,
    mask: jax.Array | SegmentCodes,
    position_bias: jax.Array,
    deterministic: bool,
  ) -> jax.Array:
    """`[B, L, E] -> [B, L, E]`."""
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
  """Causal self-attention, attention to the prompt, MLP."""

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
    x: jax.Array,
    encoded: jax.Array | tuple[jax.Array, jax.Array],
    *,
    self_mask: jax.Array | SegmentCodes,
    cross_mask: jax.Array | SegmentCodes,
    position_bias: jax.Array,
    deterministic: bool,
  ) -> jax.Array:
    """`[B, T, E] -> [B, T, E]`; `encoded` may be projected already."""
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
    x: jax.Array,
    memory: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    step: jax.Array | int,
    *,
    self_bias: jax.Array,
    cross_bias: jax.Array,
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`[B R, E]` to the same, and this layer's keys and values with the step's.

    `memory` is the layer's part of the cache, in the order of its fields.
    """
    self_keys, self_values, cross_keys, cross_values = memory
    normed = self.pre_self_attention_layer_norm(x)
    key, value = self.self_attention.stored(normed[:, None])
    self_keys = lax.dynamic_update_slice(self_keys, key, (0, 0, 0, step))
    self_values = lax.dynamic_update_slice(self_values, value, (0, 0, step, 0))
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
  """The encoder's stack."""

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
    self, x: jax.Array, *, mask: jax.Array | SegmentCodes, deterministic: bool
  ) -> jax.Array:
    """`[B, L, E] -> [B, L, E]`."""
    length = x.shape[1]
    position_bias = self.relpos_bias(length, length)  # [H, L, L]
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
  """The decoder's stack, and the logits matrix, where T5X keeps it."""

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
    x: jax.Array,
    encoded: jax.Array,
    *,
    self_mask: jax.Array | SegmentCodes,
    cross_mask: jax.Array | SegmentCodes,
    deterministic: bool,
  ) -> jax.Array:
    """`[B, T, E] -> [B, T, E]`."""
    position_bias = self._causal_bias(x.shape[1])  # [H, T, T]
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
    self, encoded: jax.Array
  ) -> tuple[tuple[jax.Array, jax.Array], ...]:
    """`[B, L, E]` -> every layer's keys and values, each `[B, H, L, D]`."""
    return tuple(
      layer.encoder_decoder_attention.keys_and_values(encoded)
      for layer in self.layers
    )

  def after_projected(
    self,
    x: jax.Array,
    projected: tuple[tuple[jax.Array, jax.Array], ...],
    *,
    self_mask: jax.Array | SegmentCodes,
    cross_mask: jax.Array | SegmentCodes,
  ) -> jax.Array:
    """As a call without dropout, of what `project` gave; `[B, T, E]`."""
    position_bias = self._causal_bias(x.shape[1])  # [H, T, T]
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
    encoded: jax.Array,
    *,
    prompt_bias: jax.Array,
    max_decode_length: int,
    rows_per_prompt: int,
  ) -> DecodeCache:
    """The cache of step 0; `encoded` is `[B, L, E]`."""
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
    self, x: jax.Array, cache: DecodeCache, step: jax.Array | int
  ) -> tuple[jax.Array, DecodeCache]:
    """`[B R, E]` to the same, and the next cache."""
    room = cache.self_keys[0].shape[3]
    # The row of query `step`: distances -step to S - 1 - step.
    bias = lax.dynamic_slice_in_dim(
      cache.distance_bias, room - 1 - step, room, axis=1
    )  # [H, S]
    bias = jnp.where(jnp.arange(room) <= step, bias, MASKED)
    keys, values = [], []
    for layer, *memory in zip(
      self.layers,
      cache.self_keys,
      cache.self_values,
      cache.cross_keys,
      cache.cross_values,
      strict=True,
    ):
      x, key, value = layer.step(
        x, memory, step, self_bias=bias, cross_bias=cache.prompt_bias
      )
      keys.append(key)
      values.append(value)
    cache = cache.replace(self_keys=tuple(keys), self_values=tuple(values))
    return self.decoder_norm(x), cache

  def _causal_bias(self, length: int) -> jax.Array:
    """Of every pair of positions, far below 0 for later ones: `[H, T, T]`."""
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
