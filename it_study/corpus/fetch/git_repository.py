"""One commit of a git repository, read through a sparse partial clone."""

from collections.abc import Iterable, Iterator
import itertools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from it_study.errors import InputError

BATCH = 25
# The oldest version this was tested with.
_MINIMUM_GIT = (2, 28)
_ATTEMPTS = 3
_FILE_MODES = ('100644', '100755', '100664')
_SETTINGS = (
  # Nothing the user configured may run, prompt or clean up here. Proxies,
  # certificates and rewritten addresses still apply.
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'credential.helper=',
  'gc.auto=0',
  'maintenance.auto=false',
  'core.sparseCheckout=true',
  'core.sparseCheckoutCone=false',
  # Allows fetching objects by id; git 2.28 has another default.
  'protocol.version=2',
  # A dead connection is an error after a minute.
  'http.lowSpeedLimit=1000',
  'http.lowSpeedTime=60',
)
# Written to info/attributes, which overrides all others: bytes stay as they
# are in the commit, whatever line endings or filters are configured.
_ATTRIBUTES = '* -text -eol -ident -filter -working-tree-encoding\n'
# Git's variables about the connection. Others, such as GIT_DIR inside a hook,
# would point git at another repository.
_KEPT_VARIABLE = re.compile(r'GIT_(SSL_|SSH|PROXY|HTTP|CONFIG|TRACE|EXEC_PATH)')
_NETWORK_ERROR = re.compile(
  'resolve host|unable to access|timed out|failed to connect|early EOF|RPC '
  'failed|hung up|unexpected disconnect|connection (refused|reset)|network is '
  'unreachable',
  re.IGNORECASE,
)
_NO_COMMIT = re.compile(
  "not our ref|unadvertised object|couldn't find remote ref|bad object"
)


