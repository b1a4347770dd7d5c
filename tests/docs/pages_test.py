"""Tests of the user pages: their tables match the source."""

import ast
import functools
import pathlib
import re

import gin_configs_test
import pytest

from it_study import gin_utils
from it_study.study import grid

_ROOT = pathlib.Path(__file__).parents[2]


def rows(page) -> list[list[str]]:
  """Returns the cells of each row of each table."""
  lines = (_ROOT / page).read_text().splitlines()
  return [
    [cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]]
    for line in lines
    if line.startswith('| ')
  ]


@functools.cache
def texts() -> list[str]:
  """Returns the string literals of the source, except docstrings.

  Values in f-strings become NUL characters.
  """
  literals = []
  for folder in ('it_study', 'launch'):
    for path in sorted((_ROOT / folder).rglob('*.py')):
      tree = ast.parse(path.read_text())
      docstrings = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)
      }
      for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
          parts = (getattr(part, 'value', '\0') for part in node.values)
          literals.append(
            ''.join(part if isinstance(part, str) else '\0' for part in parts)
          )
        elif (
          isinstance(node, ast.Constant)
          and isinstance(node.value, str)
          and node not in docstrings
        ):
          literals.append(node.value)
  return literals


MESSAGES = [
  row[0].strip('`')
  for row in rows('docs/troubleshooting.md')
  if row[0] != 'message'
]


def test_messages_are_listed_once():
  assert len(MESSAGES) == len(set(MESSAGES)) > 50


@pytest.mark.parametrize('message', MESSAGES)
def test_a_listed_message_exists(message):
  parts = [part.strip() for part in message.split('…')]
  pattern = re.compile('.*'.join(map(re.escape, filter(None, parts))), re.S)
  assert any(pattern.search(text) for text in texts())


def test_every_macro_is_listed_with_its_default():
  defined = {}
  for name in ('common', 'finetune', 'predict', 'study', 'sweep'):
    text = (gin_utils.CONFIG_DIRECTORY / f'runs/{name}.gin').read_text()
    macros = dict(re.findall(r'^([A-Z_]+) = (.+)$', text, re.MULTILINE))
    assert not set(defined) & set(macros)
    defined |= macros
  listed = {
    row[0].strip('`'): row[1].strip('`')
    for row in rows('docs/gin.md')
    if re.fullmatch(r'`[A-Z_]+`', row[0]) and len(row) == 3
  }
  assert listed == {
    name: 'required' if value == '%gin.REQUIRED' else value
    for name, value in defined.items()
  }


def test_numbers_of_trainings_and_cells_of_the_paper():
  listed = {
    row[0].strip('`'): (int(row[2]), int(row[3]))
    for row in rows('docs/reproduce.md')
    if row[0].startswith('`studies/') and len(row) == 4
  }
  planned = {}
  for name in listed:
    gin_configs_test.load_leaf(name)
    trainings, cells = grid.plan(
      **gin_utils.bound('run_study', ('conditions', 'seeds', 'splits'))
    )
    planned[name] = (len(trainings), len(cells))
  assert listed == planned
  assert len(listed) == 10


def test_exit_statuses_are_listed():
  text = (_ROOT / 'docs/troubleshooting.md').read_text()
  for status in ('0 done', '2 bad input', '75 stopped', '130 stopped'):
    assert status in text
