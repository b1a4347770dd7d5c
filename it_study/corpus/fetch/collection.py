"""Fetches the public natural-instructions collection and verifies it."""

from collections.abc import Callable, Mapping
import dataclasses
import errno
import os
import pathlib
import shutil

from it_study.corpus import files as corpus_files
from it_study.corpus.fetch import archive_files
from it_study.corpus.fetch.fetched_files import (
  STATE,
  TASK,
  FetchedFiles,
  Hashes,
  Progress,
  held,
  is_wanted,
  lists,
  names_in,
  read_checksums,
  write_checksums,
  write_identity,
)
from it_study.corpus.fetch.git_repository import Repository
from it_study.corpus.fetch.source import COMMIT, Source, resolve
from it_study.errors import InputError, nearest, shown
from it_study.storage import local_folders
from it_study.storage.storage_path import expanded

TASKS_AT_COMMIT = {'default': (756, 119), 'xlingual': (1270, 35)}
_ALL = 'all'
_PATHS = ('tasks', 'splits', 'README.md', 'LICENSE')


@dataclasses.dataclass(frozen=True)
class Fetched:
  """Result of a fetch.

  Attributes:
    directory: Directory of the corpus.
    source: URL or path the files came from.
    commit: Commit that every file was verified against; None for an archive.
    archive_sha256: SHA-256 of the archive; None for a repository.
    files: Number of files.
    bytes: Total size of the files in bytes.
    fetched: Number of files written by this call.
    repaired: Names of files that had changed or disappeared since a fetch.
    foreign: Names of files that are not part of the collection and were left
      alone.
    tasks: Track to the numbers of its training and test tasks.
    warnings: Warnings for the user, one line each.
  """

  directory: str
  source: str
  commit: str | None
  archive_sha256: str | None
  files: int
  bytes: int
  fetched: int
  repaired: tuple[str, ...]
  foreign: tuple[str, ...]
  tasks: dict[str, dict[str, int]]
  warnings: tuple[str, ...]


def fetch(
  directory: str | os.PathLike[str],
  *,
  source: str | None = None,
  commit: str | None = None,
  track: str | None = None,
  sha256: str | None = None,
  on_progress: Callable[[Progress], None] | None = None,
) -> Fetched:
  """Fetches the files that are missing or damaged, and verifies all of them.

  Files appear under their names only when complete. The list of checksums,
  `SHA256SUMS`, is written last: while it matches the files, nothing is
  fetched. Otherwise a call resumes an interrupted fetch and repairs files that
  have changed since.

  Args:
    directory: A new or empty directory, or one of an earlier fetch.
    source: URL or path of a git repository, or path of an archive of a
      checkout; None for the public repository.
    commit: Full commit id; None for the pinned one. For an archive, the commit
      it should claim.
    track: Track whose training and test tasks are fetched; None for all tasks.
    sha256: Expected SHA-256 of the archive.
    on_progress: Called with the progress after each file.

  Raises:
    InputError: If the directory holds something else; the source is
      unreachable, unsafe or not what was expected; or the disk is full.
  """
  directory = pathlib.Path(expanded(directory))
  files = FetchedFiles(directory, on_progress or (lambda progress: None))
  warnings: list[str] = []
  try:
    origin = resolve(
      source,
      commit=commit or COMMIT,
      sha256=sha256,
      report=files.report,
      warnings=warnings,
    )
    _check_directory(directory, origin.identity)
    with local_folders.locked(directory / STATE):
      tracks, listed = read_checksums(directory)
      changed = files.changed(listed)
      wanted = track or _ALL
      if changed or not tracks & {wanted, _ALL}:
        tracks.add(wanted)
        is_archive = origin.kind == 'archive'
        fetch_files = _fetch_archive if is_archive else _fetch_commit
        listed = {
          name: hashes.sha256
          for name, hashes in fetch_files(files, origin, tracks).items()
        }
        write_checksums(directory, origin.identity, tracks, listed)
        shutil.rmtree(directory / STATE / 'repository', ignore_errors=True)
        (directory / STATE / 'part').unlink(missing_ok=True)
    tasks = _count_tasks(directory, tracks, warnings)
    if origin.id == COMMIT:
      warnings += _unexpected(tasks)
    return Fetched(
      directory=os.fspath(directory),
      source=origin.location,
      commit=origin.id if origin.kind == 'commit' else None,
      archive_sha256=origin.id if origin.kind == 'archive' else None,
      files=len(listed),
      bytes=sum((directory / name).stat().st_size for name in listed),
      fetched=files.written,
      repaired=tuple(sorted(files.repaired | changed)),
      foreign=tuple(sorted(files.on_disk() - set(listed))),
      tasks=tasks,
      warnings=tuple(warnings),
    )
  except OSError as error:
    raise _input_error(directory, error) from None


