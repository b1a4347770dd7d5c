"""Tests of it_study.corpus.fetch.collection: fetch, resume, repair."""

import errno
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import fetch_source
import pytest

from it_study.corpus.fetch import collection, git_repository
from it_study.corpus.fetch.collection import fetch
from it_study.corpus.fetch.fetched_files import FetchedFiles
from it_study.errors import InputError
from it_study.storage import local_folders


@pytest.fixture(name='origin', scope='module')
def _origin(tmp_path_factory):
  """A repository and the id of its commit."""
  path = tmp_path_factory.mktemp('fetch') / 'origin'
  return path, fetch_source.make_repository(path)


@pytest.fixture(name='get')
def _get(origin, tmp_path):
  """Fetches into `tmp_path / 'corpus'`."""
  path, commit = origin

  def get(**options):
    options = {'source': f'file://{path}', 'commit': commit, **options}
    return fetch(tmp_path / 'corpus', **options)

  return get


@pytest.fixture(name='watch')
def _watch(tmp_path, monkeypatch):
  """Makes the server count requests; returns the folder of the counts."""

  def install(on_batch: str = ':') -> pathlib.Path:
    folder = tmp_path / 'server'
    config = fetch_source.watch_server(folder, on_batch)
    monkeypatch.setenv('GIT_CONFIG_GLOBAL', str(config))
    return folder

  return install


def command(tmp_path, origin) -> subprocess.Popen:
  path, commit = origin
  words = ('corpus', 'fetch', 'corpus', '--source', path, '--commit', commit)
  return subprocess.Popen(
    [sys.executable, '-m', 'it_study.cli', *words],
    cwd=tmp_path,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={
      **os.environ,
      'PYTHONPATH': os.fspath(pathlib.Path(collection.__file__).parents[3]),
    },
  )


def is_running(pid: str) -> bool:
  try:
    status = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except OSError:
    return False
  # A process that ended and was not waited for is a zombie.
  return status.rpartition(')')[2].split()[0] != 'Z'


def written(directory) -> dict[str, bytes]:
  return {
    path.relative_to(directory).as_posix(): path.read_bytes()
    for path in directory.rglob('*')
    if path.is_file() and '.fetch' not in path.parts
  }


def test_everything_is_fetched_byte_for_byte(
  origin, get, tmp_path, monkeypatch, watch
):
  log = watch()
  # None of the user's settings may change a byte.
  attributes = tmp_path / 'attributes'
  attributes.write_text('* text=auto eol=crlf ident\n')
  with open(log / 'gitconfig', 'a') as config:
    config.write(
      '[core]\n autocrlf = true\n hooksPath = /nowhere\n'
      f' attributesFile = {attributes}\n sparseCheckoutCone = true\n'
      '[filter "lfs"]\n smudge = false\n required = true\n'
    )
  monkeypatch.setenv('GIT_DIR', '/nowhere')
  seen = []
  found = get(on_progress=seen.append)
  path, commit = origin
  expected = fetch_source.contents(path)
  files = written(tmp_path / 'corpus')
  sums = files.pop('SHA256SUMS').decode().splitlines()
  assert files == expected
  assert sums[0] == f'# commit {commit}, tracks: all'
  assert sums[1:] == [
    f'{hashlib.sha256(expected[name]).hexdigest()}  {name}'
    for name in sorted(expected)
  ]
  fetch_source.assert_is_corpus(tmp_path / 'corpus')
  assert found.commit == commit
  assert found.files == found.fetched == fetch_source.NUM_FILES
  assert found.bytes == sum(map(len, expected.values()))
  assert found.tasks == {
    'default': {'train': 55, 'test': 5},
    'xlingual': {'train': 10, 'test': 2},
  }
  assert (found.repaired, found.foreign, found.warnings) == ((), (), ())
  # The lists, .gitattributes, then the tasks; nothing else, and nothing twice.
  assert fetch_source.batches(log) == [6, 1, 25, 25, 10]
  assert [s.done for s in seen if s.phase == 'tasks'] == list(range(6, 67))
  # No second copy stays behind.
  assert sorted(os.listdir(tmp_path / 'corpus/.fetch')) == ['.lock', 'identity']


