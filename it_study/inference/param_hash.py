"""A fingerprint of parameters, computed on their devices."""

import hashlib
import json
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Shaped, UInt32
import numpy as np

from it_study import distributed

# Four arbitrary numbers: four such sums agree by chance once in 2^128.
_LANES = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


def fingerprint(params: Any) -> str:
  """Returns a hash of the names, shapes, dtypes and bits of a tree of arrays.

  It does not depend on the number of devices or the sharding, as sums of
  integers do not depend on their order. Any change of a bit changes it. It
  guards against accidents, not against forgery.

  Args:
    params: Tree of arrays of 8, 16 or 32 bits per element.

  Returns:
    64 hexadecimal digits.
  """
  leaves = jax.tree_util.tree_leaves_with_path(params)
  sums = distributed.computed(_sums, (leaf for _, leaf in leaves))
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
def _sums(array: Shaped[Array, '...']) -> UInt32[Array, '4']:
  """Returns four sums over an array's bits, each mixed with its position."""
  unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[array.dtype.itemsize]
  bits = lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)
  position = jnp.zeros(array.shape, jnp.uint32)
  for axis, size in enumerate(array.shape):
    axis_position = lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    position = position * jnp.uint32(size) + axis_position
  return jnp.stack(
    [
      jnp.sum(_mix(bits ^ _mix(position ^ jnp.uint32(lane))), dtype=jnp.uint32)
      for lane in _LANES
    ]
  )


def _mix(bits: UInt32[Array, '*shape']) -> UInt32[Array, '*shape']:
  """MurmurHash3's finaliser (Appleby, 2011), a bijection on 32 bits."""
  bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
  bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
  return bits ^ (bits >> 16)
