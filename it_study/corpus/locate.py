"""Locates a corpus: a directory, the miniature, or one in a bucket."""

import os
import pathlib

from it_study.corpus.miniature import benchmark as mini_corpus
from it_study.errors import InputError, nearest
from it_study.storage import buckets, local_folders
from it_study.storage.storage_path import StoragePath, expanded

MINIATURE = 'miniature'
# The folders of a corpus that are read.
_FOLDERS = ('splits', 'tasks')


def find(name: str | os.PathLike[str]) -> pathlib.Path:
  """Returns a corpus's directory; writes 'miniature' to the cache folder.

  A directory named 'miniature' takes precedence. A corpus in a bucket, `gs://…`,
  is copied to the cache folder; later calls copy only changed files.

  Raises:
    InputError: If the name looks like a misspelt 'miniature', or the bucket
      cannot be read or has no corpus there.
  """
  stored = StoragePath(name)
  if stored.local is None:
    return _copy(stored)
  path = pathlib.Path(expanded(name))
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
  return mini_corpus.write_miniature(
    local_folders.cache_directory() / MINIATURE
  )


def _copy(folder: StoragePath) -> pathlib.Path:
  bucket = buckets.Bucket(folder)
  with buckets.one_reader():
    files = {n: f for part in _FOLDERS for n, f in bucket.files(part).items()}
    if not files:
      raise InputError(
        f'corpus {folder}: no files in {" or ".join(_FOLDERS)}. Name the '
        'folder that holds both.'
      )
    here = bucket.copy_to_read(files.values())
    for part in _FOLDERS:
      for path in (here / part).rglob('*'):
        if path.is_file() and str(path.relative_to(here)) not in files:
          path.unlink()
  return here
