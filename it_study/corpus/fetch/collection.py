"""The public natural-instructions collection: fetched, checked, continued."""

from collections.abc import Callable, Mapping
import dataclasses
import errno
import os
import pathlib
import re
import shutil

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
from it_study.errors import InputError, nearest, shown
from it_study.storage import local_folders

URL = 'https://github.com/allenai/natural-instructions.git'
# The commit that others pin, too. Its own split files were out of reach; those
# in PlusLabNLP/Active-IT (reproduce_splits) were counted. There the xlingual
# training list has the blob id reported for this commit, and each track's lists
# name 1,613 tasks, the reported number of task files. The paper's 757 training
# tasks fit the default list of d82b17a, 43 bytes longer: one name.
COMMIT = '55a365637381ce7f3748fa2eac7aef1a113bbb82'
TASKS_AT_COMMIT = {'default': (756, 119), 'xlingual': (1270, 35)}
_ALL = 'all'
_PATHS = ('tasks', 'splits', 'README.md', 'LICENSE')
_ID = re.compile('[0-9a-f]{40}')
_ADDRESS = re.compile(r'[a-z][a-z0-9+]*://|\w[\w.-]*@[\w.-]+:', re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Fetched:
  """What is there after a fetch.

  Attributes:
    directory: a corpus, to be given to every command.
    source: where it came from.
    commit: whose files these are, proved by their ids; None for an archive.
    archive_sha256: of the archive; None for a repository.
    files: how many there are.
    bytes: how many they hold.
    fetched: how many of the files were written this time.
    repaired: names of files that had been changed or lost since a fetch.
    foreign: names of files that are not of the collection; left alone.
    tasks: track to the numbers of its training and test tasks.
    warnings: what a person should know.
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
  directory: str | os.PathLike,
  *,
  source: str | None = None,
  commit: str | None = None,
  track: str | None = None,
  sha256: str | None = None,
  on_progress: Callable[[Progress], None] | None = None,
) -> Fetched:
  """Gets the collection, or what is missing of it, and checks every file.

  A file is there under its name only when it is there whole. The list of
  checksums, `SHA256SUMS`, is written when all of them are: where it is and
  holds, nothing is fetched. Otherwise a call continues what an earlier one
  began, and puts right what has been changed since.

  Args:
    directory: new, empty, or of an earlier fetch.
    source: address or path of a git repository, or an archive of a checkout;
      None is the public repository.
    commit: full id; None is the pinned one. For an archive, what it should
      claim to be.
    track: fetch only this track's training and test tasks; None fetches all.
    sha256: what the archive's should be.
    on_progress: called now and then.

  Raises:
    InputError: if the directory holds something else; the source cannot be
      had, is unsafe or is not what it should be; or the disk is full.
  """
  directory = pathlib.Path(directory)
  wanted = {track or _ALL}
  if commit is not None and not _ID.fullmatch(commit):
    raise InputError(
      f'commit {commit!r} is no full id, which has 40 hexadecimal digits, as '
      f'{COMMIT} has.'
    )
  files = FetchedFiles(directory, on_progress or (lambda progress: None))
  warnings: list[str] = []
  try:
    url, archive = _resolve(source)
    if archive is not None:
      files.report(Progress('reading the archive'))
      identity = _archive_identity(archive, commit, sha256, warnings)
    elif sha256 is not None:
      raise InputError(
        '--sha256 is of an archive; what a repository gives is checked against '
        'the commit. Leave it out, or give --source F.tar.gz.'
      )
    else:
      identity = f'commit {commit or COMMIT}'
    _check_place(directory, identity)
    with local_folders.locked(directory / STATE):
      tracks, listed = read_checksums(directory)
      changed = files.changed(listed)
      if changed or not tracks & {*wanted, _ALL}:
        tracks |= wanted
        if archive is None:
          hashes = _fetch_commit(files, url, identity, tracks)
        else:
          hashes = _fetch_archive(files, archive, identity, tracks)
        listed = {name: found.sha256 for name, found in hashes.items()}
        write_checksums(directory, identity, tracks, listed)
        shutil.rmtree(directory / STATE / 'repository', ignore_errors=True)
        (directory / STATE / 'part').unlink(missing_ok=True)
    tasks = _count_tasks(directory, tracks, warnings)
    if identity == f'commit {COMMIT}':
      warnings += _unexpected(tasks)
    return Fetched(
      directory=os.fspath(directory),
      source=os.fspath(url if archive is None else archive),
      commit=identity.split()[1] if archive is None else None,
      archive_sha256=None if archive is None else identity.split()[1],
      files=len(listed),
      bytes=sum((directory / name).stat().st_size for name in listed),
      fetched=files.written,
      repaired=tuple(sorted(files.repaired | changed)),
      foreign=tuple(sorted(files.on_disk() - set(listed))),
      tasks=tasks,
      warnings=tuple(warnings),
    )
  except OSError as error:
    raise _refused(directory, error) from None


def _fetch_commit(
  files: FetchedFiles, url: str, identity: str, tracks: set[str]
) -> dict[str, Hashes]:
  """Fetches what is missing of a commit; returns the hashes of what is there.

  Those are proved: each file has the id that the commit gives it.
  """
  files.report(Progress('asking for the commit'))
  commit = identity.split()[1]
  repository = Repository(
    files.directory / STATE / 'repository', url=url, commit=commit
  )
  blobs = {
    name: blob
    for name, blob in repository.blobs(*_PATHS).items()
    if is_wanted(name)
  }
  if not any(map(TASK.fullmatch, blobs)):
    raise InputError(
      f'{url}: no tasks/NAME.json in commit {commit}; it should be a '
      'repository of natural-instructions.'
    )
  # Not before: a commit that is not there must not claim the directory.
  write_identity(files.directory, identity)
  found = files.hashes(blobs)
  right = {n for n, hashes in found.items() if hashes.blob == blobs[n]}
  # The lists come first: they say which tasks a track needs.
  first = {name for name in blobs if not TASK.fullmatch(name)}
  _store_blobs(files, repository, blobs, first, right, 'lists')
  names = first | _tasks_of(files.directory, tracks, set(blobs) - first)
  _store_blobs(files, repository, blobs, names, right | first, 'tasks')
  found = files.hashes(names | right)
  wrong = sorted(
    n for n in names | right if n not in found or found[n].blob != blobs[n]
  )
  return _proved(files.directory, found, wrong)


def _store_blobs(
  files: FetchedFiles,
  repository: Repository,
  blobs: Mapping[str, str],
  names: set[str],
  right: set[str],
  phase: str,
) -> None:
  missing = sorted(names - right)
  files.store_all(
    repository.read({name: blobs[name] for name in missing}),
    phase=phase,
    before=len(names) - len(missing),
    total=len(names),
  )


def _fetch_archive(
  files: FetchedFiles, archive: pathlib.Path, identity: str, tracks: set[str]
) -> dict[str, Hashes]:
  """Unpacks an archive; returns the hashes of what is there."""
  write_identity(files.directory, identity)
  if _ALL in tracks:
    stored = files.store_all(
      archive_files.read(archive, selected=is_wanted), phase='unpacking'
    )
  else:
    # The lists may come last in it, and the tasks cannot be chosen without.
    present: set[str] = set()

    def is_list(name: str) -> bool:
      present.add(name)
      return is_wanted(name) and not TASK.fullmatch(name)

    stored = files.store_all(
      archive_files.read(archive, selected=is_list), phase='lists'
    )
    present = set(filter(TASK.fullmatch, present))
    # With what an interrupted fetch of more has left.
    tasks = _tasks_of(files.directory, tracks, present)
    tasks |= present & files.on_disk()
    stored |= files.store_all(
      archive_files.read(archive, selected=tasks.__contains__),
      phase='tasks',
      before=len(stored),
      total=len(stored) + len(tasks),
    )
  found = files.hashes(stored)
  wrong = sorted(
    n for n in stored if n not in found or found[n].sha256 != stored[n]
  )
  return _proved(files.directory, found, wrong)


def _proved(
  directory: pathlib.Path, found: dict[str, Hashes], wrong: list[str]
) -> dict[str, Hashes]:
  if wrong:
    raise InputError(
      f'{directory}: {len(wrong)} files are not what was written to them, '
      f'{wrong[0]} first. Something else writes there, or the disk fails; run '
      'the same command again, which fetches them anew.'
    )
  return found


def _resolve(source: str | None) -> tuple[str | None, pathlib.Path | None]:
  """The address of a repository, or the path of an archive."""
  if source is None:
    return URL, None
  is_archive = source.lower().endswith(archive_files.SUFFIXES)
  if _ADDRESS.match(source):
    if is_archive:
      raise InputError(
        f'source {source}: archives are read from the disk only. Download it, '
        'then give its path.'
      )
    return source, None
  path = pathlib.Path(source).expanduser()
  if path.is_dir():
    if (path / '.git').exists() or (path / 'HEAD').is_file():
      return os.fspath(path.resolve()), None
    raise InputError(
      f'source {source}: a directory, but no git repository. A collection can '
      f'be used where it is: it-study corpus check {source}'
    )
  if path.is_file() and is_archive:
    return None, path
  raise InputError(
    f'source {source}: {"no archive" if path.is_file() else "not there"}; it '
    'takes the address or directory of a git repository, or an archive of a '
    f'checkout ({", ".join(archive_files.SUFFIXES)}).'
  )


def _archive_identity(
  archive: pathlib.Path,
  commit: str | None,
  sha256: str | None,
  warnings: list[str],
) -> str:
  found = archive_files.sha256_of(archive)
  if sha256 is not None and sha256.lower() != found:
    raise InputError(
      f'{archive}: its SHA-256 is {found}, not {shown(sha256)}. It is damaged '
      'or another one; get it again.'
    )
  claimed = archive_files.claimed_commit(archive)
  if claimed not in (None, commit or COMMIT):
    raise InputError(
      f'{archive}: says that it is of commit {claimed}, not of '
      f'{commit or COMMIT}. If that is meant, give --commit {claimed}.'
    )
  if sha256 is None:
    warnings.append(
      f'{archive} cannot be checked against commit {commit or COMMIT}: it '
      f'{"only names it" if claimed else "does not even name one"}. Its '
      f'SHA-256 is {found}; with --sha256 {found} nothing else is taken for it.'
    )
  return f'archive {found}'


def _check_place(directory: pathlib.Path, identity: str) -> None:
  if directory.exists() and not directory.is_dir():
    raise InputError(f'{directory} is a file. Name a directory.')
  here = held(directory)
  # An archive that was cut short is no reason to refuse the whole one.
  is_open = str(here).startswith('archive') and not read_checksums(directory)[1]
  if here not in (None, identity) and not is_open:
    raise InputError(
      f'{directory} holds the files of {here}, not of {identity}. Name another '
      'directory, or give what it holds.'
    )
  if here is None and directory.is_dir():
    foreign = sorted({path.name for path in directory.iterdir()} - {STATE})
    if foreign:
      raise InputError(
        f'{directory} is not empty and holds no fetch: {shown(foreign[0])} is '
        'in it. Name a new directory.'
      )


def _tasks_of(
  directory: pathlib.Path, tracks: set[str], tasks: set[str]
) -> set[str]:
  """Those of the task files that the tracks need."""
  if _ALL in tracks:
    return tasks
  there = sorted(path.parent.name for path in lists(directory, 'train'))
  for track in sorted(tracks - set(there)):
    raise InputError(
      f'track {track!r} is not in the collection; there are '
      f'{", ".join(there) or "none"}.{nearest(track, there)}'
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
  counts: dict[str, dict[str, int]] = {}
  for split in ('train', 'test'):
    for path in lists(directory, split):
      names = names_in(path)
      counts.setdefault(path.parent.name, {})[split] = len(names)
      missing = sorted(
        name
        for name in names
        if not (directory / 'tasks' / f'{name}.json').is_file()
      )
      if missing and tracks & {_ALL, path.parent.name}:
        warnings.append(
          f'{path} names {len(missing)} tasks that the collection has no file '
          f'of, {missing[0]} first'
        )
  return counts


def _unexpected(tasks: Mapping[str, Mapping[str, int]]) -> list[str]:
  return [
    f'track {track} has {tasks.get(track, {})}, not the {train} training and '
    f'{test} test tasks that were counted elsewhere for this commit'
    for track, (train, test) in TASKS_AT_COMMIT.items()
    if tasks.get(track) != {'train': train, 'test': test}
  ]


def _refused(directory: pathlib.Path, error: OSError) -> InputError:
  if error.errno in (errno.ENOSPC, errno.EDQUOT):
    return InputError(
      f'{directory}: the disk is full. All of the collection takes some 3 GB. '
      'Free some space; the same command continues.'
    )
  return InputError(
    f'{directory}: {error.filename or "a file"}: {error.strerror or error}. '
    'Mend that; the same command continues.'
  )
