"""Tests of it_study.data.user_module."""

import sys

import fakes
import pytest

from it_study.conditions import DEFINITION_LEVELS
from it_study.data import user_module
from it_study.errors import InputError

LEVEL = (
  'from it_study.conditions import DEFINITION_LEVELS\n'
  "DEFINITION_LEVELS.register('mine', lambda *, task, instance, condition: 'M')"
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', list(sys.path))
  before = set(sys.modules)
  yield
  for name in set(sys.modules) - before:
    if name.startswith('mine'):
      del sys.modules[name]
  if 'mine' in DEFINITION_LEVELS.names():
    DEFINITION_LEVELS.unregister('mine')


def test_a_module_in_the_working_directory_is_found(tmp_path):
  (tmp_path / 'mine.py').write_text(LEVEL)
  user_module.load('mine', setting='--module')
  assert 'mine' in DEFINITION_LEVELS.names()


def test_an_installed_module_is_not_hidden(tmp_path):
  (tmp_path / 'json.py').write_text('raise AssertionError')
  user_module.load('json.tool', setting='--module')
  assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    (
      'mien',
      '',
      r"--module is 'mien': No module named 'mien'\. Name an installed module "
      r'or one in the working directory\.$',
    ),
    (
      'mine.py',
      '',
      r"'mine\.py': No module named 'mine\.py'.*\. Write 'mine'\.$",
    ),
    (
      'mine',
      'import nothing_of_that_name',
      "--module is 'mine': No module named 'nothing_of_that_name'",
    ),
    (
      'mine',
      'x = (',
      "'mine', which cannot be imported: SyntaxError: .* never closed",
    ),
    (
      'mine',
      '1 / 0',
      "'mine', which cannot be imported: ZeroDivisionError: division by zero",
    ),
    ('.mine', '', "--module is '.mine', which cannot be imported: TypeError: "),
    ('', '', "--module is '', which cannot be imported: ValueError: Empty"),
    (
      'mine',
      LEVEL.replace('mine', 'My'),
      "^definition level 'My': use letters a to z and digits, a letter "
      r'first\.$',
    ),
  ],
)
def test_a_module_that_cannot_be_imported(tmp_path, name, content, message):
  (tmp_path / 'mine.py').write_text(content)
  with pytest.raises(InputError, match=message):
    user_module.load(name, setting='--module')


def test_a_command_imports_the_module_first(tmp_path, capsys):
  corpus = fakes.write_small_corpus('corpus')
  prompt = ('prompt', '--corpus', corpus)
  condition = ('--condition', 'natinst_def_mine_ex_empty0')
  message = fakes.refusal(capsys, *prompt, *condition)
  assert "definition level 'mine' is unknown" in message
  message = fakes.refusal(capsys, *prompt, *condition, '--module', 'mine')
  assert message.startswith("--module is 'mine': No module named 'mine'.")
  (tmp_path / 'mine.py').write_text(LEVEL)
  assert fakes.run_command(*prompt, *condition, '--module', 'mine') == 0
  assert 'Definition: M.\n\nNow complete' in capsys.readouterr().out
