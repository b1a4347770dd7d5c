"""The training loss: cross entropy with z-loss, per real target token.

Shape letters, as in `it_study.models`:
  B batch     T target length     E emb_dim     V vocab_size
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any, TypedDict

from flax.linen.spmd import with_logical_constraint
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Shaped

from it_study.models import AnyArray
from it_study.models.dot_product_attention import capped

# T5's.
DEFAULT_Z_LOSS = 1e-4

# Bytes of float32 logits that a device holds at once. Each part of the loss
# reads and writes the whole gradient of the logits matrix. An accelerator
# computes some hundred tokens' logits in that time, a CPU a few.
_CPU_LOGITS_BYTES = 32 * 2**20
_LOGITS_BYTES = 512 * 2**20


# Weighted sums of losses, of their z-losses and of correct tokens.
_Terms = tuple[Float32[Array, ''], Float32[Array, ''], Float32[Array, '']]


def cross_entropy(
  *,
  hidden: Float[Array, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  targets: Int[AnyArray, 'B T'],
  weights: Shaped[AnyArray, 'B T'],
  z_loss: float = DEFAULT_Z_LOSS,
  label_smoothing: float = 0.0,
  num_target_tokens: Float32[Array, ''] | None = None,
  num_parts: int = 1,
  num_columns: int | None = None,
  num_shards: int = 1,
  soft_cap: float | None = None,
) -> tuple[Float32[Array, ''], dict[str, Float32[Array, '']]]:
  """Returns the mean loss over the weighted target tokens of a global batch.

  The logits are `hidden @ kernel`, capped if there is a cap. With Z their
  softmax's normaliser, a token's loss is

    -sum_v q_v log softmax(logits)_v - H(q) + z_loss * log(Z)^2

  where q puts 1 - label_smoothing on the target and shares the rest evenly
  among the other tokens, and H(q) is q's entropy, so that the first two terms
  are zero for a perfect prediction. Source: Mesh TensorFlow's
  `softmax_cross_entropy_with_logits` (z-loss), Szegedy et al. 2016, section 7
  (label smoothing); T5X's `compute_weighted_cross_entropy` gives the same sums.

  Logits are the largest array of a training step, so they are not kept for the
  backward pass. The gradient is computed along with the loss, for a part of the
  rows at a time, and only arrays shaped like `hidden` and `kernel` are kept.

  Args:
    hidden: Hidden states, in the type that products are computed in.
    kernel: Logits matrix, in the same type. Logits are summed and processed in
      float32.
    targets: Target tokens.
    weights: 1 for tokens that count, 0 for padding.
    z_loss: Coefficient of the squared log normaliser.
    label_smoothing: Probability taken from the target, in [0, 1).
    num_target_tokens: Divisor of the sums; None for the sum of `weights`. For a
      part of a batch it is that of the whole batch, so that losses and
      gradients of the parts add up to those of the batch.
    num_parts: Number of parts that the rows are computed in; divides B.
    num_columns: If most weights are 0: length of the parts that the rows are
      computed in, in place of `num_parts`, once the tokens that count come
      first. Parts where no token counts are skipped.
    num_shards: Number of devices that the rows of each part are divided among.
      Each sums its own gradient of `kernel`, and the sums are added once.
    soft_cap: Cap c that turns logits s into c tanh(s / c); None for no cap.

  Returns:
    The loss, and metrics: `loss` (the same number), `z_loss` (its share of the
    loss), `accuracy` (share of tokens whose target has the largest logit) and
    `num_target_tokens` (the sum of the weights). Sums run over the whole batch
    before they are divided, so the loss does not depend on how the batch is
    split over devices. If all weights are 0, so are loss and metrics. Only the
    loss has a gradient, and only with respect to `hidden` and `kernel`.
  """
  weights = weights.astype(jnp.float32)
  weighted_tokens = weights.sum()
  if num_target_tokens is None:
    num_target_tokens = weighted_tokens
  # Divided here, because the gradient is computed along with the sums.
  shares = weights / jnp.maximum(num_target_tokens, 1.0)
  if num_columns is not None:
    hidden, targets, shares = _targets_first(
      hidden, targets, shares, num_columns
    )
    num_parts = hidden.shape[0] // weights.shape[0]
  skips = num_columns is not None
  settings = z_loss, label_smoothing, num_parts, num_shards, skips, soft_cap
  loss, mean_z_loss, accuracy = _weighted_sums(
    hidden, kernel, targets, shares, *settings
  )
  return loss, {
    'loss': loss,
    'z_loss': lax.stop_gradient(mean_z_loss),
    'accuracy': lax.stop_gradient(accuracy),
    'num_target_tokens': weighted_tokens,
  }


class Division(TypedDict, total=False):
  """Arguments of `cross_entropy` that say how it divides a batch."""

  num_parts: int
  num_columns: int
  num_shards: int


def division(
  hidden: Float[Array, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  mesh_shape: Mapping[str, int],
  *,
  platform: str,
  has_sparse_targets: bool,
) -> Division:
  """Returns how `cross_entropy` divides a batch over parts and devices.

  Args:
    hidden: Hidden states, as for `cross_entropy`.
    kernel: Logits matrix, as for `cross_entropy`.
    mesh_shape: Number of devices along 'data', 'fsdp' and 'model'.
    platform: Kind of the devices, such as 'cpu'.
    has_sparse_targets: Whether most tokens have no weight.
  """
  shards = mesh_shape['data'] * mesh_shape['fsdp']
  sizes = hidden, kernel, mesh_shape
  most = _CPU_LOGITS_BYTES if platform == 'cpu' else _LOGITS_BYTES
  if has_sparse_targets:
    return {
      'num_columns': count_columns(*sizes, logits_bytes=most),
      'num_shards': shards,
    }
  return {
    'num_parts': count_parts(*sizes, logits_bytes=most),
    'num_shards': shards,
  }


def count_parts(
  hidden: Float[Array, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  mesh_shape: Mapping[str, int],
  *,
  logits_bytes: int,
) -> int:
  """Returns the number of parts to compute a batch's loss in.

  It is the least number that keeps a device's logits of one part small enough,
  where every part has rows for every device.

  Args:
    hidden: Hidden states, as for `cross_entropy`.
    kernel: Logits matrix, as for `cross_entropy`.
    mesh_shape: Number of devices along 'data', 'fsdp' and 'model'.
    logits_bytes: Largest size of a device's logits of one part.
  """
  rows = hidden.shape[0] // (mesh_shape['data'] * mesh_shape['fsdp'])
  row_bytes = 4 * hidden.shape[1] * kernel.shape[1] // mesh_shape['model']
  return next(
    parts
    for parts in range(1, rows + 1)
    if rows % parts == 0
    and (parts == rows or rows // parts * row_bytes <= logits_bytes)
  )


def count_columns(
  hidden: Float[Array, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  mesh_shape: Mapping[str, int],
  *,
  logits_bytes: int,
) -> int:
  """Returns the length of the parts of rows whose targets are sparse.

  It is the largest power of two, up to that of the rows, that keeps a device's
  logits of one part small enough; at least 8.

  Args:
    hidden: Hidden states, as for `cross_entropy`.
    kernel: Logits matrix, as for `cross_entropy`.
    mesh_shape: Number of devices along 'data', 'fsdp' and 'model'.
    logits_bytes: Largest size of a device's logits of one part.
  """
  rows = hidden.shape[0] // (mesh_shape['data'] * mesh_shape['fsdp'])
  token_bytes = 4 * rows * kernel.shape[1] // mesh_shape['model']
  fitting = max(min(logits_bytes // token_bytes, hidden.shape[1]), 8)
  return 1 << (fitting.bit_length() - 1)


def _targets_first(
  hidden: Float[Array, 'B T E'],
  targets: Int[AnyArray, 'B T'],
  shares: Float32[AnyArray, 'B T'],
  num_columns: int,
) -> tuple[
  Float[Array, 'rows columns E'],
  Int[Array, 'rows columns'],
  Float32[Array, 'rows columns'],
]:
  """Moves the tokens that count to the front of their rows, then cuts the rows.

  Shares [[0, 0, 3], [0, 4, 5]] become [[3, 0], [0, 0], [4, 5], [0, 0]] with 2
  columns: the first parts of all rows, then their second parts, are what
  `_split` takes together.
  """
  order = jnp.argsort(shares == 0, axis=1, stable=True)  # [B, T]

  def cut(array: Shaped[AnyArray, 'B T ...']) -> Shaped[Array, '...']:
    index = order.reshape(*order.shape, *(1,) * (array.ndim - 2))
    array = jnp.take_along_axis(jnp.asarray(array), index, axis=1)
    missing = -array.shape[1] % num_columns
    padding = ((0, 0), (0, missing), *((0, 0),) * (array.ndim - 2))
    array = jnp.pad(array, padding)
    return array.reshape(-1, num_columns, *array.shape[2:])

  return cut(hidden), cut(targets), cut(shares)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6, 7, 8, 9))
def _weighted_sums(
  hidden: Float[Array, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  targets: Int[AnyArray, 'B T'],
  shares: Float32[Array, 'B T'],
  z_loss: float,
  label_smoothing: float,
  num_parts: int,
  num_shards: int,
  skips: bool,
  soft_cap: float | None,
) -> _Terms:
  def add(sums, part):
    hidden, targets, shares = part
    logits = capped(_logits(hidden, kernel), soft_cap)
    terms, _ = _terms(logits, targets, shares, z_loss, label_smoothing)
    return jax.tree.map(jnp.add, sums, terms), None

  zero = jnp.zeros((), jnp.float32)
  parts = _split((hidden, targets, shares), num_parts)
  return _loop(add, (zero, zero, zero), parts, num_parts, skips)[0]


def _forward(
  hidden: Float[Array, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  targets: Int[AnyArray, 'B T'],
  shares: Float32[Array, 'B T'],
  z_loss: float,
  label_smoothing: float,
  num_parts: int,
  num_shards: int,
  skips: bool,
  soft_cap: float | None,
) -> tuple[_Terms, tuple[Float[Array, 'B T E'], Float[Array, 'E V']]]:
  """Returns the sums, and the loss's gradients in `hidden` and `kernel`."""

  def add(sums, part):
    terms, d_kernel = sums
    hidden, targets, shares = part
    logits = capped(_logits(hidden, kernel), soft_cap)
    new_terms, log_z = _terms(logits, targets, shares, z_loss, label_smoothing)
    d_logits = _gradient(
      logits, log_z, targets, shares, z_loss, label_smoothing
    )
    if soft_cap is not None:
      d_logits *= 1.0 - jnp.square(logits / soft_cap)
    d_logits = d_logits.astype(hidden.dtype)
    flat = d_logits.reshape(-1, d_logits.shape[-1])
    d_hidden = (flat @ kernel.T).reshape(hidden.shape)
    part_d_kernel = _kernel_gradient(hidden, flat, num_shards)
    if d_kernel is not None:
      part_d_kernel = d_kernel + part_d_kernel
    return (
      jax.tree.map(jnp.add, terms, new_terms),
      part_d_kernel,
    ), d_hidden

  zero = jnp.zeros((), jnp.float32)
  d_kernel = None
  if num_parts == 1:
    # There is one product, which the compiler adds up over devices.
    num_shards = 1
  elif num_shards == 1:
    d_kernel = jnp.zeros(kernel.shape, jnp.float32)
  else:
    d_kernel = _per_shard(jnp.zeros((num_shards, *kernel.shape), jnp.float32))
  (terms, d_kernel), d_hidden = _loop(
    add,
    ((zero, zero, zero), d_kernel),
    _split((hidden, targets, shares), num_parts),
    num_parts,
    skips,
  )
  d_hidden = _join(d_hidden, num_parts)
  if num_shards > 1:
    d_kernel = d_kernel.sum(axis=0)
  return terms, (d_hidden, d_kernel.astype(kernel.dtype))


