"""Sizes of functions, and descriptions of arguments that say something."""

import ast
from collections.abc import Iterator
import functools
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_FOLDERS = ('it_study', 'tasks', 'launch')
MAX_LINES = 80
MAX_PARAMETERS = 12
# What gin binds has a parameter a setting.
_BOUND_BY_GIN = {
  'it_study/engines/native.py:finetune',
  'it_study/engines/native.py:predict',
  'it_study/engines/t5x/engine.py:finetune',
  'it_study/engines/t5x/engine.py:predict',
}
# A description begins with a noun, or with Whether, not with one of these.
_FRAGMENT = re.compile(
  r'(about|above|after|and|are|as|at|before|below|beside|between|by|for|from|'
  r'had|has|have|how|in|into|is|it|likewise|no|of|on|or|per|than|that|those|'
  r'through|to|under|up|what|when|where|which|who|whose|with|within|without)\b',
  re.IGNORECASE,
)
_SECTION = re.compile(r'^(Args|Attributes):$', re.MULTILINE)
_ENTRY = re.compile(
  r'(?:^|\n)  (\*{0,2}[\w, *]+): (.*?)(?=\n  \S|\Z)', re.DOTALL
)


@functools.cache
def _trees() -> dict[str, ast.Module]:
  paths = sorted(p for f in _FOLDERS for p in (_ROOT / f).rglob('*.py'))
  return {
    str(path.relative_to(_ROOT)): ast.parse(path.read_text()) for path in paths
  }


def _functions() -> Iterator[tuple[str, ast.FunctionDef]]:
  for path, tree in _trees().items():
    for node in ast.walk(tree):
      if isinstance(node, ast.FunctionDef):
        yield f'{path}:{node.name}', node


def descriptions(docstring: str) -> dict[str, str]:
  """Descriptions of arguments and attributes in a docstring, by their names."""
  found = {}
  for match in _SECTION.finditer(docstring):
    lines = []
    for line in docstring[match.end() + 1 :].split('\n'):
      if line and not line.startswith('  '):
        break
      lines.append(line)
    for entry in _ENTRY.finditer('\n'.join(lines).rstrip()):
      found[entry[1]] = ' '.join(entry[2].split())
  return found


def _all_descriptions() -> dict[str, str]:
  found = {}
  kinds = (ast.FunctionDef, ast.ClassDef)
  for path, tree in _trees().items():
    for node in ast.walk(tree):
      if isinstance(node, kinds) and (text := ast.get_docstring(node)):
        for name, description in descriptions(text).items():
          found[f'{path}:{node.lineno}: {name}'] = description
  return found


def test_functions_fit_on_a_page():
  lengths = {n: f.end_lineno - f.lineno + 1 for n, f in _functions()}
  long = {n: lines for n, lines in lengths.items() if lines > MAX_LINES}
  assert {n: lines for n, lines in long.items() if n not in _BOUND_BY_GIN} == {}


def test_functions_take_few_parameters():
  counts = {
    name: len(f.args.posonlyargs) + len(f.args.args) + len(f.args.kwonlyargs)
    for name, f in _functions()
  }
  many = {n: count for n, count in counts.items() if count > MAX_PARAMETERS}
  assert {n: count for n, count in many.items() if n not in _BOUND_BY_GIN} == {}


def test_descriptions_say_what_a_value_is():
  found = _all_descriptions()
  fragments = {
    name: text
    for name, text in found.items()
    if _FRAGMENT.match(text) or (not text[0].isupper() and text[0].isalpha())
  }
  assert len(found) > 1000
  assert len(fragments) < 0.02 * len(found), fragments


@pytest.mark.parametrize(
  ('text', 'is_fragment'),
  [
    ('of the model.', True),
    ('Where it goes.', True),
    ('as `train` has it.', True),
    ('Seed for shuffling examples.', False),
    ('Whether to pack.', False),
    ('Offset in bytes.', False),
  ],
)
def test_a_fragment_is_known(text, is_fragment):
  assert bool(_FRAGMENT.match(text)) is is_fragment


def test_descriptions_are_read_from_a_docstring():
  text = """Does it.

  Args:
    one: First
      of two.
    two, three: Others.

  Raises:
    InputError: if not.
  """
  assert descriptions(
    ast.get_docstring(ast.parse(f'def f():\n  """{text}"""').body[0])
  ) == {
    'one': 'First of two.',
    'two, three': 'Others.',
  }
