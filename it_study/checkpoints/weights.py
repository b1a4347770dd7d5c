"""Parameters from any folder of weights that this project reads."""

from collections.abc import Iterator
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
from typing import Any

from flax import traverse_util
import jax
import orbax.checkpoint as ocp

from it_study.checkpoints import (
  bucket_weights,
  lazy_arrays,
  manager,
  tensor_reading,
)
from it_study.checkpoints.fitting import infer_config
from it_study.checkpoints.hf import params as hf
from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.checkpoints.t5x import reading, tensors as t5x_tensors, writing
from it_study.errors import InputError, nearest_path
from it_study.models.config import T5Config
from it_study.storage.manifest import write_manifest
from it_study.storage.storage_path import StoragePath

_RECORD = 'training.json'
# What a training calls its checkpoints, and the folders that it has them in.
_STEP = re.compile(r'(checkpoint_)?\d+')
_FOLDERS = ('checkpoints', 'best')


_Path = str | os.PathLike[str]
# Both of T5X's layouts are read as t5x; it restores that of t5x_orbax with
# use_orbax alone.
SOURCES = ('hf', 't5x', 'it_study')
DESTINATIONS = ('hf', 't5x', 't5x_orbax', 'it_study')


def restore(path: _Path, *, config: T5Config, target: Any) -> dict[str, Any]:
  """Reads parameters of ours, of Hugging Face or of T5X onto devices.

  Args:
    path: a checkpoint as `checkpoints.find_checkpoint` takes it, a folder with
      a config.json and weights, or a T5X checkpoint as `t5x.find_checkpoint`
      takes it, which may be in a bucket; of others there
      `bucket_weights.to_local` makes a copy.
    config: of the model that takes them.
    target: tree of `jax.ShapeDtypeStruct` with the shardings wanted.

  Raises:
    InputError: there is none, it is damaged, or it does not fit the model.
  """
  if hf.is_folder(path):
    return hf.load_params(path, config=config, target=target)
  if StoragePath(path).local is None or reading.is_checkpoint(path):
    return reading.load_params(path, target=target)
  return manager.restore_params(path, target=target)


def vocabulary_rows(path: _Path) -> int:
  """Rows of the embedding table of weights that `restore` takes.

  None of it is read, only what is recorded of its shape.

  Raises:
    InputError: there are no weights, or not of a T5.
  """
  if hf.is_folder(path):
    return hf.read_model_config(path).vocab_size
  if StoragePath(path).local is None or reading.is_checkpoint(path):
    return reading.read_model_config(path).vocab_size
  found = manager.find_checkpoint(path)
  params = manager.stored_shapes(found)
  return infer_config(params, source=str(found)).vocab_size


def convert(
  source: _Path, destination: _Path, *, source_format: str, to: str
) -> pathlib.Path:
  """Converts weights between formats; names and values, nothing else.

  Of the host's memory it takes a few copies of the largest tensor: as it was
  stored, as it will be, compressed, and on its way to the disk. Tensors are
  read, written and let go one after another, into shards as well, small ones
  some at a time. Only PyTorch's files before version 1.6 cannot be read in
  part.

  Args:
    source: the folder to read.
    destination: a new folder.
    source_format: of `SOURCES`.
    to: of `DESTINATIONS`, another one, or t5x in another layout.

  Returns:
    The destination; for T5X the `checkpoint_STEP` in it, its step that of the
    source, 0 where that has none.

  Raises:
    InputError: for formats that are alike, or a folder that cannot be used.
  """
  if StoragePath(destination).local is None:
    raise InputError(
      f'{destination}: weights are written to a local folder. Name one, and '
      'copy it.'
    )
  destination = pathlib.Path(destination)
  if source_format == to != 't5x':
    raise InputError(f'--from and --to are both {to}; there is nothing to do.')
  if destination.exists() and (
    not destination.is_dir() or any(destination.iterdir())
  ):
    raise InputError(
      f'{destination} is not empty; weights are written to a new folder.'
    )
  if StoragePath(source).local is not None:
    _check_folder(source, source_format)
  with contextlib.ExitStack() as stack:
    if source_format != 't5x':
      source = bucket_weights.to_local(source)
    params, config, step = _open(source, source_format, stack)
    stack.enter_context(_emptied_on_failure(destination))
    if to == 'hf':
      hf.save_params(destination, params, config=config)
    elif to == 'it_study':
      _save(destination, params)
    else:
      layout = 'orbax' if to == 't5x_orbax' else 'msgpack'
      return writing.save_params(destination, params, step=step, layout=layout)
  return destination


