"""Recognizes pointers of Git LFS, which stand for files not yet downloaded."""

import os
import pathlib

from it_study.errors import InputError

_START = b'version https://git-lfs.github.com/spec/'


def check(path: str | os.PathLike[str], content: bytes | None = None) -> None:
  """Refuses a pointer in place of a file.

  Args:
    path: File; one that cannot be read is left for its reader to report.
    content: Content of the file, or its first bytes; None to read them.

  Raises:
    InputError: If it is a pointer.
  """
  if content is None:
    try:
      with pathlib.Path(path).open('rb') as file:
        content = file.read(len(_START))
    except OSError:
      return
  if content.startswith(_START):
    raise InputError(
      f'{os.fspath(path)}: a Git LFS pointer, not the file itself. Run git lfs '
      'pull in its folder, or download the file.'
    )
