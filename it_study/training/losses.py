"""The training loss: cross entropy with z-loss, per real target token.

Shape letters:
  B batch     T target length     E width of the last layer     V vocabulary
"""

from collections.abc import Mapping
import functools

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

DEFAULT_Z_LOSS = 1e-4

# Logits that a device holds at once, in float32. Each part of the loss adds to
# the gradient of the last matrix, so there is no use in very small ones.
_LOGITS_BYTES = 32 * 2**20


def cross_entropy(
  *,
  hidden: jax.Array,
  kernel: jax.Array,
  targets: jax.Array,
  weights: jax.Array,
  z_loss: float = DEFAULT_Z_LOSS,
  label_smoothing: float = 0.0,
  num_target_tokens: jax.Array | None = None,
  num_parts: int = 1,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the mean loss over the weighted target tokens of a global batch.

  The logits are `hidden @ kernel`. With Z their softmax's normaliser, a token's
  loss is

    -sum_v q_v log softmax(logits)_v - H(q) + z_loss * log(Z)^2

  where q puts 1 - label_smoothing on the target and shares the rest evenly
  among the other tokens, and H(q) is q's entropy, so that the first two terms
  are zero for a perfect prediction. Source: Mesh TensorFlow's
  `softmax_cross_entropy_with_logits` (z-loss), Szegedy et al. 2016, section 7
  (label smoothing); T5X's `compute_weighted_cross_entropy` gives the same sums.
  T5's own z-loss coefficient is 1e-4.

  Logits are the largest array of a training step, so they are not kept for the
  backward pass: the gradient is computed along with the loss, a part of the
  rows at a time, and what is kept has the shapes of `hidden` and `kernel`.

  Args:
    hidden: [B, T, E], in the type that products are computed in.
    kernel: [E, V], likewise. Logits are summed and computed on in float32.
    targets: token ids, int [B, T].
    weights: 1 for a token that counts, 0 for padding, [B, T].
    z_loss: coefficient of the squared log normaliser.
    label_smoothing: probability taken from the target, in [0, 1).
    num_target_tokens: what sums are divided by, a float32 scalar; the sum of
      `weights` if None. Of a part of a batch it is the whole batch's, so that
      the parts' losses and gradients add up to the batch's.
    num_parts: in how many parts the rows are computed; it divides B.

  Returns:
    The loss, a float32 scalar, and float32 scalar metrics: `loss` (the same
    number), `z_loss` (its part), `accuracy` (share of tokens whose target has
    the largest logit) and `num_target_tokens` (the sum of the weights). Sums
    run over the whole batch before they are divided, so the loss does not
    depend on how the batch is split over devices. Without any weight all are 0.
    Only the loss has a gradient, and only in `hidden` and `kernel`.
  """
  weights = weights.astype(jnp.float32)
  weighted_tokens = weights.sum()
  if num_target_tokens is None:
    num_target_tokens = weighted_tokens
  # Divided beforehand: the gradient is computed before its factor is known.
  shares = weights / jnp.maximum(num_target_tokens, 1.0)
  loss, mean_z_loss, accuracy = _weighted_sums(
    hidden, kernel, targets, shares, z_loss, label_smoothing, num_parts
  )
  return loss, {
    'loss': loss,
    'z_loss': lax.stop_gradient(mean_z_loss),
    'accuracy': lax.stop_gradient(accuracy),
    'num_target_tokens': weighted_tokens,
  }


def count_parts(
  hidden: jax.Array, kernel: jax.Array, mesh_shape: Mapping[str, int]
) -> int:
  """In how many parts to compute the loss of `[B, T, E]` and `[E, V]`.

  As few as keep a device's logits of one part small; a part has rows for every
  device.

  Args:
    hidden: as for `cross_entropy`.
    kernel: likewise.
    mesh_shape: devices along 'data', 'fsdp' and 'model'.
  """
  rows = hidden.shape[0] // (mesh_shape['data'] * mesh_shape['fsdp'])
  row_bytes = 4 * hidden.shape[1] * kernel.shape[1] // mesh_shape['model']
  return next(
    parts
    for parts in range(1, rows + 1)
    if rows % parts == 0
    and (parts == rows or rows // parts * row_bytes <= _LOGITS_BYTES)
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _weighted_sums(
  hidden, kernel, targets, shares, z_loss, label_smoothing, num_parts
):
  """The weighted sums of losses, of their z-losses and of correct tokens."""

  def add(sums, part):
    hidden, targets, shares = part
    terms, _ = _terms(
      _logits(hidden, kernel), targets, shares, z_loss, label_smoothing
    )
    return jax.tree.map(jnp.add, sums, terms), None

  zero = jnp.zeros((), jnp.float32)
  parts = _split((hidden, targets, shares), num_parts)
  return _loop(add, (zero, zero, zero), parts, num_parts)[0]


def _forward(
  hidden, kernel, targets, shares, z_loss, label_smoothing, num_parts
):
  """The sums, and their gradients in `hidden` and `kernel`."""

  def add(sums, part):
    terms, d_kernel = sums
    hidden, targets, shares = part
    logits = _logits(hidden, kernel)
    new_terms, log_z = _terms(logits, targets, shares, z_loss, label_smoothing)
    d_logits = _gradient(
      logits, log_z, targets, shares, z_loss, label_smoothing
    ).astype(hidden.dtype)
    flat = d_logits.reshape(-1, d_logits.shape[-1])
    d_hidden = (flat @ kernel.T).reshape(hidden.shape)
    part_d_kernel = jnp.matmul(
      hidden.reshape(-1, hidden.shape[-1]).T,
      flat,
      preferred_element_type=jnp.float32,
    )
    if d_kernel is not None:
      part_d_kernel = d_kernel + part_d_kernel
    return (
      jax.tree.map(jnp.add, terms, new_terms),
      part_d_kernel,
    ), d_hidden

  zero = jnp.zeros((), jnp.float32)
  d_kernel = None
  if num_parts > 1:
    d_kernel = jnp.zeros(kernel.shape, jnp.float32)
  (terms, d_kernel), d_hidden = _loop(
    add,
    ((zero, zero, zero), d_kernel),
    _split((hidden, targets, shares), num_parts),
    num_parts,
  )
  d_hidden = _join(d_hidden, num_parts)
  return terms, (d_hidden, d_kernel.astype(kernel.dtype))


def _backward(z_loss, label_smoothing, num_parts, residuals, cotangents):
  del z_loss, label_smoothing, num_parts
  factor = cotangents[0]
  d_hidden, d_kernel = (
    array * factor.astype(array.dtype) for array in residuals
  )
  return d_hidden, d_kernel, None, None


_weighted_sums.defvjp(_forward, _backward)


def _logits(hidden, kernel):
  """`[B, T, E]`, `[E, V]` -> float32 `[B, T, V]`."""
  logits = jnp.matmul(
    # Flat, as one product of two matrices.
    hidden.reshape(-1, hidden.shape[-1]),
    kernel,
    preferred_element_type=jnp.float32,
  ).reshape(*hidden.shape[:-1], -1)
  return nn.with_logical_constraint(logits, ('batch', 'length', 'vocab'))


def _terms(logits, targets, shares, z_loss, label_smoothing):
  """The three weighted sums, and log Z, float32 `[B, T]`."""
  vocab = logits.shape[-1]
  largest = logits.max(axis=-1, keepdims=True)
  log_z = jnp.log(jnp.exp(logits - largest).sum(axis=-1)) + largest[..., 0]
  target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)
  losses = log_z - target_logits[..., 0]
  if label_smoothing:
    confidence = 1.0 - label_smoothing
    others = label_smoothing / (vocab - 1)
    smooth = vocab * log_z - logits.sum(axis=-1) - losses
    entropy = -(
      confidence * jnp.log(confidence) + label_smoothing * jnp.log(others)
    )
    losses = confidence * losses + others * smooth - entropy
  z_losses = z_loss * jnp.square(log_z)
  correct = (target_logits == largest)[..., 0].astype(jnp.float32)
  mean_z_loss = (z_losses * shares).sum()
  terms = (
    (losses * shares).sum() + mean_z_loss,
    mean_z_loss,
    (correct * shares).sum(),
  )
  return terms, log_z


def _gradient(logits, log_z, targets, shares, z_loss, label_smoothing):
  """The weighted loss's gradient in the logits, float32 `[B, T, V]`.

  Of a token with log normaliser z: `(1 + 2 z_loss z) softmax(logits) - q`.
  """
  vocab = logits.shape[-1]
  others = label_smoothing / (vocab - 1)
  is_target = (
    lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    == targets[..., None]
  )
  wanted = jnp.where(is_target, 1.0 - label_smoothing, others)
  scale = (1.0 + 2.0 * z_loss * log_z) * shares
  return (
    scale[..., None] * jnp.exp(logits - log_z[..., None])
    - shares[..., None] * wanted
  )


def _split(arrays, num_parts):
  """`[B, ...] -> [parts, B / parts, ...]`; nothing to do for one part.

  A part takes every `num_parts`th row, so that rows which are split over
  devices stay where they are.
  """
  if num_parts == 1:
    return arrays
  return jax.tree.map(
    lambda array: array.reshape(-1, num_parts, *array.shape[1:]).swapaxes(0, 1),
    arrays,
  )


def _join(array, num_parts):
  """The reverse of `_split`."""
  if num_parts == 1:
    return array
  return array.swapaxes(0, 1).reshape(-1, *array.shape[2:])


def _loop(body, carry, parts, num_parts):
  return body(carry, parts) if num_parts == 1 else lax.scan(body, carry, parts)
