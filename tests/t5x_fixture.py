"""Checkpoints that T5X saved, and helpers for tests of converting them."""

import atexit
import functools
import importlib.util
import pathlib
import shutil
import tarfile
import tempfile
from typing import Any

from flax import serialization
import jax
import numpy as np

from it_study import cli
from it_study.checkpoints.t5x import reading
from it_study.models import partitioning
from it_study.models.config import T5Config
from it_study.models.t5 import T5

_SPEC = importlib.util.spec_from_file_location(
  'make_t5x_checkpoints',
  pathlib.Path(__file__).parent / 'golden' / 'make_t5x_checkpoints.py',
)
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)

# Default checkpoints for tests, as FOLDER/checkpoint_STEP.
MSGPACK = 'v1_1_msgpack/checkpoint_1000'
ORBAX = 'v1_1_orbax/checkpoint_1000'


@functools.cache
def theirs() -> pathlib.Path:
  """Returns the folder of the checkpoints that T5X wrote; do not modify it."""
  path = pathlib.Path(tempfile.mkdtemp(prefix='it_study_t5x_'))
  atexit.register(shutil.rmtree, path, ignore_errors=True)
  # Python before 3.11.4 has no filters, and the archive can be trusted.
  filters = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}
  with tarfile.open(golden.PATH) as archive:
    archive.extractall(path, **filters)
  return path


def target_of(config: T5Config, **changes: Any) -> Any:
  """Returns the target of `load_params` for a config with changes."""
  config = type(config)(**{**vars(config), **changes})
  return partitioning.abstract_params(
    model=T5(config), mesh=partitioning.make_mesh()
  )


def load(path: pathlib.Path, **changes: Any) -> Any:
  config = reading.read_model_config(path)
  return reading.load_params(path, target=target_of(config, **changes))


def draw(config: T5Config, seed: int = 0) -> Any:
  """Draws parameters that use every bit of float32."""
  random = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: random.normal(size=leaf.shape).astype(np.float32),
    target_of(config),
  )


def edit(folder: pathlib.Path, change: Any) -> None:
  """Rewrites the msgpack file of a checkpoint.

  Args:
    folder: Folder of the checkpoint.
    change: Function of the tree, which edits it or returns a new one.
  """
  path = folder / 'checkpoint'
  tree = serialization.msgpack_restore(path.read_bytes())
  path.write_bytes(serialization.msgpack_serialize(change(tree) or tree))


def refused(path: pathlib.Path, capsys: Any) -> str:
  """Asserts that `convert` refuses a checkpoint; returns its error message."""
  out = path.parent / 'never_written'
  words = ('convert', str(path), str(out), '--from=t5x', '--to=hf')
  assert cli.main([*words]) == 2
  assert not out.exists()
  message = capsys.readouterr().err
  assert message.count('\n') == 1
  return message


def assert_same(first: Any, second: Any) -> None:
  assert jax.tree.structure(first) == jax.tree.structure(second)
  jax.tree.map(np.testing.assert_array_equal, first, second)
