"""The device mesh, its sharding rules, and the sharding of every array."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import functools
import math
from typing import Any

from flax import linen as nn
import jax
from jax.sharding import (
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)
from jaxtyping import Array, Shaped
import numpy as np

from it_study import distributed
from it_study.errors import InputError
from it_study.models import initialization

MESH_AXES = ('data', 'fsdp', 'model')

# Logical axis -> mesh axis. `data` replicates parameters, `fsdp` shards them
# along the axis that every matrix has, `model` shards heads, MLP and
# vocabulary. `copies` are rows by the copy of the parameters that they belong
# to. Axes that are not listed are not sharded.
LOGICAL_AXIS_RULES = (
  ('batch', ('data', 'fsdp')),
  ('copies', 'data'),
  ('vocab', 'model'),
  ('embed', 'fsdp'),
  ('mlp', 'model'),
  ('heads', 'model'),
  ('joined_kv', 'model'),
  ('kv', None),
  ('relpos_buckets', None),
  ('length', None),
  ('layers', None),
)


def make_mesh(
  *,
  data: int = -1,
  fsdp: int = 1,
  model: int = 1,
  devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """Lays out devices along the axes (data, fsdp, model).

  Args:
    data: Number of devices along which the batch is split and parameters are
      replicated. Here or for one of the others, -1 stands for all devices that
      remain.
    fsdp: Number of devices along which batch and parameters are split.
    model: Number of devices along which the matrices of a layer are split.
    devices: Devices to use; None for all.

  Raises:
    InputError: If the sizes do not multiply to the number of devices, or JAX
      cannot start.
  """
  devices = list(distributed.devices() if devices is None else devices)
  sizes = {'data': data, 'fsdp': fsdp, 'model': model}
  check_mesh_sizes(sizes)
  asked = _describe(sizes)
  open_axes = [name for name, size in sizes.items() if size == -1]
  if len(open_axes) > 1:
    raise InputError(
      f'Mesh {asked}: only one axis can be -1. Set {open_axes[1]} to a '
      'positive integer.'
    )
  fixed = math.prod(size for size in sizes.values() if size != -1)
  if open_axes:
    sizes[open_axes[0]] = len(devices) // fixed
  if math.prod(sizes.values()) != len(devices):
    raise InputError(
      f'Mesh {asked} does not fit {len(devices)} '
      f'{devices[0].platform} device(s): the product must be '
      f'{len(devices)}. Change MESH_DATA, MESH_FSDP or MESH_MODEL.'
    )
  return jax.make_mesh(
    tuple(sizes[axis] for axis in MESH_AXES),
    MESH_AXES,
    axis_types=(AxisType.Auto,) * len(MESH_AXES),
    devices=devices,
  )


def check_mesh_sizes(sizes: Mapping[str, Any]) -> None:
  """Raises `InputError` unless sizes are integers from 1 up, or -1.

  Gin lets other values through.

  Args:
    sizes: Axis name to number of devices.
  """
  for name, size in sizes.items():
    if type(size) is not int or (size != -1 and size < 1):
      raise InputError(
        f'Mesh {_describe(sizes)}: {name} is {size!r}; expected a positive '
        'integer, or -1 for all remaining devices.'
      )


def param_shardings(abstract_variables: Any, mesh: Mesh | AbstractMesh) -> Any:
  """Returns the sharding of each array, by its logical axis names.

  Args:
    abstract_variables: Tree from `jax.eval_shape(model.init, …)`: shapes boxed
      with logical axis names by `nn.with_logical_partitioning`. Leaves without
      names are replicated.
    mesh: Mesh from `make_mesh`.

  Returns:
    The same tree of `NamedSharding`, unboxed. A dimension that its mesh axis
    does not divide evenly is not split.
  """

  def sharding(leaf):
    if not isinstance(leaf, nn.LogicallyPartitioned):
      return replicated(mesh)
    return NamedSharding(mesh, _spec(leaf.names, leaf.value.shape, mesh))

  return jax.tree.map(
    sharding,
    abstract_variables,
    is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned),
  )


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Splits the first axis over `data` and `fsdp`."""
  return NamedSharding(mesh, PartitionSpec(('data', 'fsdp')))


def count_microbatches(
  *, batch_size: int, mesh: Mesh | AbstractMesh, microbatch_size: int | None
) -> int:
  """Returns the number of equal parts that a batch is computed in.

  Args:
    batch_size: Rows in the global batch.
    mesh: Mesh whose `data` and `fsdp` axes split the rows.
    microbatch_size: Maximum number of rows that a device computes at once; None
      for no limit.

  Raises:
    InputError: If the rows cannot be split over the devices, or
      `microbatch_size` is not a positive integer.
  """
  data, fsdp = mesh.shape['data'], mesh.shape['fsdp']
  rows, rest = divmod(batch_size, data * fsdp)
  if rest:
    raise InputError(
      f'batch size {batch_size} cannot be split over {data * fsdp} devices'
      f' (data {data} times fsdp {fsdp}). Use a multiple of {data * fsdp}, or'
      ' a smaller mesh.'
    )
  if microbatch_size is None:
    return 1
  if not isinstance(microbatch_size, int) or microbatch_size < 1:
    raise InputError(
      f'MICROBATCH_SIZE is {microbatch_size!r}; expected the maximum number of'
      ' rows that a device computes at once, or None for no limit.'
    )
  return next(
    parts
    for parts in range(1, rows + 1)
    if rows % parts == 0 and rows // parts <= microbatch_size
  )


