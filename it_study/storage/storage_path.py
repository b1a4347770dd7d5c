"""Paths that users give: the home folder, and folders in buckets."""

import os
import pathlib
import re
from typing import Any

from it_study.errors import InputError

_BUCKET = re.compile(r'gs://([\w.-]+)(?:/|$)(.*)')
_SCHEME = re.compile(r'\w+:/')


class StoragePath:
  """A folder, local or in a bucket; `str` gives its path.

  >>> StoragePath('gs://bucket/a').kvstore('b')
  {'driver': 'gcs', 'bucket': 'bucket', 'path': 'a/b/'}
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Parses the path; nothing is read yet.

    Args:
      path: Folder, local or `gs://BUCKET/…`.

    Raises:
      InputError: If the path has another scheme.
    """
    text = expanded(path)
    self._path = text.rstrip('/') or '/'
    self._bucket = _BUCKET.fullmatch(self._path)
    # A misspelt gs:// must not become a local folder.
    if self._bucket is None and _SCHEME.match(text):
      raise InputError(
        f'{text}: expected a local folder, or one in a bucket, '
        'gs://BUCKET/FOLDER.'
      )
    self._names: set[str] | None = None

  def __str__(self) -> str:
    return self._path

  @property
  def name(self) -> str:
    """The last part of the path."""
    return pathlib.PurePosixPath(self._path).name

  @property
  def local(self) -> pathlib.Path | None:
    """The path on a local disk; None for a bucket."""
    return None if self._bucket else pathlib.Path(self._path)

  @property
  def parent(self) -> 'StoragePath':
    """The folder above; the root of a bucket is its own parent."""
    if self._bucket is None:
      return StoragePath(pathlib.Path(self._path).parent)
    path = self._bucket[2].rpartition('/')[0]
    return StoragePath(f'gs://{self._bucket[1]}/{path}')

  def child(self, name: str) -> 'StoragePath':
    """Returns the path of a folder inside, whether or not it exists."""
    return StoragePath(f'{self._path}/{name}')

  def kvstore(self, name: str = '') -> dict[str, Any]:
    """Returns TensorStore's specification of the folder, or of one inside."""
    if self._bucket is not None:
      parts = [part for part in (self._bucket[2], name) if part]
      path = ''.join(f'{part}/' for part in parts)
      return {'driver': 'gcs', 'bucket': self._bucket[1], 'path': path}
    path = f'{pathlib.Path(self._path).absolute() / name}/'
    return {'driver': 'file', 'path': path}

  def names(self) -> set[str]:
    """Returns the names of the files and folders inside.

    The set is empty if the folder does not exist.

    Raises:
      InputError: If the folder cannot be listed.
    """
    if self._names is None:
      try:
        self._names = self._list()
      except (OSError, ValueError) as error:
        raise InputError(
          f'{self}: cannot be listed: {reason(error)}.'
        ) from None
    return self._names

  def read(self, name: str) -> bytes | None:
    """Returns the content of a file inside; None if it does not exist.

    Raises:
      InputError: If the file cannot be read.
    """
    import tensorstore as ts

    try:
      result = ts.KvStore.open(self.kvstore()).result().read(name).result()
    except ValueError as error:
      raise InputError(
        f'{self}/{name}: cannot be read: {reason(error)}.'
      ) from None
    if result.state != 'value' and self.local and (self.local / name).exists():
      raise InputError(f'{self}/{name}: cannot be read: not a file.')
    return result.value if result.state == 'value' else None

  def _list(self) -> set[str]:
    if not self._bucket:
      return set(os.listdir(self._path)) if os.path.isdir(self._path) else set()
    import tensorstore as ts

    keys = ts.KvStore.open(self.kvstore()).result().list().result()
    return {key.decode().split('/')[0] for key in keys}


def expanded(path: str | os.PathLike[str]) -> str:
  """Returns a path with a `~` at its start replaced by the home folder.

  Every path that comes from a flag, gin, the environment or a caller passes
  through here once: TFDS and some of its relatives expand `~`, pathlib does
  not, and a shell does not in `--flag=~/rows`.

  >>> expanded('gs://bucket/~'), expanded('rows~')
  ('gs://bucket/~', 'rows~')

  Args:
    path: Path; `./~` stands for a file or folder of that name.

  Raises:
    InputError: If the path begins with the name of an unknown user, or is not
      text.
  """
  if not isinstance(path, str | os.PathLike):
    # From gin, which reads 2024 as a number.
    raise InputError(
      f'{path!r} is not a path. Write a path in quotation marks: {str(path)!r}.'
    )
  text = os.fspath(path)
  if text.startswith('./~'):
    # pathlib would drop the dot.
    return os.path.abspath(text)
  result = os.path.expanduser(text)
  if result.startswith('~'):
    raise InputError(
      f'{text}: {text.partition("/")[0]} is not the home folder of a user. '
      f'Write ./{text} for a file or folder of that name.'
    )
  return result


def reason(error: Exception) -> str:
  """Returns the message of a TensorStore or system error on one short line.

  `NOT_FOUND: it is missing [tensorstore_spec=…]` gives `it is missing`.
  """
  text = getattr(error, 'strerror', None) or str(error)
  text = ' '.join(text.split()).split(' [')[0]
  return re.sub(r'^[A-Z_]+: ', '', text).rstrip('.')[:300]
