"""Folders that a run needs: made, checked, or found."""

import os
import pathlib
import tempfile

from etils import epath

from it_study.errors import InputError


def cache_directory() -> pathlib.Path:
  """`IT_STUDY_CACHE`, or `~/.cache/it_study`."""
  folder = os.environ.get('IT_STUDY_CACHE')
  if folder:
    return pathlib.Path(folder).expanduser()
  return pathlib.Path.home() / '.cache' / 'it_study'


def make_directory(path: str | os.PathLike) -> None:
  """Makes a directory. Raises `InputError` if it cannot be written to."""
  try:
    epath.Path(path).mkdir(parents=True, exist_ok=True)
    if '://' not in os.fspath(path):
      with tempfile.TemporaryFile(dir=path):
        pass
  except OSError as error:
    raise InputError(
      f'cannot write to {os.fspath(path)}: {error.strerror or error}. Name a '
      'directory that can be written.'
    ) from None