def _open(
  source: _Path, source_format: str, stack: contextlib.ExitStack
) -> tuple[Any, T5Config, int]:
  """Lazy parameters, their model's configuration and their step."""
  if source_format == 'hf':
    config = hf.read_model_config(source)
    params = stack.enter_context(
      hf.open_params(source, config=config, target=_abstract(config))
    )
    return params, config, 0
  if source_format == 't5x':
    found = reading.find_checkpoint(source)
    config = reading.read_model_config(str(found))
    params = reading.open_params(str(found), target=_abstract(config))
    return params, config, reading.step_of(found)
  found = manager.find_checkpoint(source)
  params = _open_ours(StoragePath(found / 'params'))
  step = int(found.name) if found.name.isdecimal() else 0
  return params, infer_config(params), step


def _open_ours(folder: StoragePath) -> dict[str, Any]:
  """Lazy parameters of ours; Orbax would read the whole tree."""
  tensors = tensor_reading.open_tensors(
    folder, t5x_tensors.find_tensors(folder)
  )
  params = {
    name: LazyArray(
      shape=store.shape,
      dtype=store.dtype.numpy_dtype,
      read=functools.partial(tensor_reading.read, folder, name, store),
    )
    for name, store in tensors.items()
  }
  return traverse_util.unflatten_dict(params, sep='/')


@contextlib.contextmanager
def _emptied_on_failure(directory: pathlib.Path) -> Iterator[None]:
  """Deletes what was written to a folder that was new or empty."""
  was_there = directory.exists()
  try:
    yield
  # Also on an interrupt.
  except BaseException:
    for path in directory.iterdir() if directory.is_dir() else ():
      if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
      else:
        path.unlink(missing_ok=True)
    if not was_there and directory.is_dir():
      directory.rmdir()
    raise


def _check_folder(path: _Path, source_format: str) -> None:
  if os.path.isfile(path):
    raise InputError(
      f'{os.fspath(path)}: a file, and weights are read from a folder. Name '
      'the one that it lies in.'
    )
  # Of ours, TRAINING/best is no folder either.
  if source_format != 'it_study' and not os.path.isdir(path):
    raise InputError(
      f'{os.fspath(path)}: no such folder. Name the one that holds the '
      f'weights.{nearest_path(path)}'
    )


def _abstract(config: T5Config) -> Any:
  from it_study.models import partitioning
  from it_study.models.t5 import T5

  mesh = partitioning.make_mesh(
    data=1, devices=jax.local_devices(backend='cpu')[:1]
  )
  return partitioning.abstract_params(model=T5(config), mesh=mesh)


def _save(directory: pathlib.Path, params: Any) -> None:
  """Writes parameters as a checkpoint of step 0, its manifest last."""
  step = directory.resolve() / 'checkpoints' / '0'
  try:
    step.mkdir(parents=True)
    with ocp.Checkpointer(lazy_arrays.orbax_handler()) as checkpointer:
      checkpointer.save(step / 'params', args=ocp.args.PyTreeSave(params))
    write_manifest(step)
  except OSError as error:
    raise InputError(
      f'{directory}: cannot be written: {error.strerror or error}.'
    ) from None


def training_of(checkpoint_path: str | os.PathLike) -> dict[str, Any]:
  """training.json of the training that a checkpoint is of, or nothing.

  Args:
    checkpoint_path: of a checkpoint or of the training's folder, local or in a
      bucket.
  """
  paths = [os.fspath(checkpoint_path)]
  if StoragePath(checkpoint_path).local is not None:
    # A checkpoint may be named by a link, and so may a training's folder of
    # checkpoints lie elsewhere.
    paths = [os.path.abspath(paths[0]), os.path.realpath(paths[0])]
  for path in dict.fromkeys(paths):
    for folder in _own_folders(StoragePath(path)):
      content = folder.read(_RECORD)
      if content is not None:
        return json.loads(content)
  return {}


def _own_folders(folder: StoragePath) -> Iterator[StoragePath]:
  """Where a training's record is, if a folder is a checkpoint of its own.

  Any other folder in that of a training may have weights of another.
  """
  yield folder
  if _STEP.fullmatch(folder.name):
    folder = folder.parent
    yield folder
  if folder.name in _FOLDERS:
    yield folder.parent
