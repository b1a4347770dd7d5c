"""A text file written line by line, that is there whole or not at all."""

from collections.abc import Iterable, Iterator
import errno
import json
import os
import pathlib
import re
import tempfile

from it_study.errors import InputError, nearest_path
from it_study.storage import text_files

_Path = str | os.PathLike[str]
_UNSAFE = re.compile('[\x7f-\x9f\u2028\u2029\ud800-\udfff]')


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


def read_json_lines(path: _Path) -> Iterator[tuple[int, dict[str, object]]]:
  """Yields line number (from 1) and object of each line that is not blank.

  Raises:
    InputError: if the file cannot be read, is empty, or a line is not one JSON
      object in UTF-8.
  """
  try:
    content = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise InputError(
      f'{path}: cannot be read: {error.strerror or error}.{nearest_path(path)}'
    ) from None
  empty = True
  for number, line in enumerate(
    content.removeprefix(b'\xef\xbb\xbf').split(b'\n'), start=1
  ):
    if not line.strip():
      continue
    empty = False
    yield number, _parse_line(line, f'{path}:{number}')
  if empty:
    raise InputError(
      f'{path}: no rows in it; one JSON object a line is due for each instance.'
    )


def json_line(value: object) -> str:
  """A value as one line of JSON that every reader sees as one line.

  Text stays readable, but for what would break a line or UTF-8: lone
  surrogates, line and paragraph separators and control characters are escaped.
  """
  text = json.dumps(value, ensure_ascii=False, allow_nan=False)
  return _UNSAFE.sub(lambda match: f'\\u{ord(match[0]):04x}', text) + '\n'


def write_text(path: _Path, text: str) -> None:
  """Writes a local file all at once, as `text_files.write_lines` does."""
  text_files.write_lines(path, (text,))


def _parse_line(line: bytes, where: str) -> dict[str, object]:
  try:
    fields = json.loads(line.decode('utf-8'))
  except UnicodeDecodeError as error:
    raise InputError(
      f'{where}: not UTF-8 at byte {error.start}: {error.reason}.'
    ) from None
  except json.JSONDecodeError as error:
    reason = error.msg.removesuffix(' at')
    raise InputError(
      f'{where}: not JSON: {reason} at column {error.colno}; one JSON object a '
      'line is allowed.'
    ) from None
  except RecursionError:
    raise InputError(f'{where}: not a row: JSON nested too deeply.') from None
  if not isinstance(fields, dict):
    raise InputError(
      f'{where}: found {type(fields).__name__}, allowed is one JSON object a '
      'line.'
    )
  return fields


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
