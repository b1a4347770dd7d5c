"""Tests of it_study.storage.text_files."""

import os
import subprocess
import sys

import pytest

from it_study.errors import InputError
from it_study.storage import text_files


def test_lines_are_written_as_they_are(tmp_path):
  path = tmp_path / 'lines'
  path.write_text('before')
  seen = []

  def lines():
    for line in ('a\r\n', 'é\n'):
      yield line
      # Nobody sees half a file.
      seen.append(path.read_text())

  text_files.write_lines(path, lines())
  assert path.read_bytes() == b'a\r\n\xc3\xa9\n'
  assert seen == ['before', 'before']
  assert os.listdir(tmp_path) == ['lines']


@pytest.mark.parametrize('error', [KeyboardInterrupt, InputError('no')])
def test_nothing_is_left_of_what_was_broken_off(tmp_path, error):
  path = tmp_path / 'lines'
  path.write_text('before')

  def lines():
    yield 'a\n'
    raise error

  with pytest.raises((KeyboardInterrupt, InputError)):
    text_files.write_lines(path, lines())
  assert path.read_text() == 'before'
  assert os.listdir(tmp_path) == ['lines']


def test_a_path_that_cannot_be_written(tmp_path):
  with pytest.raises(InputError) as error:
    text_files.write_lines(tmp_path / 'no' / 'lines', ['a\n'])
  assert str(error.value) == (
    f'{tmp_path}/no/lines: cannot be written: No such file or directory. Name '
    'a file in a directory that is there and can be written to.'
  )
  with pytest.raises(InputError, match='Is a directory'):
    text_files.write_lines(tmp_path, ['a\n'])


def test_an_interrupt_at_the_end_leaves_nothing(tmp_path, monkeypatch):
  def interrupt(*unused_args):
    raise KeyboardInterrupt

  monkeypatch.setattr(os, 'replace', interrupt)
  with pytest.raises(KeyboardInterrupt):
    text_files.write_lines(tmp_path / 'a', ['a\n'])
  assert list(tmp_path.iterdir()) == []


def test_a_directory_that_may_not_be_written_to_is_named(tmp_path, monkeypatch):
  def deny(*unused_args, **unused_kwargs):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr('builtins.open', deny)
  with pytest.raises(
    InputError, match=r'p\.jsonl: cannot be written: Permission denied\. Name'
  ):
    text_files.write_lines(tmp_path / 'p.jsonl', [])


def test_a_process_that_is_killed_leaves_the_file_as_it_was(tmp_path):
  path = tmp_path / 'lines'
  path.write_text('before')
  script = (
    'import os, sys\n'
    'from it_study.storage import text_files\n'
    'def lines():\n'
    '  yield "a\\n" * 100000\n'
    '  os.kill(os.getpid(), 9)\n'
    'text_files.write_lines(sys.argv[1], lines())\n'
  )
  ended = subprocess.run([sys.executable, '-c', script, path], check=False)
  assert ended.returncode == -9
  assert path.read_text() == 'before'


@pytest.mark.parametrize('path', ['/', '.'])
def test_a_directory_is_no_file(path):
  with pytest.raises(InputError, match='cannot be written: Is a directory'):
    text_files.write_lines(path, ['text'])
