"""Imports a user's module, which registers levels, tasks and mixtures."""

import importlib
import os
import sys

from it_study.errors import InputError


def load(name: str, *, setting: str) -> None:
  """Imports a module, also from the working directory.

  Args:
    name: as Python imports it.
    setting: how the user named it, for the message.

  Raises:
    InputError: if it cannot be imported.
  """
  # An installed command does not look there; last, so that nothing is hidden.
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())
    importlib.invalidate_caches()
  try:
    importlib.import_module(name)
  except InputError:
    raise
  except ModuleNotFoundError as error:
    hint = ''
    if name.endswith('.py'):
      hint = f' Write {name.removesuffix(".py").replace("/", ".")!r}.'
    raise InputError(
      f'{setting} is {name!r}: {error}. Name a module that Python can import, '
      f'an installed one or one in the working directory.{hint}'
    ) from error
  except Exception as error:
    raise InputError(
      f'{setting} is {name!r}, which cannot be imported: '
      f'{type(error).__name__}: {error}'
    ) from error
