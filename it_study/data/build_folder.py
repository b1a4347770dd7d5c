"""The folder of a build: its lock, its file list, and its damage."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable, Collection, Iterator
import contextlib
import errno
import hashlib
import json
import logging
import os
import pathlib
import re
import tempfile

from etils import epath
import tensorflow as tf

from it_study.corpus import files
from it_study.errors import InputError, is_plain_name
from it_study.storage import local_folders, text_files

# Folder of the cache that holds builds, each in a folder named after it.
ROWS = 'rows'
# Written last: a build without it is not finished.
FILE_LIST = 'files.json'
_RECORDS = re.compile(r'.+\.tfrecord-\d+-of-\d+')
# All file names that a build writes.
_OURS = re.compile(
  rf'LICENSE|(dataset_info|features|metadata)\.json|{re.escape(FILE_LIST)}.*|'
  rf'{_RECORDS.pattern}'
)
_CONTENTS = re.compile(rf'metadata\.json|{_RECORDS.pattern}')
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
  if _is_in_bucket(directory):
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
  """Writes the list of a finished build's files: sizes and hashes.

  It reads `{"metadata.json": {"bytes": 7, "sha256": "…"}, …}`. In a bucket,
  files of records are listed without a hash, so that they need not be read
  back; each record has a checksum.
  """
  paths = [path for path in directory.iterdir() if path.name != FILE_LIST]
  listed: dict[str, dict[str, int | str]] = {
    path.name: {'bytes': path.stat().length} for path in paths
  }
  hashed = [
    name
    for name in listed
    if not (_is_in_bucket(directory) and _RECORDS.fullmatch(name))
  ]
  for name, sha256 in _hashes(hashed, directory).items():
    listed[name]['sha256'] = sha256
  partial = directory / f'{FILE_LIST}.{os.getpid()}.tmp'
  partial.write_text(json.dumps(listed, indent=2, sort_keys=True) + '\n')
  partial.replace(directory / FILE_LIST)


def find_damage(
  directory: epath.Path, *, contents: bool = True, reread: bool = False
) -> str | None:
  """Describes damage to a build; None if there is none.

  A local file is read only if its size or times have changed since it was last
  hashed, so that opening large rows is quick. Records without a hash, as in the
  lists of former versions and of buckets, have checksums: those are compared
  instead, in a bucket only to `reread`.

  Args:
    directory: Directory of the build.
    contents: Whether to compare the size and hash of rows and task texts, too.
      `corpus verify` skips this, as it reports the damaged record itself.
    reread: Whether to read unchanged files, too.
  """
  try:
    listed = _read_file_list(directory)
  except (OSError, ValueError, TypeError, KeyError, AttributeError):
    return f'its {FILE_LIST} is missing or damaged'
  hashes: dict[str, str] = {}
  for name, (size, sha256) in listed.items():
    path = directory / name
    if not path.exists():
      return f'its {name} is missing'
    if not contents and _CONTENTS.fullmatch(name):
      continue
    if path.stat().length != size:
      return f'its {name} has {path.stat().length} bytes, not {size}'
    if sha256 is not None:
      hashes[name] = sha256
    elif (
      _RECORDS.fullmatch(name)
      and (reread or not _is_in_bucket(directory))
      and _has_damaged_record(path)
    ):
      return f'its {name} has a damaged record'
  try:
    found = _hashes(hashes, directory, reread=reread)
  except OSError as error:
    name = pathlib.Path(error.filename).name
    return f'its {name} cannot be read ({error.strerror or error})'
  for name, sha256 in hashes.items():
    if found[name] != sha256:
      return f'its {name} has changed since it was written'
  return None


def _hashes(
  names: Collection[str], directory: epath.Path, *, reread: bool = False
) -> dict[str, str]:
  """Returns the SHA-256 of files; those of a bucket are read each time."""
  if _is_in_bucket(directory):
    return {
      name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
      for name in names
    }
  return files.sha256_of_files(names, directory=directory, reread=reread)


def _has_damaged_record(path: epath.Path) -> bool:
  records = tf.data.TFRecordDataset(os.fspath(path))
  try:
    records.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1)
  except tf.errors.DataLossError:
    return True
  return False


def check_files(
  directory: epath.Path,
  *,
  data_dir: str | os.PathLike,
  contents: bool = True,
  reread: bool = False,
) -> None:
  """Raises `InputError` if a directory holds a damaged build.

  Args:
    directory: Directory of the build.
    data_dir: Data dir of the build, for the message.
    contents: Whether to compare contents, as for `find_damage`.
    reread: Whether to read unchanged files, as for `find_damage`.
  """
  if not directory.exists():
    return
  damage = find_damage(directory, contents=contents, reread=reread)
  if damage:
    advice = (
      'Run the same command again, which rebuilds them'
      if _is_in_cache(directory)
      else "Build them again with 'it-study corpus build CORPUS --data_dir "
      f"{os.fspath(data_dir)}'"
    )
    raise InputError(f'rows in {directory}: {damage}. {advice}.')


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
    InputError: If the damaged build has files that no build writes or, outside
      the cache, is of another corpus or cap.
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
    stored = text_files.parse_object(
      (directory / 'metadata.json').read_bytes(), where='metadata.json'
    )
  except (OSError, InputError):
    stored = {}
  expected = {
    'fingerprint': fingerprint,
    'max_instances_per_task': max_instances_per_task,
  }
  # The name of a folder in the cache says what it is a build of.
  if not _is_in_cache(directory) and any(
    stored.get(name, value) != value for name, value in expected.items()
  ):
    raise InputError(
      f'{directory} holds a damaged build ({damage}) of another corpus or with '
      'another max_instances_per_task. Choose another directory or remove it.'
    )
  _logger.warning('%s: %s; rebuilding it', directory, damage)
  directory.rmtree()


def _read_file_list(
  directory: epath.Path,
) -> dict[str, tuple[int, str | None]]:
  """Returns file name to size and SHA-256; former lists have only sizes."""
  listed = text_files.parse_object(
    (directory / FILE_LIST).read_bytes(), where=FILE_LIST
  )
  if not all(map(is_plain_name, listed)):
    raise ValueError('a path')
  return {
    name: (entry, None)
    if isinstance(entry, int)
    else (entry['bytes'], entry.get('sha256'))
    for name, entry in listed.items()
  }


def _is_in_bucket(directory: epath.Path) -> bool:
  return '://' in os.fspath(directory)


def _is_in_cache(directory: epath.Path) -> bool:
  return not _is_in_bucket(directory) and pathlib.Path(
    directory
  ).resolve().is_relative_to((local_folders.cache_directory() / ROWS).resolve())
