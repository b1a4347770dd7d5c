"""Grouped-query attention with rotary embeddings, and its decoding step.

Shape letters, as in `it_study.models` and `it_study.models.decoder_only`:
  B batch            L prompt length     T target length     E emb_dim
  H num_heads        D head_dim          N decoded rows      S decoding steps
  Q query length     K key length        R rows per prompt
  J num_kv_heads     G query heads per key-value head
"""

import functools
import math

from flax import linen as nn
from flax.linen.spmd import with_logical_constraint
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from it_study.models import layers
from it_study.models.decoder_only import rotary
from it_study.models.decoder_only.config import DecoderConfig, norm_settings
from it_study.models.dot_product_attention import attend, capped
from it_study.models.kernels import flash_attention
from it_study.models.kernels.distance_bias import DistanceBias

# Keys and values of what comes before a sequence, and of the sequence.
KeysAndValues = tuple[Float[Array, 'B J L D'], Float[Array, 'B J L D']]
OwnKeysAndValues = tuple[Float[Array, 'B J Q D'], Float[Array, 'B J Q D']]


class GroupedQueryAttention(nn.Module):
  """Causal attention whose key-value heads serve several query heads each.

  Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from
  Multi-Head Checkpoints" (2023), section 2.2.
  """

  config: DecoderConfig

  def setup(self):
    config = self.config
    project = functools.partial(
      layers.Dense,
      kernel_axes=('embed', 'joined_kv'),
      dtype=config.dtype,
      use_bias=config.qkv_bias,
    )
    self.query = project(config.num_heads * config.head_dim)
    self.key = project(config.num_kv_heads * config.head_dim)
    self.value = project(config.num_kv_heads * config.head_dim)
    self.out = layers.Dense(
      config.emb_dim,
      ('joined_kv', 'embed'),
      dtype=config.dtype,
      use_bias=config.out_bias,
    )
    if config.qk_norm != 'none':
      self.query_norm = layers.RmsNorm(**norm_settings(config))
      self.key_norm = layers.RmsNorm(**norm_settings(config))

  def __call__(
    self,
    x: Float[Array, 'B Q E'],
    rotation: rotary.Rotation,
    *,
    mask: Float32[Array, 'B 1 Q K'] | DistanceBias,
    segments: flash_attention.Segments | None = None,
    before: KeysAndValues | None = None,
  ) -> tuple[Float[Array, 'B Q E'], OwnKeysAndValues]:
    """Attends from every position of `x` to those before it and to itself.

    Args:
      x: Input of the layer.
      rotation: Cosines and sines of the positions of `x`.
      mask: 0, or `MASKED` where a query must not see a key. The keys are those
        of `before`, then those of `x`. With segments, it is by distance.
      segments: Segments of `x`, which select our kernel; None for XLA.
      before: Keys and values of what comes before `x`, such as a prompt; None
        for nothing.

    Returns:
      The output, and the keys and values of `x`.
    """
    config = self.config
    query = self._query(x, rotation)  # [B, H, Q, D]
    own = key, value = self.keys_and_values(x, rotation)
    if before is not None:
      key, value = (
        jnp.concatenate([old, new], axis=2)
        for old, new in zip(before, own, strict=True)
      )
    if isinstance(mask, DistanceBias):
      assert segments is not None, 'a mask by distance comes with segments'
      mixed = flash_attention.attend(
        query, key, value, segments, mask, config.attention_soft_cap
      )
    else:
      groups = config.num_heads // config.num_kv_heads
      mixed = attend(
        query,
        jnp.repeat(key, groups, axis=1),
        jnp.repeat(value, groups, axis=1),
        None,
        mask,
        config.remat_policy == 'full',
        config.attention_soft_cap,
      )
    mixed = mixed.swapaxes(1, 2)  # [B, Q, H, D]
    return self.out(mixed.reshape(*mixed.shape[:2], -1)), own

  def step(
    self,
    x: Float[Array, 'N E'],
    rotation: rotary.Rotation,
    prompt: tuple[Float[Array, 'B J D L'], Float[Array, 'B J L D']],
    stored: tuple[Float[Array, 'N J D S'], Float[Array, 'N J S D']],
    *,
    prompt_bias: Float32[Array, 'B L'],
    step_bias: Float32[Array, ' S'],
  ) -> Float[Array, 'N E']:
    """Attends from one query per row to its prompt and to the steps so far.

    Each R consecutive rows share a prompt, where R is N / B.

    Args:
      x: Input of the layer.
      rotation: Cosines and sines of the rows' positions, of length 1.
      prompt: Keys and values of the prompts.
      stored: Keys and values of the steps, this one's included.
      prompt_bias: 0 for visible tokens of the prompt, else `MASKED`.
      step_bias: 0 for visible steps, else `MASKED`.
    """
    config = self.config
    rows, kv_heads = x.shape[0], config.num_kv_heads
    prompts = prompt[0].shape[0]
    query = self._query(x[:, None], rotation)[:, :, 0]  # [N, H, D]
    query = query.reshape(rows, kv_heads, -1, config.head_dim)  # [N, J, G, D]
    groups = query.shape[2]
    # Rows of one prompt become more queries of its key-value heads.
    by_prompt = query.reshape(
      prompts, -1, kv_heads, groups, config.head_dim
    ).swapaxes(1, 2)  # [B, J, R, G, D]
    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    on_prompt = product('bjrgd,bjdl->bjrgl', by_prompt, prompt[0])
    on_steps = product('njgd,njds->njgs', query, stored[0])
    on_prompt = (
      capped(on_prompt, config.attention_soft_cap)
      + prompt_bias[:, None, None, None]
    )
    on_steps = capped(on_steps, config.attention_soft_cap) + step_bias
    on_prompt = on_prompt.swapaxes(1, 2).reshape(
      rows, kv_heads, groups, -1
    )  # [N, J, G, L]
    weights = jax.nn.softmax(
      jnp.concatenate([on_prompt, on_steps], axis=-1)
    ).astype(x.dtype)
    length = prompt[0].shape[3]
    from_prompt = weights[..., :length].reshape(
      prompts, -1, kv_heads, groups, length
    )  # [B, R, J, G, L]
    mixed = product('brjgl,bjld->brjgd', from_prompt, prompt[1]).reshape(
      rows, kv_heads, groups, config.head_dim
    ) + product('njgs,njsd->njgd', weights[..., length:], stored[1])
    return self.out(mixed.astype(x.dtype).reshape(rows, -1))

  def keys_and_values(
    self, x: Float[Array, 'B L E'], rotation: rotary.Rotation
  ) -> KeysAndValues:
    """Projects positions to rotated keys and to values."""
    key = self.key(x)
    if self.config.qk_norm == 'full':
      key = self.key_norm(key)
    key = self._split_heads(key)
    if self.config.qk_norm == 'head':
      key = self.key_norm(key)
    return rotary.rotate(key, rotation), self._split_heads(self.value(x))

  def _query(
    self, x: Float[Array, 'B L E'], rotation: rotary.Rotation
  ) -> Float[Array, 'B H L D']:
    """Projects positions to rotated and scaled queries."""
    config = self.config
    query = self.query(x)
    if config.qk_norm == 'full':
      query = self.query_norm(query)
    query = self._split_heads(query)
    if config.qk_norm == 'head':
      query = self.query_norm(query)
    scale = config.query_scale or 1.0 / math.sqrt(config.head_dim)
    query = rotary.rotate(query, rotation) * jnp.asarray(scale, query.dtype)
    return with_logical_constraint(query, ('batch', 'heads', 'length', 'kv'))

  def _split_heads(
    self, x: Float[Array, 'B L joined']
  ) -> Float[Array, 'B heads L D']:
    return x.reshape(*x.shape[:2], -1, self.config.head_dim).swapaxes(1, 2)