def _backward(
  z_loss: float,
  label_smoothing: float,
  num_parts: int,
  num_shards: int,
  skips: bool,
  soft_cap: float | None,
  residuals: tuple[Float[Array, 'B T E'], Float[Array, 'E V']],
  cotangents: _Terms,
) -> tuple[Float[Array, 'B T E'], Float[Array, 'E V'], None, None]:
  del z_loss, label_smoothing, num_parts, num_shards, skips, soft_cap
  factor = cotangents[0]
  d_hidden, d_kernel = (
    array * factor.astype(array.dtype) for array in residuals
  )
  return d_hidden, d_kernel, None, None


_weighted_sums.defvjp(_forward, _backward)


def _kernel_gradient(
  hidden: Float[Array, 'B T E'], d_logits: Float[Array, 'tokens V'], shards: int
) -> Float32[Array, '... E V']:
  """Returns a part's gradient in the kernel; [S, E, V] for S > 1 shards."""
  flat = hidden.reshape(-1, hidden.shape[-1])
  if shards == 1:
    return jnp.matmul(flat.T, d_logits, preferred_element_type=jnp.float32)
  by_shard = jnp.einsum(
    'ste,stv->sev',
    flat.reshape(shards, -1, flat.shape[-1]),
    d_logits.reshape(shards, -1, d_logits.shape[-1]),
    preferred_element_type=jnp.float32,
  )
  return _per_shard(by_shard)


