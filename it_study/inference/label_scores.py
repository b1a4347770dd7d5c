"""Log-likelihoods of the labels in a prompt's label space.

Shape letters, as in `it_study.models`:
  B batch     L prompt length     T label length     Y labels of a prompt
  E emb_dim
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int

from it_study.models import AnyArray, partitioning
from it_study.models.t5 import PAD_ID, T5, T5Config


def score_labels(
  *,
  model: T5,
  params: Any,
  encoder_input_tokens: Int[AnyArray, 'B L'],
  labels: Int[AnyArray, 'B Y T'],
  encoded: Float[Array, 'B L E'] | None = None,
) -> Float32[Array, 'B Y']:
  """Scores labels after prompts; encodes and projects each prompt once.

  Args:
    model: Model to score with; only its configuration is used.
    params: Parameters of the model, without the outer 'params' key.
    encoder_input_tokens: Prompts, padded with 0.
    labels: Tokens of each prompt's labels, end of sequence included, padded
      with 0. Labels of padding alone fill up the array.
    encoded: Encoded prompts, if already computed.

  Returns:
    Sums of the tokens' log-probabilities, in nats; 0 for a label of padding
    alone.
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
  prompts: Int[Array, 'B L'],
  labels: Int[Array, 'B Y T'],
  encoded: Float[Array, 'B L E'] | None,
  *,
  config: T5Config,
  mesh: Mesh | None,
) -> Float32[Array, 'B Y']:
  apply: Callable[..., Any] = functools.partial(
    T5(config).apply, {'params': params}
  )
  with partitioning.activation_sharding(mesh):
    if encoded is None:
      encoded = apply(prompts, method='encode')
    # Once, not for every label.
    projected = apply(encoded, method='project_prompts')

    def score(targets: Int[Array, 'B T']) -> Float32[Array, ' B']:
      """Scores one label of each prompt."""
      shifted = jnp.pad(targets[:, :-1], ((0, 0), (1, 0)))
      logits = apply(
        projected, prompts, shifted, targets, method='score_targets'
      )  # [B, T, V]
      chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
      likelihoods = chosen - jax.nn.logsumexp(logits, axis=-1)  # [B, T]
      return jnp.sum(jnp.where(targets == PAD_ID, 0.0, likelihoods), axis=-1)

    # One at a time: the logits of all labels at once would be Y times as large.
    scores = jax.lax.map(score, labels.swapaxes(0, 1))  # [Y, B]
  return scores.T
