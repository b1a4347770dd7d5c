"""The training loss: cross entropy with z-loss, per real target token."""

import jax
import jax.numpy as jnp

DEFAULT_Z_LOSS = 1e-4


def cross_entropy(
  *,
  logits: jax.Array,
  targets: jax.Array,
  weights: jax.Array,
  z_loss: float = DEFAULT_Z_LOSS,
  label_smoothing: float = 0.0,
  num_target_tokens: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the mean loss over the weighted target tokens of a global batch.

  With Z the softmax's normaliser, a token's loss is

    -sum_v q_v log softmax(logits)_v - H(q) + z_loss * log(Z)^2

  where q puts 1 - label_smoothing on the target and shares the rest evenly
  among the other tokens, and H(q) is q's entropy, so that the first two terms
  are zero for a perfect prediction. Source: Mesh TensorFlow's
  `softmax_cross_entropy_with_logits` (z-loss), Szegedy et al. 2016, section 7
  (label smoothing); T5X's `compute_weighted_cross_entropy` gives the same sums.
  T5's own z-loss coefficient is 1e-4.

  Args:
    logits: [batch, length, vocab], computed on in float32.
    targets: token ids, int [batch, length].
    weights: 1 for a token that counts, 0 for padding, [batch, length].
    z_loss: coefficient of the squared log normaliser.
    label_smoothing: probability taken from the target, in [0, 1).
    num_target_tokens: what sums are divided by, a float32 scalar; the sum of
      `weights` if None. Of a part of a batch it is the whole batch's, so that
      the parts' losses and gradients add up to the batch's.

  Returns:
    The loss, a float32 scalar, and float32 scalar metrics: `loss` (the same
    number), `z_loss` (its part), `accuracy` (share of tokens whose target has
    the largest logit) and `num_target_tokens` (the sum of the weights). Sums
    run over the whole batch before they are divided, so the loss does not
    depend on how the batch is split over devices. Without any weight all are 0.
  """
  logits = logits.astype(jnp.float32)
  weights = weights.astype(jnp.float32)
  vocab = logits.shape[-1]
  log_z = jax.nn.logsumexp(logits, axis=-1)
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
  correct = (jnp.argmax(logits, axis=-1) == targets).astype(jnp.float32)

  weighted_tokens = weights.sum()
  if num_target_tokens is None:
    num_target_tokens = weighted_tokens
  denominator = jnp.maximum(num_target_tokens, 1.0)
  mean_z_loss = (z_losses * weights).sum() / denominator
  loss = (losses * weights).sum() / denominator + mean_z_loss
  return loss, {
    'loss': loss,
    'z_loss': mean_z_loss,
    'accuracy': (correct * weights).sum() / denominator,
    'num_target_tokens': weighted_tokens,
  }
