"""Attention by cuDNN's fused kernel, with T5's masks as extra dimensions.

The kernel takes an additive bias, but no segments alongside it, and a mask for
each row as a bias would be an array of [B, H, Q, K]. So segments become extra
dimensions of queries and keys: the binary digits of the segment's number,
as +c and -c. Equal numbers of n digits add n c^2 to a score, different ones at
least 2 c^2 less. The softmax is not affected by what all scores share.

  segments 1 and 2 of two digits:  1 -> (+c, -c),  2 -> (-c, +c)
  1 . 1 = 2 c^2      1 . 2 = -2 c^2

Shape letters, as in `it_study.models`:
  B batch          H num_heads      D head_dim
  Q query length   K key length     L any length
"""

from typing import Literal

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int

from it_study.models import AnyArray

# With c = 16, keys of other segments score 512 less. Their weight is exp(-512),
# which is 0, unless their score is hundreds above that of every key of the
# query's own segment. What all scores share, 8 or 16 times 256, costs float32
# scores a few parts in ten thousand: less than bfloat16 queries and keys do.
_DIGIT = 16.0


@struct.dataclass
class SegmentCodes:
  """Segments as extra dimensions of queries and keys; a pytree.

  Attributes:
    query: Code of each query's segment, in the compute dtype.
    key: Code of each key's segment, in the compute dtype.
  """

  query: Float[Array, 'B Q digits']
  key: Float[Array, 'B K digits']


def is_available(
  implementation: str, *, dtype: str, head_dim: int, lengths: tuple[int, ...]
) -> bool:
  """Whether attention over these lengths goes through the fused kernel.

  Args:
    implementation: A value of `T5Config.attention_implementation`; 'auto' takes
      the kernel on NVIDIA GPUs since Ampere.
    dtype: Type that products are computed in.
    head_dim: Width of one head.
    lengths: Lengths of all sequences that attend or are attended to.
  """
  if implementation == 'auto':
    implementation = (
      'cudnn' if has_fused_kernels(jax.local_devices()[0]) else 'xla'
    )
  # cuDNN's conditions: half precision, head_dim a multiple of 8, even lengths.
  return (
    implementation == 'cudnn'
    and dtype == 'bfloat16'
    and head_dim % 8 == 0
    and all(length % 2 == 0 for length in lengths)
  )


def segment_codes(
  query_segments: Int[AnyArray, 'B Q'],
  key_segments: Int[AnyArray, 'B K'],
  *,
  dtype: str,
) -> SegmentCodes:
  """Returns codes that let a query see only the keys of its own segment.

  Args:
    query_segments: Segment number of each query.
    key_segments: Segment number of each key. No query sees a key whose segment
      no query has, such as padding.
    dtype: Type of the codes.
  """
  # A row has at most as many segments as tokens, and number 0.
  max_segments = min(query_segments.shape[1], key_segments.shape[1])
  num_digits = 8 if max_segments < 2**8 else 16

  def code(segments: Int[AnyArray, 'B L']) -> Float[Array, 'B L digits']:
    digits = (jnp.asarray(segments)[..., None] >> jnp.arange(num_digits)) & 1
    return ((2 * digits - 1) * _DIGIT).astype(dtype)

  return SegmentCodes(query=code(query_segments), key=code(key_segments))


def attend_fused(
  query: Float[Array, 'B H Q D'],
  key: Float[Array, 'B H K D'],
  value: Float[Array, 'B H K D'],
  position_bias: Float32[Array, 'H Q K'] | None,
  codes: SegmentCodes,
  *,
  implementation: Literal['cudnn', 'xla'] = 'cudnn',
) -> Float[Array, 'B H Q D']:
  """Computes `softmax(query @ key^T + position_bias) @ value` in each segment.

  The softmax is in float32. The position bias and its gradient are in the
  queries' dtype, the result in the values'.

  Args:
    query: Queries.
    key: Keys.
    value: Values.
    position_bias: Bias of every pair of positions, shared by all rows.
    codes: Segments, from `segment_codes`.
    implementation: Implementation in `jax.nn.dot_product_attention`.
  """
  query, key, value = (x.swapaxes(1, 2) for x in (query, key, value))
  head_dim = value.shape[-1]
  num_digits = codes.query.shape[-1]
  if position_bias is not None:
    position_bias = position_bias[None].astype(query.dtype)
  mixed = jax.nn.dot_product_attention(
    _append(query, codes.query),
    _append(key, codes.key),
    # The kernel requires values as wide as keys.
    jnp.pad(value, ((0, 0), (0, 0), (0, 0), (0, num_digits))),
    bias=position_bias,
    scale=1.0,
    implementation=implementation,
  )  # [B, Q, H, D + digits]
  return mixed[..., :head_dim].swapaxes(1, 2)


def _append(
  x: Float[Array, 'B L H D'], codes: Float[Array, 'B L digits']
) -> Float[Array, 'B L H D+digits']:
  codes = jnp.broadcast_to(codes[:, :, None], (*x.shape[:3], codes.shape[-1]))
  return jnp.concatenate([x, codes], axis=-1)


def has_fused_kernels(device: jax.Device) -> bool:
  """Whether a device is an NVIDIA GPU of compute capability 8.0 or later."""
  capability = getattr(device, 'compute_capability', '')
  # AMD devices have a name here.
  return capability[:1].isdigit() and float(capability) >= 8.0
