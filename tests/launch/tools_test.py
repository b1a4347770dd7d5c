"""Tests of launch.tools."""

import sys

import pytest

from it_study.processes.timed_process import Finished
from launch.tools import LaunchError, Tools, why


@pytest.mark.parametrize(
  ('status', 'errors', 'expected'),
  [
    (1, 'a\nb\n\n', 'b'),
    (3, '', 'exit status 3'),
    (None, 'a', 'timed out after 2.5 s'),
    (
      1,
      'Create request issued\nERROR: (gcloud.create) {\n  "code": 8,\n'
      '  "message": "no capacity"\n}\n',
      'ERROR: (gcloud.create) { "code": 8, "message": "no capacity" }',
    ),
    (1, 'x' * 500, 'x' * 400 + ' ...'),
  ],
)
def test_why(status, errors, expected):
  assert why(Finished(status=status, output='', errors=errors), 2.5) == expected


def test_attempts(said, tmp_path):
  path = tmp_path / 'tries'
  code = (
    f'import pathlib, sys\npath = pathlib.Path({str(path)!r})\n'
    'tries = path.read_text() if path.exists() else ""\n'
    'path.write_text(tries + "x")\n'
    'print("done")\nsys.exit(len(tries) < 2)\n'
  )
  words = [sys.executable, '-c', code]
  tools = Tools(say=said.append)
  out = tools.run(words, what='trying', seconds=30, attempts=3, pause=0.01)
  assert out == 'done\n'
  assert said == ['trying: done; retrying in 0.01 s'] * 2
  path.unlink()
  with pytest.raises(LaunchError) as caught:
    tools.run(words, what='trying', seconds=30, attempts=2, pause=0.01)
  assert str(caught.value) == 'trying failed: done'


def test_a_missing_program(said):
  with pytest.raises(LaunchError) as caught:
    Tools(say=said.append).run(['/no/such'], what='x', seconds=1)
  assert str(caught.value) == 'cannot run /no/such: No such file or directory'


def test_a_dry_run(said, capsys):
  tools = Tools(say=said.append, is_dry=True)
  tools.need('no_such_program', 'anyhow')
  assert tools.run(['/no/such', 'a b'], what='x', seconds=1) == ''
  assert capsys.readouterr().out == "/no/such 'a b'\n"
