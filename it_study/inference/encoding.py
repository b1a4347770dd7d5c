"""Encodes prompts before decoding, each part of a batch at its own length.

Shape letters, as in `it_study.models`:
  B batch     L prompt length     E emb_dim
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from it_study.models import AnyArray, Model, partitioning


def encode(
  *,
  model: Model,
  params: Any,
  parts: Sequence[Int[AnyArray, '_ _']],
  length: int,
) -> Any:
  """Encodes a batch whose rows are padded to several lengths.

  Compiled once per shape of a part. That saves compiling, too: many
  combinations of parts have few shapes.

  Args:
    model: Model to encode with; only its configuration is used.
    params: Parameters of the model, without the outer 'params' key.
    parts: Consecutive rows of the batch, [B_i, L_i] each, padded with
      `config.pad_id`.
    length: Length of the result, at least the largest `L_i`.

  Returns:
    The result of the model's `encode` for the batch.
  """
  mesh = partitioning.mesh_of(params)
  encoded = [
    _encode(params, tokens, model=model, mesh=mesh) for tokens in parts
  ]
  if [tokens.shape[1] for tokens in parts] == [length]:
    return encoded[0]
  return _join(tuple(encoded), model=model, length=length, mesh=mesh)


@functools.partial(jax.jit, static_argnames=('model', 'mesh'))
def _encode(
  params: Any,
  tokens: Int[Array, 'B L'],
  *,
  model: Model,
  mesh: Mesh | None,
) -> Any:
  apply: Callable[..., Any] = model.apply
  with partitioning.activation_sharding(mesh):
    return apply({'params': params}, tokens, method='encode')


@functools.partial(jax.jit, static_argnames=('model', 'length', 'mesh'))
def _join(
  parts: tuple[Any, ...],
  *,
  model: Model,
  length: int,
  mesh: Mesh | None,
) -> Any:
  joined = model.join(parts, length=length)
  if mesh is None:
    return joined
  return jax.lax.with_sharding_constraint(
    joined, partitioning.batch_sharding(mesh)
  )
