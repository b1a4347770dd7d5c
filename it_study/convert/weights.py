"""Parameters from any folder of weights that this project reads."""

import os
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from it_study import checkpoints
from it_study.checkpoint_manifest import write_manifest
from it_study.convert import bucket_weights, hf, t5x, t5x_writing
from it_study.convert.inferred_config import infer_config
from it_study.errors import InputError, nearest_path
from it_study.models.config import T5Config
from it_study.stored_folder import StoredFolder

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
  if StoredFolder(path).local is None or t5x.is_checkpoint(path):
    return t5x.load_params(path, target=target)
  return checkpoints.restore_params(path, target=target)


def vocabulary_rows(path: _Path) -> int:
  """Rows of the embedding table of weights that `restore` takes.

  None of it is read, only what is recorded of its shape.

  Raises:
    InputError: there are no weights, or not of a T5.
  """
  if hf.is_folder(path):
    return hf.read_model_config(path).vocab_size
  if StoredFolder(path).local is None or t5x.is_checkpoint(path):
    return t5x.read_model_config(path).vocab_size
  found = checkpoints.find_checkpoint(path)
  params = checkpoints.stored_shapes(found)
  return infer_config(params, source=str(found)).vocab_size


def convert(
  source: _Path, destination: _Path, *, source_format: str, to: str
) -> pathlib.Path:
  """Converts weights between formats; names and values, nothing else.

  The whole model is in the host's memory for the time.

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
  if StoredFolder(destination).local is None:
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
  if source_format != 'it_study' and StoredFolder(source).local is not None:
    _check_folder(source)
  step = 0
  if source_format != 't5x':
    source = bucket_weights.to_local(source)
  if source_format == 'hf':
    config = hf.read_model_config(source)
    params = hf.load_params(source, config=config, target=_abstract(config))
  elif source_format == 't5x':
    found = t5x.find_checkpoint(source)
    step = t5x.step_of(found)
    config = t5x.read_model_config(str(found))
    params = t5x.load_params(str(found), target=_abstract(config))
  else:
    found = checkpoints.find_checkpoint(source)
    step = int(found.name) if found.name.isdecimal() else 0
    params = checkpoints.restore_params(found)
    config = infer_config(params)
  if to == 'hf':
    hf.save_params(destination, params, config=config)
  elif to == 'it_study':
    _save(destination, params)
  else:
    layout = 'orbax' if to == 't5x_orbax' else 'msgpack'
    return t5x_writing.save_params(
      destination, params, step=step, layout=layout
    )
  return destination


def _check_folder(path: str | os.PathLike[str]) -> None:
  if not os.path.isdir(path):
    raise InputError(
      f'{os.fspath(path)}: no such folder. Name the one that holds the '
      f'weights.{nearest_path(path)}'
    )


def _abstract(config: T5Config) -> Any:
  from it_study import partitioning
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
    with ocp.StandardCheckpointer() as checkpointer:
      checkpointer.save(step / 'params', params)
    write_manifest(step)
  except OSError as error:
    raise InputError(
      f'{directory}: cannot be written: {error.strerror or error}.'
    ) from None