def split_rows(
  array: Shaped[Array, ' B *rest'], parts: int, mesh: Mesh
) -> Shaped[Array, '{parts} B//{parts} *rest']:
  """Splits rows into parts without moving any to another device.

  Each part takes an equal share of each device's rows.

  >>> split_rows(jnp.arange(8), 2, mesh_of_two_devices).tolist()
  [[0, 2, 4, 6], [1, 3, 5, 7]]
  """
  array = array.reshape(array.shape[0] // parts, parts, *array.shape[1:])
  return jax.lax.with_sharding_constraint(
    array.swapaxes(0, 1),
    NamedSharding(mesh, PartitionSpec(None, ('data', 'fsdp'))),
  )


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
  """Replicates an array on every device."""
  return NamedSharding(mesh, PartitionSpec())


@contextlib.contextmanager
def activation_sharding(mesh: Mesh | None) -> Iterator[None]:
  """Shards activations by the rules in computations traced inside.

  Enter it around `model.apply`, inside the jitted function. It changes only
  where values are computed. Without it the compiler may shard activations the
  way `fsdp` shards parameters, and then sends activations between devices
  instead of parameters.

  Args:
    mesh: Mesh to shard over; None does nothing.
  """
  if mesh is None:
    yield
    return
  with (
    jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
    nn.logical_axis_rules(LOGICAL_AXIS_RULES),
  ):
    yield


def init_params(*, model: nn.Module, seed: int, mesh: Mesh) -> Any:
  """Draws a model's parameters directly in their sharding.

  The values depend only on the model and the seed, not on the mesh.

  Args:
    model: Module called with three int32 [batch, length] arrays of tokens, such
      as `T5`, whose parameters are `initialization.partitioned`.
    seed: Seed of the draw, taken modulo 2**32.
    mesh: Mesh from `make_mesh`.

  Returns:
    Nested dict of float32 arrays, unboxed, sharded by `LOGICAL_AXIS_RULES`.
  """
  keys, draws, structure = _init_programs(model, mesh)
  return jax.tree.unflatten(
    structure,
    [
      draw(key)
      for draw, key in zip(draws, keys(np.uint32(seed % 2**32)), strict=True)
    ],
  )


def mesh_of(params: Any) -> Mesh | None:
  """Returns the mesh of a tree's first array; None if it is on no mesh."""
  sharding = getattr(jax.tree.leaves(params)[0], 'sharding', None)
  mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
  return mesh if isinstance(mesh, Mesh) else None


def abstract_params(*, model: nn.Module, mesh: Mesh) -> Any:
  """Returns the shapes, types and shardings of a model's parameters.

  Args:
    model: Module as for `init_params`.
    mesh: Mesh from `make_mesh`.

  Returns:
    Nested dict of `jax.ShapeDtypeStruct`, unboxed. Nothing is allocated.
  """
  boxed = _abstract_boxed_params(model)
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    nn.meta.unbox(boxed),
    param_shardings(boxed, mesh),
  )


@functools.lru_cache(maxsize=16)
def _init_programs(
  model: nn.Module, mesh: Mesh
) -> tuple[Callable[[np.uint32], list[np.ndarray]], list[Callable], Any]:
  """Returns the keys of all parameters, by seed, their draws, and their tree.

  Cached because a study draws many seeds of one model.
  """
  boxed = _abstract_boxed_params(model)
  shardings = param_shardings(boxed, mesh)
  keys, draws = initialization.keys_and_draws(
    lambda seed: nn.meta.unbox(_boxed_params(model, seed))
  )
  programs = [
    initialization.program(draw, sharding)
    for draw, sharding in zip(draws, jax.tree.leaves(shardings), strict=True)
  ]
  return keys, programs, jax.tree.structure(shardings)


@functools.lru_cache(maxsize=16)
def _abstract_boxed_params(model: nn.Module) -> Any:
  """Returns shapes and logical axes; tracing a large model takes seconds."""
  return jax.eval_shape(lambda: _boxed_params(model, 0))


def _boxed_params(model: nn.Module, seed: jax.Array | int) -> Any:
  tokens = np.ones((1, 1), np.int32)
  return model.init(jax.random.key(seed), tokens, tokens, tokens)['params']


def _spec(
  names: Sequence[str | None],
  shape: Sequence[int],
  mesh: Mesh | AbstractMesh,
) -> PartitionSpec:
  rules = dict(LOGICAL_AXIS_RULES)
  used = set()
  spec: list[str | tuple[str, ...] | None] = []
  for name, size in zip(names, shape, strict=True):
    axis = None if name is None else rules.get(name)
    if axis is None or axis in used or size % mesh.shape[axis]:
      spec.append(None)
      continue
    used.add(axis)
    spec.append(axis)
  return PartitionSpec(*spec)


def _describe(sizes: Mapping[str, Any]) -> str:
  return ' x '.join(f'{name}={size}' for name, size in sizes.items())
