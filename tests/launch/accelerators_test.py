"""Tests of launch.accelerators."""

import pytest

from it_study.errors import InputError
from launch import accelerators


@pytest.mark.parametrize(
  ('name', 'version', 'topology', 'chips', 'devices', 'hosts', 'gib'),
  [
    ('v2-8', 'v2', '2x2', 4, 8, 1, 16),
    ('v2-512', 'v2', '16x16', 256, 512, 64, 16),
    ('v3-8', 'v3', '2x2', 4, 8, 1, 32),
    ('v3-128', 'v3', '8x8', 64, 128, 16, 32),
    ('v3-2048', 'v3', '32x32', 1024, 2048, 256, 32),
    ('v4-8', 'v4', '2x2x1', 4, 4, 1, 32),
    ('v4-32', 'v4', '2x2x4', 16, 16, 4, 32),
    ('v4-4096', 'v4', '8x16x16', 2048, 2048, 512, 32),
    ('v5litepod-1', 'v5e', '1x1', 1, 1, 1, 16),
    ('v5litepod-8', 'v5e', '2x4', 8, 8, 1, 16),
    ('v5litepod-16', 'v5e', '4x4', 16, 16, 4, 16),
    ('v5litepod-256', 'v5e', '16x16', 256, 256, 64, 16),
    ('v5p-8', 'v5p', '2x2x1', 4, 4, 1, 95),
    ('v5p-128', 'v5p', '4x4x4', 64, 64, 16, 95),
    ('v5p-12288', 'v5p', '16x16x24', 6144, 6144, 1536, 95),
    ('v6e-4', 'v6e', '2x2', 4, 4, 1, 32),
    ('v6e-256', 'v6e', '16x16', 256, 256, 64, 32),
  ],
)
def test_the_table(name, version, topology, chips, devices, hosts, gib):
  found = accelerators.find(name)
  assert (found.name, found.version, found.topology) == (
    name,
    version,
    topology,
  )
  assert (found.chips, found.devices, found.hosts) == (chips, devices, hosts)
  assert found.memory_per_chip == gib * 2**30


def test_its_slices_are_those_that_can_be_compiled_for():
  from it_study.training.planning import tpu_topologies

  ours = {a.slice_name for a in accelerators.table().values()}
  theirs = {
    f'{version}:{shape}'
    for version, shapes in tpu_topologies.TOPOLOGIES.items()
    for shape in shapes
  }
  assert theirs <= ours


def test_memory_is_that_of_the_library():
  from it_study.training import hardware

  kinds = {'v5e': 'TPU v5 lite', 'v5p': 'TPU v5', 'v6e': 'TPU v6 lite'}
  for accelerator in accelerators.table().values():
    if accelerator.version in kinds:
      assert (
        accelerator.memory_per_chip
        == hardware.MEMORY_BYTES[kinds[accelerator.version]]
      )


def test_unknown_names():
  assert accelerators.find('V5E-16').name == 'v5litepod-16'
  with pytest.raises(InputError) as caught:
    accelerators.find('v6e-9')
  assert str(caught.value) == (
    "--type is 'v6e-9'; types of v6e are v6e-1, v6e-4, v6e-8, v6e-16, v6e-32, "
    "v6e-64, v6e-128, v6e-256. Did you mean 'v6e-8'?"
  )
  with pytest.raises(InputError) as caught:
    accelerators.find('a100-8')
  assert str(caught.value).startswith(
    "--type is 'a100-8'; a type is one of v2, v3, v4, v5litepod, v5p, v6e with "
    'a number, such as v5litepod-16.'
  )


def check(name, **mesh):
  sizes = {'data': -1, 'fsdp': 1, 'model': 1, **mesh}
  accelerators.check_mesh(accelerators.find(name), **sizes)


def test_meshes_that_fit():
  check('v5litepod-16')
  check('v5litepod-16', fsdp=16)
  check('v5litepod-16', data=2, fsdp=4, model=2)
  check('v3-8', data=8)


@pytest.mark.parametrize(
  ('name', 'mesh', 'message'),
  [
    (
      'v5litepod-8',
      {'fsdp': 16},
      'the mesh MESH_DATA=-1, MESH_FSDP=16, MESH_MODEL=1 does not fit '
      'v5litepod-8: it needs a multiple of 16 devices, found 8. Change the '
      'mesh, or use v5litepod-16.',
    ),
    (
      'v4-8',
      {'data': 2, 'model': 4},
      'the mesh MESH_DATA=2, MESH_FSDP=1, MESH_MODEL=4 does not fit v4-8: it '
      'needs 8 devices, found 4. Change the mesh, or use v4-16.',
    ),
    (
      'v6e-8',
      {'model': 3},
      'the mesh MESH_DATA=-1, MESH_FSDP=1, MESH_MODEL=3 does not fit v6e-8: it '
      'needs a multiple of 3 devices, found 8. Change the mesh.',
    ),
  ],
)
def test_meshes_that_do_not(name, mesh, message):
  with pytest.raises(InputError) as caught:
    check(name, **mesh)
  assert str(caught.value) == message
