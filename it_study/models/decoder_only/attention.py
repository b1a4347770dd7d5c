"""Grouped-query attention with rotary embeddings, and its decoding step.

Shape letters, as in `it_study.models` and `it_study.models.decoder_only`:
  B batch            L prompt length     T target length     E emb_dim
  H num_heads        D head_dim          N decoded rows      S decoding steps
  Q query length     K key length        R rows per prompt
  J num_kv_heads     G query heads per key-value head
"""

from collections.abc import Iterator, Sequence
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
from it_study.models.decoder_only.masks import Mask
from it_study.models.dot_product_attention import attend, capped
from it_study.models.kernels import flash_attention
from it_study.models.kernels.distance_bias import DistanceBias

# Keys and values of a group of consecutive prompts, padded to its own length.
# Keys are laid out as decoding steps read them.
KeysAndValues = tuple[Float[Array, '_ J D _'], Float[Array, '_ J _ D']]
Groups = Sequence[KeysAndValues]
# Keys and values of the sequence that a layer is applied to.
OwnKeysAndValues = tuple[Float[Array, 'B J D Q'], Float[Array, 'B J Q D']]


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
    mask: Mask,
    segments: flash_attention.Segments | None = None,
    before: Groups = (),
    is_causal: bool = False,
  ) -> tuple[Float[Array, 'B Q E'], OwnKeysAndValues]:
    """Attends from every position of `x` to those before it and to itself.

    Args:
      x: Input of the layer.
      rotation: Cosines and sines of the positions of `x`.
      mask: 0, or `MASKED` where a query must not see a key. With segments, it
        is by distance. With `before`, there is one for each group: the keys are
        those of the group, then those of its rows of `x`.
      segments: Segments of `x`, which select our kernel; None for XLA.
      before: Keys and values of what comes before `x`, such as prompts, in as
        many rows; or in a single one that all rows of `x` share.
      is_causal: Whether the mask hides everything after a query. Without
        `before` this is faster.

    Returns:
      The output, and the keys and values of `x`.
    """
    config = self.config
    query = self._query(x, rotation)  # [B, H, Q, D]
    key, value = self.keys_and_values(x, rotation)
    if isinstance(mask, DistanceBias):
      assert segments is not None, 'a mask by distance comes with segments'
      mixed = flash_attention.attend(
        query, key, value, segments, mask, config.attention_soft_cap
      )
    elif not before:
      assert not isinstance(mask, tuple), 'one mask for all rows'
      mixed = self._attend(query, key, value, mask, is_causal=is_causal)
    elif len(before) == 1 and len(before[0][0]) < len(x):
      assert isinstance(mask, tuple), 'a mask for each group'
      mixed = self._attend_after_shared(query, key, value, before[0], mask[0])
    else:
      assert isinstance(mask, tuple), 'a mask for each group'
      mixed = jnp.concatenate(
        [
          self._attend(
            query[rows],
            jnp.concatenate([keys.swapaxes(2, 3), key[rows]], axis=2),
            jnp.concatenate([values, value[rows]], axis=2),
            mask[group],
          )
          for group, (rows, keys, values) in enumerate(_by_group(before))
        ]
      )
    mixed = mixed.swapaxes(1, 2)  # [B, Q, H, D]
    own = key.swapaxes(2, 3), value
    return self.out(mixed.reshape(*mixed.shape[:2], -1)), own

  def _attend(
    self,
    query: Float[Array, 'B H Q D'],
    key: Float[Array, 'B J K D'],
    value: Float[Array, 'B J K D'],
    mask: Float32[Array, 'B 1 Q K'],
    *,
    is_causal: bool = False,
  ) -> Float[Array, 'B H Q D']:
    config = self.config
    repeats = config.num_heads // config.num_kv_heads
    return attend(
      query,
      jnp.repeat(key, repeats, axis=1),
      jnp.repeat(value, repeats, axis=1),
      None,
      mask,
      config.remat_policy == 'full',
      config.attention_soft_cap,
      is_causal,
    )

  def _attend_after_shared(
    self,
    query: Float[Array, 'B H Q D'],
    key: Float[Array, 'B J Q D'],
    value: Float[Array, 'B J Q D'],
    before: KeysAndValues,
    mask: Float32[Array, 'B 1 Q K'],
  ) -> Float[Array, 'B H Q D']:
    """Attends to a row of keys that all queries share, then to their own."""
    length = before[0].shape[3]
    soft_cap = self.config.attention_soft_cap
    on_shared, on_own = mask[..., :length], mask[..., length:]

    def attend_heads(
      arrays: tuple[Array, ...],
    ) -> Float[Array, 'B G Q D']:
      """Attends with the query heads of one key-value head."""
      query, key, value, shared_keys, shared_values = arrays
      # One large product for all queries, where they share the keys.
      scores = [
        capped(_product('bgqd,dl->bgql', query, shared_keys), soft_cap)
        + on_shared,
        capped(_product('bgqd,bkd->bgqk', query, key), soft_cap) + on_own,
      ]
      top = jnp.maximum(*(part.max(-1, keepdims=True) for part in scores))
      weights = [jnp.exp(part - top) for part in scores]
      total = sum(part.sum(-1, keepdims=True) for part in weights)
      from_shared, from_own = (part.astype(value.dtype) for part in weights)
      mixed = _product('bgql,ld->bgqd', from_shared, shared_values) + _product(
        'bgqk,bkd->bgqd', from_own, value
      )
      return (mixed / total).astype(value.dtype)

    rows, _, num_queries, head_dim = query.shape
    grouped = query.reshape(rows, key.shape[1], -1, num_queries, head_dim)
    mixed = jax.lax.platform_dependent(
      (
        *(array.swapaxes(0, 1) for array in (grouped, key, value)),
        *(array[0] for array in before),
      ),
      # The scores of all heads at once do not fit a CPU's cache.
      cpu=functools.partial(jax.lax.map, attend_heads),
      default=jax.vmap(attend_heads),
    )  # [J, B, G, Q, D]
    return mixed.swapaxes(0, 1).reshape(query.shape)

  def step(
    self,
    x: Float[Array, 'N E'],
    rotation: rotary.Rotation,
    prompts: Groups,
    stored: tuple[Float[Array, 'N J D S'], Float[Array, 'N J S D']],
    *,
    prompt_biases: Sequence[Float32[Array, '_ _']],
    step_bias: Float32[Array, ' S'],
  ) -> Float[Array, 'N E']:
    """Attends from one query per row to its prompt and to the steps so far.

    Each R consecutive rows share a prompt, where R is N / B.

    Args:
      x: Input of the layer.
      rotation: Cosines and sines of the rows' positions, of length 1.
      prompts: Keys and values of the prompts.
      stored: Keys and values of the steps, this one's included.
      prompt_biases: 0 for visible tokens of a group's prompts, else `MASKED`.
      step_bias: 0 for visible steps, else `MASKED`.
    """
    config = self.config
    query = self._query(x[:, None], rotation)[:, :, 0]  # [N, H, D]
    query = query.reshape(
      x.shape[0], config.num_kv_heads, -1, config.head_dim
    )  # [N, J, G, D]
    on_steps = _product('njgd,njds->njgs', query, stored[0])
    on_steps = capped(on_steps, config.attention_soft_cap) + step_bias
    from_prompts, step_weights = [], []
    rows_per_prompt = x.shape[0] // sum(keys.shape[0] for keys, _ in prompts)
    for (rows, keys, values), prompt_bias in zip(
      _by_group(prompts, rows_per_prompt), prompt_biases, strict=True
    ):
      mixed, weights = self._mix_prompts(
        query[rows], on_steps[rows], keys, values, prompt_bias
      )
      from_prompts.append(mixed)
      step_weights.append(weights)
    mixed = jnp.concatenate(from_prompts) + _product(
      'njgs,njsd->njgd', jnp.concatenate(step_weights), stored[1]
    )
    return self.out(mixed.astype(x.dtype).reshape(x.shape[0], -1))

  def _mix_prompts(
    self,
    query: Float[Array, 'N J G D'],
    on_steps: Float32[Array, 'N J G S'],
    keys: Float[Array, 'B J D L'],
    values: Float[Array, 'B J L D'],
    prompt_bias: Float32[Array, 'B L'],
  ) -> tuple[Float32[Array, 'N J G D'], Float[Array, 'N J G S']]:
    """Returns the prompts' part of the result, and the weights of the steps."""

    # Rows of one prompt become more queries of its key-value heads. Batch axes
    # come first: the products are ten times slower on a CPU if they do not.
    def by_prompt(rows: Float[Array, 'N J G _']) -> Float[Array, 'B J R G _']:
      return rows.reshape(keys.shape[0], -1, *rows.shape[1:]).swapaxes(1, 2)

    def by_row(prompts: Float[Array, 'B J R G _']) -> Float[Array, 'N J G _']:
      return prompts.swapaxes(1, 2).reshape(*query.shape[:3], -1)

    on_prompt = _product('bjrgd,bjdl->bjrgl', by_prompt(query), keys)
    on_prompt = (
      capped(on_prompt, self.config.attention_soft_cap)
      + prompt_bias[:, None, None, None]
    )
    weights = jax.nn.softmax(
      jnp.concatenate([on_prompt, by_prompt(on_steps)], axis=-1)
    ).astype(query.dtype)
    length = keys.shape[3]
    mixed = _product('bjrgl,bjld->bjrgd', weights[..., :length], values)
    return by_row(mixed), by_row(weights[..., length:])

  def keys_and_values(
    self, x: Float[Array, 'B L E'], rotation: rotary.Rotation
  ) -> tuple[Float[Array, 'B J L D'], Float[Array, 'B J L D']]:
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


_product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)


def _by_group(
  groups: Groups, rows_per_prompt: int = 1
) -> Iterator[tuple[slice, Float[Array, '_ J D _'], Float[Array, '_ J _ D']]]:
  """Yields the rows of each group, its keys and its values."""
  start = 0
  for keys, values in groups:
    end = start + keys.shape[0] * rows_per_prompt
    yield slice(start, end), keys, values
    start = end
