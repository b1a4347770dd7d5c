"""Where a collection is fetched from: a repository or an archive."""

from collections.abc import Callable
import dataclasses
import os
import pathlib
import re

from it_study.corpus.fetch import archive_files
from it_study.corpus.fetch.fetched_files import Progress
from it_study.errors import InputError, shown
from it_study.storage.storage_path import expanded

URL = 'https://github.com/allenai/natural-instructions.git'
# Others pin this commit, too. Its own split files were out of reach; those in
# PlusLabNLP/Active-IT (reproduce_splits) were counted. There the xlingual
# training list has the blob id reported for this commit, and each track's lists
# name 1,613 tasks, the reported number of task files. The paper's 757 training
# tasks match the default list of d82b17a, which has 43 bytes, one name, more.
COMMIT = '55a365637381ce7f3748fa2eac7aef1a113bbb82'
_ID = re.compile('[0-9a-f]{40}')
_ADDRESS = re.compile(r'[a-z][a-z0-9+]*://|\w[\w.-]*@[\w.-]+:', re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Source:
  """A repository at a commit, or an archive.

  Attributes:
    location: URL or path.
    kind: 'commit' or 'archive'.
    id: Commit id, or SHA-256 of the archive.
  """

  location: str
  kind: str
  id: str

  @property
  def identity(self) -> str:
    """What `SHA256SUMS` names as the origin of its files."""
    return f'{self.kind} {self.id}'


def resolve(
  source: str | None,
  *,
  commit: str,
  sha256: str | None,
  report: Callable[[Progress], None],
  warnings: list[str],
) -> Source:
  """Tells a repository from an archive, which is then identified.

  Args:
    source: URL or path of a git repository, or path of an archive; None for
      the public repository.
    commit: Full commit id.
    sha256: Expected SHA-256 of the archive; None for any.
    report: Called with the progress.
    warnings: List that takes a warning about an archive that is not verified.

  Raises:
    InputError: If the source cannot be used or is not what was expected.
  """
  if not _ID.fullmatch(commit):
    raise InputError(
      f'commit {commit!r} is not a full commit id; expected 40 hexadecimal '
      f'digits, for example {COMMIT}.'
    )
  if source is not None and _is_archive(source):
    archive = pathlib.Path(expanded(source))
    report(Progress('reading the archive'))
    found = _identify_archive(archive, commit, sha256, warnings)
    return Source(os.fspath(archive), 'archive', found)
  if sha256 is not None:
    raise InputError(
      '--sha256 applies to archives only; files of a repository are verified '
      'against its commit. Leave it out, or give --source F.tar.gz.'
    )
  if source is not None and not _ADDRESS.match(source):
    source = os.path.realpath(expanded(source))
  return Source(source or URL, 'commit', commit)


def _is_archive(source: str) -> bool:
  """Returns whether this is an archive; refuses what cannot be a source."""
  has_suffix = source.lower().endswith(archive_files.SUFFIXES)
  if _ADDRESS.match(source):
    if has_suffix:
      raise InputError(
        f'source {source}: an archive must be a local file. Download it, then '
        'give its path.'
      )
    return False
  path = pathlib.Path(expanded(source))
  if path.is_dir():
    if (path / '.git').exists() or (path / 'HEAD').is_file():
      return False
    raise InputError(
      f'source {source} is a directory but not a git repository. To use a '
      f'collection where it is, run: it-study corpus check {source}'
    )
  if path.is_file() and has_suffix:
    return True
  raise InputError(
    f'source {source} {"is not an archive" if path.is_file() else "not found"};'
    ' expected the URL or directory of a git repository, or an archive of a '
    f'checkout ({", ".join(archive_files.SUFFIXES)}).'
  )


def _identify_archive(
  archive: pathlib.Path,
  commit: str,
  sha256: str | None,
  warnings: list[str],
) -> str:
  """Returns an archive's SHA-256, once hash and commit are as expected."""
  found = archive_files.sha256_of(archive)
  if sha256 is not None and sha256.lower() != found:
    raise InputError(
      f'{archive}: expected SHA-256 {shown(sha256)}, got {found}. The archive '
      'is damaged or a different one; download it again.'
    )
  claimed = archive_files.claimed_commit(archive)
  if claimed not in (None, commit):
    raise InputError(
      f'{archive}: expected an archive of commit {commit}, but it names commit '
      f'{claimed}. If that is the one you want, give --commit {claimed}.'
    )
  if sha256 is None:
    warnings.append(
      f'{archive} cannot be verified against commit {commit}: it '
      f'{"only names that commit" if claimed else "names no commit"}. Give '
      f'--sha256 {found} to accept this archive only.'
    )
  return found