def test_a_complete_fetch_is_only_verified(get, tmp_path, monkeypatch):
  get()
  before = (tmp_path / 'corpus/SHA256SUMS').stat().st_mtime_ns
  # That takes no git.
  monkeypatch.setenv('PATH', '')
  found = get()
  assert (found.fetched, found.files) == (0, fetch_source.NUM_FILES)
  assert (tmp_path / 'corpus/SHA256SUMS').stat().st_mtime_ns == before
  assert get(track='default').fetched == 0


def test_a_killed_fetch_is_resumed(origin, get, tmp_path, watch):
  # The second batch of tasks kills the command.
  log = watch(
    'if [ $n = 4 ]; then while ! [ -s $0.pid ]; do sleep 0.01; done; '
    'kill -9 $(cat $0.pid); exit 1; fi'
  )
  process = command(tmp_path, origin)
  (log / 'hook.pid').write_text(str(process.pid))
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  assert fetch_source.batches(log) == [6, 1, 25, 25]
  expected = fetch_source.contents(origin[0])
  # The files are complete, the collection is not.
  files = written(tmp_path / 'corpus')
  assert len(files) == 6 + 25
  assert files.items() <= expected.items()
  # As a killed git leaves behind.
  (tmp_path / 'corpus/.fetch/repository/shallow.lock').touch()
  (tmp_path / 'corpus/.fetch/repository/index.lock').touch()
  (tmp_path / 'corpus/.fetch/part').write_text('half a')
  found = get()
  assert fetch_source.batches(log)[4:] == [25, 10]
  assert (found.fetched, found.repaired) == (35, ())
  files = written(tmp_path / 'corpus')
  assert files.pop('SHA256SUMS')
  assert files == expected


def test_an_interrupted_fetch_leaves_no_git_behind(origin, tmp_path, watch):
  pid = watch('sleep 60 & echo $! > $0.pid; wait') / 'hook.pid'
  process = command(tmp_path, origin)
  while not pid.exists() or not pid.read_text():
    assert process.poll() is None
    time.sleep(0.02)
  assert is_running(pid.read_text().strip())
  process.send_signal(signal.SIGINT)
  assert process.communicate(timeout=20)[1] == (
    'it-study: stopped; run the same command to resume.\n'
  )
  assert process.returncode == 130
  assert not is_running(pid.read_text().strip())


def test_changed_and_lost_files_are_named_and_repaired(
  origin, get, tmp_path, watch
):
  get()
  corpus = tmp_path / 'corpus'
  log = watch()
  flipped = corpus / 'tasks/task030_words.json'
  content = bytearray(flipped.read_bytes())
  content[40] ^= 1
  flipped.write_bytes(content)
  (corpus / 'tasks/task031_words.json').unlink()
  (corpus / 'splits/default/train_tasks.txt').write_text('task000_words\n')
  (corpus / 'tasks/mine.json').write_text('{}')
  found = get()
  assert found.repaired == (
    'splits/default/train_tasks.txt',
    'tasks/task030_words.json',
    'tasks/task031_words.json',
  )
  assert found.fetched == 3
  assert fetch_source.batches(log) == [1, 1, 2]
  # Named, but left alone.
  assert found.foreign == ('tasks/mine.json',)
  files = written(corpus)
  assert files.pop('tasks/mine.json') == b'{}'
  assert files.pop('SHA256SUMS')
  assert files == fetch_source.contents(origin[0])
  assert get().repaired == ()


def test_a_changed_list_of_checksums_is_repaired(get, tmp_path, watch):
  get()
  log = watch()
  sums = tmp_path / 'corpus/SHA256SUMS'
  right = sums.read_text()
  sums.write_text(right.replace('\n', '\n0', 1))
  found = get()
  assert (found.fetched, fetch_source.batches(log)) == (0, [])
  assert sums.read_text() == right


