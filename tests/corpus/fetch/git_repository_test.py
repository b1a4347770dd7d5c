"""Tests of git_repository beyond what a fetch shows of it."""

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
  read = []
  for name, chunks in repository.read(dict(reversed(blobs.items()))):
    # What is not read is passed over.
    if len(read) % 2:
      content = b''.join(chunks)
      assert content == (tmp_path / 'origin' / name).read_bytes()
    read.append(name)
  assert read == list(reversed(blobs))
  # The commit and its trees are what is left.
  assert len(list((tmp_path / 'objects').glob('objects/pack/*.pack'))) == 1


def test_what_the_user_set_for_git(monkeypatch):
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
    # It never asks.
    'GIT_TERMINAL_PROMPT': '0',
    'GIT_ASKPASS': '',
  }


@pytest.mark.parametrize(
  ('told', 'message'),
  [
    (
      'warning: a\nfatal: write error: No space left on device\n',
      'the disk is full (fatal: write error: No space left on device). Free '
      'some space; the same command continues.',
    ),
    (
      "fatal: unable to access 'u': Could not resolve host: github.com\n",
      "u cannot be reached (fatal: unable to access 'u': Could not resolve "
      'host: github.com). Check the network and run the same command again, '
      'which continues; or get an archive of the repository elsewhere and give '
      'it with --source F.tar.gz.',
    ),
    (
      'fatal: remote error: upload-pack: not our ref c\n',
      'commit c is not in u (fatal: remote error: upload-pack: not our ref c). '
      'Give one that is with --commit.',
    ),
    (
      "remote: Repository not found.\nfatal: repository 'u' not found\n",
      "git cannot fetch from u: fatal: repository 'u' not found. Check "
      '--source.',
    ),
    ('', 'git cannot fetch from u: git says nothing. Check --source.'),
  ],
)
def test_what_git_says_is_told(tmp_path, told, message):
  repository = git_repository.Repository(tmp_path, url='u', commit='c')
  error = repository._error(told)
  assert isinstance(error, InputError)
  assert str(error) == message


def test_the_version_of_git_is_read(tmp_path):
  git = tmp_path / 'git'
  git.write_text("#!/bin/sh\necho git version 2.9.5 '(Some Git-130)'\n")
  git.chmod(0o700)
  assert git_repository._version(git) == (2, 9)
  git.write_text('#!/bin/sh\necho what?\n')
  assert git_repository._version(git) == (0, 0)
