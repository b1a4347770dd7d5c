"""Where this project keeps what it can make again."""

import os
import pathlib


def cache_directory() -> pathlib.Path:
  """`IT_STUDY_CACHE`, or `~/.cache/it_study`."""
  folder = os.environ.get('IT_STUDY_CACHE')
  if folder:
    return pathlib.Path(folder).expanduser()
  return pathlib.Path.home() / '.cache' / 'it_study'