def test_one_track_then_all(get, tmp_path):
  found = get(track='xlingual')
  assert found.files == found.fetched == 12 + 6
  assert len(list((tmp_path / 'corpus/tasks').iterdir())) == 12
  assert found.warnings == ()
  assert get(track='xlingual').fetched == 0
  assert get(track='default').fetched == 48
  sums = (tmp_path / 'corpus/SHA256SUMS').read_text()
  assert sums.splitlines()[0].endswith(', tracks: default xlingual')
  assert get().fetched == 0
  with pytest.raises(InputError) as error:
    fetch(
      tmp_path / 'other',
      source=get().source,
      commit=get().commit,
      track='defualt',
    )
  assert str(error.value) == (
    "track 'defualt' is not in the collection; available: default, xlingual. "
    "Did you mean 'default'?"
  )


def test_a_server_that_cannot_filter_sends_all(origin, get, watch, tmp_path):
  log = watch()
  path, _ = origin
  fetch_source.git(path, 'config', 'uploadpack.allowFilter', 'false')
  try:
    assert get().fetched == fetch_source.NUM_FILES
  finally:
    fetch_source.git(path, 'config', 'uploadpack.allowFilter', 'true')
  assert fetch_source.batches(log) == []
  fetch_source.assert_is_corpus(tmp_path / 'corpus')


def test_a_network_error_is_tried_again(get, monkeypatch, watch):
  waits = []
  monkeypatch.setattr(git_repository.time, 'sleep', waits.append)
  log = watch(
    'if [ $n = 3 -o $n = 4 ]; then echo "fatal: early EOF" >&2; exit 128; fi'
  )
  assert get().fetched == fetch_source.NUM_FILES
  assert fetch_source.batches(log) == [6, 1, 25, 25, 25, 25, 10]
  assert waits == [1, 2]


def test_a_lasting_network_error(get, monkeypatch, watch):
  monkeypatch.setattr(git_repository.time, 'sleep', lambda seconds: None)
  log = watch('echo "fatal: early EOF" >&2; exit 128')
  with pytest.raises(
    InputError, match=r'cannot be reached \(error: git upload-pack: '
  ):
    get()
  assert len(fetch_source.batches(log)) == 3


def test_unexpected_numbers_of_tasks_are_a_warning(origin, get, monkeypatch):
  monkeypatch.setattr(collection, 'COMMIT', origin[1])
  monkeypatch.setattr(
    collection, 'TASKS_AT_COMMIT', {'default': (55, 5), 'xlingual': (9, 2)}
  )
  assert get().warnings == (
    "track xlingual has {'train': 10, 'test': 2}; expected 9 training and 2 "
    'test tasks for this commit',
  )


def test_tasks_without_a_file_are_a_warning(tmp_path):
  path = tmp_path / 'origin'
  fetch_source.make_repository(path)
  (path / 'tasks/task000_words.json').unlink()
  commit = fetch_source.commit_all(path, 'Third')
  found = fetch(tmp_path / 'corpus', source=str(path), commit=commit)
  assert len(found.warnings) == 2
  assert found.warnings[0].endswith(
    'default/train_tasks.txt names 1 tasks that have no file in the '
    'collection, the first being task000_words'
  )


def test_a_link_in_a_commit_is_refused(tmp_path):
  path = tmp_path / 'origin'
  fetch_source.make_repository(path)
  (path / 'tasks/task099_words.json').symlink_to('/etc/passwd')
  commit = fetch_source.commit_all(path, 'Third')
  with pytest.raises(
    InputError, match=r"'tasks/task099_words\.json' is a link in commit"
  ):
    fetch(tmp_path / 'corpus', source=str(path), commit=commit)


