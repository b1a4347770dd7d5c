"""Files in a bucket of Google Cloud Storage, copied to the local disk.

Needs the extra `gcs`. Without credentials of its own a machine reads what is
public.
"""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import os
import pathlib
from typing import Any

from it_study.errors import InputError
from it_study.stored_folder import StoredFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredFile:
  """A file in a bucket.

  Attributes:
    name: its path below the folder that was listed.
    num_bytes: its size.
    generation: another one for every content that it has had.
    blob: the library's handle.
  """

  name: str
  num_bytes: int
  generation: int
  blob: Any = dataclasses.field(repr=False, compare=False)


def list_files(folder: StoredFolder) -> dict[str, StoredFile]:
  """All files below a folder in a bucket, by name; empty if there are none.

  Raises:
    InputError: the library is missing, or the bucket cannot be listed.
  """
  spec = folder.kvstore()
  with _told(folder):
    blobs = list(
      _client(folder).list_blobs(spec['bucket'], prefix=spec['path'])
    )
  files = {}
  for blob in blobs:
    name = blob.name.removeprefix(spec['path'])
    if '..' in name.split('/') or name.startswith('/'):
      raise InputError(
        f'{folder}: found a file named {name!r:.80}, which would not lie in a '
        'copy of that folder. Name another folder.'
      )
    # Some tools store a folder as an object that ends in a slash.
    if name and not name.endswith('/'):
      files[name] = StoredFile(
        name=name,
        num_bytes=blob.size,
        generation=blob.generation,
        blob=blob,
      )
  return files


def copy_files(
  folder: StoredFolder, files: Iterable[StoredFile], *, to: pathlib.Path
) -> None:
  """Copies files, but those whose copy is there already.

  A copy has the time of its file's generation, by which it is known again. Each
  is checked by its CRC32C and renamed into place when it is whole.

  Args:
    folder: that was listed.
    files: what to copy.
    to: a local folder, made if need be.

  Raises:
    InputError: one cannot be read, or the local disk has no room.
  """
  for file in files:
    path = to / file.name
    if _is_copy(path, file):
      continue
    partial = path.with_name(f'{path.name}.partial')
    with _told(folder.child(file.name)):
      path.parent.mkdir(parents=True, exist_ok=True)
      # Of the generation that was listed, whatever has become of the file.
      file.blob.download_to_filename(
        partial, if_generation_match=file.generation
      )
      os.utime(partial, ns=(_nanoseconds(file), _nanoseconds(file)))
      partial.rename(path)


def _is_copy(path: pathlib.Path, file: StoredFile) -> bool:
  try:
    stat = path.stat()
  except OSError:
    return False
  return (stat.st_size, stat.st_mtime_ns) == (
    file.num_bytes,
    _nanoseconds(file),
  )


def _nanoseconds(file: StoredFile) -> int:
  # A generation is a time in microseconds.
  return file.generation * 1000


def _client(folder: StoredFolder) -> Any:
  try:
    import google.auth.exceptions
    from google.cloud import storage
  except ImportError:
    raise InputError(
      f'{folder}: needs google-cloud-storage, which is not installed: pip '
      "install 'it_study[gcs]'."
    ) from None
  try:
    return storage.Client(project='none')
  except google.auth.exceptions.DefaultCredentialsError:
    return storage.Client.create_anonymous_client()


@contextlib.contextmanager
def _told(path: StoredFolder) -> Iterator[None]:
  """Turns what the library and the system raise into one line."""
  from google.api_core import exceptions
  from google.auth.exceptions import GoogleAuthError
  from google.cloud.storage.exceptions import DataCorruption
  import requests

  try:
    yield
  except (
    exceptions.GoogleAPIError,
    GoogleAuthError,
    DataCorruption,
    requests.RequestException,
  ) as error:
    text = ' '.join(str(error).split())
    raise InputError(
      f'{path}: cannot be read: {text:.300}. See that the bucket is named '
      'rightly and that this machine may read it (gcloud auth '
      'application-default login).'
    ) from None
  except OSError as error:
    raise InputError(
      f'{path}: cannot be copied to this machine: {error.strerror or error}. '
      'Name a disk with room by IT_STUDY_CACHE.'
    ) from None
