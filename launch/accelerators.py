"""Cloud TPU slices: one table with the properties of each type."""

from collections.abc import Mapping
import dataclasses
import functools
import math

from it_study.errors import InputError, nearest

_GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerator:
  """A slice of a Cloud TPU.

  Attributes:
    name: Accelerator type, such as 'v5litepod-16'.
    version: Version of the TPU, such as 'v5e'.
    topology: Chips along each axis of the interconnect, such as '4x4'.
    chips: Number of chips.
    cores_per_chip: Number of TensorCores of a chip.
    devices: Number of JAX devices.
    hosts: Number of virtual machines; each runs one process.
    memory_per_chip: High-bandwidth memory of a chip, in bytes.
    runtime: TPU software version that suits JAX.
  """

  name: str
  version: str
  topology: str
  chips: int
  cores_per_chip: int
  devices: int
  hosts: int
  memory_per_chip: int
  runtime: str

  @property
  def slice_name(self) -> str:
    """Name of the slice for compilers, such as 'v5e:4x4'."""
    return f'{self.version}:{self.topology}'

  def describe(self) -> str:
    """Returns a short description."""
    return (
      f'{self.name}: {self.chips} chip{"" if self.chips == 1 else "s"} '
      f'({self.topology}) of {self.memory_per_chip / _GIB:.0f} GiB on '
      f'{self.hosts} host{"" if self.hosts == 1 else "s"}'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Version:
  """Properties that all slices of a version share."""

  prefix: str
  # Whether a type's number counts TensorCores; else it counts chips.
  counts_cores: bool
  cores_per_chip: int
  # A chip of two cores is one device from v4 on ("megacore").
  devices_per_chip: int
  memory_gib: int
  # Maximum number of chips of a slice with a single host.
  chips_of_a_single_host: int
  runtime: str
  topologies: tuple[str, ...]


# Sources: Google Cloud's pages on TPU versions, cloud.google.com/tpu/docs/v2,
# v3, v4, v5e, v5p, v6e (chips, cores, memory, shapes, hosts) and
# cloud.google.com/tpu/docs/runtimes (software versions). Shapes of v4 and v5p
# are the usual ones: up to 4 chips, then doubled axis by axis; others exist. In
# a slice with several hosts, each host has 4 chips.
_VERSIONS = {
  'v2': _Version(
    prefix='v2',
    counts_cores=True,
    cores_per_chip=2,
    devices_per_chip=2,
    memory_gib=16,
    chips_of_a_single_host=4,
    runtime='tpu-ubuntu2204-base',
    topologies=('2x2', '4x4', '8x8', '8x16', '16x16'),
  ),
  'v3': _Version(
    prefix='v3',
    counts_cores=True,
    cores_per_chip=2,
    devices_per_chip=2,
    memory_gib=32,
    chips_of_a_single_host=4,
    runtime='tpu-ubuntu2204-base',
    topologies=(
      *('2x2', '4x4', '4x8', '8x8', '8x16', '16x16', '16x32', '32x32'),
    ),
  ),
  'v4': _Version(
    prefix='v4',
    counts_cores=True,
    cores_per_chip=2,
    devices_per_chip=1,
    memory_gib=32,
    chips_of_a_single_host=4,
    runtime='tpu-ubuntu2204-base',
    topologies=(
      *('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8'),
      *('8x8x8', '8x8x16', '8x16x16'),
    ),
  ),
  'v5e': _Version(
    prefix='v5litepod',
    counts_cores=False,
    cores_per_chip=1,
    devices_per_chip=1,
    memory_gib=16,
    chips_of_a_single_host=8,
    runtime='v2-alpha-tpuv5-lite',
    topologies=('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16'),
  ),
  'v5p': _Version(
    prefix='v5p',
    counts_cores=True,
    cores_per_chip=2,
    devices_per_chip=1,
    memory_gib=95,
    chips_of_a_single_host=4,
    runtime='v2-alpha-tpuv5',
    topologies=(
      *('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8'),
      *('8x8x8', '8x8x16', '8x16x16', '16x16x16', '16x16x24'),
    ),
  ),
  'v6e': _Version(
    prefix='v6e',
    counts_cores=False,
    cores_per_chip=1,
    devices_per_chip=1,
    memory_gib=32,
    chips_of_a_single_host=8,
    runtime='v2-alpha-tpuv6e',
    topologies=('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16'),
  ),
}
_CHIPS_PER_HOST = 4


@functools.cache
def table() -> Mapping[str, Accelerator]:
  """Returns every accelerator type by name."""
  return {
    accelerator.name: accelerator
    for version in _VERSIONS
    for accelerator in _slices(version)
  }


def find(name: str) -> Accelerator:
  """Returns the accelerator type of a name.

  Args:
    name: Accelerator type; 'v5e-16' is short for 'v5litepod-16'.

  Raises:
    InputError: If there is no such type.
  """
  known = table()
  name = name.lower()
  if name.startswith('v5e-'):
    name = name.replace('v5e-', 'v5litepod-')
  if name not in known:
    alike = [other for other in known if _prefix(other) == _prefix(name)]
    raise InputError(
      f'--type is {name!r}; '
      + (
        f'types of {_prefix(name)} are {", ".join(alike)}.'
        if alike
        else 'a type is one of '
        f'{", ".join(v.prefix for v in _VERSIONS.values())} with a number, '
        'such as v5litepod-16.'
      )
      + nearest(name, alike or known)
    )
  return known[name]


def check_mesh(
  accelerator: Accelerator, *, data: int, fsdp: int, model: int
) -> None:
  """Raises `InputError` unless a mesh uses all devices of a slice.

  Args:
    accelerator: The slice.
    data: Devices along the data axis; -1, on one axis, for all that remain.
    fsdp: Devices along the fsdp axis, or -1.
    model: Devices along the model axis, or -1.
  """
  fitting = [
    other.name
    for other in table().values()
    if other.version == accelerator.version
    and _fits(*_fixed(data, fsdp, model), other.devices)
  ]
  check_mesh_of(
    accelerator.devices,
    data=data,
    fsdp=fsdp,
    model=model,
    where=accelerator.name,
    advice=fitting[0] if fitting else '',
  )


def check_mesh_of(
  devices: int,
  *,
  data: int,
  fsdp: int,
  model: int,
  where: str,
  advice: str = '',
) -> None:
  """Raises `InputError` unless a mesh uses exactly that many devices.

  Args:
    devices: Number of devices.
    data: Devices along the data axis; -1, on one axis, for all that remain.
    fsdp: Devices along the fsdp axis, or -1.
    model: Devices along the model axis, or -1.
    where: Name of the place of the devices, for the message.
    advice: Alternative to a change of the mesh, for the message.
  """
  fixed, is_open = _fixed(data, fsdp, model)
  if _fits(fixed, is_open, devices):
    return
  raise InputError(
    f'the mesh MESH_DATA={data}, MESH_FSDP={fsdp}, MESH_MODEL={model} does not '
    f'fit {where}: it needs {"a multiple of " if is_open else ""}{fixed} '
    f'devices, found {devices}. Change the mesh'
    + (f', or use {advice}.' if advice else '.')
  )


def _fixed(*sizes: int) -> tuple[int, bool]:
  """Returns the product of the sizes other than -1, and whether one is -1."""
  return math.prod(size for size in sizes if size != -1), -1 in sizes


def _fits(fixed: int, is_open: bool, devices: int) -> bool:
  if fixed < 1:
    return False
  return devices % fixed == 0 if is_open else devices == fixed


def _prefix(name: str) -> str:
  return name.rpartition('-')[0] or name


def _slices(version: str) -> list[Accelerator]:
  shared = _VERSIONS[version]
  slices = []
  for topology in shared.topologies:
    chips = math.prod(map(int, topology.split('x')))
    is_single = chips <= shared.chips_of_a_single_host
    number = chips * shared.cores_per_chip if shared.counts_cores else chips
    slices.append(
      Accelerator(
        name=f'{shared.prefix}-{number}',
        version=version,
        topology=topology,
        chips=chips,
        cores_per_chip=shared.cores_per_chip,
        devices=chips * shared.devices_per_chip,
        hosts=1 if is_single else chips // _CHIPS_PER_HOST,
        memory_per_chip=shared.memory_gib * _GIB,
        runtime=shared.runtime,
      )
    )
  return slices
