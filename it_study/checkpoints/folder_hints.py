"""Hints for folders of which weights are expected, and which hold none."""

from collections.abc import Iterator
import os
import pathlib

from it_study.checkpoints.fitting import listed
from it_study.checkpoints.hf import params as hf
from it_study.checkpoints.step_folders import ITEMS, steps_in
from it_study.checkpoints.t5x import reading
from it_study.storage.manifest import MANIFEST

_ADAPTER = 'adapter_config.json'
# A hub's cache has weights three levels down: MODEL/snapshots/REVISION.
_DEPTH = 3
# Folders looked at, as the path may be a whole disk.
_MAX_FOLDERS = 1000


def hint(folder: pathlib.Path) -> str:
  """Returns what a folder is instead, as further sentences of a message.

  Args:
    folder: Local folder without weights, or without those of some format.

  Returns:
    Sentences after a space: that it is an adapter, has another format, or which
    folders below hold weights, as below a trainer's output or a hub's cache;
    else an empty string.
  """
  if not folder.is_dir():
    return ''
  names = {*os.listdir(folder)}
  if hf.has_weights(names):
    return ' It holds weights in the format hf.'
  if reading.is_checkpoint(folder):
    return ' It holds weights in the format t5x.'
  if _ADAPTER in names:
    return (
      ' It is an adapter: merge it into its model first, with merge_and_unload '
      'of peft, and save the whole model.'
    )
  if 'checkpoints' in names or steps_in(folder):
    # A training of ours, whose checkpoints are damaged or not finished.
    return ''
  below = {str(path.relative_to(folder)) for path in _with_weights(folder)}
  if not below:
    return ''
  return f' Weights are below it: {listed(below)}. Name that folder.'


def _with_weights(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields folders below that hold weights, of any format."""
  for number, (path, folders, files) in enumerate(os.walk(folder)):
    if number == _MAX_FOLDERS:
      return
    here = pathlib.Path(path)
    depth = len(here.relative_to(folder).parts)
    if depth and _holds_weights(here, {*folders, *files}):
      yield here
      folders.clear()
    elif depth == _DEPTH:
      folders.clear()
    else:
      folders.sort()


def _holds_weights(folder: pathlib.Path, names: set[str]) -> bool:
  return (
    hf.has_weights(names)
    or {ITEMS[0], MANIFEST} <= names
    or {'checkpoints', 'training.json'} <= names
    or reading.is_checkpoint(folder)
  )
