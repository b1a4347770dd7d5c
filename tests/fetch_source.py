"""A small repository laid out like natural-instructions, to fetch from."""

import json
import os
import pathlib
import shutil
import stat
import subprocess

from it_study.corpus import natinst

NUM_TRAIN = 55
NUM_TEST = 5
# And two lists for each of two tracks, README.md and LICENSE.
NUM_FILES = NUM_TRAIN + NUM_TEST + 6
GIT = shutil.which('git')


def make_repository(directory: pathlib.Path) -> str:
  """Makes a repository of 60 tasks; returns the id of its last commit.

  It serves single files and commits, like the public server.
  """
  directory.mkdir(parents=True)
  git(directory, 'init', '--quiet')
  git(directory, 'config', 'uploadpack.allowFilter', 'true')
  names = [f'task{number:03}_words' for number in range(NUM_TRAIN + NUM_TEST)]
  for number, name in enumerate(names):
    _write(directory / f'tasks/{name}.json', json.dumps(_task(number)))
  for track in ('default', 'xlingual'):
    train, test = names[:NUM_TRAIN], names[NUM_TRAIN:]
    if track == 'xlingual':
      train, test = train[:10], test[:2]
    lists = directory / 'splits' / track
    _write(lists / 'train_tasks.txt', ''.join(f'{n}\n' for n in train))
    _write(lists / 'test_tasks.txt', ''.join(f'{n}\n' for n in test))
  _write(directory / 'LICENSE', 'Take it.\n')
  _write(directory / 'doc/tasks.md', 'Not fetched.\n')
  # Line endings of both kinds, and files that a filter would change.
  (directory / 'README.md').write_bytes(b'one\r\ntwo\nthree\r\n')
  _write(directory / '.gitattributes', '*.json filter=lfs\n')
  commit_all(directory, 'First')
  _write(directory / 'tasks/README.md', 'A list of tasks.\n')
  return commit_all(directory, 'Second')


def commit_all(directory: pathlib.Path, message: str) -> str:
  git(directory, '-c', 'core.autocrlf=false', 'add', '--all')
  git(directory, 'commit', '--quiet', '--message', message)
  return git(directory, 'rev-parse', 'HEAD').strip()


def git(directory: pathlib.Path, *arguments: str) -> str:
  """Runs git with a fixed identity, without the user's configuration."""
  settings = (
    'user.name=A', 'user.email=a@example.org', 'commit.gpgsign=false',
    'filter.lfs.clean=cat', 'filter.lfs.smudge=cat', 'init.defaultBranch=main',
  )  # fmt: skip
  words = [word for setting in settings for word in ('-c', setting)]
  return subprocess.run(
    [GIT, *words, *arguments],
    cwd=directory,
    check=True,
    capture_output=True,
    text=True,
    env={**os.environ, 'GIT_CONFIG_GLOBAL': os.devnull},
  ).stdout


def watch_server(folder: pathlib.Path, on_batch: str) -> pathlib.Path:
  """Makes the server count requests for files; returns a git configuration.

  Under this configuration, each request adds a line, the number of its files,
  to `folder`/batches. Then shell code runs, in which `$n` is the number of
  requests so far.
  """
  folder.mkdir()
  hook = folder / 'hook'
  hook.write_text(f"""#!/bin/sh
cat > {folder}/request
grep -E '^[0-9a-f]{{40}}$' {folder}/request > {folder}/ids
if [ "$({GIT} cat-file -t $(head -n 1 {folder}/ids))" = blob ]; then
  wc -l < {folder}/ids >> {folder}/batches
  n=$(wc -l < {folder}/batches)
  {on_batch}
fi
exec "$@" < {folder}/request
""")
  hook.chmod(hook.stat().st_mode | stat.S_IXUSR)
  config = folder / 'gitconfig'
  config.write_text(f'[uploadpack]\n packObjectsHook = {hook}\n')
  return config


def batches(folder: pathlib.Path) -> list[int]:
  """Returns the number of files in each request so far."""
  path = folder / 'batches'
  return [int(n) for n in path.read_text().split()] if path.exists() else []


def contents(directory: pathlib.Path) -> dict[str, bytes]:
  """Returns the files that a fetch of everything should have written."""
  names = [
    path.relative_to(directory).as_posix()
    for pattern in ('tasks/*.json', 'splits/*/*.txt', 'README.md', 'LICENSE')
    for path in directory.glob(pattern)
  ]
  assert len(names) == NUM_FILES
  return {name: (directory / name).read_bytes() for name in names}


def assert_is_corpus(directory: pathlib.Path) -> None:
  corpus = natinst.open_corpus(directory)
  assert len(corpus.train_tasks) == NUM_TRAIN
  assert len(corpus.test_tasks) == NUM_TEST
  assert corpus.load('task007_words').task.definition == 'Say word 7.'


def _task(number: int) -> dict:
  return {
    'Definition': [f'Say word {number}.'],
    'Categories': ['Title Generation'],
    'Positive Examples': [{'input': 'a', 'output': 'b', 'explanation': 'c'}],
    'Negative Examples': [],
    'Instances': [
      {'id': f'{number}-{i}', 'input': f'in {i} é', 'output': [f'out {i}']}
      for i in range(12)
    ],
  }


def _write(path: pathlib.Path, text: str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding='utf-8')
