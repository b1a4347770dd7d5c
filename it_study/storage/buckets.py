"""Files in Google Cloud Storage buckets, and their local copies.

Needs the extra `gcs`. Without credentials, only public buckets can be read.
"""

from collections.abc import Collection, Iterable, Iterator
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import logging
import os
import pathlib
from typing import Any

from it_study.errors import InputError
from it_study.storage import local_folders
from it_study.storage.local_folders import cache_directory
from it_study.storage.storage_path import StoragePath

# Folders below the cache: copies that a run writes to, and copies that are only
# read. Kept apart, so that reading never touches a run's unpublished files.
WORKING, READING = 'buckets', 'buckets-read'
_THREADS = 8
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredFile:
  """A file in a bucket.

  Attributes:
    name: Path below the folder.
    num_bytes: Size in bytes.
    generation: Version number, different for every content that the file has
      had and growing over time; a time in microseconds.
    crc32c: CRC32C of the content in base64, computed by the bucket.
  """

  name: str
  num_bytes: int
  generation: int
  crc32c: str | None


class Bucket:
  """The files below a folder in a bucket.

  A copy's modification time is its file's generation, which identifies it.
  """

  def __init__(self, folder: StoragePath):
    """Creates a client; the bucket is not contacted yet.

    Args:
      folder: Folder in a bucket.

    Raises:
      InputError: If the library is missing.
    """
    self._folder = folder
    spec = folder.kvstore()
    self._prefix = spec['path']
    self._bucket = _client(folder).bucket(spec['bucket'])

  def files(self, name: str = '') -> dict[str, StoredFile]:
    """Returns the file of a name, or all files in the folder of that name.

    Raises:
      InputError: If they cannot be listed.
    """
    below = f'{name}/' if name else ''
    with self._translate_errors(name):
      blobs = list(self._bucket.list_blobs(prefix=self._prefix + name))
    files = {}
    for blob in blobs:
      path = blob.name.removeprefix(self._prefix)
      if '..' in path.split('/') or path.startswith('/'):
        raise InputError(
          f'{self._folder}: a file is named {path!r:.80}, which would lie '
          'outside a copy of the folder. Name another folder.'
        )
      # Some tools store a folder as an object that ends in a slash.
      if path.endswith('/') or not (path == name or path.startswith(below)):
        continue
      files[path] = StoredFile(
        name=path,
        num_bytes=blob.size,
        generation=blob.generation,
        crc32c=blob.crc32c,
      )
    return files

  def download(self, files: Iterable[StoredFile], *, to: pathlib.Path) -> None:
    """Copies files, except those already copied.

    Each copy is checked against its CRC32C and renamed into place when it is
    complete.

    Args:
      files: Files to copy.
      to: Local folder; created if missing.

    Raises:
      InputError: If a file cannot be read, or the local disk is full.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
      # A list, so that an error is raised here.
      list(pool.map(lambda file: self._download(file, to / file.name), files))

  def copy_to_read(self, files: Collection[StoredFile]) -> pathlib.Path:
    """Copies files into the folder's read-only copy.

    Warns if there is no copy yet. Call it inside `one_reader`, which keeps out
    the other processes of this machine.

    Returns:
      The folder of the copy.
    """
    here = place_of(self._folder, copies=READING)
    missing = [file for file in files if not _is_copy(here / file.name, file)]
    size = sum(file.num_bytes for file in missing) / 1e6
    if not here.exists():
      _logger.warning('%s: copying %.1f MB to %s.', self._folder, size, here)
    elif missing:
      _logger.info(
        '%s: cache miss in %s: copying %d of %d files, %.1f MB.',
        self._folder,
        here,
        len(missing),
        len(files),
        size,
      )
    else:
      _logger.info('%s: cache hit in %s.', self._folder, here)
    self.download(files, to=here)
    return here

  def _download(self, file: StoredFile, path: pathlib.Path) -> None:
    if _is_copy(path, file):
      return
    # One per process, since others may be copying the same file.
    partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
    with self._translate_errors(file.name):
      path.parent.mkdir(parents=True, exist_ok=True)
      # The generation that was listed, even if the file has changed since.
      self._blob(file.name).download_to_filename(
        partial, if_generation_match=file.generation
      )
      _set_time(partial, file.generation)
      # Else a crash of the machine may leave a copy of this size and time
      # without content.
      with open(partial, 'rb') as copied:
        os.fsync(copied.fileno())
      partial.rename(path)

  def upload(
    self, path: pathlib.Path, name: str, *, known: StoredFile | None
  ) -> None:
    """Copies a file into the bucket, unless the bucket already has it.

    A local file that no longer exists is skipped. One that changes during the
    upload counts as different from what was uploaded.

    Args:
      path: Local file.
      name: Name in the bucket, below the folder.
      known: File of that name in the bucket; None if there is none.

    Raises:
      InputError: If the bucket cannot be written to.
    """
    if known is not None and _is_copy(path, known):
      return
    with self._translate_errors(name, verb='written'):
      try:
        before = path.stat()
        blob = self._blob(name)
        blob.upload_from_filename(path)
        after = path.stat()
        if (before.st_size, before.st_mtime_ns) == (
          after.st_size,
          after.st_mtime_ns,
        ):
          _set_time(path, blob.generation)
      except FileNotFoundError:
        pass

  def read_small(self, name: str) -> tuple[int, str]:
    """Returns a file's generation and content; 0 and '' if it is missing."""
    from google.api_core import exceptions

    blob = self._blob(name)
    with self._translate_errors(name):
      while True:
        try:
          blob.reload()
          generation = blob.generation
          return generation, blob.download_as_text(
            if_generation_match=generation
          )
        except exceptions.NotFound:
          return 0, ''
        except exceptions.PreconditionFailed:
          # Overwritten between the two requests.
          continue

  def write_small(
    self, name: str, content: str, *, generation: int
  ) -> int | None:
    """Writes a file if its generation is still the given one; 0 if missing.

    Returns:
      The new generation; None if the file had another one.
    """
    from google.api_core import exceptions

    blob = self._blob(name)
    with self._translate_errors(name, verb='written'):
      try:
        blob.upload_from_string(content, if_generation_match=generation)
      except exceptions.PreconditionFailed:
        return None
    return blob.generation

  def sha256(self, name: str) -> str:
    """Returns the SHA-256 of a file, which is streamed and not stored."""
    with self._translate_errors(name), self._blob(name).open('rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()

  def rename(self, name: str, new: str) -> None:
    """Renames a file inside the folder, without reading it."""
    with self._translate_errors(name, verb='renamed'):
      self._bucket.rename_blob(self._blob(name), self._prefix + new)

  def delete(self, name: str, *, generation: int) -> None:
    """Deletes a file if its generation is still the given one."""
    from google.api_core import exceptions

    with self._translate_errors(name, verb='deleted'):
      is_other = (exceptions.NotFound, exceptions.PreconditionFailed)
      with contextlib.suppress(*is_other):
        self._blob(name).delete(if_generation_match=generation)

  def _blob(self, name: str) -> Any:
    return self._bucket.blob(self._prefix + name)

  @contextlib.contextmanager
  def _translate_errors(
    self, name: str, *, verb: str = 'read'
  ) -> Iterator[None]:
    """Turns errors of the library and the system into one-line messages."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption
    import requests

    path = self._folder.child(name) if name else self._folder
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
        f'{path}: cannot be {verb}: {text:.300}. Check the name of the bucket '
        'and that this machine may use it (gcloud auth application-default '
        'login).'
      ) from None
    except OSError as error:
      raise InputError(
        f'{path}: cannot be copied: {error.strerror or error}. Set '
        'IT_STUDY_CACHE to a folder on a disk with free space.'
      ) from None


@contextlib.contextmanager
def one_reader() -> Iterator[None]:
  """Gives the processes of this machine access to the copies one at a time."""
  copies = cache_directory() / READING
  local_folders.make_directory(copies)
  with local_folders.one_at_a_time(copies / '.lock'):
    yield


def place_of(folder: StoragePath, *, copies: str) -> pathlib.Path:
  """Returns the path of a folder's copy.

  Args:
    folder: Folder in a bucket.
    copies: Kind of copy, `WORKING` or `READING`.
  """
  return cache_directory() / copies / str(folder).removeprefix('gs://')


def _is_copy(path: pathlib.Path, file: StoredFile) -> bool:
  try:
    stat = path.stat()
  except OSError:
    return False
  nanoseconds = 1000 * file.generation
  return (stat.st_size, stat.st_mtime_ns) == (file.num_bytes, nanoseconds)


def _set_time(path: pathlib.Path, generation: int) -> None:
  os.utime(path, ns=(1000 * generation, 1000 * generation))


def _client(folder: StoragePath) -> Any:
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
