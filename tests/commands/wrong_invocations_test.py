"""Tests of wrong invocations of every command: one line, no file changed."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import fakes
import pytest
from wrong_invocations_fixture import CASES

from it_study import cli
from it_study.commands import registry
from it_study.commands.runs import configuration
from it_study.data import vocabularies


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  """Files that the command lines name, and outputs of earlier commands."""
  folder = tmp_path_factory.mktemp('wrong')
  fakes.write_small_corpus(folder / 'corpus')
  whole = folder / 'whole.jsonl'
  words = ('baseline', 'random', '--corpus', folder / 'corpus')
  assert fakes.run_command(*words, '--out', whole, '--quiet') == 0
  lines = whole.read_text().splitlines(keepends=True)
  (folder / 'half.jsonl').write_text(''.join(lines[:10]))
  (folder / 'cut.jsonl').write_text(lines[0] + lines[1][:40])
  row = json.loads(lines[1])
  del row['prediction']
  malformed = [lines[0], json.dumps(row), '\n', *lines[2:]]
  (folder / 'malformed.jsonl').write_text(''.join(malformed))
  (folder / 'metrics.json').write_text('{}')
  (folder / 'leaf.gin').write_text('finetune.bach_size = 1\n')
  (folder / 'hf').mkdir()
  (folder / 'hf/config.json').write_text('{"model_type": "t5"}')
  (folder / 'model').mkdir()
  (folder / 'model/config.gin').write_text('SEED = 7\n')
  (folder / 'study').mkdir()
  options = cli._parse(cli._parser(), ['study', '--gin.BATCH_SIZE=7'])
  config = configuration.configure(
    options,
    files=configuration.DEFAULT_FILES['study'],
    supplied=configuration.SUPPLIED['study'],
  )
  (folder / 'study/study.gin').write_text(config)
  (folder / 'study/results.jsonl').write_text('{}\n')
  return folder


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  monkeypatch.chdir(folder)


def contents() -> dict[pathlib.Path, bytes]:
  """Returns all files but locks, which name their last holder."""
  found = pathlib.Path().rglob('*')
  return {
    path: path.read_bytes()
    for path in found
    if path.is_file() and path.name != '.lock'
  }


def fits(said: str, expected: str) -> bool:
  """Returns whether a line has the expected parts in order."""
  first, *others = (part.strip() for part in expected.split('...'))
  if not others:
    return said == expected
  if not said.startswith(first):
    return False
  position = len(first)
  for part in others:
    position = said.find(part, position)
    if position < 0:
      return False
    position += len(part)
  return not others[-1] or said.endswith(others[-1])


@pytest.mark.parametrize(
  ('line', 'expected'), CASES, ids=[line[-40:] for line, _ in CASES]
)
def test_the_message_is_one_line_and_no_file_changes(
  capsys, fake_tools, line, expected
):
  tools = fake_tools('gcloud', 'sbatch', 'ssh')
  before = contents()
  said = fakes.refusal(capsys, *shlex.split(line))
  assert fits(said, expected), said
  after = contents()
  assert {path: after.get(path) for path in before} == before
  assert tools.calls() == []


def test_every_command_has_a_case():
  lines = [shlex.split(line) for line, _ in CASES]
  asked = {tuple(words[:size]) for words in lines for size in (1, 2)}
  there = {(command.name,) for command in registry.COMMANDS}
  for group in registry.GROUPS:
    there |= {(group.name, command.name) for command in group.commands}
  assert there <= asked


def test_the_status_of_the_process():
  done = subprocess.run(
    [sys.executable, '-m', 'it_study.cli', 'score', 'cut.jsonl'],
    capture_output=True,
    check=False,
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    text=True,
  )
  assert (done.returncode, done.stdout) == (2, '')
  assert done.stderr.startswith('it-study: cut.jsonl:2: not JSON: ')
  assert done.stderr.count('\n') == 1
