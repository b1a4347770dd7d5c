"""A directory of fetched files: written whole, hashed, listed by checksum."""

from collections.abc import Callable, Iterable, Mapping
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import re

from it_study.storage import text_files

CHECKSUMS = 'SHA256SUMS'
# Holds what a fetch needs for itself.
STATE = '.fetch'
TASK = re.compile(r'tasks/[^/]+\.json')
_WANTED = re.compile(rf'{TASK.pattern}|splits/.+|README\.md|LICENSE')
_HEADER = re.compile(r'# (commit|archive) ([0-9a-f]+), tracks: (.+)')
_THREADS = 4
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Progress:
  """How far a fetch is: files done of all, and bytes written by now.

  `total` is 0 while it is not known.
  """

  phase: str
  done: int = 0
  total: int = 0
  num_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Hashes:
  """Of one file: git's id, hexadecimal SHA-256, bytes."""

  blob: str
  sha256: str
  size: int


class FetchedFiles:
  """The files of a directory: written whole, hashed, compared."""

  def __init__(
    self, directory: pathlib.Path, report: Callable[[Progress], None]
  ) -> None:
    self.directory = directory
    self.report = report
    self.written = 0
    self.repaired: set[str] = set()
    self._num_bytes = 0

  def changed(self, listed: Mapping[str, str]) -> set[str]:
    """Those of the listed files that are lost or not what they were."""
    found = self.hashes(listed)
    return {
      name
      for name, sha256 in listed.items()
      if name not in found or found[name].sha256 != sha256
    }

  def hashes(self, names: Iterable[str]) -> dict[str, Hashes]:
    """Hashes those of the files that are there."""
    names = sorted(names)
    found = {}
    # Hashing lets go of the interpreter's lock.
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
      try:
        paths = [self.directory / name for name in names]
        results = pool.map(_hash_file, paths)
        for done, (name, hashes) in enumerate(
          zip(names, results, strict=True), 1
        ):
          if hashes is not None:
            found[name] = hashes
          self.report(Progress('checking', done, len(names)))
      except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    return found

  def store(self, name: str, chunks: Iterable[bytes]) -> str:
    """Writes a file, under its name once it is whole; returns its SHA-256.

    One that is there already with this content is left as it is.
    """
    part = self.directory / STATE / 'part'
    digest = hashlib.sha256()
    with open(part, 'wb') as file:
      for chunk in chunks:
        digest.update(chunk)
        file.write(chunk)
      self._num_bytes += file.tell()
    path = self.directory / name
    there = _hash_file(path)
    if there is None or there.sha256 != digest.hexdigest():
      path.parent.mkdir(parents=True, exist_ok=True)
      os.replace(part, path)
      self.written += 1
      if there is not None:
        self.repaired.add(name)
    return digest.hexdigest()

  def store_all(
    self,
    contents: Iterable[tuple[str, Iterable[bytes]]],
    *,
    phase: str,
    before: int = 0,
    total: int = 0,
  ) -> dict[str, str]:
    """Writes files; returns name to SHA-256.

    Args:
      contents: names and contents.
      phase: what the progress calls it.
      before: how many of all files are there already.
      total: how many there will be, 0 if that is not known.
    """
    stored: dict[str, str] = {}
    self.report(Progress(phase, before, total))
    for name, chunks in contents:
      stored[name] = self.store(name, chunks)
      done = before + len(stored)
      self.report(Progress(phase, done, total, self._num_bytes))
    return stored

  def on_disk(self) -> set[str]:
    """Names of all files where tasks and lists are."""
    return {
      path.relative_to(self.directory).as_posix()
      for folder in ('tasks', 'splits')
      for path in (self.directory / folder).rglob('*')
      if not path.is_dir()
    }


def held(directory: pathlib.Path) -> str | None:
  """What an earlier fetch, whole or not, has left here."""
  identity = directory / STATE / 'identity'
  if identity.is_file():
    return identity.read_text(encoding='utf-8', errors='replace').strip()
  # The hidden folder does not travel with every copy.
  found = _header(directory)
  return found and f'{found[1]} {found[2]}'


def write_identity(directory: pathlib.Path, identity: str) -> None:
  """Notes what is being fetched here."""
  _write_text(directory / STATE / 'identity', f'{identity}\n')


def read_checksums(
  directory: pathlib.Path,
) -> tuple[set[str], dict[str, str]]:
  """The tracks that were fetched whole, and name to SHA-256."""
  header = _header(directory)
  if header is None:
    return set(), {}
  listed = {}
  for line in (directory / CHECKSUMS).read_bytes().splitlines()[1:]:
    sha256, _, name = line.decode('utf-8', 'replace').partition('  ')
    if is_wanted(name):
      listed[name] = sha256
  return set(header[3].split()), listed


def write_checksums(
  directory: pathlib.Path,
  identity: str,
  tracks: set[str],
  listed: Mapping[str, str],
) -> None:
  """Writes them, and with them that the fetch is whole."""
  # `sha256sum --check` passes over a line that starts so.
  lines = [f'# {identity}, tracks: {" ".join(sorted(tracks))}']
  lines += [f'{listed[name]}  {name}' for name in sorted(listed)]
  _write_text(directory / CHECKSUMS, '\n'.join(lines) + '\n')


def is_wanted(name: str) -> bool:
  """Whether a name in a checkout is of a file that is fetched."""
  # A list of checksums with a line break in a name could not be read again.
  if not name.isprintable() or {'', '.', '..'} & set(name.split('/')):
    return False
  return bool(_WANTED.fullmatch(name))


def lists(directory: pathlib.Path, split: str) -> list[pathlib.Path]:
  """The split's list of tasks in each track."""
  return sorted((directory / 'splits').glob(f'*/{split}_tasks.txt'))


def names_in(path: pathlib.Path) -> set[str]:
  """The tasks that a list names."""
  lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
  return {line.strip() for line in lines} - {''}


def _write_text(path: pathlib.Path, text: str) -> None:
  text_files.write_file(path, text.encode())


def _header(directory: pathlib.Path) -> re.Match | None:
  path = directory / CHECKSUMS
  if not path.is_file():
    return None
  with open(path, encoding='utf-8', errors='replace') as file:
    return _HEADER.fullmatch(file.readline().strip())


def _hash_file(path: pathlib.Path) -> Hashes | None:
  """None where there is no file."""
  if not path.is_file():
    return None
  blob, sha256 = hashlib.sha1(), hashlib.sha256()
  with open(path, 'rb') as file:
    size = os.fstat(file.fileno()).st_size
    # Git's id of a file: a hash of its kind, its size and its bytes.
    blob.update(f'blob {size}\0'.encode())
    while chunk := file.read(_CHUNK):
      blob.update(chunk)
      sha256.update(chunk)
  return Hashes(blob.hexdigest(), sha256.hexdigest(), size)
