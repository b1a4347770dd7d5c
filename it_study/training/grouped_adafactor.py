"""Adafactor for GPUs: all layers' equal tensors are updated together.

Alone, a tensor takes about ten small kernels, most of which do next to nothing:
for T5 large thousands, whose launching costs more than their work. Here those
of a group, such as the queries' kernel of all the encoder's layers, are handled
as one stacked array. XLA does not write it: its kernels read the tensors.
"""

from collections.abc import Sequence
import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

_EPSILON = 1e-30
_LAYER = re.compile(r'\blayers_(\d+)\b')


@dataclasses.dataclass(frozen=True)
class FactoredRms:
  """Settings of `optax.scale_by_factored_rms`, which the names are from."""

  decay_rate: float
  step_offset: int
  min_dim_size_to_factor: int


def stack_layers(tree: Any) -> list[jax.Array]:
  """Returns each group of leaves, stacked on a new first axis.

  Leaves are of a group if their shapes are equal and their paths differ in the
  layer's number alone:

    {'layers_0': {'wi': a}, 'layers_1': {'wi': b}, 'norm': c} -> [[a, b], [c]]
  """
  leaves = jax.tree.leaves(tree)
  return [
    jnp.stack([leaves[index] for index in group]) for group in _groups(tree)
  ]


def grouped(
  settings: FactoredRms, rest: optax.GradientTransformation
) -> optax.GradientTransformation:
  """Returns `optax.chain(optax.scale_by_factored_rms(…), *rest)`, grouped.

  The state is that of the chain, the updates are too, but for the order in
  which means are summed.

  Args:
    settings: Settings of the first transformation.
    rest: Chain of the others. Each treats every tensor alone, and none has a
      state for each tensor.
  """
  first = optax.scale_by_factored_rms(**dataclasses.asdict(settings))

  def init(params: Any) -> tuple[Any, ...]:
    return first.init(params), *rest.init(params)

  def update(
    gradients: Any, state: tuple[Any, ...], params: Any
  ) -> tuple[Any, tuple[Any, ...]]:
    factored, *rest_state = state
    structure = jax.tree.structure(params)
    moments = [
      _Moments(*leaves)
      for leaves in zip(
        *map(jax.tree.leaves, (factored.v_row, factored.v_col, factored.v)),
        strict=True,
      )
    ]
    # As Optax writes it, to the bit.
    step = jnp.array(factored.count - settings.step_offset + 1, jnp.float32)
    decay = 1.0 - step**-settings.decay_rate
    update_rest = jax.vmap(
      rest.update, in_axes=(0, None, 0), out_axes=(0, None)
    )
    updates: list[Any] = [None] * len(moments)
    for group, gradient, param in zip(
      _groups(params),
      stack_layers(gradients),
      stack_layers(params),
      strict=True,
    ):
      scaled, group_moments = _scale(
        gradient, [moments[i] for i in group], decay, settings
      )
      scaled, new_rest_state = update_rest(scaled, tuple(rest_state), param)
      for position, index in enumerate(group):
        updates[index] = scaled[position]
        moments[index] = group_moments[position]
    factored = factored._replace(
      count=optax.safe_increment(factored.count),
      v_row=jax.tree.unflatten(structure, [m.row for m in moments]),
      v_col=jax.tree.unflatten(structure, [m.column for m in moments]),
      v=jax.tree.unflatten(structure, [m.whole for m in moments]),
    )
    return jax.tree.unflatten(structure, updates), (factored, *new_rest_state)

  return optax.GradientTransformation(init, update)


@dataclasses.dataclass(frozen=True)
class _Moments:
  """Second moments of one tensor; those not in use have one element."""

  row: jax.Array
  column: jax.Array
  whole: jax.Array


def _groups(tree: Any) -> list[list[int]]:
  """Returns the positions of each group's leaves, in the order of layers.

  It is the order in which a loop over layers stacks their gradients, which then
  are one array already.
  """
  groups: dict[Any, list[tuple[int, int]]] = {}
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  for index, (path, leaf) in enumerate(leaves):
    name = jax.tree_util.keystr(path)
    layer = _LAYER.search(name)
    number = int(layer[1]) if layer else 0
    group = _LAYER.sub('layers', name), jnp.shape(leaf)
    groups.setdefault(group, []).append((number, index))
  return [[index for _, index in sorted(group)] for group in groups.values()]


def _scale(
  gradient: jax.Array,
  moments: Sequence[_Moments],
  decay: jax.Array,
  settings: FactoredRms,
) -> tuple[jax.Array, list[_Moments]]:
  """Divides a group's gradients by the root of their second moments.

  Moments are updated one by one, and stacked afterwards: the other way round,
  XLA copies each.
  """

  def mix(old: Sequence[jax.Array], new: jax.Array) -> list[jax.Array]:
    return [
      decay * left + (1.0 - decay) * right
      for left, right in zip(old, new, strict=True)
    ]

  square = gradient * gradient + _EPSILON
  axes = _factored_axes(gradient.shape[1:], settings.min_dim_size_to_factor)
  if axes is None:
    wholes = mix([m.whole for m in moments], square)
    return gradient * jnp.stack(wholes) ** -0.5, [
      dataclasses.replace(m, whole=whole)
      for m, whole in zip(moments, wholes, strict=True)
    ]
  smaller, larger = axes
  rows = mix([m.row for m in moments], square.mean(larger + 1))
  columns = mix([m.column for m in moments], square.mean(smaller + 1))
  row = jnp.stack(rows)
  mean_axis = smaller if smaller > larger else smaller + 1
  row_factor = (row / row.mean(mean_axis, keepdims=True)) ** -0.5
  column_factor = jnp.stack(columns) ** -0.5
  scaled = (
    gradient
    * jnp.expand_dims(row_factor, larger + 1)
    * jnp.expand_dims(column_factor, smaller + 1)
  )
  return scaled, [
    dataclasses.replace(m, row=row, column=column)
    for m, row, column in zip(moments, rows, columns, strict=True)
  ]


def _factored_axes(
  shape: tuple[int, ...], min_size: int
) -> tuple[int, int] | None:
  """Returns the second largest axis and the largest, as Optax orders them."""
  if len(shape) < 2:
    return None
  smaller, larger = (int(axis) for axis in np.argsort(shape)[-2:])
  return (smaller, larger) if shape[smaller] >= min_size else None
