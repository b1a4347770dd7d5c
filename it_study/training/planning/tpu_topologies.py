"""TPU slices by name, to compile for ahead of time without the TPU."""

import importlib.util
import os

import jax
from jax.experimental import topologies

from it_study.errors import InputError, nearest

# Slices that Google Cloud offers; chips along each axis. v4 is left out: JAX
# makes two devices of its chips here, and one on the machine.
_FLAT = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
_CUBE = ('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8')
TOPOLOGIES = {'v5e': _FLAT, 'v6e': _FLAT, 'v5p': _CUBE}

# Without these, libtpu queries the network for its machine and complains, and
# allows only one process at a time, which makes sense only with a chip.
_ENVIRONMENT = {
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_ACCELERATOR_TYPE': 'v5litepod-16',
}


def check(name: str) -> None:
  """Checks that this machine can compile for a slice.

  Raises:
    InputError: If the name is unknown, or libtpu is not installed.
  """
  names = [
    f'{version}:{shape}'
    for version, shapes in TOPOLOGIES.items()
    for shape in shapes
  ]
  if name not in names:
    raise InputError(
      f'topology {name!r} is unknown.{nearest(name, names)} There are '
      + '; '.join(
        f'{version}: with {", ".join(shapes)}'
        for version, shapes in TOPOLOGIES.items()
      )
      + '.'
    )
  if importlib.util.find_spec('libtpu') is None:
    raise InputError(
      f'topology {name} needs the TPU compiler, libtpu, which is not installed:'
      " pip install 'it_study[tpu-aot]'."
    )


def devices(name: str) -> list[jax.Device]:
  """Returns devices to compile for; nothing can run on them.

  Args:
    name: Version and chips along each axis, such as 'v5e:4x4'.

  Raises:
    InputError: If the name is unknown, or libtpu is not installed.
  """
  check(name)
  for variable, value in _ENVIRONMENT.items():
    os.environ.setdefault(variable, value)
  topology = topologies.get_topology_desc(platform='tpu', topology_name=name)
  return list(topology.devices)
