"""Reads files from an archive of a checkout: a .tar.gz or a .zip."""

from collections.abc import Callable, Iterator
import contextlib
import functools
import gzip
import hashlib
import os
import pathlib
import re
import stat
import tarfile
from typing import IO, NamedTuple
import zipfile
import zlib

from it_study.errors import InputError

SUFFIXES = ('.tar.gz', '.tgz', '.zip')
_CHUNK = 1 << 20
# Text of a few megabytes can be packed to a thousandth. The collection, about
# 3 GB, takes more than a tenth of that.
_MOST_TIMES = 100
_SMALL_BYTES = 100 << 20
_COMMIT = re.compile('[0-9a-f]{40}')
_CHECKOUT_FILE = re.compile(
  r'([^/]+/)?(?:tasks/[^/]+\.json|splits/[^/]+/[^/]+_tasks\.txt)'
)
_DAMAGE = (
  tarfile.TarError,
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  # Raised by gzip, for a wrong checksum among others.
  OSError,
  # An encrypted zip file, or a compression that Python cannot read.
  RuntimeError,
)


class _Member(NamedTuple):
  name: str
  is_folder: bool
  is_file: bool
  open: Callable[[], IO[bytes] | None]


def sha256_of(path: str | os.PathLike[str]) -> str:
  """Returns the SHA-256 of a file, hexadecimal."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def claimed_commit(path: str | os.PathLike[str]) -> str | None:
  """Returns the commit that `git archive`, as used by GitHub, noted in it.

  Nothing in the archive proves the note.
  """
  with _damage_as_input_error(path):
    if _is_zip(path):
      with zipfile.ZipFile(path) as archive:
        note = archive.comment.decode('ascii', 'replace')
    else:
      with _open_tar(path) as (archive, _):
        note = archive.pax_headers.get('comment', '')
  return note if _COMMIT.fullmatch(note) else None


def read(
  path: str | os.PathLike[str], *, selected: Callable[[str], bool]
) -> Iterator[tuple[str, Iterator[bytes]]]:
  """Yields the name and the content, in chunks, of each selected file.

  Names are relative to the checkout, without the top folder that GitHub adds.

  Args:
    path: Path of a .tar.gz, .tgz or .zip file.
    selected: Function that returns whether to read the file of this name.

  Raises:
    InputError: If the archive is damaged or would unpack to more than 100 times
      its size, a name in it leads out of the target folder, or a selected
      member is not a plain file.
  """
  top = _top_folder(path)
  with _damage_as_input_error(path):
    for member in _members(path):
      name = _safe_name(path, member.name)
      if member.is_folder or not name.startswith(top):
        continue
      name = name.removeprefix(top)
      if not selected(name):
        continue
      file = member.open() if member.is_file else None
      if file is None:
        raise InputError(
          f'{path}: {member.name!r} is a link or a device. It was not '
          'unpacked; use an archive of plain files.'
        )
      with file:
        yield name, _chunks(path, file)


def _chunks(path: str | os.PathLike[str], file: IO[bytes]) -> Iterator[bytes]:
  # The caller consumes this outside of the `with` block of `read`.
  with _damage_as_input_error(path):
    while chunk := file.read(_CHUNK):
      yield chunk


def _top_folder(path: str | os.PathLike[str]) -> str:
  """Returns the checkout's folder with a slash; empty if there is none.

  Reads the whole listing, so that nothing of a bad archive is unpacked.
  """
  top = None
  with _damage_as_input_error(path):
    for member in _members(path):
      match = _CHECKOUT_FILE.fullmatch(_safe_name(path, member.name))
      if match and top is None:
        top = match[1] or ''
  if top is not None:
    return top
  raise InputError(
    f'{path}: has no tasks/NAME.json and no splits/TRACK/train_tasks.txt; '
    'expected an archive of a checkout of natural-instructions.'
  )


def _members(path: str | os.PathLike[str]) -> Iterator[_Member]:
  return _zip_members(path) if _is_zip(path) else _tar_members(path)


def _tar_members(path: str | os.PathLike[str]) -> Iterator[_Member]:
  with _open_tar(path) as (archive, unpacked):
    for member in archive:
      yield _Member(
        member.name,
        member.isdir(),
        member.isreg(),
        functools.partial(archive.extractfile, member),
      )
    # The checksum is at the very end.
    while unpacked.read(_CHUNK):
      pass


class _Unpacked(gzip.GzipFile):
  """The bytes of a .tar.gz, of which there may be only so many."""

  _total = 0

  def read(self, size: int | None = -1) -> bytes:
    content = super().read(size)
    self._total += len(content)
    _check_size(self.name, self._total)
    return content


@contextlib.contextmanager
def _open_tar(
  path: str | os.PathLike[str],
) -> Iterator[tuple[tarfile.TarFile, _Unpacked]]:
  # As a stream: seeking back would decompress the file again.
  with (
    _Unpacked(path) as unpacked,
    tarfile.open(fileobj=unpacked, mode='r|') as archive,
  ):
    yield archive, unpacked


def _check_size(path: str | os.PathLike[str], total: int) -> None:
  """Raises `InputError` if an archive unpacks to too many bytes."""
  packed = os.path.getsize(path)
  limit = max(_SMALL_BYTES, _MOST_TIMES * packed)
  if total > limit:
    raise InputError(
      f'{path}: its {packed / 1e6:,.1f} MB would unpack to more than '
      f'{limit / 1e6:,.0f} MB. It was not unpacked; do not trust this archive. '
      'If you do, unpack it yourself and name the folder as the corpus.'
    )


def _zip_members(path: str | os.PathLike[str]) -> Iterator[_Member]:
  with zipfile.ZipFile(path) as archive:
    _check_size(path, sum(member.file_size for member in archive.infolist()))
    for member in archive.infolist():
      kind = stat.S_IFMT(member.external_attr >> 16)
      yield _Member(
        member.filename,
        member.is_dir(),
        kind in (0, stat.S_IFREG),
        functools.partial(archive.open, member),
      )


def _safe_name(path: str | os.PathLike[str], name: str) -> str:
  """Returns a member's name without `./`; refuses one that leads elsewhere."""
  parts = [part for part in name.split('/') if part not in ('', '.')]
  if name.startswith('/') or '..' in parts or '\\' in name or '\0' in name:
    raise InputError(
      f'{path}: {name!r} leads out of the target folder. It was not unpacked; '
      'do not trust this archive.'
    )
  return '/'.join(parts)


def _is_zip(path: str | os.PathLike[str]) -> bool:
  return pathlib.Path(path).suffix.lower() == '.zip'


@contextlib.contextmanager
def _damage_as_input_error(path: str | os.PathLike[str]) -> Iterator[None]:
  """Turns the errors of a damaged archive into `InputError`."""
  try:
    yield
  except _DAMAGE as error:
    # Errors of the operating system have a number; `fetch` explains them.
    if getattr(error, 'errno', None):
      raise
    raise InputError(
      f'{path}: damaged, truncated or not an archive: '
      f'{error or type(error).__name__}. Download it again.'
    ) from None
