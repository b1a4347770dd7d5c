"""A fingerprint of parameters, computed where they lie."""

import hashlib
import json
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

# Any four numbers: sums that begin differently agree by chance once in 2^128.
_LANES = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


def fingerprint(params: Any) -> str:
  """A hash of names, shapes, dtypes and bits of a tree of arrays.

  It is the same on any number of devices and however the arrays are split, as
  whole numbers add up to the same in any order; a single bit that differs
  changes it. It is made against accidents, not against forgers.

  Args:
    params: a tree of arrays of 8, 16 or 32 bits an element.

  Returns:
    64 hexadecimal digits.
  """
  leaves = jax.tree_util.tree_leaves_with_path(params)
  # All are started before any is waited for.
  sums = [_sums(leaf) for _, leaf in leaves]
  lines = [
    [
      jax.tree_util.keystr(path, simple=True, separator='/'),
      list(leaf.shape),
      str(leaf.dtype),
      np.asarray(of_leaf).tolist(),
    ]
    for (path, leaf), of_leaf in zip(leaves, sums, strict=True)
  ]
  return hashlib.sha256(json.dumps(sorted(lines)).encode()).hexdigest()


@jax.jit
def _sums(array: jax.Array) -> jax.Array:
  """Four sums over an array's bits, each mixed with its place; uint32 [4]."""
  unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[array.dtype.itemsize]
  bits = lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)
  place = jnp.zeros(array.shape, jnp.uint32)
  for axis, size in enumerate(array.shape):
    axis_place = lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    place = place * jnp.uint32(size) + axis_place
  return jnp.stack(
    [
      jnp.sum(_mix(bits ^ _mix(place ^ jnp.uint32(lane))), dtype=jnp.uint32)
      for lane in _LANES
    ]
  )


def _mix(bits: jax.Array) -> jax.Array:
  """MurmurHash3's finaliser (Appleby, 2011): one to one on 32 bits."""
  bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
  bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
  return bits ^ (bits >> 16)
