"""A text file written line by line, that is there whole or not at all."""

from collections.abc import Iterable
import os
import pathlib

from it_study.errors import InputError


def write_lines(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
  """Writes lines as they come, under a temporary name that is then moved.

  Args:
    path: of a local file; one that is there stays as it is until the end.
    lines: each with its line break.

  Raises:
    InputError: names the path and what the system said; nothing is left
      behind, nor is where `lines` raises.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    raise _unwritable(path, 'Is a directory')
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    try:
      with open(temporary, 'w', encoding='utf-8', newline='') as file:
        for line in lines:
          file.write(line)
        file.flush()
        os.fsync(file.fileno())
      os.replace(temporary, path)
    except BaseException:
      # Also on an interrupt; what cannot be opened cannot be removed either.
      if temporary.is_file():
        temporary.unlink()
      raise
  except OSError as error:
    raise _unwritable(path, error.strerror or str(error)) from None


def _unwritable(path: pathlib.Path, reason: str) -> InputError:
  return InputError(
    f'{path}: cannot be written: {reason}. Name a file in a directory that is '
    'there and can be written to.'
  )
