"""Where a build works: alone, and rid of what a killed one has left."""

from collections.abc import Callable, Iterator
import contextlib
import errno
import json
import logging
import os
import pathlib
import re
import tempfile

from etils import epath
import tensorflow as tf

from it_study.errors import InputError
from it_study.storage import local_folders

# Written last: a directory without it is not finished.
FILE_LIST = 'files.json'
# What else is in a build's directory.
_OURS = re.compile(
  rf'LICENSE|(dataset_info|features|metadata)\.json|{re.escape(FILE_LIST)}.*|'
  r'.+\.tfrecord-\d+-of-\d+'
)


# TFDS gives it to a folder that is not finished, and drops it at the end.
_INCOMPLETE = 'incomplete.'


@contextlib.contextmanager
def working_folder(
  directory: epath.Path, *, clear: Callable[[epath.Path], None]
) -> Iterator[pathlib.Path]:
  """A folder for what a build needs meanwhile, removed at the end.

  While the block runs no other process is in such a block for the same
  directory: who comes later waits. A bucket has no locks, so nobody waits
  there, and what is needed meanwhile goes to the local disk.

  Args:
    directory: to be made by the block. What builds that were killed have left
      beside it is removed.
    clear: called with the directory once no other process is at work there, to
      remove one that is not finished.
  """
  if '://' in os.fspath(directory):
    clear(directory)
    with tempfile.TemporaryDirectory() as folder:
      yield pathlib.Path(folder)
    return
  beside = directory.parent
  beside.mkdir(parents=True, exist_ok=True)
  with local_folders.one_at_a_time(beside / '.lock'):
    for path in beside.glob(f'{_INCOMPLETE}*_{directory.name}'):
      path.rmtree()
    clear(directory)
    with tempfile.TemporaryDirectory(
      prefix=_INCOMPLETE, suffix=f'_{directory.name}', dir=beside
    ) as folder:
      yield pathlib.Path(folder)


@contextlib.contextmanager
def disk_full_as_input_error(directory: str | os.PathLike) -> Iterator[None]:
  """Turns a full disk into one clear line.

  Raises:
    InputError: if what is written in the block finds no room.
  """
  try:
    yield
  except (OSError, tf.errors.ResourceExhaustedError) as error:
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError) and error.errno not in full:
      raise
    raise InputError(
      f'no room for the rows in {os.fspath(directory)}. Free some, name '
      'another directory, or ask for fewer instances a task.'
    ) from None


def write_file_list(directory: epath.Path) -> None:
  """Lists the files of a finished directory in it."""
  sizes = {
    path.name: path.stat().length
    for path in directory.iterdir()
    if path.name != FILE_LIST
  }
  partial = directory / f'{FILE_LIST}.{os.getpid()}.tmp'
  partial.write_text(json.dumps(sizes, indent=2, sort_keys=True) + '\n')
  partial.replace(directory / FILE_LIST)


def find_damage(directory: epath.Path, *, sizes: bool = True) -> str | None:
  """What is wrong with a directory: a sentence without its end, or None.

  Args:
    directory: of a build.
    sizes: whether to compare them, too; `corpus verify`, which names what is
      wrong with a record, does not need it. Contents are not looked at.
  """
  try:
    listed = json.loads((directory / FILE_LIST).read_text())
  except (OSError, ValueError):
    return f'its {FILE_LIST} is missing or damaged'
  for name, size in listed.items():
    path = directory / name
    if not path.exists():
      return f'its {name} is missing'
    if sizes and path.stat().length != size:
      return f'its {name} has {path.stat().length} bytes, not {size}'
  return None


def check_files(
  directory: epath.Path, *, data_dir: str | os.PathLike, sizes: bool = True
) -> None:
  """Raises `InputError` if there is a build in a directory, but damaged."""
  if not directory.exists():
    return
  found = find_damage(directory, sizes=sizes)
  if found:
    raise InputError(
      f'rows in {directory}: {found}. Build them again with '
      f"'it-study corpus build CORPUS --data_dir {os.fspath(data_dir)}'."
    )


def clear_build(
  directory: epath.Path, *, fingerprint: str, max_instances_per_task: int
) -> None:
  """Removes a build that is damaged or not finished, for it to be made again.

  Args:
    directory: of the build; nothing happens to one that is whole.
    fingerprint: of the corpus that will be built there.
    max_instances_per_task: cap that it will be built with.

  Raises:
    InputError: if it is a build of something else, or has files that no build
      writes.
  """
  found = find_damage(directory) if directory.exists() else None
  if found is None:
    return
  foreign = [p.name for p in directory.iterdir() if not _OURS.fullmatch(p.name)]
  if foreign:
    raise InputError(
      f'{directory} is no whole build ({found}) and has {foreign[0]!r}, which '
      'no build writes. Move that away, or name another directory.'
    )
  try:
    stored = json.loads((directory / 'metadata.json').read_text())
  except (OSError, ValueError):
    stored = {}
  wanted = {
    'fingerprint': fingerprint,
    'max_instances_per_task': max_instances_per_task,
  }
  if any(stored.get(name, value) != value for name, value in wanted.items()):
    raise InputError(
      f'{directory} holds a damaged build ({found}) of another corpus or with '
      'another cap of instances. Name another directory or remove it.'
    )
  logging.warning('%s: %s; building it again', directory, found)
  directory.rmtree()
