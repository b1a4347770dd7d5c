"""Files in a bucket of Google Cloud Storage, and their copies here.

Needs the extra `gcs`. Without credentials of its own a machine reads what is
public.
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

# Folders below the cache: of copies that a run works in, and of those that are
# read alone, which are never behind what a run on this machine has made.
WORKING, READING = 'buckets', 'buckets-read'
_THREADS = 8
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredFile:
  """A file in a bucket.

  Attributes:
    name: its path below the folder.
    num_bytes: its size.
    generation: another one for every content that it has had, later ones
      larger; a time in microseconds.
    crc32c: of its content, in base64, as the bucket has it.
  """

  name: str
  num_bytes: int
  generation: int
  crc32c: str | None


class Bucket:
  """The files below a folder in a bucket.

  A copy has the time of its file's generation, by which it is known again.
  """

  def __init__(self, folder: StoragePath):
    """Asks the bucket nothing yet.

    Args:
      folder: in a bucket.

    Raises:
      InputError: if the library is missing.
    """
    self._folder = folder
    spec = folder.kvstore()
    self._prefix = spec['path']
    self._bucket = _client(folder).bucket(spec['bucket'])

  def files(self, name: str = '') -> dict[str, StoredFile]:
    """The file of a name, or all that are in the folder of that name.

    Raises:
      InputError: if they cannot be listed.
    """
    below = f'{name}/' if name else ''
    with self._translate_errors(name):
      blobs = list(self._bucket.list_blobs(prefix=self._prefix + name))
    files = {}
    for blob in blobs:
      path = blob.name.removeprefix(self._prefix)
      if '..' in path.split('/') or path.startswith('/'):
        raise InputError(
          f'{self._folder}: found a file named {path!r:.80}, which would not '
          'lie in a copy of that folder. Name another folder.'
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
    """Copies files, but those whose copy is there already.

    Each is checked by its CRC32C and renamed into place when it is whole.

    Args:
      files: what to copy.
      to: a local folder, made if need be.

    Raises:
      InputError: one cannot be read, or the local disk has no room.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
      # A list, so that an error is raised here.
      list(pool.map(lambda file: self._download(file, to / file.name), files))

  def copy_to_read(self, files: Collection[StoredFile]) -> pathlib.Path:
    """Copies files into the folder's copy that is read alone.

    Says so if there is none yet. `one_reader` keeps others of this machine out
    meanwhile.

    Returns:
      The copy.
    """
    here = place_of(self._folder, copies=READING)
    if not here.exists():
      size = sum(file.num_bytes for file in files) / 1e6
      _logger.warning('%s: copying %.1f MB to %s.', self._folder, size, here)
    self.download(files, to=here)
    return here

  def _download(self, file: StoredFile, path: pathlib.Path) -> None:
    if _is_copy(path, file):
      return
    # Of this process's own, as others may be at the same file.
    partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
    with self._translate_errors(file.name):
      path.parent.mkdir(parents=True, exist_ok=True)
      # Of the generation that was listed, whatever has become of the file.
      self._blob(file.name).download_to_filename(
        partial, if_generation_match=file.generation
      )
      _set_time(partial, file.generation)
      partial.rename(path)

  def upload(
    self, path: pathlib.Path, name: str, *, known: StoredFile | None
  ) -> None:
    """Copies a file into the bucket, unless what is there is its copy.

    One that is gone is passed over; one that changes meanwhile counts as
    another than what was uploaded.

    Args:
      path: of the file here.
      name: in the bucket, below the folder.
      known: what is there.

    Raises:
      InputError: if it cannot be written.
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
    """Generation and content of a file; 0 and nothing if there is none."""
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
          # Written anew between the two requests.
          continue

  def write_small(
    self, name: str, content: str, *, generation: int
  ) -> int | None:
    """Writes a file if it still is of a generation; 0 is of none at all.

    Returns:
      Its generation now, None if it was of another.
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
    """Of a file's content, which is read for it and kept nowhere."""
    with self._translate_errors(name), self._blob(name).open('rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()

  def rename(self, name: str, new: str) -> None:
    """Gives a file another name in the folder, without reading it."""
    with self._translate_errors(name, verb='renamed'):
      self._bucket.rename_blob(self._blob(name), self._prefix + new)

  def delete(self, name: str, *, generation: int) -> None:
    """Deletes a file if it still is of a generation."""
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
    """Turns what the library and the system raise into one line."""
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
        f'{path}: cannot be {verb}: {text:.300}. See that the bucket is named '
        'rightly and that this machine may use it (gcloud auth '
        'application-default login).'
      ) from None
    except OSError as error:
      raise InputError(
        f'{path}: cannot be copied: {error.strerror or error}. Name a disk '
        'with room by IT_STUDY_CACHE.'
      ) from None


@contextlib.contextmanager
def one_reader() -> Iterator[None]:
  """Lets processes of this machine at the copies to read one by one."""
  copies = cache_directory() / READING
  local_folders.make_directory(copies)
  with local_folders.one_at_a_time(copies / '.lock'):
    yield


def place_of(folder: StoragePath, *, copies: str) -> pathlib.Path:
  """Where the copy of a folder is; `copies` is `WORKING` or `READING`."""
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
