"""Tests of it_study.commands.completion, with real shells."""

import json
import pathlib
import shutil
import subprocess

import fakes
import pytest

from it_study import gin_utils

# Calls the completion function as bash does, for each command line.
_ASK = """
source "$1"
while IFS= read -r line; do
  IFS=' ' read -ra COMP_WORDS <<< "$line"
  [[ $line == *' ' ]] && COMP_WORDS+=("")
  COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )) COMPREPLY=()
  _it_study
  echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture(name='script', scope='module')
def _script(tmp_path_factory):
  """Writes the script of a shell."""

  def write(shell) -> pathlib.Path:
    with pytest.MonkeyPatch.context() as patch:
      lines: list[str] = []
      patch.setattr('builtins.print', lines.append)
      assert fakes.run_command('completion', shell) == 0
    path = tmp_path_factory.mktemp(shell) / 'script'
    path.write_text('\n'.join(lines))
    return path

  return write


def answers(script, folder, lines) -> dict[str, list[str]]:
  done = subprocess.run(
    ['bash', '-c', _ASK, 'ask', script],
    input='\n'.join(lines) + '\n',
    capture_output=True,
    check=True,
    cwd=folder,
    text=True,
  )
  assert done.stderr == ''
  found = [line.split() for line in done.stdout.splitlines()]
  return dict(zip(lines, found, strict=True))


@pytest.mark.skipif(not shutil.which('bash'), reason='needs bash')
def test_bash_completes(script, tmp_path):
  (tmp_path / 'studies_of_mine').mkdir()
  for name in ('mine.gin', 'mine.txt', 'mine.jsonl', 'mine.model'):
    (tmp_path / name).touch()
  # Bash splits words at = first.
  expected = {
    'it-study stu': ['study'],
    'it-study corpus ch': ['check'],
    'it-study launch ': ['local', 'tpu_vm', 'slurm', 'ssh'],
    'it-study baseline ma': ['majority'],
    'it-study completion ': ['bash', 'zsh', 'tcsh'],
    'it-study train --eng': ['--engine'],
    'it-study train --engine ': ['native', 't5x'],
    'it-study train --engine = t': ['t5x'],
    'it-study train --gin_file = studies/miniature_e': [
      'studies/miniature_examples.gin'
    ],
    'it-study train --gin_file = mi': ['mine.gin'],
    'it-study train --gin_file studies_': ['studies_of_mine/'],
    'it-study train --gin.TRAIN': ['--gin.TRAIN_STEPS='],
    'it-study train --gin.ENGINE = n': ['native'],
    'it-study train --gin.CORPUS =': ['miniature', 'studies_of_mine/'],
    'it-study train --gin.MIXTURE_OR_TASK_NAME = natinst_def_original_ex_empty0'
    '_n2': [
      'natinst_def_original_ex_empty0_n2',
      'natinst_def_original_ex_empty0_n20',
      'natinst_def_original_ex_empty0_n200',
    ],
    'it-study predict --gin.TRAIN': [],
    'it-study study --gin_file = runs/study.gin --study_d': ['--study_dir'],
    'it-study score mine.j': ['mine.jsonl'],
    'it-study score mine.jsonl --per': ['--per_task'],
    'it-study prompt --corpus = x --split ': ['train', 'validation', 'test'],
    'it-study prompt --vocabulary = mi': ['miniature', 'mine.model'],
    'it-study launch local --processes 2 -- tr': ['train'],
    'it-study launch local -- train --gin.SEE': ['--gin.SEED='],
  }
  found = answers(script('bash'), tmp_path, expected)
  assert found == expected


@pytest.mark.skipif(not shutil.which('bash'), reason='needs bash')
def test_every_command_and_shipped_file_is_there(script, tmp_path):
  from it_study.commands import registry

  files = 'it-study study --gin_file '
  found = answers(script('bash'), tmp_path, ['it-study ', files])
  names = {entry.name for entry in (*registry.COMMANDS, *registry.GROUPS)}
  assert set(found['it-study ']) == {*names, 'audit'}
  assert found[files] == gin_utils.shipped_files()


@pytest.mark.parametrize(
  ('shell', 'check'), [('zsh', ['-n']), ('tcsh', ['-f', '-n'])]
)
def test_the_scripts_of_other_shells(script, shell, check):
  path = script(shell)
  text = path.read_text()
  for word in ('verify', 'gin.TRAIN_STEPS=', 'xlingual', 'grace_seconds'):
    assert word in text
  if not shutil.which(shell):
    pytest.skip(f'needs {shell}, to read its script')
  subprocess.run([shell, *check, path], check=True)


def test_json_and_quiet(capsys):
  assert fakes.run_command('completion', 'bash', '--json') == 0
  found = json.loads(capsys.readouterr().out)
  assert found['shell'] == 'bash'
  assert found['script'].endswith(
    'complete -o bashdefault -F _it_study it-study\n'
  )
  assert fakes.run_command('completion', 'bash', '--quiet') == 0
  assert capsys.readouterr() == ('', '')
