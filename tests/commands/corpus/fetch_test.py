"""Tests of what it-study corpus fetch prints."""

import json

import fetch_source
import pytest

from it_study import cli


@pytest.fixture(name='run')
def _run(tmp_path, monkeypatch):
  """Runs the command on a fresh repository."""
  monkeypatch.chdir(tmp_path)
  commit = fetch_source.make_repository(tmp_path / 'origin')

  def run(*words) -> int:
    options = ('--source', 'origin', '--commit', commit)
    return cli.main(['corpus', 'fetch', 'my corpus', *options, *words])

  run.commit = commit
  return run


def test_printed_lines(run, capsys, tmp_path):
  assert run() == 0
  size = sum(map(len, fetch_source.contents(tmp_path / 'origin').values()))
  assert capsys.readouterr() == (
    'directory: my corpus\n'
    f'commit: {run.commit} (every file verified)\n'
    f'files: 66 ({size / 1e6:,.1f} MB), 66 downloaded now\n'
    'track default: 55 training and 5 test tasks\n'
    'track xlingual: 10 training and 2 test tasks\n'
    "next: it-study corpus check 'my corpus'\n",
    '',
  )
  for number in range(7):
    (tmp_path / f'my corpus/tasks/task00{number}_words.json').write_text('{}')
  (tmp_path / 'my corpus/tasks/mine.json').write_text('{}')
  assert run() == 0
  output, errors = capsys.readouterr()
  assert '), 7 downloaded now\n' in output
  assert errors.splitlines() == [
    *(
      f'tasks/task00{number}_words.json was changed or missing; restored'
      for number in range(5)
    ),
    '... and 2 more',
    'tasks/mine.json is not part of the collection; left alone',
  ]


def test_json_and_quiet(run, capsys, tmp_path):
  assert run('--json', '--track', 'xlingual') == 0
  output, errors = capsys.readouterr()
  assert errors == ''
  found = json.loads(output)
  assert found.pop('bytes') > 0
  assert found == {
    'directory': 'my corpus',
    'source': str(tmp_path / 'origin'),
    'commit': run.commit,
    'archive_sha256': None,
    'files': 18,
    'fetched': 18,
    'repaired': [],
    'foreign': [],
    'tasks': {
      'default': {'train': 55, 'test': 5},
      'xlingual': {'train': 10, 'test': 2},
    },
    'warnings': [],
  }
  assert run('--quiet') == 0
  assert capsys.readouterr() == ('', '')


def test_an_archive_and_bad_input(run, capsys, tmp_path):
  fetch_source.git(
    tmp_path / 'origin', 'archive', '--output=../a.tar.gz', 'HEAD'
  )
  assert run('--source', 'a.tar.gz') == 0
  output, errors = capsys.readouterr()
  assert errors.startswith(
    'warning: a.tar.gz cannot be verified against commit'
  )
  sha256 = errors.split('--sha256 ')[1].split()[0]
  assert f'archive: SHA-256 {sha256}\n' in output
  assert run('--source', 'a.tar.gz', '--sha256', sha256) == 0
  assert capsys.readouterr().err == ''
  assert run('--source', 'none') == 2
  assert capsys.readouterr().err == (
    'it-study: source none not found; expected the URL or directory of a git '
    'repository, or an archive of a checkout (.tar.gz, .tgz, .zip).\n'
  )
