"""The files of an archive of a checkout: a .tar.gz or a .zip."""

from collections.abc import Callable, Iterator
import contextlib
import gzip
import hashlib
import os
import pathlib
import re
import stat
import tarfile
import zipfile
import zlib

from it_study.errors import InputError

SUFFIXES = ('.tar.gz', '.tgz', '.zip')
_CHUNK = 1 << 20
_COMMIT = re.compile('[0-9a-f]{40}')
_CHECKOUT_FILE = re.compile(
  r'([^/]+/)?(?:tasks/[^/]+\.json|splits/[^/]+/[^/]+_tasks\.txt)'
)
_DAMAGE = (
  tarfile.TarError,
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  # Gzip's own, for a wrong checksum among others.
  OSError,
  # A zip file that is encrypted, or packed in a way that Python cannot read.
  RuntimeError,
)


def sha256_of(path: str | os.PathLike) -> str:
  """The hexadecimal SHA-256 of a file."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def claimed_commit(path: str | os.PathLike) -> str | None:
  """The commit that `git archive`, and so GitHub, noted in an archive.

  A note only: nothing in the archive proves it.
  """
  with _errors_told(path):
    if _is_zip(path):
      with zipfile.ZipFile(path) as archive:
        note = archive.comment.decode('ascii', 'replace')
    else:
      with tarfile.open(path, 'r:gz') as archive:
        note = archive.pax_headers.get('comment', '')
  return note if _COMMIT.fullmatch(note) else None


def read(
  path: str | os.PathLike, *, selected: Callable[[str], bool]
) -> Iterator[tuple[str, Iterator[bytes]]]:
  """Yields the name and the content, in chunks, of the selected files.

  Names are those inside the checkout: the one folder that GitHub puts around
  everything is taken off.

  Args:
    path: a .tar.gz, .tgz or .zip file.
    selected: of a name, whether to read it.

  Raises:
    InputError: if the archive is damaged, or a name in it leads out of the
      folder it is unpacked to, or what is selected is no plain file.
  """
  top = _top(path)
  with _errors_told(path):
    for name, is_folder, is_file, open_member in _members(path):
      inside = _inside(path, name)
      if is_folder or not inside.startswith(top):
        continue
      inside = inside.removeprefix(top)
      if not selected(inside):
        continue
      if not is_file:
        raise InputError(
          f'{path}: {name!r} is a link or a device. Nothing of it is written; '
          'take an archive of plain files.'
        )
      with open_member() as file:
        yield inside, _chunks(path, file)


def _chunks(path, file) -> Iterator[bytes]:
  # Run by who writes the file, outside of what tells errors here.
  with _errors_told(path):
    while chunk := file.read(_CHUNK):
      yield chunk


def _top(path) -> str:
  """The folder around everything, with its slash, or nothing."""
  with _errors_told(path):
    for name, *_ in _members(path):
      found = _CHECKOUT_FILE.fullmatch(_inside(path, name))
      if found:
        return found[1] or ''
  raise InputError(
    f'{path}: no tasks/NAME.json and no splits/TRACK/train_tasks.txt in it; it '
    'should be an archive of a checkout of natural-instructions.'
  )


def _members(path):
  """Name, whether a folder, whether a plain file, and how to open it."""
  return _zip_members(path) if _is_zip(path) else _tar_members(path)


def _tar_members(path):
  # As a stream: what is compressed so cannot be read twice at no cost.
  with (
    gzip.open(path) as unpacked,
    tarfile.open(fileobj=unpacked, mode='r|') as archive,
  ):
    for member in archive:
      yield (
        member.name,
        member.isdir(),
        member.isreg(),
        lambda member=member: archive.extractfile(member),
      )
    # The checksum of it all stands at the very end.
    while unpacked.read(_CHUNK):
      pass


def _zip_members(path):
  with zipfile.ZipFile(path) as archive:
    for member in archive.infolist():
      kind = stat.S_IFMT(member.external_attr >> 16)
      yield (
        member.filename,
        member.is_dir(),
        kind in (0, stat.S_IFREG),
        lambda member=member: archive.open(member),
      )


def _inside(path, name: str) -> str:
  """A member's name without `./`; refuses one that leads elsewhere."""
  parts = [part for part in name.split('/') if part not in ('', '.')]
  if name.startswith('/') or '..' in parts or '\\' in name or '\0' in name:
    raise InputError(
      f'{path}: {name!r} leads out of the folder the archive is unpacked to. '
      'Such an archive is not to be trusted; nothing of it is written there.'
    )
  return '/'.join(parts)


def _is_zip(path) -> bool:
  return pathlib.Path(path).suffix.lower() == '.zip'


@contextlib.contextmanager
def _errors_told(path) -> Iterator[None]:
  """Turns what a damaged archive raises into one line."""
  try:
    yield
  except _DAMAGE as error:
    # What the system refuses has a number and is told elsewhere.
    if getattr(error, 'errno', None):
      raise
    raise InputError(
      f'{path}: damaged, cut short or no archive: '
      f'{error or type(error).__name__}. Get it again.'
    ) from None
