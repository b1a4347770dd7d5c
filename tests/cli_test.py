"""Tests of it_study.cli: words, help, and how a command ends."""

import shlex
import subprocess
import sys

from fakes import refusal, run_command as run
import pytest

import it_study
from it_study import cli
from it_study.commands import registry
from it_study.processes import host_memory
from it_study.training import preemption

COMMANDS = {
  command.name: command
  for command in (
    *registry.COMMANDS,
    *registry.CORPUS_COMMANDS,
    *registry.LAUNCH_COMMANDS,
  )
}
GROUP_OF = {
  command.name: group.name
  for group in registry.GROUPS
  for command in group.commands
}


@pytest.mark.parametrize(
  ('words', 'hint'),
  [
    (('scor', 'p'), "Did you mean 'score'? See it-study --help."),
    (('corpus', 'biuld'), "Did you mean 'build'? See it-study corpus --help."),
    (
      ('baseline', 'randm', '--corpus=c'),
      "Did you mean 'random'? See it-study baseline --help.",
    ),
    (('score', 'p', '--per_tsk'), "Did you mean '--per_task'?"),
    (('study', '--gin_fil=x'), "Did you mean '--gin_file'?"),
    (
      ('corpus', 'check', 'x', '--trak', 'default'),
      "Did you mean '--track'? See it-study corpus check --help.",
    ),
    (('score',), 'required: PREDICTIONS. See it-study score --help.'),
    (
      ('baseline', 'random', '--corpus=c', '--seed=x'),
      "--seed: expected a whole number, got 'x'. See it-study baseline",
    ),
    (('prompt', '--corpus=c'), '--condition. See it-study prompt --help.'),
  ],
)
def test_unknown_words(capsys, words, hint):
  assert hint in refusal(capsys, *words)


def test_an_internal_error_is_one_line_too(capsys, monkeypatch):
  def fail(*args, **kwargs):
    raise RuntimeError('first\nsecond')

  monkeypatch.setattr('it_study.corpus.natinst.open_corpus', fail)
  assert run('corpus', 'stats', 'x') == 1
  assert capsys.readouterr().err == (
    'it-study: RuntimeError: first (run again with --debug for the traceback)\n'
  )
  assert run('corpus', 'stats', 'x', '--debug') == 1
  assert 'Traceback' in capsys.readouterr().err


def _interrupt(*args, **kwargs):
  raise KeyboardInterrupt


@pytest.mark.parametrize(
  'words',
  [
    *(('corpus', name, 'x') for name in ('verify', 'stats', 'audit')),
    ('prompt', '--corpus=x', '--condition=natinst_def_empty_ex_empty0'),
    ('explain', 'id', '--corpus=x'),
    ('score', 'p.jsonl', '--corpus=x'),
    ('baseline', 'random', '--corpus=x'),
  ],
)
def test_an_interrupt_says_to_run_again(capsys, monkeypatch, words):
  monkeypatch.setattr('it_study.corpus.natinst.open_corpus', _interrupt)
  assert run(*words) == 130
  assert capsys.readouterr().err == 'it-study: stopped; run it again.\n'


def test_an_interrupt_says_what_continues(capsys, monkeypatch):
  monkeypatch.setattr('it_study.commands.runs.runs.study', _interrupt)
  assert run('study') == 130
  assert capsys.readouterr().err == (
    'it-study: stopped; run the same command to resume.\n'
  )
  continuing = {name for name, c in COMMANDS.items() if c.continues}
  assert continuing == {
    *('study', 'train', 'predict', 'diagnose', 'fetch', 'controls'),
    *(command.name for command in registry.LAUNCH_COMMANDS),
  }


def test_a_stop_with_a_checkpoint_says_so(capsys, monkeypatch):
  def stop(options):
    raise SystemExit(preemption.PREEMPTED_STATUS)

  monkeypatch.setattr('it_study.commands.runs.runs.train', stop)
  assert run('train') == 75
  assert capsys.readouterr().err == (
    'it-study: stopped with a checkpoint; run the same command to resume.\n'
  )


