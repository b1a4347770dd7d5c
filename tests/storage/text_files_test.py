"""Tests of it_study.storage.text_files."""

import concurrent.futures
import itertools
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
      # No reader sees half a file.
      seen.append(path.read_text())

  text_files.write_lines(path, lines())
  assert path.read_bytes() == b'a\r\n\xc3\xa9\n'
  assert seen == ['before', 'before']
  assert os.listdir(tmp_path) == ['lines']


@pytest.mark.parametrize('error', [KeyboardInterrupt, InputError('no')])
def test_a_failed_write_leaves_nothing_behind(tmp_path, error):
  path = tmp_path / 'lines'
  path.write_text('before')

  def lines():
    yield 'a\n'
    raise error

  with pytest.raises((KeyboardInterrupt, InputError)):
    text_files.write_lines(path, lines())
  assert path.read_text() == 'before'
  assert os.listdir(tmp_path) == ['lines']


def test_a_missing_directory_or_a_directory_is_refused(tmp_path):
  with pytest.raises(InputError) as error:
    text_files.write_lines(tmp_path / 'no' / 'lines', ['a\n'])
  assert str(error.value) == (
    f'{tmp_path}/no/lines: cannot be written: No such file or directory. Name '
    'a file in a directory that exists and is writable.'
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


def test_a_denied_write_names_the_file(tmp_path, monkeypatch):
  def deny(*unused_args, **unused_kwargs):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr('builtins.open', deny)
  with pytest.raises(
    InputError, match=r'p\.jsonl: cannot be written: Permission denied\. Name'
  ):
    text_files.write_lines(tmp_path / 'p.jsonl', [])


def test_a_killed_process_leaves_the_old_file(tmp_path):
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
def test_a_directory_is_not_a_file(path):
  with pytest.raises(InputError, match='cannot be written: Is a directory'):
    text_files.write_lines(path, ['text'])


def test_bytes_are_written_once_and_into_new_folders(tmp_path):
  path = tmp_path / 'a/b'
  text_files.write_file(path, b'content')
  before = path.stat().st_ino
  text_files.write_file(path, b'content')
  assert path.stat().st_ino == before
  text_files.write_file(path, b'other')
  assert path.read_bytes() == b'other'
  assert path.stat().st_ino != before
  assert os.listdir(path.parent) == ['b']
  with pytest.raises(NotADirectoryError):
    text_files.write_file(path / 'c', b'content')


def test_only_a_write_that_has_to_survive_a_crash_is_synced(
  tmp_path, monkeypatch
):
  synced = []
  monkeypatch.setattr(os, 'fsync', synced.append)
  text_files.write_file(tmp_path / 'a', b'content')
  assert not synced
  text_files.write_text(tmp_path / 'a', 'text')
  assert len(synced) == 1


def test_two_writers_in_one_process_do_not_mix(tmp_path):
  path = tmp_path / 'file'
  with (
    concurrent.futures.ThreadPoolExecutor(1) as pool,
    text_files.replacing(path) as first,
  ):
    first.write(b'first')
    pool.submit(text_files.write_text, path, 'second').result()
    assert path.read_text() == 'second'
  assert path.read_text() == 'first'


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', 'empty; expected one JSON object.'),
    (b' \n', 'empty; expected one JSON object.'),
    (
      bytes(7),
      'holds NUL bytes, as a crash of the machine leaves them; expected one '
      'JSON object.',
    ),
    (b'{"a": "\xff"}', 'not UTF-8 at byte 7: invalid start byte.'),
    (
      b'{"a": ',
      'not JSON: Expecting value at column 7; expected one JSON object.',
    ),
    (
      b'{\n "a": 1,\n',
      'not JSON: Expecting property name enclosed in double quotes at line 3, '
      'column 1; expected one JSON object.',
    ),
    (b'[1]', 'expected one JSON object, got list.'),
    (b'{"a":' * 100_000, 'JSON is nested too deeply.'),
    (
      b'{"a": -' + b'9' * 5000 + b'}',
      'not JSON that can be read: a number has 5,000 digits; at most 300 are '
      'allowed.',
    ),
  ],
)
def test_unreadable_json_is_named(tmp_path, content, message):
  path = tmp_path / 'run.json'
  path.write_bytes(content)
  with pytest.raises(InputError) as error:
    text_files.read_json(path, advice='Remove it.')
  assert str(error.value) == f'{path}: {message} Remove it.'


def test_json_is_read_as_it_was_written(tmp_path):
  value = {'a': [1.5, 10**299, None], 'b': 'é'}
  text_files.write_json(tmp_path / 'a', value)
  assert text_files.read_json(tmp_path / 'a') == value
  # Windows' editors put a mark first.
  content = b'\xef\xbb\xbf' + (tmp_path / 'a').read_bytes()
  (tmp_path / 'a').write_bytes(content)
  assert text_files.read_json(tmp_path / 'a') == value


def test_any_byte_that_changes_a_sealed_value_is_noticed(tmp_path):
  path = tmp_path / 'run.json'
  fields = {'seeds': (0, 10), 'rate': 0.5, 'é': {2: 'x', 10: None}}
  text_files.write_sealed(path, fields)
  whole = path.read_bytes()
  value = text_files.read_sealed(path, advice='')
  assert value == {'seeds': [0, 10], 'rate': 0.5, 'é': {'2': 'x', '10': None}}
  refused = set()
  for place, byte in itertools.product(range(len(whole)), b' 1a"'):
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
      found = text_files.read_sealed(path, advice='Remove it.')
    except InputError as error:
      refused.add(str(error))
      continue
    # White space, or the name of the hash, which then is another field.
    assert {name: found[name] for name in value} == value
  assert f'{path}: has changed since it was written. Remove it.' in refused


def test_an_unsealed_file_of_an_earlier_version_is_read(tmp_path):
  text_files.write_json(tmp_path / 'a', {'seeds': [0]})
  assert text_files.read_sealed(tmp_path / 'a', advice='') == {'seeds': [0]}


def test_files_that_cannot_be_read_are_named(tmp_path):
  (tmp_path / 'run.json').write_text('{}')
  with pytest.raises(InputError) as error:
    text_files.read_json(tmp_path / 'run.jsn')
  assert str(error.value) == (
    f'{tmp_path}/run.jsn: cannot be read: No such file or directory. Did you '
    f"mean '{tmp_path}/run.json'?"
  )
  with pytest.raises(InputError, match='cannot be read: Is a directory'):
    text_files.read_text(tmp_path)