def _per_shard(
  d_kernel: Float32[Array, 'S E V'],
) -> Float32[Array, 'S E V']:
  """Keeps each shard's gradient on the devices that hold its rows.

  Otherwise the compiler adds it up over devices in every iteration of the loop.
  """
  return with_logical_constraint(d_kernel, ('batch', None, 'vocab'))


def _logits(
  hidden: Float[Array, 'B T E'], kernel: Float[AnyArray, 'E V']
) -> Float32[Array, 'B T V']:
  logits = jnp.matmul(
    # Flattened, as one product of two matrices.
    hidden.reshape(-1, hidden.shape[-1]),
    kernel,
    preferred_element_type=jnp.float32,
  ).reshape(*hidden.shape[:-1], -1)
  return with_logical_constraint(logits, ('batch', 'length', 'vocab'))


def _terms(
  logits: Float32[Array, 'B T V'],
  targets: Int[AnyArray, 'B T'],
  shares: Float32[Array, 'B T'],
  z_loss: float,
  label_smoothing: float,
) -> tuple[_Terms, Float32[Array, 'B T']]:
  """Returns the weighted sums, and log Z of every token."""
  vocab = logits.shape[-1]
  largest = logits.max(axis=-1, keepdims=True)
  log_z = jnp.log(jnp.exp(logits - largest).sum(axis=-1)) + largest[..., 0]
  target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)
  losses = log_z - target_logits[..., 0]
  if label_smoothing:
    confidence = 1.0 - label_smoothing
    other_share = label_smoothing / (vocab - 1)
    smooth = vocab * log_z - logits.sum(axis=-1) - losses
    entropy = -(
      confidence * jnp.log(confidence) + label_smoothing * jnp.log(other_share)
    )
    losses = confidence * losses + other_share * smooth - entropy
  z_losses = z_loss * jnp.square(log_z)
  correct = (target_logits == largest)[..., 0].astype(jnp.float32)
  mean_z_loss = (z_losses * shares).sum()
  terms = (
    (losses * shares).sum() + mean_z_loss,
    mean_z_loss,
    (correct * shares).sum(),
  )
  return terms, log_z


