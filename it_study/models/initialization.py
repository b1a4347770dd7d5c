"""Initial parameters, drawn by one small program for each kind and shape.

One program that draws them all takes minutes to compile for a large model: it
has a random generator for every matrix, though most are alike.
"""

from collections.abc import Callable
import contextvars
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

_record: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar(
  'record', default=None
)


@dataclasses.dataclass(frozen=True)
class Draw:
  """How a parameter is drawn, given a key.

  Attributes:
    initializer: called with a key, the shape and the type. Equal draws share a
      program, so it had better be the same object for parameters of one kind.
    shape: of the parameter.
    dtype: of the parameter.
  """

  initializer: nn.initializers.Initializer
  shape: tuple[int, ...]
  dtype: str

  def __call__(self, key: jax.Array) -> jax.Array:
    return self.initializer(key, self.shape, self.dtype)


@functools.cache
def variance_scaling(
  scale: float, mode: str, distribution: str
) -> nn.initializers.Initializer:
  """Flax's initializer of that name, the same object for the same arguments."""
  return nn.initializers.variance_scaling(scale, mode, distribution)


def partitioned(
  initializer: nn.initializers.Initializer, axes: tuple[str | None, ...]
) -> Callable[..., Any]:
  """An initializer for `Module.param` that boxes with logical axis names.

  Like `nn.with_logical_partitioning`, but `keys_and_draws` sees it.
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
  """What every parameter of a model is drawn with.

  Args:
    init: from a seed, uint32, to the tree of parameters, all `partitioned`.

  Returns:
    A function from a seed to the key data of each leaf, uint32 numpy arrays,
    and how each is drawn, both in the tree's order.
  """
  draws = []

  def keys(seed):
    token = _record.set([])
    try:
      params = init(seed)
      record = _record.get()
    finally:
      _record.reset(token)
    drawn = {id(stand_in): (key, draw) for stand_in, key, draw in record}
    found = [drawn[id(leaf)] for leaf in jax.tree.leaves(params)]
    draws.extend(draw for _, draw in found)
    return [jax.random.key_data(key) for key, _ in found]

  needed = _needed(jax.make_jaxpr(keys)(np.uint32(0)))
  # Numpy's, which several processes may give to one program.
  return lambda seed: [np.asarray(key) for key in needed(seed)], draws


@functools.cache
def program(
  draw: Draw, sharding: jax.sharding.Sharding
) -> Callable[[jax.Array], jax.Array]:
  """The jitted draw, from a key's data, its result placed as stated."""
  return jax.jit(
    lambda data: draw(jax.random.wrap_key_data(data)), out_shardings=sharding
  )


def _needed(traced: jax.extend.core.ClosedJaxpr) -> Callable[..., list[Any]]:
  """A traced function, one operation after the other, without idle ones.

  Compiled in one program, hundreds of operations of a kind would each be
  compiled for themselves.
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
