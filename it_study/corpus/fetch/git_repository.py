"""The files of one commit of a git repository, fetched a batch at a time."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

from it_study.errors import InputError

BATCH = 25
# The first git that can fetch chosen blobs by id, many at a time.
_PARTIAL_GIT = (2, 29)
_ATTEMPTS = 3
_CHUNK = 1 << 20
_SETTINGS = (
  # Nothing of the user's may run, ask or tidy up here. Proxies, certificates
  # and rewritten addresses in the user's configuration still count.
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'credential.helper=',
  'gc.auto=0',
  'maintenance.auto=false',
  # One pack a batch, which is whole or not there.
  'fetch.unpackLimit=1',
  'transfer.unpackLimit=1',
  'fetch.negotiationAlgorithm=noop',
  # A line that has gone dead is an error after a minute.
  'http.lowSpeedLimit=1000',
  'http.lowSpeedTime=60',
)
# Of git's own variables, those about the way to a server. Any other, such as
# GIT_DIR inside a hook, would lead it elsewhere.
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
  """One commit of a repository, and a place for what is fetched of it.

  No work tree is made and no filter runs: bytes are those of the commit,
  whatever line endings or large-file filters the user has configured. Ids are
  checked by git as objects arrive.
  """

  def __init__(
    self, folder: str | os.PathLike, *, url: str, commit: str
  ) -> None:
    """Opens or makes the place.

    Args:
      folder: for git's objects; nobody else may use it at the same time.
      url: address of the repository, or absolute path.
      commit: full id.

    Raises:
      InputError: if git is not installed.
    """
    self._folder = pathlib.Path(folder)
    self._url = url
    self._commit = commit
    self._git = _find_git()
    self._is_partial = _version(self._git) >= _PARTIAL_GIT
    self._folder.mkdir(parents=True, exist_ok=True)
    # Left by a git that was killed, they would stop every later one.
    for left in (
      *self._folder.rglob('*.lock'),
      *self._folder.glob('objects/pack/tmp_*'),
    ):
      left.unlink()
    self._run('init', '--quiet', '--bare', '--template=', os.fspath(folder))
    self._present = self._objects()

  def blobs(self, *paths: str) -> dict[str, str]:
    """Name to id of the files at or below `paths` in the commit.

    Fetches the commit and its trees where they are not there yet: without the
    files, if git and server can; else all of it.

    Raises:
      InputError: if the repository or commit cannot be had, or what is at a
        name is a link.
    """
    if self._commit not in self._present:
      partial = ('--filter=blob:none', '--no-write-fetch-head')
      self._fetch('--depth=1', *(partial if self._is_partial else ()))
      self._present = self._objects()
    listing = self._run('ls-tree', '-r', '-z', self._commit, '--', *paths)
    blobs = {}
    for entry in filter(None, listing.decode('utf-8', 'replace').split('\0')):
      (mode, _, blob), name = entry.split('\t')[0].split(), entry.split('\t')[1]
      if mode not in ('100644', '100755', '100664'):
        raise InputError(
          f'{self._url}: {name!r} is a link in commit {self._commit}, not a '
          'file; such a collection is not fetched.'
        )
      blobs[name] = blob
    return blobs

  def read(
    self, blobs: Mapping[str, str]
  ) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yields each file's name and its content, in chunks.

    `BATCH` files are fetched at a time. What a batch brought is dropped when
    the next one is asked for, so that the objects never take much room.

    Args:
      blobs: name to id.

    Raises:
      InputError: if they cannot be had.
    """
    names = list(blobs)
    for start in range(0, len(names), BATCH):
      batch = {name: blobs[name] for name in names[start : start + BATCH]}
      before = self._packs()
      missing = set(batch.values()) - self._present
      if missing:
        self._fetch_blobs(missing)
      yield from self._contents(batch)
      for pack in self._packs() - before:
        pack.unlink()

  def _fetch_blobs(self, blobs: Iterable[str]) -> None:
    for attempt in range(_ATTEMPTS):
      try:
        # Objects that are asked for by id come whatever the filter says.
        self._fetch(
          '--filter=blob:none',
          '--no-write-fetch-head',
          '--stdin',
          stdin=''.join(f'{blob}\n' for blob in sorted(blobs)),
        )
        return
      except _NetworkError:
        if attempt == _ATTEMPTS - 1:
          raise
        time.sleep(2**attempt)

  def _fetch(self, *arguments: str, stdin: str = '') -> None:
    wanted = () if stdin else (self._commit,)
    self._run(
      'fetch', '--quiet', '--no-tags', *arguments, 'origin', *wanted,
      stdin=stdin,
    )  # fmt: skip

  def _contents(
    self, batch: Mapping[str, str]
  ) -> Iterator[tuple[str, Iterator[bytes]]]:
    with self._process('cat-file', '--batch') as (process, errors):
      for name, blob in batch.items():
        with contextlib.suppress(BrokenPipeError):
          process.stdin.write(f'{blob}\n'.encode())
          process.stdin.flush()
        header = process.stdout.readline().split()
        if len(header) != 3 or header[1] != b'blob':
          raise self._error(_text(errors) or f'no object {blob} for {name}')
        chunks = _chunks(process.stdout, int(header[2]))
        yield name, chunks
        for _ in chunks:
          pass
        process.stdout.read(1)
      process.stdin.close()

  def _objects(self) -> set[str]:
    """Ids of what is here, without asking the server for what is not."""
    listed = self._run(
      'cat-file', '--batch-all-objects', '--batch-check=%(objectname)'
    )
    return set(listed.decode().split())

  def _packs(self) -> set[pathlib.Path]:
    return set(self._folder.glob('objects/pack/*'))

  def _run(self, *arguments: str, stdin: str = '') -> bytes:
    with self._process(*arguments) as (process, errors):
      output, _ = process.communicate(stdin.encode())
      if process.returncode:
        raise self._error(_text(errors))
    return output

  @contextlib.contextmanager
  def _process(self, *arguments: str):
    """A running git, and the file of its messages; ended with the block."""
    settings = (*_SETTINGS, f'remote.origin.url={self._url}')
    command = [self._git, f'--git-dir={self._folder}']
    command += [word for setting in settings for word in ('-c', setting)]
    with tempfile.TemporaryFile() as errors:
      # Of its own group: git starts helpers, and all of them must end.
      process = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=_environment(),
        start_new_session=True,
      )
      try:
        yield process, errors
      except BaseException:
        _end(process)
        raise
      finally:
        with contextlib.suppress(BrokenPipeError):
          process.stdin.close()
        process.stdout.close()
        process.wait()

  def _error(self, told: str) -> InputError:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(('fatal:', 'error:'))]
    said = (fatal or lines or ['git says nothing'])[0]
    if 'No space left' in told:
      return InputError(
        f'the disk is full ({said}). Free some space; the same command '
        'continues.'
      )
    if _NO_COMMIT.search(told):
      return InputError(
        f'commit {self._commit} is not in {self._url} ({said}). Give one that '
        'is with --commit.'
      )
    if _NETWORK_ERROR.search(told):
      return _NetworkError(
        f'{self._url} cannot be reached ({said}). Check the network and run '
        'the same command again, which continues; or get an archive of the '
        'repository elsewhere and give it with --source F.tar.gz.'
      )
    return InputError(
      f'git cannot fetch from {self._url}: {said.rstrip(".")}. Check --source.'
    )


class _NetworkError(InputError):
  """May be over soon."""


def _find_git() -> str:
  git = shutil.which('git')
  if git is None:
    raise InputError(
      'git is not installed, or not on PATH. Install it, or get an archive of '
      'the repository elsewhere and give it with --source F.tar.gz.'
    )
  return git


def _version(git: str) -> tuple[int, int]:
  """Of git; (0, 0) if it does not say."""
  told = subprocess.run(
    [git, 'version'], capture_output=True, text=True, check=False
  ).stdout
  found = re.search(r'(\d+)\.(\d+)', told)
  return (int(found[1]), int(found[2])) if found else (0, 0)


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
    # Its messages are read.
    'LC_ALL': 'C',
  }


def _end(process: subprocess.Popen) -> None:
  for number in (signal.SIGTERM, signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, number)
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(timeout=5)


def _chunks(file, size: int) -> Iterator[bytes]:
  while size:
    chunk = file.read(min(size, _CHUNK))
    if not chunk:
      raise InputError(
        'git ended in the middle of a file. Run the same command again, which '
        'continues.'
      )
    size -= len(chunk)
    yield chunk


def _text(file) -> str:
  file.seek(0)
  return file.read().decode('utf-8', 'replace')
