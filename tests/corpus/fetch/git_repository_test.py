"""Tests of git_repository that a whole fetch does not cover."""

import os

import fetch_source
import pytest

from it_study.corpus.fetch import git_repository
from it_study.errors import InputError


def test_more_files_than_a_batch_in_any_order(tmp_path, monkeypatch):
  commit = fetch_source.make_repository(tmp_path / 'origin')
  monkeypatch.setattr(git_repository, 'BATCH', 7)
  repository = git_repository.Repository(
    tmp_path / 'objects', url=str(tmp_path / 'origin'), commit=commit
  )
  blobs = repository.blobs('tasks')
  assert len(blobs) == 61
  names = []
  for name, path in repository.check_out(reversed(blobs)):
    assert path.read_bytes() == (tmp_path / 'origin' / name).read_bytes()
    # A file may be moved away or stay.
    if len(names) % 2:
      path.unlink()
    names.append(name)
  assert names == list(reversed(blobs))


def test_a_name_is_no_pattern(tmp_path):
  origin = tmp_path / 'origin'
  fetch_source.make_repository(origin)
  names = [
    'tasks/a[b]*?.json',
    'tasks/#!a b \\.json',
    'splits/a/ends in space ',
  ]
  (origin / 'splits/a').mkdir()
  # Matched by the first, read as a pattern.
  (origin / 'tasks/abcd.json').write_text('not fetched')
  for name in names:
    (origin / name).write_text(name)
  repository = git_repository.Repository(
    tmp_path / 'objects',
    url=str(origin),
    commit=fetch_source.commit_all(origin, 'Third'),
  )
  assert {*names, 'tasks/abcd.json'} < set(repository.blobs('tasks', 'splits'))
  for name, path in repository.check_out(names):
    assert path.read_text() == name
  assert not (path.parents[2] / 'tasks/abcd.json').exists()


def test_git_variables_of_the_user(monkeypatch):
  for name in list(os.environ):
    if name.startswith('GIT_'):
      monkeypatch.delenv(name)
  monkeypatch.setenv('GIT_SSL_CAINFO', '/certificates')
  monkeypatch.setenv('GIT_WORK_TREE', '/nowhere')
  monkeypatch.setenv('GIT_ASKPASS', 'ask-me')
  variables = git_repository._environment()
  assert {n: v for n, v in variables.items() if n.startswith('GIT_')} == {
    'GIT_SSL_CAINFO': '/certificates',
    'GIT_SSH_COMMAND': 'ssh -oBatchMode=yes',
    # Git must never prompt.
    'GIT_TERMINAL_PROMPT': '0',
    'GIT_ASKPASS': '',
  }


@pytest.mark.parametrize(
  ('stderr', 'message'),
  [
    (
      'warning: a\nfatal: write error: No space left on device\n',
      'the disk is full (fatal: write error: No space left on device). Free '
      'some space, then run the same command again to resume.',
    ),
    (
      "fatal: unable to access 'u': Could not resolve host: github.com\n",
      "u cannot be reached (fatal: unable to access 'u': Could not resolve "
      'host: github.com). Check the network and run the same command again to '
      'resume, or download an archive of the repository elsewhere and give it '
      'with --source F.tar.gz.',
    ),
    (
      'fatal: remote error: upload-pack: not our ref c\n',
      'commit c is not in u (fatal: remote error: upload-pack: not our ref c). '
      'Give another with --commit.',
    ),
    (
      "remote: Repository not found.\nfatal: repository 'u' not found\n",
      "git cannot fetch from u: fatal: repository 'u' not found. Check "
      '--source.',
    ),
    ('', 'git cannot fetch from u: git gave no reason. Check --source.'),
  ],
)
def test_errors_of_git_are_explained(tmp_path, stderr, message):
  repository = git_repository.Repository(tmp_path, url='u', commit='c')
  error = repository._error(stderr)
  assert isinstance(error, InputError)
  assert str(error) == message


def test_the_version_of_git_is_read(tmp_path):
  git = tmp_path / 'git'
  git.write_text("#!/bin/sh\necho git version 2.9.5 '(Some Git-130)'\n")
  git.chmod(0o700)
  assert git_repository._version(git) == (2, 9)
  git.write_text('#!/bin/sh\necho what?\n')
  assert git_repository._version(git) == (0, 0)
