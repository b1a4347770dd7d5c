"""Prompts encoded before they are decoded, each about as long as it is."""

from collections.abc import Sequence
import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config


def encode(
  *, model: T5, params: Any, parts: Sequence[jax.Array], length: int
) -> jax.Array:
  """Encodes a batch whose rows are padded to several lengths.

  Compiled once for each shape of a part, which saves compiling as well: many
  combinations of parts have few shapes.

  Args:
    model: the model; only its configuration matters.
    params: its parameters, without the outer 'params' key.
    parts: int32 `[B_i, L_i]`, the batch's rows in succession, padded with 0.
    length: L, at least every `L_i`.

  Returns:
    `[sum B_i, L, E]` in the model's compute dtype: the encoder's output, zeros
    beyond a part's own length.
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
  params: Any, tokens: jax.Array, *, config: T5Config, mesh: Mesh | None
) -> jax.Array:
  """`[B, L] -> [B, L, E]`."""
  with contextlib.ExitStack() as stack:
    if mesh is not None:
      stack.enter_context(partitioning.activation_sharding(mesh))
    return T5(config).apply({'params': params}, tokens, method='encode')


@functools.partial(jax.jit, static_argnames=('length', 'mesh'))
def _join(
  parts: tuple[jax.Array, ...], *, length: int, mesh: Mesh | None
) -> jax.Array:
  """`[B_i, L_i, E]` -> `[sum B_i, length, E]`."""
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
