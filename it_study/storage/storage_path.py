"""A folder to read, on a local disk or in a Google Cloud Storage bucket."""

import os
import pathlib
import re
from typing import Any

from it_study.errors import InputError

_BUCKET = re.compile(r'gs://([\w.-]+)(?:/|$)(.*)')
_SCHEME = re.compile(r'\w+:/')


class StoragePath:
  """Reads what lies in a folder; `str` gives its path.

  >>> StoragePath('gs://bucket/a').kvstore('b')
  {'driver': 'gcs', 'bucket': 'bucket', 'path': 'a/b/'}
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Reads nothing yet.

    Args:
      path: local, or `gs://BUCKET/…`.

    Raises:
      InputError: for a path of another kind.
    """
    given = os.fspath(path)
    self._path = given.rstrip('/') or '/'
    self._bucket = _BUCKET.fullmatch(self._path)
    # A slip in gs:// is no local folder either, which would be made.
    if self._bucket is None and _SCHEME.match(given):
      raise InputError(
        f'{given}: allowed is a local folder, or one in a bucket, '
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
    """The path on a local disk, None in a bucket."""
    return None if self._bucket else pathlib.Path(self._path)

  @property
  def parent(self) -> 'StoragePath':
    """The folder above; a bucket is its own."""
    if self.local is not None:
      return StoragePath(self.local.parent)
    path = self._bucket[2].rpartition('/')[0]
    return StoragePath(f'gs://{self._bucket[1]}/{path}')

  def child(self, name: str) -> 'StoragePath':
    """A folder in this one, there or not."""
    return StoragePath(f'{self._path}/{name}')

  def kvstore(self, name: str = '') -> dict[str, Any]:
    """TensorStore's specification of the folder, or of one in it."""
    if self._bucket:
      parts = [part for part in (self._bucket[2], name) if part]
      path = ''.join(f'{part}/' for part in parts)
      return {'driver': 'gcs', 'bucket': self._bucket[1], 'path': path}
    path = f'{self.local.absolute() / name}/'
    return {'driver': 'file', 'path': path}

  def names(self) -> set[str]:
    """Of the files and folders in it; empty if there is no such folder.

    Raises:
      InputError: if it cannot be listed.
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
    """The content of a file in it, None if it is not there.

    Raises:
      InputError: if it cannot be read.
    """
    import tensorstore as ts

    try:
      found = ts.KvStore.open(self.kvstore()).result().read(name).result()
    except ValueError as error:
      raise InputError(
        f'{self}/{name}: cannot be read: {reason(error)}.'
      ) from None
    return found.value if found.state == 'value' else None

  def _list(self) -> set[str]:
    if not self._bucket:
      return set(os.listdir(self._path)) if os.path.isdir(self._path) else set()
    import tensorstore as ts

    keys = ts.KvStore.open(self.kvstore()).result().list().result()
    return {key.decode().split('/')[0] for key in keys}


def reason(error: Exception) -> str:
  """What an error of TensorStore, or of the system, says, on one short line.

  `NOT_FOUND: it is missing [tensorstore_spec=…]` gives `it is missing`.
  """
  text = getattr(error, 'strerror', None) or str(error)
  text = ' '.join(text.split()).split(' [')[0]
  return re.sub(r'^[A-Z_]+: ', '', text).rstrip('.')[:300]
