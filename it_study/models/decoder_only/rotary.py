"""Rotary position embeddings.

Shape letters, as in `it_study.models` and `it_study.models.decoder_only`:
  B batch     L any length     H heads     D head_dim     F head_dim / 2
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int
import numpy as np

from it_study.models import AnyArray
from it_study.models.decoder_only.config import Rope

# Cosines and sines of the positions of rows, [B, L, F].
Rotation = tuple[Float32[Array, '_ _ F'], Float32[Array, '_ _ F']]


def rotation(
  rope: Rope, positions: Int[AnyArray, 'B L'], *, head_dim: int
) -> Rotation:
  """Returns the cosines and sines that rotate queries and keys."""
  angles = jnp.asarray(positions, jnp.float32)[..., None] * frequencies(
    rope, head_dim=head_dim
  )  # [B, L, F]
  return jnp.cos(angles), jnp.sin(angles)


def rotate(
  x: Float[Array, 'B H L D'], rotation: Rotation
) -> Float[Array, 'B H L D']:
  """Rotates each pair of a head by its angle, in float32."""
  cos, sin = (part[:, None] for part in rotation)  # [B, 1, L, F]
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  ).astype(x.dtype)


def frequencies(rope: Rope, *, head_dim: int) -> Float32[np.ndarray, ' F']:
  """Returns the angle per token of each pair, in radians.

  >>> frequencies(Rope(base=100.0), head_dim=4).tolist()
  [1.0, 0.10000000149011612]
  """
  exponents = np.arange(0, head_dim, 2, dtype=np.float32) / head_dim
  plain = (1.0 / np.float32(rope.base) ** exponents).astype(np.float32)
  if rope.scaling == 'linear':
    return (plain / np.float32(rope.factor)).astype(np.float32)
  if rope.scaling == 'llama3':
    return _llama3(plain, rope)
  return plain


def _llama3(
  plain: Float32[np.ndarray, ' F'], rope: Rope
) -> Float32[np.ndarray, ' F']:
  """Divides low frequencies; source: Llama 3.1's `apply_scaling`."""
  turns = rope.original_length * plain / (2 * math.pi)
  low, high = rope.low_frequency_factor, rope.high_frequency_factor
  # 0 where the frequency is divided by the whole factor, 1 where not at all.
  kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
  return ((1 - kept) * plain / rope.factor + kept * plain).astype(np.float32)
