"""Corpora by name: a directory, or the miniature, written when first used."""

import os
import pathlib

from it_study import folders
from it_study.mini import corpus as mini_corpus

MINIATURE = 'miniature'


def find(name: str | os.PathLike) -> pathlib.Path:
  """A corpus's directory; 'miniature' is written to the cache folder.

  A directory of that name in the working directory comes first.
  """
  path = pathlib.Path(name)
  if os.fspath(name) != MINIATURE or path.is_dir():
    return path
  return mini_corpus.write_miniature(folders.cache_directory() / MINIATURE)
