"""Tests of the pages for users: each command runs, or says what it needs."""

import pathlib
import re
import shlex
import subprocess
import sys

import fakes
import pages
import pytest

from it_study import cli, gin_utils
from it_study.commands.runs import runs
from it_study.corpus import locate
from it_study.data import vocabularies
from it_study.study import grid

_ROOT = pathlib.Path(__file__).parents[2]
# Pages with tests of their own: examples_test.py, and of T5X gin_files_test.py.
ELSEWHERE = {
  f'docs/{name}.md' for name in ('extending', 'launch', 't5x', 'weights')
}
PAGES = (
  'README.md',
  *sorted(f'docs/{p.name}' for p in _ROOT.glob('docs/*.md')),
)
HERE = [page for page in PAGES if page not in ELSEWHERE]
_PLAIN = re.compile(r'^```\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_PROGRAMS = ('it-study ', 'python ', 'pip ', 'docker ', 'make ')
# A model that compiles at once, of whatever size the page names.
_TINY = [
  f'--gin.T5Config.{name}={value!r}'
  for name, value in fakes.tiny_model().keywords.items()
]


def in_need(page) -> list[str]:
  """Blocks of commands that the page does not say to be run anywhere."""
  text = (_ROOT / page).read_text()
  # Those of a language end like one without begins.
  text = re.sub(r'^```\w+\n.*?^```$', '', text, flags=re.MULTILINE | re.DOTALL)
  return [
    block
    for block in _PLAIN.findall(text)
    if any(line.startswith(_PROGRAMS) for line in block.splitlines())
  ]


def commands(text) -> list[list[str]]:
  lines = text.replace('\\\n', '').splitlines()
  return [words for line in lines if (words := shlex.split(line, True))]


def parse(words):
  """The options of a command, its gin files read."""
  words, bindings = cli._split_bindings(words)
  options = cli._parser().parse_args(words)
  options.gin_bindings = bindings
  if options.command in runs.SUPPLIED:
    supplied = runs.SUPPLIED[options.command]
    runs.configure(options, files=options.gin_file, supplied=supplied)
  return options


@pytest.fixture(autouse=True)
def _use(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  fakes.write_small_corpus('CORPUS')


@pytest.fixture(name='_engine')
def _use_an_engine_of_no_brains(monkeypatch):
  """What is configured is checked; nothing is trained, answers are fixed."""

  def engine_call(name):
    engine = fakes.Engine(locate.find(gin_utils.macro('CORPUS')))
    given = {}
    if gin_utils.macro('MIXTURE_OR_TASK_NAME'):
      given['mixture_or_task_name'] = gin_utils.macro('MIXTURE_OR_TASK_NAME')
      given['seed'] = gin_utils.macro('SEED')
    return lambda **more: getattr(engine, name)(**{**given, **more})

  monkeypatch.setattr(runs, 'engine_call', engine_call)
  configured = gin_utils.configured

  def without_grid(name):
    # Of a study, what it plans: other tests run its cells.
    return _plan if name == 'run_study' else configured(name)

  def _plan(**_):
    bound = gin_utils.bound('run_study', ('conditions', 'seeds', 'splits'))
    assert all(grid.plan(**bound))

  monkeypatch.setattr(gin_utils, 'configured', without_grid)
  # A report of thousands of rows takes longer than all else here.
  monkeypatch.setattr(runs, 'report', lambda options: None)


def run(words) -> None:
  """Runs a command as it is printed, but for what would take long."""
  if words[0] == 'make':
    told = subprocess.run(
      [*words, '--dry-run'],
      capture_output=True,
      check=True,
      cwd=_ROOT,
      text=True,
    ).stdout
    assert {'study': 'it-study study', 'test': 'pytest'}[words[1]] in told
  elif words[0] == '.':
    # What make has made.
    assert f'VENV ?= {pathlib.Path(words[1]).parts[0]}\n' in (
      (_ROOT / 'Makefile').read_text()
    )
  elif words[:2] == ['it-study', 'plan']:
    # It has devices of its own, so a process of its own.
    subprocess.run(
      [sys.executable, '-m', 'it_study.cli', *words[1:], *_TINY], check=True
    )
  else:
    assert words[0] == 'it-study'
    words = words[1:]
    if words[0] == 'launch':
      words.insert(2, '--dry_run')
    # What is broken on this machine is no matter of the page.
    allowed = (0, 1) if words == ['doctor'] else (0,)
    assert fakes.run_command(*words) in allowed, words


def test_the_readme_leads_to_every_page():
  text = (_ROOT / 'README.md').read_text()
  assert {f'docs/{n}' for n in re.findall(r'\(docs/(\w+\.md)\)', text)} == (
    set(PAGES) - {'README.md'}
  )
  assert set(PAGES) > ELSEWHERE


@pytest.mark.parametrize('page', PAGES)
def test_a_link_leads_somewhere(page):
  folder = (_ROOT / page).parent
  links = re.findall(r'\]\((?!https?://)([^)#]+)', (_ROOT / page).read_text())
  assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize('page', PAGES)
def test_what_does_not_run_here_says_what_it_needs(page):
  for block in in_need(page):
    assert block.startswith('# Needs '), block
    for words in commands(block):
      # The file would be read by T5X.
      if words[0] == 'it-study' and '--engine' not in words:
        assert parse(words[1:]).run


@pytest.mark.parametrize('page', PAGES)
def test_a_shell_understands_the_blocks(page):
  for block in (*pages.blocks(page, 'sh'), *in_need(page)):
    subprocess.run(['bash', '-n'], check=True, input=block, text=True)


@pytest.mark.slow
@pytest.mark.usefixtures('_engine')
@pytest.mark.parametrize('page', HERE)
def test_the_commands_of_a_page(page, capsys):
  for file in pages.blocks(page, 'gin'):
    (name,) = re.findall(r'--gin_file=(\S+)', file.splitlines()[0])
    pathlib.Path(name).write_text(file)
  for block in pages.blocks(page, 'sh'):
    for words in commands(block):
      run(words)