def _gradient(
  logits: Float32[Array, 'B T V'],
  log_z: Float32[Array, 'B T'],
  targets: Int[AnyArray, 'B T'],
  shares: Float32[Array, 'B T'],
  z_loss: float,
  label_smoothing: float,
) -> Float32[Array, 'B T V']:
  """Returns the weighted loss's gradient in the logits.

  For a token with log normaliser z: `(1 + 2 z_loss z) softmax(logits) - q`.
  """
  vocab = logits.shape[-1]
  other_share = label_smoothing / (vocab - 1)
  is_target = (
    lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    == targets[..., None]
  )
  target_shares = jnp.where(is_target, 1.0 - label_smoothing, other_share)
  scale = (1.0 + 2.0 * z_loss * log_z) * shares
  return (
    scale[..., None] * jnp.exp(logits - log_z[..., None])
    - shares[..., None] * target_shares
  )


def _split(
  arrays: tuple[Shaped[AnyArray, 'B ...'], ...], num_parts: int
) -> tuple[Shaped[AnyArray, '...'], ...]:
  """Reshapes [B, ...] to [parts, B / parts, ...] if there are several parts.

  A part takes every `num_parts`th row, so that rows stay on their devices.
  """
  if num_parts == 1:
    return arrays
  return jax.tree.map(
    lambda array: array.reshape(-1, num_parts, *array.shape[1:]).swapaxes(0, 1),
    arrays,
  )


def _join(array: Shaped[Array, '...'], num_parts: int) -> Shaped[Array, '...']:
  """Reverses `_split`."""
  if num_parts == 1:
    return array
  return array.swapaxes(0, 1).reshape(-1, *array.shape[2:])


def _loop(
  body: Callable[[Any, Any], tuple[Any, Any]],
  carry: Any,
  parts: tuple[Shaped[AnyArray, '...'], ...],
  num_parts: int,
  skips: bool,
) -> tuple[Any, Any]:
  """Scans parts; skips those without a share, the last of each, if asked to."""
  if num_parts == 1:
    return body(carry, parts)

  def unless_empty(carry: Any, part: Any) -> tuple[Any, Any]:
    def skip(carry: Any, part: Any) -> tuple[Any, Any]:
      _, output = jax.eval_shape(body, carry, part)
      return carry, jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), output
      )

    return lax.cond(jnp.any(part[-1]), body, skip, carry, part)

  return lax.scan(unless_empty if skips else body, carry, parts)
