"""Reads and converts parameters in any format that this project reads."""

from collections.abc import Iterator
import contextlib
import functools
import logging
import os
import pathlib
import shutil
import time
from typing import Any

from flax import traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from it_study.checkpoints import (
  finite,
  lazy_arrays,
  manager,
  tensor_locks,
  tensor_reading,
  weights_source,
)
from it_study.checkpoints.fitting import infer_config
from it_study.checkpoints.hf import params as hf, peft, tokenizer
from it_study.checkpoints.hf.decoder_config import decoder_config_of
from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.checkpoints.t5x import reading, tensors as t5x_tensors, writing
from it_study.checkpoints.weights_source import Format, WeightsSource
from it_study.errors import InputError, nearest_path
from it_study.models import ModelConfig
from it_study.models.adapters import lora
from it_study.models.config import T5Config
from it_study.models.decoder_only.config import DecoderConfig
from it_study.storage import text_files, write_errors
from it_study.storage.manifest import write_manifest
from it_study.storage.storage_path import StoragePath, expanded

_Path = str | os.PathLike[str]
# Both of T5X's layouts are read as t5x; t5x_orbax is written for T5X with
# `use_orbax=True` only.
DESTINATIONS = ('hf', 't5x', 't5x_orbax', 'it_study', 'peft')
# Of a tenth of a second each.
_CLEAN_UP_ATTEMPTS = 50
_logger = logging.getLogger(__name__)


def restore(source: WeightsSource, *, config: ModelConfig, target: Any) -> Any:
  """Reads parameters onto devices.

  Args:
    source: Weights to read.
    config: Configuration of the model that takes them.
    target: Tree of `jax.ShapeDtypeStruct` with the desired shardings.

  Returns:
    Nested dict of arrays, like `target`.

  Raises:
    InputError: If there are no weights, they are damaged or not finite, or
      they do not fit the model.
  """
  started = time.monotonic()
  folder = source.folder
  _logger.info('restoring weights (format %s) from %s.', source.format, folder)
  if source.format == 'hf':
    params = hf.load_params(source.local_folder, config=config, target=target)
  elif source.format == 't5x':
    params = reading.load_params(str(folder), target=target)
  elif 'lora' in source.training:
    params = _restore_lora(source, config=config, target=target)
  else:
    params = manager.read_params(source.local_folder, target=target)
  finite.check(params, source=str(folder))
  _logger.info('restored %s in %.1f s.', folder, time.monotonic() - started)
  return params


def _restore_lora(
  source: WeightsSource, *, config: ModelConfig, target: Any
) -> Any:
  """Reads the weights that LoRA updates, and adds the updates."""
  record = source.training['lora']
  settings = lora.from_record(record)
  trained = manager.read_params(
    source.local_folder, target=lora.abstract(settings, target)
  )
  finite.check(trained, source=str(source.folder))
  try:
    base = restore(
      weights_source.resolve(record['base']), config=config, target=target
    )
  except InputError as error:
    raise InputError(
      f'{source.path} holds LoRA updates of {record["base"]}, which cannot be '
      f'used: {error}'
    ) from None
  return jax.jit(lora.merge, static_argnums=0, donate_argnums=2)(
    settings, trained, base
  )


def vocabulary_rows(source: WeightsSource) -> int:
  """Returns the number of rows of the embedding table, from recorded shapes.

  Raises:
    InputError: If there are no weights, or their model is not supported.
  """
  if source.format == 'hf':
    return hf.read_model_config(source.local_folder).vocab_size
  # Of a training of ours the record says it, without a check of all files.
  recorded = source.training.get('model', {}).get('vocab_size')
  if recorded is not None:
    return recorded
  if source.format == 't5x':
    return reading.read_model_config(str(source.folder)).vocab_size
  params = manager.stored_shapes(source.local_folder)
  return infer_config(params, source=str(source.folder)).vocab_size


def convert(
  source: _Path, destination: _Path, *, source_format: Format, to: str
) -> pathlib.Path:
  """Converts weights between formats: names and values, nothing else.

  Needs host memory for a few copies of the largest tensor: as stored, as
  converted, compressed, and on its way to the disk. Tensors are read, written
  and freed one after another, small ones in groups, also when the output is
  sharded. Only PyTorch files from before version 1.6 must be read whole.

  Args:
    source: Folder to read, local or `gs://…`.
    destination: New or empty local folder.
    source_format: Format to read, one of `weights_source.FORMATS`.
    to: Format to write, one of `DESTINATIONS`: another one, or t5x in another
      layout.

  Returns:
    The destination; for T5X the `checkpoint_STEP` in it, with the step of the
    source, or 0 if that is unknown.

  Raises:
    InputError: If both formats are the same, a folder cannot be used, or a
      value is not finite.
  """
  if StoragePath(destination).local is None:
    raise InputError(
      f'{destination}: weights are written to a local folder. Name one, and '
      'copy it.'
    )
  destination = pathlib.Path(expanded(destination))
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
  resolved = weights_source.resolve(source, format=source_format)
  with contextlib.ExitStack() as stack:
    if to == 'peft':
      stack.enter_context(_emptied_on_failure(destination))
      _save_adapter(destination, resolved)
      return destination
    params, config = _open(resolved, stack)
    if isinstance(config, DecoderConfig) and to != 'hf':
      raise InputError(
        f'{resolved.path}: a decoder-only model is only converted to hf, or '
        'with LoRA to peft. CHECKPOINT_PATH accepts the folder as it is.'
      )
    params = finite.checked(params, source=str(resolved.folder))
    stack.enter_context(_emptied_on_failure(destination))
    if to == 'hf':
      hf.save_params(destination, params, config=config)
      _copy_tokenizer(resolved, destination)
    elif to == 'it_study':
      _save(destination, params)
    else:
      return writing.save_params(
        destination,
        params,
        step=resolved.step,
        layout='orbax' if to == 't5x_orbax' else 'msgpack',
      )
  return destination


