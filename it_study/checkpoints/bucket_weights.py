"""Weights in a bucket, copied to the local disk where they have to be.

T5X's checkpoints are read where they lie, a tensor at a time. Those of Hugging
Face and our own are copied to the cache first, by the names that they have in
the bucket, and are not copied again while they are the same.
"""

import logging
import os
import pathlib

from it_study.checkpoints.hf import params
from it_study.checkpoints.step_folders import find_best, manifests_of
from it_study.checkpoints.t5x import reading
from it_study.errors import InputError
from it_study.storage import buckets
from it_study.storage.manifest import find_damage
from it_study.storage.storage_path import StoragePath

_BEST = 'best'
# What tells of a training, in its folder.
_RECORDS = ('training.json', 'config.gin')
_logger = logging.getLogger(__name__)


def to_local(path: str | os.PathLike[str] | None) -> str | None:
  """A path that `weights.restore` takes and that needs no bucket.

  Args:
    path: of weights in any format, local or `gs://…`, with `/best` after a
      training's too; or None.

  Returns:
    The same for what is local, or of T5X, or None; of others the path of a
    copy. Of several processes each waits for those of its machine, and finds
    what they have copied.

  Raises:
    InputError: there are no weights, or they cannot be copied.
  """
  if path is None or (folder := StoragePath(path)).local is not None:
    return path
  with buckets.one_reader():
    if folder.name == _BEST and not folder.names():
      return str(_copy_training(folder.parent, best=True))
    if params.has_weights(folder.names()):
      return str(_copy_folder(folder))
    if 'params' in folder.names():
      here, damage = _copy_checkpoint(folder)
      if damage is not None:
        raise InputError(
          f'checkpoint {folder} cannot be used: {damage}. Name another, or the '
          'folder above it to take the newest that is intact.'
        )
      return str(here)
    if reading.is_checkpoint(path):
      return str(folder)
    return str(_copy_training(folder, best=False))


def _copy_folder(folder: StoragePath) -> pathlib.Path:
  """Copies what we read of a folder of Hugging Face."""
  bucket = buckets.Bucket(folder)
  files = bucket.files()
  wanted = params.files_read(set(files))
  here = bucket.copy_to_read([files[name] for name in wanted])
  for path in here.iterdir():
    # Of weights that lay there before.
    if path.is_file() and path.name not in wanted:
      path.unlink()
  return here


def _copy_training(folder: StoragePath, *, best: bool) -> pathlib.Path:
  """Copies the newest checkpoint that is intact, or the best one."""
  if 'checkpoints' in folder.names():
    folder = folder.child('checkpoints')
  bucket = buckets.Bucket(folder)
  manifests = manifests_of(bucket.files())
  if not manifests:
    raise InputError(
      f'{folder}: no weights there: neither a config.json with '
      'model.safetensors, nor a checkpoint of T5X, nor one of ours, finished.'
    )
  steps = sorted(manifests, reverse=True)
  here = _place_of(folder)
  if best:
    bucket.download(manifests.values(), to=here)
    found = find_best(here, steps)
    if found is None:
      raise InputError(
        f'no best checkpoint in {folder}: none has a loss. Train with '
        'KEEP_BEST=True and an EVAL_PERIOD, or leave /best out for the newest.'
      )
    steps = [found]
  for step in steps:
    here, damage = _copy_checkpoint(folder.child(str(step)))
    if damage is None:
      return here
    _logger.warning('checkpoint %s/%d is not used: %s.', folder, step, damage)
  raise InputError(
    f'{folder}: no usable checkpoint there; see the warnings. Name another '
    'folder.'
  )


def _copy_checkpoint(
  folder: StoragePath,
) -> tuple[pathlib.Path, str | None]:
  """Copies a checkpoint, and beside it what tells of its training.

  Returns:
    The copy, and what is wrong with it.
  """
  bucket = buckets.Bucket(folder)
  here = bucket.copy_to_read(bucket.files().values())
  for above in (folder.parent, folder.parent.parent):
    beside = buckets.Bucket(above)
    for name in _RECORDS:
      beside.download(beside.files(name).values(), to=_place_of(above))
  return here, find_damage(here)


def _place_of(folder: StoragePath) -> pathlib.Path:
  return buckets.place_of(folder, copies=buckets.READING)
