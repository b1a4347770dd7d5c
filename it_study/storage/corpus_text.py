"""Writes a file so that it is there whole or not at all."""

import errno
import os
import pathlib
import tempfile


def write_file(path: pathlib.Path, content: bytes) -> None:
  """Writes under a temporary name beside `path`, then moves it there.

  A file that holds `content` already is left alone. Folders are made as
  needed.

  Raises:
    OSError: if it cannot be written; nothing is left behind.
  """
  if path.is_file() and path.read_bytes() == content:
    return
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except FileExistsError:
    raise NotADirectoryError(
      errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)
    ) from None
  descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix='.writing-')
  try:
    with os.fdopen(descriptor, 'wb') as file:
      file.write(content)
    # mkstemp's files are their owner's alone.
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise
