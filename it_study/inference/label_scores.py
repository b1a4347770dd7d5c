"""Log-likelihood of every label of a prompt's label space."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from it_study.models import partitioning
from it_study.models.t5 import PAD_ID, T5, T5Config


def score_labels(
  *,
  model: T5,
  params: Any,
  encoder_input_tokens: jax.Array,
  labels: jax.Array,
  encoded: jax.Array | None = None,
) -> jax.Array:
  """Scores labels after prompts; a prompt is encoded and projected once.

  Args:
    model: the model; only its configuration matters.
    params: its parameters, without the outer 'params' key.
    encoder_input_tokens: int32 `[B, L]`, padded with 0.
    labels: int32 `[B, M, T]`, tokens of each prompt's labels, end of sequence
      included, padded with 0; a label of padding alone fills up.
    encoded: `[B, L, E]`, where the prompts are encoded already.

  Returns:
    float32 `[B, M]`: sums of the tokens' log-probabilities, in nats; 0 for a
    label of padding alone.
  """
  return _score_labels(
    params,
    encoder_input_tokens,
    labels,
    encoded,
    config=model.config,
    mesh=partitioning.mesh_of(params),
  )


@functools.partial(jax.jit, static_argnames=('config', 'mesh'))
def _score_labels(
  params: Any,
  prompts: jax.Array,
  labels: jax.Array,
  encoded: jax.Array | None,
  *,
  config: T5Config,
  mesh: Mesh | None,
) -> jax.Array:
  apply = functools.partial(T5(config).apply, {'params': params})
  with contextlib.ExitStack() as stack:
    if mesh is not None:
      stack.enter_context(partitioning.activation_sharding(mesh))
    if encoded is None:
      encoded = apply(prompts, method='encode')  # [B, L, E]
    # Once, not for every label.
    projected = apply(encoded, method='project_prompts')

    def score(targets):
      """Of one label a prompt: `[B, T] -> [B]`."""
      shifted = jnp.pad(targets[:, :-1], ((0, 0), (1, 0)))
      logits = apply(
        projected, prompts, shifted, targets, method='score_targets'
      )  # [B, T, V]
      chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
      likelihoods = chosen - jax.nn.logsumexp(logits, axis=-1)  # [B, T]
      return jnp.sum(jnp.where(targets == PAD_ID, 0.0, likelihoods), axis=-1)

    # One after the other: logits of all labels at once would be M times as
    # large.
    scores = jax.lax.map(score, labels.swapaxes(0, 1))  # [M, B]
  return scores.T
