"""Attention by cuDNN's fused kernel, and what makes it see T5's masks.

The kernel takes an additive bias, but no segments along with it; a mask of each
row's own, as a bias, would be an array of `[B, H, Q, K]`. So segments become a
few more dimensions of queries and keys: the binary digits of the segment's
number, as +c and -c. Equal numbers of N digits add N c^2 to a score, others at
least 2 c^2 less, and the softmax does not see what all scores share.

  segments 1 and 2 of two digits:  1 -> (+c, -c),  2 -> (-c, +c)
  1 . 1 = 2 c^2      1 . 2 = -2 c^2

Shape letters:
  B batch          H num_heads      D head_dim
  Q query length   K key length     N digits
"""

from flax import struct
import jax
import jax.numpy as jnp

# With c of 16 a key of another segment is 512 behind. It is not seen at all,
# exp(-512) being 0, unless its score is hundreds above that of every key that
# should be seen. What is added to all, 8 or 16 times 256, costs float32 scores
# a few parts in ten thousand, less than bfloat16 queries and keys do.
_DIGIT = 16.0


@struct.dataclass
class SegmentCodes:
  """Segments as more dimensions of queries and keys; a pytree.

  Attributes:
    query: `[B, Q, N]`, in the compute dtype.
    key: `[B, K, N]`, likewise.
  """

  query: jax.Array
  key: jax.Array


def is_available(
  implementation: str, *, dtype: str, head_dim: int, lengths: tuple[int, ...]
) -> bool:
  """Whether attention over these lengths goes through the fused kernel.

  Args:
    implementation: of `T5Config`; 'auto' takes the kernel on NVIDIA GPUs
      since Ampere.
    dtype: that products are computed in.
    head_dim: D.
    lengths: of all sequences that attend or are attended to.
  """
  if implementation == 'auto':
    implementation = 'cudnn' if _has_kernel(jax.local_devices()[0]) else 'xla'
  # cuDNN's conditions: half precision, whole groups of eight, even lengths.
  return (
    implementation == 'cudnn'
    and dtype == 'bfloat16'
    and head_dim % 8 == 0
    and all(length % 2 == 0 for length in lengths)
  )


def segment_codes(
  query_segments: jax.Array, key_segments: jax.Array, *, dtype: str
) -> SegmentCodes:
  """Codes under which a query sees the keys of its own segment alone.

  Args:
    query_segments: int32 `[B, Q]`.
    key_segments: int32 `[B, K]`; keys of a segment that no query has, such as
      padding, are seen by none.
    dtype: of the codes.
  """
  # A row has at most as many segments as tokens, and number 0.
  most = min(query_segments.shape[1], key_segments.shape[1])
  num_digits = 8 if most < 2**8 else 16

  def code(segments):
    digits = (segments[..., None] >> jnp.arange(num_digits)) & 1  # [B, L, N]
    return ((2 * digits - 1) * _DIGIT).astype(dtype)

  return SegmentCodes(query=code(query_segments), key=code(key_segments))


def attend_fused(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  position_bias: jax.Array | None,
  codes: SegmentCodes,
  *,
  implementation: str = 'cudnn',
) -> jax.Array:
  """`softmax(query @ key^T + position_bias) @ value`, within segments.

  The softmax is in float32, the position bias and its gradient are in the
  queries' dtype.

  Args:
    query: `[B, H, Q, D]`.
    key: `[B, H, K, D]`.
    value: `[B, H, K, D]`.
    position_bias: `[H, Q, K]`, or None.
    codes: from `segment_codes`.
    implementation: of `jax.nn.dot_product_attention`.

  Returns:
    `[B, H, Q, D]`, of the values' dtype.
  """
  query, key, value = (x.swapaxes(1, 2) for x in (query, key, value))
  head_dim = value.shape[-1]
  num_digits = codes.query.shape[-1]
  if position_bias is not None:
    position_bias = position_bias[None].astype(query.dtype)
  mixed = jax.nn.dot_product_attention(
    _append(query, codes.query),
    _append(key, codes.key),
    # The kernel wants values as wide as keys.
    jnp.pad(value, ((0, 0), (0, 0), (0, 0), (0, num_digits))),
    bias=position_bias,
    scale=1.0,
    implementation=implementation,
  )  # [B, Q, H, D + N]
  return mixed[..., :head_dim].swapaxes(1, 2)


def _append(x: jax.Array, codes: jax.Array) -> jax.Array:
  """`[B, L, H, D]`, `[B, L, N]` -> `[B, L, H, D + N]`."""
  codes = jnp.broadcast_to(codes[:, :, None], (*x.shape[:3], codes.shape[-1]))
  return jnp.concatenate([x, codes], axis=-1)


def _has_kernel(device: jax.Device) -> bool:
  """Whether a device is an NVIDIA GPU of compute capability 8.0 or later."""
  capability = getattr(device, 'compute_capability', '')
  # AMD's have names in its place.
  return capability[:1].isdigit() and float(capability) >= 8.0
