"""Tests of the user pages: each command runs, or states its requirements."""

import pathlib
import re
import shlex
import subprocess
import sys

import fakes
import pages
import pytest

from it_study import cli, gin_utils
from it_study.commands.runs import configuration, runs
from it_study.corpus import locate
from it_study.data import vocabularies
from it_study.study import grid

_ROOT = pathlib.Path(__file__).parents[2]
# Pages whose commands other tests run: examples_test.py, and gin_files_test.py
# for T5X.
TESTED_ELSEWHERE = {
  f'docs/{name}.md'
  for name in ('collections', 'extending', 'launch', 't5x', 'weights')
}
PAGES = (
  'README.md',
  *sorted(f'docs/{p.name}' for p in _ROOT.glob('docs/*.md')),
)
TESTED_HERE = [page for page in PAGES if page not in TESTED_ELSEWHERE]
_PLAIN = re.compile(r'^```\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_PROGRAMS = ('it-study ', 'python ', 'pip ', 'docker ', 'make ')
# Replaces the model that a page names by one that compiles quickly.
_TINY = [
  f'--gin.T5Config.{name}={value!r}'
  for name, value in fakes.tiny_model().keywords.items()
]


def unlabelled_blocks(page) -> list[str]:
  """Returns command blocks without a language, which do not run everywhere."""
  text = (_ROOT / page).read_text()
  # Blocks with a language come out first: their last line looks like the first
  # line of a block without one.
  text = re.sub(r'^```\w+\n.*?^```$', '', text, flags=re.MULTILINE | re.DOTALL)
  return [
    block
    for block in _PLAIN.findall(text)
    if any(line.startswith(_PROGRAMS) for line in block.splitlines())
  ]


def commands(text) -> list[list[str]]:
  """Returns the words of each command, comments removed."""
  lines = text.replace('\\\n', '').splitlines()
  return [words for line in lines if (words := shlex.split(line, True))]


def parse(words):
  """Parses a command and reads its gin files; returns its options."""
  words, bindings = cli._split_bindings(words)
  options = cli._parser().parse_args(words)
  options.gin_bindings = bindings
  if options.command in configuration.SUPPLIED:
    supplied = configuration.SUPPLIED[options.command]
    configuration.configure(options, files=options.gin_file, supplied=supplied)
  return options


@pytest.fixture(autouse=True)
def _use(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  fakes.write_small_corpus('CORPUS')


@pytest.fixture(name='_engine')
def _use_fake_engine(monkeypatch):
  """Checks the configuration, but trains nothing and gives fixed answers."""

  def engine_call(name):
    engine = fakes.Engine(locate.find(gin_utils.macro('CORPUS')))
    settings = {}
    if gin_utils.macro('MIXTURE_OR_TASK_NAME'):
      settings['mixture_or_task_name'] = gin_utils.macro('MIXTURE_OR_TASK_NAME')
      settings['seed'] = gin_utils.macro('SEED')
    return lambda **extra: getattr(engine, name)(**{**settings, **extra})

  monkeypatch.setattr(configuration, 'engine_call', engine_call)
  configured = gin_utils.configured

  def configured_without_cells(name):
    # A study only plans its cells; other tests run them.
    return _plan if name == 'run_study' else configured(name)

  def _plan(**_):
    bound = gin_utils.bound('run_study', ('conditions', 'seeds', 'splits'))
    assert all(grid.plan(**bound))

  monkeypatch.setattr(gin_utils, 'configured', configured_without_cells)
  # A report of thousands of rows takes longer than everything else here.
  monkeypatch.setattr(runs, 'report', lambda options: None)


def run(words) -> None:
  """Runs a command as printed, except for its slow parts."""
  if words[0] == 'make':
    output = subprocess.run(
      [*words, '--dry-run'],
      capture_output=True,
      check=True,
      cwd=_ROOT,
      text=True,
    ).stdout
    assert {'study': 'it-study study', 'test': 'pytest'}[words[1]] in output
  elif words[0] == '.':
    # Activates the environment that make creates.
    assert f'VENV ?= {pathlib.Path(words[1]).parts[0]}\n' in (
      (_ROOT / 'Makefile').read_text()
    )
  elif words[:2] == ['it-study', 'plan']:
    # It sets its own number of devices, which takes a new process.
    subprocess.run(
      [sys.executable, '-m', 'it_study.cli', *words[1:], *_TINY], check=True
    )
  else:
    assert words[0] == 'it-study'
    words = words[1:]
    if words[0] == 'launch':
      words.insert(2, '--dry_run')
    # The checks may fail on this machine.
    allowed = (0, 1) if words == ['doctor'] else (0,)
    assert fakes.run_command(*words) in allowed, words


def test_the_readme_links_to_every_page():
  text = (_ROOT / 'README.md').read_text()
  assert {f'docs/{n}' for n in re.findall(r'\(docs/(\w+\.md)\)', text)} == (
    set(PAGES) - {'README.md'}
  )
  assert set(PAGES) > TESTED_ELSEWHERE


@pytest.mark.parametrize('page', PAGES)
def test_links_are_not_broken(page):
  folder = (_ROOT / page).parent
  links = re.findall(r'\]\((?!https?://)([^)#]+)', (_ROOT / page).read_text())
  assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize('page', PAGES)
def test_unlabelled_blocks_state_their_requirements(page):
  for block in unlabelled_blocks(page):
    assert block.startswith('# Needs '), block
    for words in commands(block):
      # With --engine t5x, T5X reads the gin file.
      if words[0] == 'it-study' and '--engine' not in words:
        assert parse(words[1:]).run


@pytest.mark.parametrize('page', PAGES)
def test_blocks_are_valid_shell(page):
  for block in (*pages.blocks(page, 'sh'), *unlabelled_blocks(page)):
    subprocess.run(['bash', '-n'], check=True, input=block, text=True)


@pytest.mark.slow
@pytest.mark.usefixtures('_engine')
@pytest.mark.parametrize('page', TESTED_HERE)
def test_commands_run(page, capsys):
  for file in pages.blocks(page, 'gin'):
    (name,) = re.findall(r'--gin_file=(\S+)', file.splitlines()[0])
    pathlib.Path(name).write_text(file)
  for block in pages.blocks(page, 'sh'):
    for words in commands(block):
      run(words)
