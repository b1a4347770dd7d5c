"""Corpora by name: a directory, or the miniature, written when first used."""

import os
import pathlib

from it_study import folders
from it_study.errors import InputError, nearest
from it_study.mini import corpus as mini_corpus

MINIATURE = 'miniature'


def find(name: str | os.PathLike) -> pathlib.Path:
  """A corpus's directory; 'miniature' is written to the cache folder.

  A directory of that name in the working directory comes first.

  Raises:
    InputError: for what looks like a misspelt 'miniature'.
  """
  path = pathlib.Path(name)
  if path.is_dir():
    return path
  if os.fspath(name) != MINIATURE:
    near = nearest(os.fspath(name), [MINIATURE])
    if near and path.name == os.fspath(name):
      raise InputError(
        f'corpus {name}: no directory {name}; a corpus is a directory or '
        f'{MINIATURE!r}.{near}'
      )
    return path
  return mini_corpus.write_miniature(folders.cache_directory() / MINIATURE)