def _fetch_commit(
  files: FetchedFiles, origin: Source, tracks: set[str]
) -> dict[str, Hashes]:
  """Fetches missing files of a commit; returns the hashes of all files."""
  files.report(Progress('asking for the commit'))
  repository = Repository(
    files.directory / STATE / 'repository',
    url=origin.location,
    commit=origin.id,
  )
  blobs = {
    name: blob
    for name, blob in repository.blobs(*_PATHS).items()
    if is_wanted(name)
  }
  tasks = {name for name in blobs if TASK.fullmatch(name)}
  if not tasks:
    raise InputError(
      f'{origin.location}: commit {origin.id} has no tasks/NAME.json; expected '
      'a repository of natural-instructions.'
    )
  # Only now: a commit that does not exist must not claim the directory.
  write_identity(files.directory, origin.identity)
  verified = {
    name: hashes
    for name, hashes in files.hashes(blobs).items()
    if hashes.blob == blobs[name]
  }

  def store(names: set[str], phase: str) -> None:
    missing = sorted(names - set(verified))
    done = len(names) - len(missing)
    files.report(Progress(phase, done, len(names)))
    for name, path in repository.check_out(missing):
      hashes = files.move(path, name)
      if hashes.blob != blobs[name]:
        raise InputError(
          f'{files.directory / name}: the content differs from commit '
          f'{origin.id}. The disk may be failing, or another program writes '
          'there. Run the same command again to fetch it again.'
        )
      verified[name] = hashes
      done += 1
      files.report_stored(phase, done, len(names))

  # The lists come first: they say which tasks a track needs.
  other = set(blobs) - tasks
  store(other, 'lists')
  store(other | _tasks_of(files.directory, tracks, tasks), 'tasks')
  return verified


def _fetch_archive(
  files: FetchedFiles, origin: Source, tracks: set[str]
) -> dict[str, Hashes]:
  """Unpacks an archive; returns the hashes of all files."""
  write_identity(files.directory, origin.identity)
  stored: dict[str, Hashes] = {}

  def store(
    selected: Callable[[str], bool], phase: str, total: int = 0
  ) -> None:
    files.report(Progress(phase, len(stored), total))
    for name, chunks in archive_files.read(origin.location, selected=selected):
      stored[name] = files.store(name, chunks)
      files.report_stored(phase, len(stored), total)

  if _ALL in tracks:
    store(is_wanted, 'unpacking')
    return stored
  # The lists, which select the tasks, may be at the end of the archive.
  tasks: set[str] = set()

  def is_list(name: str) -> bool:
    if TASK.fullmatch(name) and is_wanted(name):
      tasks.add(name)
    return is_wanted(name) and name not in tasks

  store(is_list, 'lists')
  # An interrupted fetch of more tracks may have left more tasks.
  needed = _tasks_of(files.directory, tracks, tasks)
  needed |= tasks & files.on_disk()
  store(needed.__contains__, 'tasks', len(stored) + len(needed))
  return stored


def _check_directory(directory: pathlib.Path, identity: str) -> None:
  """Refuses a directory of another fetch, or of something else."""
  if directory.exists() and not directory.is_dir():
    raise InputError(f'{directory} is a file. Name a directory.')
  present = held(directory)
  # After a damaged archive, the intact one has another identity.
  is_incomplete_archive = (
    present is not None
    and present.startswith('archive')
    and not read_checksums(directory)[1]
  )
  if present not in (None, identity) and not is_incomplete_archive:
    raise InputError(
      f'{directory} holds the files of {present}, not of {identity}. Name '
      f'another directory, or fetch {present}.'
    )
  if present is None and directory.is_dir():
    foreign = sorted({path.name for path in directory.iterdir()} - {STATE})
    if foreign:
      raise InputError(
        f'{directory} is not empty and was not fetched: {shown(foreign[0])} is '
        'in it. Name a new directory.'
      )


def _tasks_of(
  directory: pathlib.Path, tracks: set[str], tasks: set[str]
) -> set[str]:
  """Returns those of the task files that the tracks need."""
  if _ALL in tracks:
    return tasks
  available = sorted(path.parent.name for path in lists(directory, 'train'))
  for track in sorted(tracks - set(available)):
    raise InputError(
      f'track {track!r} is not in the collection; available: '
      f'{", ".join(available) or "none"}.{nearest(track, available)}'
    )
  names = {
    f'tasks/{name}.json'
    for split in ('train', 'test')
    for path in lists(directory, split)
    if path.parent.name in tracks
    for name in names_in(path)
  }
  return names & tasks


def _count_tasks(
  directory: pathlib.Path, tracks: set[str], warnings: list[str]
) -> dict[str, dict[str, int]]:
  """Counts the tasks in each track's lists; warns of those without a file."""
  counts: dict[str, dict[str, int]] = {}
  for split in ('train', 'test'):
    for path in lists(directory, split):
      names = names_in(path)
      counts.setdefault(path.parent.name, {})[split] = len(names)
      missing = corpus_files.missing(directory, sorted(names))
      if missing and tracks & {_ALL, path.parent.name}:
        warnings.append(
          f'{path} names {len(missing)} tasks that have no file in the '
          f'collection, the first being {missing[0]}'
        )
  return counts


def _unexpected(tasks: Mapping[str, Mapping[str, int]]) -> list[str]:
  """Returns a warning for each track with unexpected numbers of tasks."""
  return [
    f'track {track} has {tasks.get(track, {})}; expected {train} training and '
    f'{test} test tasks for this commit'
    for track, (train, test) in TASKS_AT_COMMIT.items()
    if tasks.get(track) != {'train': train, 'test': test}
  ]


def _input_error(directory: pathlib.Path, error: OSError) -> InputError:
  if error.errno in (errno.ENOSPC, errno.EDQUOT):
    return InputError(
      f'{directory}: the disk is full. The whole collection takes about 3 GB. '
      'Free some space, then run the same command again to resume.'
    )
  return InputError(
    f'{directory}: {error.filename or "a file"}: {error.strerror or error}. '
    'Fix this, then run the same command again to resume.'
  )
