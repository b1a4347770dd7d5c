"""Parameters in the type that they are computed with, for inference."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from it_study.models.config import T5Config

# Used in float32 whatever the dtype: the bias of attention and the product that
# gives the logits.
_FLOAT32 = ('rel_embedding', 'logits_dense')


def to_compute_dtype(params: Any, config: T5Config) -> Any:
  """Casts what every use of it would cast; the model gives the same bits.

  In bfloat16 it is half of the memory, and half of what a decoding step reads.

  Args:
    params: the model's, nested dict of float32 arrays, or of their shapes.
      Arrays that are cast are deleted one by one, so that no two of them are
      held in both types.
    config: of the model.

  Returns:
    A tree like it, each array split over its devices as it was.
  """
  return jax.tree_util.tree_map_with_path(
    functools.partial(_cast, config=config), params
  )


def _cast(
  path: tuple[Any, ...],
  leaf: jax.Array | jax.ShapeDtypeStruct,
  *,
  config: T5Config,
) -> jax.Array | jax.ShapeDtypeStruct:
  names = jax.tree_util.keystr(path, simple=True, separator='/').split('/')
  # A table that gives the logits too does so in float32.
  is_tied_table = config.logits_via_embedding and 'token_embedder' in names
  if is_tied_table or not set(_FLOAT32).isdisjoint(names):
    return leaf
  return _to_dtype(leaf, config.dtype)


def _to_dtype(
  leaf: jax.Array | jax.ShapeDtypeStruct, dtype: str
) -> jax.Array | jax.ShapeDtypeStruct:
  if isinstance(leaf, jax.ShapeDtypeStruct):
    return leaf.update(dtype=jnp.dtype(dtype))
  if leaf.dtype == dtype:
    return leaf
  cast = jax.block_until_ready(leaf.astype(dtype))
  leaf.delete()
  return cast