def test_no_such_commit(origin, get):
  with pytest.raises(InputError) as error:
    get(commit='0' * 40)
  assert str(error.value).startswith(
    f'commit {"0" * 40} is not in file://{origin[0]} (fatal: '
  )
  with pytest.raises(
    InputError, match="commit '55a36' is not a full commit id"
  ):
    get(commit='55a36')
  # The mistake does not claim the directory.
  assert get().fetched == fetch_source.NUM_FILES


def test_no_git(get, monkeypatch):
  monkeypatch.setenv('PATH', '')
  with pytest.raises(InputError, match='git is not installed or not on PATH'):
    get()


def test_an_old_git(get, tmp_path, monkeypatch):
  git = tmp_path / 'git'
  git.write_text('#!/bin/sh\necho git version 2.27.1\n')
  git.chmod(0o700)
  monkeypatch.setenv('PATH', str(tmp_path))
  with pytest.raises(InputError) as error:
    get()
  assert str(error.value) == (
    f'git 2.27 at {git} is too old; version 2.28 or later is needed. Upgrade '
    'it, or download an archive of the repository elsewhere and give it with '
    '--source F.tar.gz.'
  )


def test_sources_that_cannot_be_used(get, tmp_path):
  with pytest.raises(InputError) as error:
    get(source='https://127.0.0.1:9/none.git')
  assert str(error.value).startswith(
    'https://127.0.0.1:9/none.git cannot be reached (fatal: unable to access'
  )
  for source, message in (
    ('file:///nowhere', 'git cannot fetch from file:///nowhere: fatal: '),
    (str(tmp_path), 'is a directory but not a git repository'),
    (str(tmp_path / 'none'), 'not found; expected the URL or directory'),
    ('https://example.org/a.tar.gz', 'an archive must be a local file'),
  ):
    with pytest.raises(InputError, match=message):
      get(source=source)
  with pytest.raises(InputError, match='--sha256 applies to archives only'):
    get(sha256='0' * 64)


def test_a_repository_of_something_else(tmp_path):
  (tmp_path / 'origin').mkdir()
  fetch_source.git(tmp_path / 'origin', 'init', '--quiet')
  (tmp_path / 'origin/README.md').write_text('What?')
  commit = fetch_source.commit_all(tmp_path / 'origin', 'First')
  with pytest.raises(InputError, match=r'has no tasks/NAME\.json'):
    fetch(tmp_path / 'corpus', source=str(tmp_path / 'origin'), commit=commit)


def test_a_directory_with_other_files(origin, get, tmp_path):
  corpus = tmp_path / 'corpus'
  corpus.mkdir()
  (corpus / 'thesis.tex').write_text('All of it.')
  with pytest.raises(InputError, match=r"'thesis\.tex' is in it\. Name a new"):
    get()
  assert os.listdir(corpus) == ['thesis.tex']
  (corpus / 'thesis.tex').unlink()
  get()
  first = fetch_source.git(origin[0], 'rev-parse', 'HEAD~').strip()
  message = f'holds the files of commit {origin[1]}, not of commit {first}'
  with pytest.raises(InputError, match=message):
    get(commit=first)
  # As in a copy without hidden files.
  (corpus / '.fetch/identity').unlink()
  with pytest.raises(InputError, match=message):
    get(commit=first)
  assert get().fetched == 0
  with pytest.raises(InputError, match='is a file'):
    fetch(corpus / 'LICENSE')


def test_two_at_once_and_a_full_disk(get, tmp_path, monkeypatch):
  with (
    local_folders.locked(tmp_path / 'corpus/.fetch'),
    pytest.raises(InputError, match='another run is using it'),
  ):
    get()

  def fail(self, source, name):
    raise OSError(errno.ENOSPC, 'No space left on device')

  with monkeypatch.context() as patch:
    patch.setattr(FetchedFiles, 'move', fail)
    with pytest.raises(InputError, match='the disk is full'):
      get()
  assert get().fetched == fetch_source.NUM_FILES
