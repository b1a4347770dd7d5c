"""The mesh of devices, one table of rules, and where each array lives on it."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import math
from typing import Any

from flax import linen as nn
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from it_study.errors import InputError
from it_study.models import initialization

MESH_AXES = ('data', 'fsdp', 'model')

# Logical axis -> mesh axis. `data` copies parameters, `fsdp` shards them along
# the axis that every matrix has, `model` splits heads, MLP and vocabulary. An
# axis that is not named here is not split.
LOGICAL_AXIS_RULES = (
  ('batch', ('data', 'fsdp')),
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
  """Lays devices out on the axes (data, fsdp, model).

  Args:
    data: devices along which the batch is split and parameters are copied; -1,
      here or in one of the others: as many as the rest leaves.
    fsdp: devices along which batch and parameters are split.
    model: devices along which the matrices of a layer are split.
    devices: those to use; all by default.

  Raises:
    InputError: the sizes do not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  sizes = {'data': data, 'fsdp': fsdp, 'model': model}
  asked = ' x '.join(f'{name}={size}' for name, size in sizes.items())
  for name, size in sizes.items():
    if type(size) is not int or (size != -1 and size < 1):
      raise InputError(
        f'Mesh {asked}: {name} is {size!r}; give a number from 1 up, or -1 for '
        'what the others leave.'
      )
  open_axes = [name for name, size in sizes.items() if size == -1]
  if len(open_axes) > 1:
    raise InputError(
      f'Mesh {asked}: only one axis can be -1; give {open_axes[1]} a number.'
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


def param_shardings(abstract_variables: Any, mesh: Mesh) -> Any:
  """The sharding of each array, by its logical axis names.

  Args:
    abstract_variables: tree from `jax.eval_shape(model.init, …)`: shapes boxed
      with logical axis names by `nn.with_logical_partitioning`. A leaf without
      names is replicated.
    mesh: from `make_mesh`.

  Returns:
    The same tree, unboxed, of `NamedSharding`. A dimension that its mesh axis
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
  """Rows split over `data` and `fsdp`, everything else whole."""
  return NamedSharding(mesh, PartitionSpec(('data', 'fsdp')))


def count_microbatches(
  *, batch_size: int, mesh: Mesh, microbatch_size: int | None
) -> int:
  """In how many equal parts a batch is computed.

  Args:
    batch_size: rows of the global batch.
    mesh: whose `data` and `fsdp` split the rows.
    microbatch_size: the most rows that a device computes at once; None is all.

  Raises:
    InputError: the rows cannot be split over the devices, or the size is no
      whole number from 1 up.
  """
  data, fsdp = mesh.shape['data'], mesh.shape['fsdp']
  rows, rest = divmod(batch_size, data * fsdp)
  if rest:
    raise InputError(
      f'batch size {batch_size} cannot be split over {data * fsdp} devices'
      f' (data {data} times fsdp {fsdp}). Give a multiple of {data * fsdp}, or'
      ' a smaller mesh.'
    )
  if microbatch_size is None:
    return 1
  if not isinstance(microbatch_size, int) or microbatch_size < 1:
    raise InputError(
      f'MICROBATCH_SIZE is {microbatch_size!r}: give the most rows that a'
      ' device computes at once, a whole number from 1 up, or None for all.'
    )
  return next(
    parts
    for parts in range(1, rows + 1)
    if rows % parts == 0 and rows // parts <= microbatch_size
  )


def split_rows(array: jax.Array, parts: int, mesh: Mesh) -> jax.Array:
  """`[rows, ...] -> [parts, rows / parts, ...]`, every device keeping its rows.

  A part takes an equal share of each device's rows, so nothing is sent.

  >>> split_rows(jnp.arange(8), 2, mesh_of_two_devices).tolist()
  [[0, 2, 4, 6], [1, 3, 5, 7]]
  """
  array = array.reshape(array.shape[0] // parts, parts, *array.shape[1:])
  return jax.lax.with_sharding_constraint(
    array.swapaxes(0, 1),
    NamedSharding(mesh, PartitionSpec(None, ('data', 'fsdp'))),
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """A copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


@contextlib.contextmanager
def activation_sharding(mesh: Mesh) -> Iterator[None]:
  """Splits activations by the rules in whatever is traced inside.

  Enter it around `model.apply`, inside the function that is jitted. It changes
  no value, only where it is computed: without it the compiler may split
  activations the way `fsdp` splits parameters, and then sends activations
  around in place of parameters.
  """
  with (
    jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
    nn.logical_axis_rules(LOGICAL_AXIS_RULES),
  ):
    yield


def init_params(*, model: nn.Module, seed: int, mesh: Mesh) -> Any:
  """Draws a model's parameters where they will live.

  The values depend on the model and the seed alone, not on the mesh.

  Args:
    model: a module that is called with three int32 `[batch, length]` arrays of
      tokens, such as `T5`; its parameters are `initialization.partitioned`.
    seed: of the draw; its last 32 bits count.
    mesh: from `make_mesh`.

  Returns:
    Nested dict of float32 arrays, without boxes, sharded by
    `LOGICAL_AXIS_RULES`.
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
  """The mesh that parameters lie on; None for arrays that lie on none."""
  sharding = getattr(jax.tree.leaves(params)[0], 'sharding', None)
  return sharding.mesh if isinstance(sharding, NamedSharding) else None


def abstract_params(*, model: nn.Module, mesh: Mesh) -> Any:
  """Shapes, types and shardings of a model's parameters, nothing allocated.

  Args:
    model: as for `init_params`.
    mesh: from `make_mesh`.

  Returns:
    Nested dict of `jax.ShapeDtypeStruct`, without boxes.
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
  """The keys of all parameters, by seed, the draw of each, and their tree.

  A study draws many seeds of one model.
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
  """Shapes and logical axes; tracing a large model takes seconds."""
  return jax.eval_shape(lambda: _boxed_params(model, 0))


def _boxed_params(model: nn.Module, seed: jax.Array | int) -> Any:
  tokens = np.ones((1, 1), np.int32)
  return model.init(jax.random.key(seed), tokens, tokens, tokens)['params']


def _spec(
  names: Sequence[str | None], shape: Sequence[int], mesh: Mesh
) -> PartitionSpec:
  rules = dict(LOGICAL_AXIS_RULES)
  used, spec = set(), []
  for name, size in zip(names, shape, strict=True):
    axis = rules.get(name)
    if axis is None or axis in used or size % mesh.shape[axis]:
      spec.append(None)
      continue
    used.add(axis)
    spec.append(axis)
  return PartitionSpec(*spec)
