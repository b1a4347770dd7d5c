"""Copies weights in a bucket to the local cache.

Copies keep the names that the files have in the bucket, and a file is copied
again only after it has changed.
"""

import logging
import pathlib

from it_study.checkpoints.hf import params
from it_study.checkpoints.step_folders import find_best, manifests_of
from it_study.errors import InputError
from it_study.storage import buckets
from it_study.storage.manifest import find_damage
from it_study.storage.storage_path import StoragePath

_BEST = 'best'
# Files in a training's folder that describe the training.
_RECORDS = ('training.json', 'config.gin')
_logger = logging.getLogger(__name__)


def copy_folder(folder: StoragePath) -> pathlib.Path:
  """Copies the files that we read from a Hugging Face folder.

  Args:
    folder: Folder in a bucket, with weights.

  Returns:
    The copy.

  Raises:
    InputError: If it cannot be copied.
  """
  with buckets.one_reader():
    bucket = buckets.Bucket(folder)
    files = bucket.files()
    wanted = params.files_read(set(files))
    copy = bucket.copy_to_read([files[name] for name in wanted])
    for path in copy.iterdir():
      # Files of the weights that were at this path before.
      if path.is_file() and path.name not in wanted:
        path.unlink()
    return copy


def copy_checkpoint(folder: StoragePath) -> pathlib.Path:
  """Copies a checkpoint of ours, and its training's records.

  Args:
    folder: Folder in a bucket: of a checkpoint, of a training, whose newest
      intact checkpoint is used, or `TRAINING/best` for the one of lowest loss.

  Returns:
    The copy of the checkpoint.

  Raises:
    InputError: If there is no intact checkpoint, or it cannot be copied.
  """
  with buckets.one_reader():
    if folder.name == _BEST and not folder.names():
      return _copy_training(folder.parent, best=True)
    if 'params' not in folder.names():
      return _copy_training(folder, best=False)
    copy, damage = _copy_step(folder)
  if damage is not None:
    raise InputError(
      f'checkpoint {folder} cannot be used: {damage}. Name another, or the '
      'folder above it for the newest intact one.'
    )
  return copy


def _copy_training(folder: StoragePath, *, best: bool) -> pathlib.Path:
  """Copies the newest intact checkpoint of a training, or the best one."""
  if 'checkpoints' in folder.names():
    folder = folder.child('checkpoints')
  bucket = buckets.Bucket(folder)
  manifests = manifests_of(bucket.files())
  if not manifests:
    raise InputError(
      f'{folder}: no weights found: neither a config.json with '
      'model.safetensors, nor a T5X checkpoint, nor a finished checkpoint of '
      'ours. Name another folder.'
    )
  steps = sorted(manifests, reverse=True)
  if best:
    copy = _place_of(folder)
    bucket.download(manifests.values(), to=copy)
    best_step = find_best(copy, steps)
    if best_step is None:
      raise InputError(
        f'no best checkpoint in {folder}: none has a loss. Train with '
        'KEEP_BEST=True and an EVAL_PERIOD, or omit /best for the newest.'
      )
    steps = [best_step]
  for step in steps:
    copy, damage = _copy_step(folder.child(str(step)))
    if damage is None:
      return copy
    _logger.warning('checkpoint %s/%d is not used: %s.', folder, step, damage)
  raise InputError(
    f'{folder}: no usable checkpoint; see the warnings. Name another folder.'
  )


def _copy_step(folder: StoragePath) -> tuple[pathlib.Path, str | None]:
  """Copies one checkpoint, and the records in the folders above it.

  Returns:
    The copy, and what is wrong with it, if anything.
  """
  bucket = buckets.Bucket(folder)
  copy = bucket.copy_to_read(bucket.files().values())
  for parent in (folder.parent, folder.parent.parent):
    records = buckets.Bucket(parent)
    for name in _RECORDS:
      records.download(records.files(name).values(), to=_place_of(parent))
  return copy, find_damage(copy)


def _place_of(folder: StoragePath) -> pathlib.Path:
  return buckets.place_of(folder, copies=buckets.READING)
