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
from jaxtyping import Array, Float32, Int

from it_study.inference import token_loop
from it_study.models import AnyArray, Model, partitioning


def score_labels(
  *,
  model: Model,
  params: Any,
  encoder_input_tokens: Int[AnyArray, 'B L'],
  labels: Int[AnyArray, 'B Y T'],
  encoded: Any = None,
  ends: tuple[int, ...] = (),
) -> Float32[Array, 'B Y']:
  """Scores labels after prompts; encodes and projects each prompt once.

  Args:
    model: Model to score with; only its configuration is used.
    params: Parameters of the model, without the outer 'params' key.
    encoder_input_tokens: Prompts, padded with `config.pad_id`.
    labels: Tokens of each prompt's labels, end of sequence included, padded
      with `config.pad_id`. Labels of padding alone fill up the array.
    encoded: Result of the model's `encode`, if already computed.
    ends: Tokens that end an answer, that of the labels first, if there are
      several; see `token_loop.merge_ends`.

  Returns:
    Sums of the tokens' log-probabilities, in nats; 0 for a label of padding
    alone.
  """
  return _score_labels(
    params,
    encoder_input_tokens,
    labels,
    encoded,
    model=model,
    ends=ends,
    mesh=partitioning.mesh_of(params),
  )


@functools.partial(jax.jit, static_argnames=('model', 'ends', 'mesh'))
def _score_labels(
  params: Any,
  prompts: Int[Array, 'B L'],
  labels: Int[Array, 'B Y T'],
  encoded: Any,
  *,
  model: Model,
  ends: tuple[int, ...],
  mesh: Mesh | None,
) -> Float32[Array, 'B Y']:
  apply: Callable[..., Any] = functools.partial(model.apply, {'params': params})
  with partitioning.activation_sharding(mesh):
    if encoded is None:
      encoded = apply(prompts, method='encode')
    # Once, not for every label.
    projected = apply(encoded, method='project_prompts')
    first = apply(prompts, method='first_tokens')[:, None]

    def score(targets: Int[Array, 'B T']) -> Float32[Array, ' B']:
      """Scores one label of each prompt."""
      shifted = jnp.concatenate([first, targets[:, :-1]], axis=1)
      logits = apply(
        projected, prompts, shifted, targets, method='score_targets'
      )  # [B, T, V]
      logits = token_loop.merge_ends(logits, ends)
      chosen = jnp.take_along_axis(
        logits, jnp.maximum(targets, 0)[..., None], axis=-1
      )[..., 0]
      likelihoods = chosen - jax.nn.logsumexp(logits, axis=-1)  # [B, T]
      return jnp.sum(
        jnp.where(targets == model.config.pad_id, 0.0, likelihoods), axis=-1
      )

    # One at a time: the logits of all labels at once would be Y times as large.
    scores = jax.lax.map(score, labels.swapaxes(0, 1))  # [Y, B]
  return scores.T
