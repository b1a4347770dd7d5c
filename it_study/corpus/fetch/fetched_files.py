"""A directory of fetched files: written atomically, hashed and listed."""

from collections.abc import Callable, Iterable, Mapping
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import re

from it_study.storage import text_files

CHECKSUMS = 'SHA256SUMS'
# Holds the state of a fetch.
STATE = '.fetch'
TASK = re.compile(r'tasks/[^/]+\.json')
_WANTED = re.compile(rf'{TASK.pattern}|splits/.+|README\.md|LICENSE')
_HEADER = re.compile(r'# (commit|archive) ([0-9a-f]+), tracks: (.+)')
_THREADS = 4
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Progress:
  """Progress of a fetch.

  Attributes:
    phase: Name of the current phase.
    done: Number of files done in this phase.
    total: Number of files in this phase; 0 if unknown.
    num_bytes: Number of bytes written since the fetch started.
  """

  phase: str
  done: int = 0
  total: int = 0
  num_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Hashes:
  """Hashes of one file.

  Attributes:
    blob: Git's object id of the content, hexadecimal.
    sha256: SHA-256, hexadecimal.
    size: Size in bytes.
  """

  blob: str
  sha256: str
  size: int


class FetchedFiles:
  """The files of a directory: written atomically, hashed, compared."""

  def __init__(
    self, directory: pathlib.Path, report: Callable[[Progress], None]
  ) -> None:
    self.directory = directory
    self.report = report
    self.written = 0
    self.repaired: set[str] = set()
    self._num_bytes = 0

  def changed(self, listed: Mapping[str, str]) -> set[str]:
    """Returns names of missing files and those with another SHA-256."""
    hashes = self.hashes(listed)
    return {
      name
      for name, sha256 in listed.items()
      if name not in hashes or hashes[name].sha256 != sha256
    }

  def hashes(self, names: Iterable[str]) -> dict[str, Hashes]:
    """Hashes those of the files that exist."""
    names = sorted(names)
    hashes = {}
    # Hashing releases the GIL.
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
      try:
        paths = [self.directory / name for name in names]
        results = pool.map(hash_file, paths)
        for done, (name, result) in enumerate(
          zip(names, results, strict=True), 1
        ):
          if result is not None:
            hashes[name] = result
          self.report(Progress('checking', done, len(names)))
      except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    return hashes

  def store(self, name: str, chunks: Iterable[bytes]) -> Hashes:
    """Writes a file, then moves it to its name."""
    part = self.directory / STATE / 'part'
    with open(part, 'wb') as file:
      for chunk in chunks:
        file.write(chunk)
    return self.move(part, name)

  def move(self, source: pathlib.Path, name: str) -> Hashes:
    """Moves a complete file to its name, unless that has this content."""
    path = self.directory / name
    hashes, old_hashes = _hash_existing(source), hash_file(path)
    self._num_bytes += hashes.size
    if hashes != old_hashes:
      path.parent.mkdir(parents=True, exist_ok=True)
      os.replace(source, path)
      self.written += 1
      if old_hashes is not None:
        self.repaired.add(name)
    return hashes

  def report_stored(self, phase: str, done: int, total: int = 0) -> None:
    """Reports progress with the number of bytes stored so far."""
    self.report(Progress(phase, done, total, self._num_bytes))

  def on_disk(self) -> set[str]:
    """Returns names of all files in `tasks` and `splits`."""
    return {
      path.relative_to(self.directory).as_posix()
      for folder in ('tasks', 'splits')
      for path in (self.directory / folder).rglob('*')
      if not path.is_dir()
    }


def held(directory: pathlib.Path) -> str | None:
  """Returns the identity of an earlier fetch, complete or not."""
  identity = directory / STATE / 'identity'
  if identity.is_file():
    return identity.read_text(encoding='utf-8', errors='replace').strip()
  # A copy of the directory may lack the hidden folder.
  match = _header(directory)
  return f'{match[1]} {match[2]}' if match else None


def write_identity(directory: pathlib.Path, identity: str) -> None:
  """Records what is being fetched into the directory."""
  text_files.write_file(
    directory / STATE / 'identity', f'{identity}\n'.encode()
  )


def read_checksums(
  directory: pathlib.Path,
) -> tuple[set[str], dict[str, str]]:
  """Returns the completely fetched tracks, and name to SHA-256."""
  match = _header(directory)
  if match is None:
    return set(), {}
  listed = {}
  for line in (directory / CHECKSUMS).read_bytes().splitlines()[1:]:
    sha256, _, name = line.decode('utf-8', 'replace').partition('  ')
    if is_wanted(name):
      listed[name] = sha256
  return set(match[3].split()), listed


def write_checksums(
  directory: pathlib.Path,
  identity: str,
  tracks: set[str],
  listed: Mapping[str, str],
) -> None:
  """Writes the checksums, which marks the fetch as complete."""
  # `sha256sum --check` ignores lines that start with '#'.
  lines = [f'# {identity}, tracks: {" ".join(sorted(tracks))}']
  lines += [f'{listed[name]}  {name}' for name in sorted(listed)]
  content = '\n'.join(lines) + '\n'
  text_files.write_file(directory / CHECKSUMS, content.encode())


def is_wanted(name: str) -> bool:
  """Returns whether the file of this name in a checkout is fetched."""
  # A name with a line break would make the list of checksums unreadable.
  if not name.isprintable() or {'', '.', '..'} & set(name.split('/')):
    return False
  return bool(_WANTED.fullmatch(name))


def lists(directory: pathlib.Path, split: str) -> list[pathlib.Path]:
  """Returns the paths of the split's task list in each track."""
  return sorted((directory / 'splits').glob(f'*/{split}_tasks.txt'))


def names_in(path: pathlib.Path) -> set[str]:
  """Returns the names in a task list."""
  lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
  return {line.strip() for line in lines} - {''}


def hash_file(path: pathlib.Path) -> Hashes | None:
  """Hashes a file; returns None if there is none."""
  return _hash_existing(path) if path.is_file() else None


def _hash_existing(path: pathlib.Path) -> Hashes:
  blob, sha256 = hashlib.sha1(), hashlib.sha256()
  with open(path, 'rb') as file:
    size = os.fstat(file.fileno()).st_size
    # Git hashes a header with the object's type and size, then its bytes.
    blob.update(f'blob {size}\0'.encode())
    while chunk := file.read(_CHUNK):
      blob.update(chunk)
      sha256.update(chunk)
  return Hashes(blob.hexdigest(), sha256.hexdigest(), size)


def _header(directory: pathlib.Path) -> re.Match[str] | None:
  path = directory / CHECKSUMS
  if not path.is_file():
    return None
  with open(path, encoding='utf-8', errors='replace') as file:
    return _HEADER.fullmatch(file.readline().strip())