class Repository:
  """A commit without its files, and a work tree that takes some of them.

  Git verifies the ids of objects as they arrive.
  """

  def __init__(self, folder: pathlib.Path, *, url: str, commit: str) -> None:
    """Makes the repository, or opens one that was interrupted.

    Args:
      folder: Folder for git's objects and the work tree. No other process may
        use it at the same time.
      url: URL or absolute path of the remote repository.
      commit: Full commit id.

    Raises:
      InputError: If git is missing or too old.
    """
    folder = folder.absolute()
    self._folder = folder
    self._work_tree = folder / 'work_tree'
    self._url = url
    self._commit = commit
    self._git = _find_git()
    self._work_tree.mkdir(parents=True, exist_ok=True)
    # A killed git leaves these behind, and they would block the next one.
    for stale in (
      *folder.rglob('*.lock'),
      *folder.glob('objects/pack/tmp_*'),
    ):
      stale.unlink()
    self._run('init', '--quiet', '--template=')
    (folder / 'info').mkdir(exist_ok=True)
    (folder / 'info/attributes').write_text(_ATTRIBUTES)

  def blobs(self, *paths: str) -> dict[str, str]:
    """Fetches the commit; returns the name and id of files in `paths`.

    File contents do not come with it, unless the server cannot leave them out.

    Raises:
      InputError: If the commit cannot be fetched, or a name is a link.
    """
    self._retry(
      'fetch', '--quiet', '--no-tags', '--depth=1', '--filter=blob:none',
      'origin', self._commit,
    )  # fmt: skip
    listing = self._run('ls-tree', '-r', '-z', self._commit, '--', *paths)
    blobs = {}
    for entry in filter(None, listing.decode('utf-8', 'replace').split('\0')):
      details, name = entry.split('\t', 1)
      mode, _, blob = details.split()
      if mode not in _FILE_MODES:
        raise InputError(
          f'{self._url}: {name!r} is a link in commit {self._commit}. Only '
          'plain files are fetched; use another commit.'
        )
      blobs[name] = blob
    return blobs

  def check_out(
    self, names: Iterable[str]
  ) -> Iterator[tuple[str, pathlib.Path]]:
    """Yields the name and path of each file, fetching `BATCH` at a time.

    The caller may move a file away. Files that stay are removed when the next
    batch is requested.

    Raises:
      InputError: If a file cannot be fetched.
    """
    remaining = iter(names)
    while batch := list(itertools.islice(remaining, BATCH)):
      shutil.rmtree(self._work_tree)
      self._work_tree.mkdir()
      (self._folder / 'index').unlink(missing_ok=True)
      patterns = ''.join(f'/{_escape(name)}\n' for name in batch)
      (self._folder / 'info/sparse-checkout').write_text(patterns, 'utf-8')
      self._retry('read-tree', '--reset', '-u', self._commit)
      yield from ((name, self._work_tree / name) for name in batch)

  def _retry(self, *arguments: str) -> None:
    """Runs git; tries again after errors of the network."""
    for attempt in range(_ATTEMPTS):
      try:
        self._run(*arguments)
        return
      except _NetworkError:
        if attempt == _ATTEMPTS - 1:
          raise
        time.sleep(2**attempt)

  def _run(self, *arguments: str) -> bytes:
    settings = (*_SETTINGS, f'remote.origin.url={self._url}')
    process = subprocess.Popen(
      [
        self._git,
        f'--git-dir={self._folder}',
        f'--work-tree={self._work_tree}',
        *(word for setting in settings for word in ('-c', setting)),
        *arguments,
      ],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      env=_environment(),
      # A process group for git and the helpers it starts.
      start_new_session=True,
    )
    try:
      output, errors = process.communicate()
    except BaseException:
      os.killpg(process.pid, signal.SIGKILL)
      process.wait()
      raise
    if process.returncode:
      raise self._error(errors.decode('utf-8', 'replace'))
    return output

  def _error(self, messages: str) -> InputError:
    """Explains what git wrote to stderr."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(('fatal:', 'error:'))]
    reason = (fatal or lines or ['git gave no reason'])[0]
    if 'No space left' in messages:
      return InputError(
        f'the disk is full ({reason}). Free some space, then run the same '
        'command again to resume.'
      )
    if _NO_COMMIT.search(messages):
      return InputError(
        f'commit {self._commit} is not in {self._url} ({reason}). Give another '
        'with --commit.'
      )
    if _NETWORK_ERROR.search(messages):
      return _NetworkError(
        f'{self._url} cannot be reached ({reason}). Check the network and run '
        'the same command again to resume, or download an archive of the '
        'repository elsewhere and give it with --source F.tar.gz.'
      )
    return InputError(
      f'git cannot fetch from {self._url}: {reason.rstrip(".")}. Check '
      '--source.'
    )


class _NetworkError(InputError):
  """A failed connection, which may work when tried again."""


def _find_git() -> str:
  """Returns the path of git; raises `InputError` if it cannot be used."""
  git = shutil.which('git')
  if git is None:
    raise InputError(
      'git is not installed or not on PATH. Install it, or download an archive '
      'of the repository elsewhere and give it with --source F.tar.gz.'
    )
  version = _version(git)
  if version < _MINIMUM_GIT:
    raise InputError(
      f'git {".".join(map(str, version))} at {git} is too old; version '
      f'{".".join(map(str, _MINIMUM_GIT))} or later is needed. Upgrade it, or '
      'download an archive of the repository elsewhere and give it with '
      '--source F.tar.gz.'
    )
  return git


def _version(git: str) -> tuple[int, int]:
  """Returns git's version; (0, 0) if git does not state it."""
  output = subprocess.run(
    [git, 'version'], capture_output=True, text=True, check=False
  ).stdout
  match = re.search(r'(\d+)\.(\d+)', output)
  return (int(match[1]), int(match[2])) if match else (0, 0)


def _environment() -> dict[str, str]:
  kept = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith('GIT_') or _KEPT_VARIABLE.match(name)
  }
  return {
    'GIT_SSH_COMMAND': 'ssh -oBatchMode=yes',
    **kept,
    'GIT_TERMINAL_PROMPT': '0',
    'GIT_ASKPASS': '',
    'SSH_ASKPASS': '',
    # `_error` reads the messages.
    'LC_ALL': 'C',
  }


def _escape(name: str) -> str:
  """Escapes a name for a file of sparse-checkout patterns."""
  return re.sub(r'([\s\\*?\[\]])', r'\\\1', name)