def test_without_a_command_it_shows_help(capsys):
  assert run() == 2
  assert 'Example: it-study study' in capsys.readouterr().out
  assert run('corpus') == 2
  assert 'it-study corpus mini' in capsys.readouterr().out


@pytest.mark.parametrize('words', [(), ('score',), ('corpus', 'check')])
def test_the_version(capsys, words):
  assert run(*words, '--version') == 0
  assert capsys.readouterr().out == f'it-study {it_study.__version__}\n'


@pytest.mark.parametrize('name', COMMANDS)
def test_help_shows_an_example_that_is_of_this_command(capsys, name):
  words = (
    [name]
    if name in [c.name for c in registry.COMMANDS]
    else [GROUP_OF[name], name]
  )
  assert run(*words, '--help') == 0
  shown = capsys.readouterr().out
  # On one line, so that it can be copied and run.
  (line,) = [x for x in shown.splitlines() if x.startswith('Example: ')]
  example = shlex.split(line.removeprefix('Example: '))
  assert ' '.join(['it-study', *words]) in ' '.join(example)
  assert '--debug' in shown
  # It parses.
  for part in COMMANDS[name].example.split('&&'):
    parts, rest = cli._split_rest(shlex.split(part)[1:])
    options = cli._parse(cli._parser(), parts)
    cli._take_rest(options, rest, cli._parser())
    assert not options.gin_bindings or options.gin_file


@pytest.mark.parametrize('name', ['tpu_vm', 'slurm', 'ssh'])
def test_untested_launchers_say_so(capsys, name):
  assert run('launch', '--help') == 0
  lines = ' '.join(capsys.readouterr().out.split())
  assert lines.count('(experimental)') == 3
  assert run('launch', name, '--help') == 0
  shown = ' '.join(capsys.readouterr().out.split())
  assert '(experimental). This has not been tested on a real ' in shown


def test_diagnose_has_a_former_name(capsys):
  shown = []
  for name in ('diagnose', 'audit'):
    assert run(name, '--help') == 0
    shown.append(capsys.readouterr().out)
  assert shown[0] == shown[1]
  assert run('--help') == 0
  assert '    diagnose (audit)\n' in capsys.readouterr().out


def test_help_is_quick_and_imports_nothing_heavy():
  code = (
    'import sys, time\n'
    'started = time.process_time()\n'
    'from it_study import cli\n'
    'try: cli.main(sys.argv[1:])\n'
    'except SystemExit: pass\n'
    'heavy = {"jax", "tensorflow", "seqio", "numpy", "gin", "rich", "scipy",'
    ' "flax", "sentencepiece", "nltk", "rouge_score", "plotly",'
    ' "shtab", "launch"}\n'
    'print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n'
    'print(time.process_time() - started, file=sys.stderr)\n'
  )
  for words in (['--help'], ['study', '--help'], ['corpus', 'build', '-h']):
    found = subprocess.run(
      [sys.executable, '-c', code, *words],
      capture_output=True,
      text=True,
      check=True,
    )
    imported, seconds = found.stderr.splitlines()
    assert imported == '[]'
    # Processor time, which does not depend on other load.
    assert float(seconds) < 0.5


@pytest.mark.parametrize(
  ('words', 'arguments', 'times'),
  [(['train'], None, 1), (['train'], ['train'], 0), (['report', 'x'], None, 0)],
)
def test_only_the_installed_command_restarts_the_process(
  words, arguments, times, monkeypatch
):
  starts = []
  monkeypatch.setattr(
    host_memory, 'start_with_huge_pages', lambda: starts.append(1)
  )
  monkeypatch.setattr(sys, 'argv', ['it-study', *words])
  # Both lack arguments.
  assert cli.main(arguments) == 2
  assert len(starts) == times