def _open(
  source: WeightsSource, stack: contextlib.ExitStack
) -> tuple[Any, ModelConfig]:
  """Returns lazy parameters and their model's configuration."""
  if source.format == 'hf':
    config: ModelConfig = hf.read_model_config(source.local_folder)
    params = stack.enter_context(
      hf.open_params(
        source.local_folder, config=config, target=_abstract(config)
      )
    )
    return params, config
  recorded = decoder_config_of(source.training.get('model', {}))
  if source.format == 't5x':
    path = str(source.folder)
    config = recorded or reading.read_model_config(path)
    return reading.open_params(path, target=_abstract(config)), config
  params = _open_ours(source.folder.child('params'))
  if 'lora' in source.training:
    record = source.training['lora']
    base, config = _open(weights_source.resolve(record['base']), stack)
    return _with_updates(base, params, lora.from_record(record)), config
  return params, recorded or infer_config(params, source=str(source.folder))


def _with_updates(base: Any, trained: Any, settings: lora.Lora) -> Any:
  """Returns lazy parameters with LoRA's updates added."""
  flat = dict(traverse_util.flatten_dict(base, sep='/'))
  factors = traverse_util.flatten_dict(trained, sep='/')
  for path in lora.kernels(settings, base):
    a, b = lora.factor_paths(path)
    arrays = (flat[path], factors[a], factors[b])
    flat[path] = LazyArray(
      shape=tuple(flat[path].shape),
      dtype=np.dtype(np.float32),
      read=functools.partial(_updated, arrays, settings.scale),
    )
  return traverse_util.unflatten_dict(flat, sep='/')


def _updated(arrays: tuple[Any, Any, Any], scale: float) -> np.ndarray:
  kernel, a, b = (np.asarray(array, np.float32) for array in arrays)
  return kernel + np.float32(scale) * (a @ b)


def _save_adapter(path: pathlib.Path, source: WeightsSource) -> None:
  record = source.training.get('lora')
  if record is None:
    raise InputError(
      f'{source.path}: --to peft writes the updates of a training with '
      'LORA_RANK; this one has none. Use --to hf.'
    )
  model = source.training['model']
  config = decoder_config_of(model) or T5Config(**model)
  factors = finite.checked(
    _open_ours(source.folder.child('params')), source=str(source.folder)
  )
  peft.save_adapter(
    path,
    traverse_util.flatten_dict(factors, sep='/'),
    table=hf.tensors(config),
    settings=lora.from_record(record),
    base=weights_source.resolve(record['base']).name,
    task_type='SEQ_2_SEQ_LM' if isinstance(config, T5Config) else 'CAUSAL_LM',
  )


def _copy_tokenizer(source: WeightsSource, destination: pathlib.Path) -> None:
  """Copies the tokenizer that a training of ours keeps beside its weights."""
  if source.format == 'hf':
    return
  folder = pathlib.Path(weights_source.tokenizer_folder(str(source.path)))
  for name in (*tokenizer.FILES, 'generation_config.json'):
    if (folder / name).is_file():
      text_files.write_file(destination / name, (folder / name).read_bytes())


def _open_ours(folder: StoragePath) -> dict[str, Any]:
  """Returns lazy parameters of ours; Orbax would read the whole tree."""
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
  """Deletes what was written to a new or empty folder if the block fails."""
  existed = directory.exists()
  try:
    yield
  # An interrupt too.
  except BaseException:
    _empty(directory)
    if not existed:
      with contextlib.suppress(OSError):
        directory.rmdir()
    raise


def _empty(directory: pathlib.Path) -> None:
  """Deletes a folder's contents, also what Orbax's threads still write."""
  for _ in range(_CLEAN_UP_ATTEMPTS):
    for path in directory.iterdir() if directory.is_dir() else ():
      if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
      else:
        path.unlink(missing_ok=True)
    time.sleep(0.1)
    if not directory.is_dir() or not any(directory.iterdir()):
      return


def _check_folder(path: _Path, source_format: Format) -> None:
  if os.path.isfile(path):
    raise InputError(
      f'{os.fspath(path)}: expected a folder, got a file. Name the folder that '
      'contains it.'
    )
  # TRAINING/best of a training of ours is not a folder either.
  if source_format != 'it_study' and not os.path.isdir(path):
    raise InputError(
      f'{os.fspath(path)}: no such folder. Name the one that holds the '
      f'weights.{nearest_path(path)}'
    )


def _abstract(config: ModelConfig) -> Any:
  from it_study.models import partitioning
  from it_study.models.decoder_only.model import make_model

  mesh = partitioning.make_mesh(
    data=1, devices=jax.local_devices(backend='cpu')[:1]
  )
  return partitioning.abstract_params(model=make_model(config), mesh=mesh)


def _save(directory: pathlib.Path, params: Any) -> None:
  """Writes parameters as a checkpoint of step 0, its manifest last."""
  step = directory.resolve() / 'checkpoints' / '0'
  with write_errors.writing(directory):
    step.mkdir(parents=True)
    with ocp.Checkpointer(lazy_arrays.orbax_handler()) as checkpointer:
      tensor_locks.make_writable(step)
      checkpointer.save(step / 'params', args=ocp.args.PyTreeSave(params))
    write_manifest(step)
