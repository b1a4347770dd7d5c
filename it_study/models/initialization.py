"""Draws initial parameters, by one small program for each kind and shape.

A single program for all of them takes minutes to compile for a large model: it
has a random generator for every matrix, though most are alike.
"""

from collections.abc import Callable
import contextvars
import dataclasses
import functools
from typing import Any, Literal

from flax import linen as nn
import jax
import jax.extend.core
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32
import numpy as np

_Record = list[tuple[jax.Array, jax.Array, 'Draw']]
_record: contextvars.ContextVar[_Record | None] = contextvars.ContextVar(
  'record', default=None
)


@dataclasses.dataclass(frozen=True)
class Draw:
  """How a parameter is drawn, given a key.

  Attributes:
    initializer: Function of a key, the shape and the dtype. Equal draws share a
      program, so parameters of one kind should have the same object here.
    shape: Shape of the parameter.
    dtype: Type of the parameter.
  """

  initializer: nn.initializers.Initializer
  shape: tuple[int, ...]
  dtype: str

  def __call__(self, key: Key[Array, '']) -> Float[Array, '...']:
    return self.initializer(key, self.shape, self.dtype)


@functools.cache
def variance_scaling(
  scale: float,
  mode: Literal['fan_in', 'fan_out', 'fan_avg'],
  distribution: Literal['truncated_normal', 'normal', 'uniform'],
) -> nn.initializers.Initializer:
  """Flax's initializer; returns the same object for the same arguments."""
  return nn.initializers.variance_scaling(scale, mode, distribution)


def partitioned(
  initializer: nn.initializers.Initializer, axes: tuple[str | None, ...]
) -> Callable[..., Any]:
  """Returns an initializer for `Module.param` that attaches logical axis names.

  Like `nn.with_logical_partitioning`, but visible to `keys_and_draws`.
  """

  def init(key, shape, dtype):
    draw = Draw(initializer, tuple(shape), jnp.dtype(dtype).name)
    record = _record.get()
    if record is None:
      return draw(key)
    stand_in = jnp.zeros(shape, dtype)
    record.append((stand_in, key, draw))
    return stand_in

  return nn.with_logical_partitioning(init, axes)


def keys_and_draws(
  init: Callable[[jax.Array], Any],
) -> tuple[Callable[[np.uint32], list[np.ndarray]], list[Draw]]:
  """Returns the key and the draw of every parameter of a model.

  Args:
    init: Function from a uint32 seed to the tree of parameters, all of them
      `partitioned`.

  Returns:
    A function from a seed to the key data of each leaf, as uint32 NumPy arrays,
    and the draw of each leaf, both in the tree's order.
  """
  draws: list[Draw] = []

  def keys(seed):
    record: _Record = []
    token = _record.set(record)
    try:
      params = init(seed)
    finally:
      _record.reset(token)
    by_leaf = {id(stand_in): (key, draw) for stand_in, key, draw in record}
    recorded = [by_leaf[id(leaf)] for leaf in jax.tree.leaves(params)]
    draws.extend(draw for _, draw in recorded)
    return [jax.random.key_data(key) for key, _ in recorded]

  run_keys = _without_idle_steps(jax.make_jaxpr(keys)(np.uint32(0)))
  # NumPy arrays can be passed to one program by several processes.
  return lambda seed: [np.asarray(key) for key in run_keys(seed)], draws


@functools.cache
def program(
  draw: Draw, sharding: jax.sharding.Sharding
) -> Callable[[UInt32[np.ndarray, ' words']], Float[Array, '...']]:
  """Returns the jitted draw, a function of a key's data."""
  return jax.jit(
    lambda data: draw(jax.random.wrap_key_data(data)), out_shardings=sharding
  )


def _without_idle_steps(
  traced: jax.extend.core.ClosedJaxpr,
) -> Callable[..., list[Any]]:
  """Returns a traced function that runs only what its results need.

  It runs one operation at a time. Compiled as one program, hundreds of equal
  operations would each be compiled separately.
  """
  jaxpr = traced.jaxpr
  wanted, steps = set(jaxpr.outvars), []
  for step in reversed(jaxpr.eqns):
    if wanted.intersection(step.outvars):
      steps.append(step)
      wanted.update(
        var
        for var in step.invars
        if not isinstance(var, jax.extend.core.Literal)
      )
  return jax.extend.core.jaxpr_as_fun(
    traced.replace(jaxpr=jaxpr.replace(eqns=steps[::-1]))
  )
