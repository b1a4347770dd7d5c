"""Imports a user's module, which registers levels, tasks and mixtures."""

import importlib
import os
import sys

from it_study.errors import InputError


def load(name: str, *, setting: str) -> None:
  """Imports a module, installed or in the working directory.

  Args:
    name: Name of the module, as in an import statement.
    setting: Flag or setting that named the module, for error messages.

  Raises:
    InputError: If it cannot be imported.
  """
  search_working_directory()
  try:
    importlib.import_module(name)
  except InputError:
    raise
  except ModuleNotFoundError as error:
    hint = ''
    if name.endswith('.py'):
      hint = f' Write {name.removesuffix(".py").replace("/", ".")!r}.'
    raise InputError(
      f'{setting} is {name!r}: {error}. Name an installed module or one in the '
      f'working directory.{hint}'
    ) from error
  except Exception as error:
    raise InputError(
      f'{setting} is {name!r}, which cannot be imported: '
      f'{type(error).__name__}: {error}'
    ) from error


def search_working_directory() -> None:
  """Lets imports find modules of the working directory.

  An installed command does not search there. It comes last, so that it hides no
  installed module.
  """
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())
    importlib.invalidate_caches()
