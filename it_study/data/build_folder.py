"""The folder of a build: its lock, its file list, and its damage."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

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

# Written last: a build without it is not finished.
FILE_LIST = 'files.json'
# All file names that a build writes.
_OURS = re.compile(
  rf'LICENSE|(dataset_info|features|metadata)\.json|{re.escape(FILE_LIST)}.*|'
  r'.+\.tfrecord-\d+-of-\d+'
)

# TFDS's prefix for an unfinished folder.
_INCOMPLETE = 'incomplete.'

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def working_folder(
  directory: epath.Path, *, clear: Callable[[epath.Path], None]
) -> Iterator[pathlib.Path]:
  """A temporary folder for a build, under a lock on the build's directory.

  Processes that build the same directory wait for each other. A bucket has no
  locks, so nobody waits there, and the temporary folder is on the local disk.

  Args:
    directory: Directory that the block creates. Leftovers of killed builds next
      to it are removed.
    clear: Called with the directory under the lock, to remove an unfinished
      build.

  Yields:
    The folder, which is removed at the end.
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
  """Reports a full disk in one line.

  Raises:
    InputError: If the disk or a quota is full.
  """
  try:
    yield
  except (OSError, tf.errors.ResourceExhaustedError) as error:
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError) and error.errno not in full:
      raise
    raise InputError(
      f'no room for the rows in {os.fspath(directory)}. Free some space, '
      'choose another directory, or ask for fewer instances per task.'
    ) from None


def write_file_list(directory: epath.Path) -> None:
  """Writes the list of a finished build's files and their sizes."""
  sizes = {
    path.name: path.stat().length
    for path in directory.iterdir()
    if path.name != FILE_LIST
  }
  partial = directory / f'{FILE_LIST}.{os.getpid()}.tmp'
  partial.write_text(json.dumps(sizes, indent=2, sort_keys=True) + '\n')
  partial.replace(directory / FILE_LIST)


def find_damage(directory: epath.Path, *, sizes: bool = True) -> str | None:
  """Describes damage to a build; None if there is none. Reads no contents.

  Args:
    directory: Directory of the build.
    sizes: Whether to compare file sizes, too. `corpus verify` skips this, as it
      reports the damaged record itself.
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
  """Raises `InputError` if a directory holds a damaged build."""
  if not directory.exists():
    return
  damage = find_damage(directory, sizes=sizes)
  if damage:
    raise InputError(
      f'rows in {directory}: {damage}. Build them again with '
      f"'it-study corpus build CORPUS --data_dir {os.fspath(data_dir)}'."
    )


def clear_build(
  directory: epath.Path, *, fingerprint: str, max_instances_per_task: int
) -> None:
  """Removes a damaged or unfinished build, so that it can be rebuilt.

  Args:
    directory: Directory of the build; an undamaged one is left alone.
    fingerprint: Fingerprint of the corpus to build there.
    max_instances_per_task: Maximum number of training instances per task to
      build with.

  Raises:
    InputError: If the damaged build is of another corpus or cap, or has files
      that no build writes.
  """
  damage = find_damage(directory) if directory.exists() else None
  if damage is None:
    return
  foreign = [p.name for p in directory.iterdir() if not _OURS.fullmatch(p.name)]
  if foreign:
    raise InputError(
      f'{directory} is a damaged build ({damage}) and holds {foreign[0]!r}, '
      'which no build writes. Move that file, or choose another directory.'
    )
  try:
    stored = json.loads((directory / 'metadata.json').read_text())
  except (OSError, ValueError):
    stored = {}
  expected = {
    'fingerprint': fingerprint,
    'max_instances_per_task': max_instances_per_task,
  }
  if any(stored.get(name, value) != value for name, value in expected.items()):
    raise InputError(
      f'{directory} holds a damaged build ({damage}) of another corpus or with '
      'another max_instances_per_task. Choose another directory or remove it.'
    )
  _logger.warning('%s: %s; rebuilding it', directory, damage)
  directory.rmtree()
