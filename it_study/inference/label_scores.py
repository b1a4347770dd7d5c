"""Log-likelihoods of the labels in a prompt's label space.

Shape letters, as in `it_study.models`:
  B batch     L prompt length     T label length     Y labels of a prompt
  E emb_dim
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int

from it_study.inference import encoding, token_loop
from it_study.models import AnyArray, Model, partitioning

# Most tokens of a prompt's labels that share a pass through a causal model. All
# attend to the whole prompt, so more of them take more memory.
_CHUNK_TOKENS = 128


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
    labels: Tokens of each prompt's labels, at least one, end of sequence
      included, padded with `config.pad_id`. Labels of padding alone fill up the
      array.
    encoded: Result of the model's `encode`, if already computed.
    ends: Tokens that end an answer, that of the labels first, if there are
      several; see `token_loop.merge_ends`.

  Returns:
    Sums of the tokens' log-probabilities, in nats; 0 for a label of padding
    alone.
  """
  mesh = partitioning.mesh_of(params)
  score = _scores if encoding.is_by_layer(model, mesh) else _scores_at_once
  return score(
    params,
    encoder_input_tokens,
    labels,
    encoded,
    model=model,
    ends=ends,
    mesh=mesh,
  )


def is_one_pass(
  model: Model, mesh: Mesh | None, labels: Int[AnyArray, 'B Y T']
) -> bool:
  """Whether labels are scored in one pass with their prompts.

  Then nothing of the prompts is kept. Devices other than CPUs read prompts with
  a kernel of their own, and many labels would not share a pass.
  """
  _, number, length = labels.shape
  return encoding.is_by_layer(model, mesh) and number * length <= _CHUNK_TOKENS


def score_in_one_pass(
  *,
  model: Model,
  params: Any,
  parts: Sequence[encoding.Rests],
  labels: Int[AnyArray, 'B Y T'],
  ends: tuple[int, ...] = (),
) -> Float32[Array, 'B Y']:
  """Scores labels after prompts, which are read together with them.

  Args:
    model: Model to score with; only its configuration is used.
    params: Parameters of the model, without the outer 'params' key.
    parts: Consecutive rows of the batch, whose beginnings are encoded.
    labels: As for `score_labels`.
    ends: As for `score_labels`.

  Returns:
    As `score_labels`.
  """
  hidden, start = [], 0
  for part in parts:
    rows = slice(start, start + len(part.tokens))
    start = rows.stop
    hidden.append(
      encoding.read_with_targets(part, labels[rows], model=model, params=params)
    )
  return _log_likelihoods(
    params, jnp.concatenate(hidden), labels, model=model, ends=ends
  )


def _scores(
  params: Any,
  prompts: Int[AnyArray, 'B L'],
  labels: Int[AnyArray, 'B Y T'],
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
    first = apply(prompts, method='first_tokens')

    def score(targets: Int[Array, 'B chunk T']) -> Float32[Array, 'B chunk']:
      begin = jnp.broadcast_to(first[:, None, None], (*targets.shape[:2], 1))
      shifted = jnp.concatenate([begin, targets[..., :-1]], axis=-1)
      hidden = apply(
        projected, prompts, shifted, targets, method='read_targets'
      )
      return _log_likelihoods(params, hidden, targets, model=model, ends=ends)

    chunks = _in_chunks(jnp.asarray(labels), model)
    if encoding.is_by_layer(model, mesh):
      scores = jnp.stack([score(chunk) for chunk in chunks])
    else:
      scores = jax.lax.map(score, chunks)
  rows, num_labels, _ = labels.shape
  return scores.swapaxes(0, 1).reshape(rows, -1)[:, :num_labels]


_scores_at_once = jax.jit(_scores, static_argnames=('model', 'ends', 'mesh'))


def _in_chunks(
  labels: Int[Array, 'B Y T'], model: Model
) -> Int[Array, 'chunks B chunk T']:
  """Divides the labels of each prompt, and fills the last chunk up.

  The labels of a chunk share a pass through a causal model.
  """
  rows, number, length = labels.shape
  most = 1
  if model.config.has_causal_prompts:
    most = max(_CHUNK_TOKENS // length, 1)
  num_chunks = -(-number // most)
  size = -(-number // num_chunks)
  padded = jnp.pad(
    labels,
    ((0, 0), (0, num_chunks * size - number), (0, 0)),
    constant_values=model.config.pad_id,
  )
  return padded.reshape(rows, num_chunks, size, length).swapaxes(0, 1)


@functools.partial(jax.jit, static_argnames=('model', 'ends'))
def _log_likelihoods(
  params: Any,
  hidden: Float[Array, 'B Y T E'],
  targets: Int[Array, 'B Y T'],
  *,
  model: Model,
  ends: tuple[int, ...],
) -> Float32[Array, 'B Y']:
  apply: Callable[..., Any] = functools.partial(model.apply, {'params': params})

  def score(
    label: tuple[Float[Array, 'B T E'], Int[Array, 'B T']],
  ) -> Float32[Array, ' B']:
    states, tokens = label
    logits = token_loop.merge_ends(apply(states, method='logits'), ends)
    chosen = jnp.take_along_axis(
      logits, jnp.maximum(tokens, 0)[..., None], axis=-1
    )[..., 0]
    likelihoods = chosen - jax.nn.logsumexp(logits, axis=-1)  # [B, T]
    is_padding = tokens == model.config.pad_id
    return jnp.sum(jnp.where(is_padding, 0.0, likelihoods), axis=-1)

  # One at a time: the logits of all labels at once would be Y times as large.
  by_label = hidden.swapaxes(0, 1), targets.swapaxes(0, 1)
  return jax.lax.map(score, by_label).T
