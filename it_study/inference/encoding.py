"""Encodes prompts before decoding, each part of a batch at its own length.

Shape letters, as in `it_study.models`:
  B batch     L prompt length     E emb_dim
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from it_study.models import AnyArray, partitioning
from it_study.models.t5 import T5, T5Config


def encode(
  *,
  model: T5,
  params: Any,
  parts: Sequence[Int[AnyArray, '_ _']],
  length: int,
) -> Float[Array, 'B {length} E']:
  """Encodes a batch whose rows are padded to several lengths.

  Compiled once per shape of a part. That saves compiling, too: many
  combinations of parts have few shapes.

  Args:
    model: Model to encode with; only its configuration is used.
    params: Parameters of the model, without the outer 'params' key.
    parts: Consecutive rows of the batch, [B_i, L_i] each, padded with 0.
    length: Length of the result, at least the largest `L_i`.

  Returns:
    The encoder's output in the compute dtype, zeros beyond a part's own length.
  """
  mesh = partitioning.mesh_of(params)
  encoded = [
    _encode(params, tokens, config=model.config, mesh=mesh) for tokens in parts
  ]
  if [array.shape[1] for array in encoded] == [length]:
    return encoded[0]
  return _join(tuple(encoded), length=length, mesh=mesh)


@functools.partial(jax.jit, static_argnames=('config', 'mesh'))
def _encode(
  params: Any, tokens: Int[Array, 'B L'], *, config: T5Config, mesh: Mesh | None
) -> Float[Array, 'B L E']:
  apply: Callable[..., Any] = T5(config).apply
  with partitioning.activation_sharding(mesh):
    return apply({'params': params}, tokens, method='encode')


@functools.partial(jax.jit, static_argnames=('length', 'mesh'))
def _join(
  parts: tuple[Float[Array, '_ _ E'], ...], *, length: int, mesh: Mesh | None
) -> Float[Array, 'B {length} E']:
  joined = jnp.concatenate(
    [
      jnp.pad(part, ((0, 0), (0, length - part.shape[1]), (0, 0)))
      for part in parts
    ]
  )
  if mesh is None:
    return joined
  return jax.lax.with_sharding_constraint(
    joined, partitioning.batch_sharding(mesh)
  )
