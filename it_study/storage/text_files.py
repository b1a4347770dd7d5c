"""Reads JSON safely, and writes local files atomically."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import threading
from typing import Any, BinaryIO

from it_study.errors import InputError, nearest_path
from it_study.storage.storage_path import expanded

_Path = str | os.PathLike[str]
_UNSAFE = re.compile('[\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_SEAL = 'sha256'
_BYTE_ORDER_MARK = b'\xef\xbb\xbf'
# Every integer up to this length can become a float.
_MOST_DIGITS = 300


@contextlib.contextmanager
def replacing(path: _Path, *, sync: bool = True) -> Iterator[BinaryIO]:
  """Opens a temporary file that replaces `path` if the block succeeds.

  Until then a file at `path` stays as it is. Whatever ends the block early, an
  interrupt included, deletes the temporary file; only a kill leaves it behind,
  hidden, beside `path`.

  Args:
    path: Local file, in an existing directory.
    sync: Whether to flush the content to the disk before the move, so that it
      survives a crash of the machine.

  Yields:
    The temporary file, opened for writing bytes.

  Raises:
    OSError: If the file cannot be written.
  """
  path = pathlib.Path(expanded(path))
  if path.is_dir():
    raise IsADirectoryError(
      errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path)
    )
  # Unique among the processes and threads that write the same file.
  writer = f'{os.getpid()}-{threading.get_ident()}'
  temporary = path.with_name(f'.{path.name}.{writer}.tmp')
  try:
    with open(temporary, 'wb') as file:
      yield file
      if sync:
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    # A path that cannot be opened cannot be deleted either.
    if temporary.is_file():
      temporary.unlink()
    raise


def write_lines(path: _Path, lines: Iterable[str]) -> None:
  """Writes lines as they are produced, atomically and in UTF-8.

  Args:
    path: Local file; an existing one is replaced only at the end.
    lines: Lines, each with its line break.

  Raises:
    InputError: If the file cannot be written. Nothing is left behind, nor is
      it if `lines` raises.
  """
  try:
    with replacing(path) as file:
      for line in lines:
        file.write(line.encode('utf-8'))
  except OSError as error:
    raise InputError(
      f'{pathlib.Path(path)}: cannot be written: '
      f'{error.strerror or error}. Name a file in a directory that exists and '
      'is writable.'
    ) from None


def write_text(path: _Path, text: str) -> None:
  """Writes a local text file atomically, as `write_lines` does."""
  write_lines(path, (text,))


def write_file(path: pathlib.Path, content: bytes) -> None:
  """Writes a local file atomically, unless it already holds `content`.

  Creates missing directories. Does not wait for the disk.

  Raises:
    OSError: If the file cannot be written; nothing is left behind.
  """
  if path.is_file() and path.read_bytes() == content:
    return
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except FileExistsError:
    raise NotADirectoryError(
      errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)
    ) from None
  with replacing(path, sync=False) as file:
    file.write(content)


def write_json(path: _Path, value: object) -> None:
  """Writes a local JSON file atomically, as `write_lines` does."""
  write_text(path, json.dumps(value, indent=2) + '\n')


def write_sealed(path: _Path, fields: Mapping[str, Any]) -> None:
  """Writes a local JSON object with a hash of its other fields, 'sha256'."""
  # As they will be read: without tuples, and with texts as keys.
  read_back = json.loads(json.dumps(fields))
  write_json(path, {**read_back, _SEAL: _seal(read_back)})


def read_sealed(path: _Path, *, advice: str) -> dict[str, Any]:
  """Reads a file of `write_sealed`, without the hash.

  A file of an earlier version has none.

  Args:
    path: Path of the file.
    advice: Sentences that end the message of an error.

  Raises:
    InputError: If it cannot be read, or has changed since it was written.
  """
  fields = read_json(path, advice=advice)
  seal = fields.pop(_SEAL, None)
  if seal not in (None, _seal(fields)):
    raise InputError(f'{path}: has changed since it was written. {advice}')
  return fields


def read_bytes(path: _Path) -> bytes:
  """Reads a local file; raises `InputError` if that fails."""
  try:
    return pathlib.Path(expanded(path)).read_bytes()
  except OSError as error:
    raise InputError(
      f'{path}: cannot be read: {error.strerror or error}.{nearest_path(path)}'
    ) from None


def read_text(path: _Path) -> str:
  """Reads a local text file.

  Raises:
    InputError: If it cannot be read, is empty, or holds something other than
      text in UTF-8.
  """
  return _decode(
    read_bytes(path).removeprefix(_BYTE_ORDER_MARK), str(path), 'text'
  )


def read_json(path: _Path, *, advice: str = '') -> dict[str, Any]:
  """Reads a local file of one JSON object.

  Args:
    path: Path of the file.
    advice: Sentences that end the message of an error.

  Raises:
    InputError: If it cannot be read, or holds something else.
  """
  try:
    return parse_object(
      read_bytes(path).removeprefix(_BYTE_ORDER_MARK), where=str(path)
    )
  except InputError as error:
    raise InputError(f'{error} {advice}'.rstrip()) from None


def parse_object(
  content: bytes | str, *, where: str, expected: str = 'one JSON object'
) -> dict[str, Any]:
  """Parses one JSON object; see `parse_json`.

  Raises:
    InputError: If it is not one.
  """
  fields = parse_json(content, where=where, expected=expected)
  if not isinstance(fields, dict):
    raise InputError(
      f'{where}: expected {expected}, got {type(fields).__name__}.'
    )
  return fields


def parse_json(
  content: bytes | str, *, where: str, expected: str = 'JSON'
) -> Any:
  """Parses JSON that may be damaged or hostile.

  Args:
    content: Text, or its bytes in UTF-8.
    where: Place of the text, such as 'FILE:NUMBER', for error messages.
    expected: Text that a message says was expected.

  Returns:
    The value. Its integers fit a float.

  Raises:
    InputError: If it is not JSON, is nested too deeply, or has an integer that
      is too long.
  """
  text = _decode(content, where, expected)
  try:
    return _DECODER.decode(text)
  except json.JSONDecodeError as error:
    reason = error.msg.removesuffix(' at')
    line = f'line {error.lineno}, ' if '\n' in text.strip() else ''
    raise InputError(
      f'{where}: not JSON: {reason} at {line}column {error.colno}; expected '
      f'{expected}.'
    ) from None
  except RecursionError:
    raise InputError(f'{where}: JSON is nested too deeply.') from None
  except _LongNumberError as error:
    raise InputError(
      f'{where}: not JSON that can be read: {error}; at most {_MOST_DIGITS} '
      'are allowed.'
    ) from None


def read_json_lines(path: _Path) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yields the number (from 1) and the object of each line that is not blank.

  Raises:
    InputError: If the file cannot be read, is empty, or has a line that is not
      one JSON object in UTF-8.
  """
  empty = True
  for number, line in enumerate(
    read_bytes(path).removeprefix(_BYTE_ORDER_MARK).split(b'\n'), start=1
  ):
    if not line.strip():
      continue
    empty = False
    yield (
      number,
      parse_object(
        line, where=f'{path}:{number}', expected='one JSON object per line'
      ),
    )
  if empty:
    raise InputError(
      f'{path}: no rows; expected one JSON object per line for each instance.'
    )


def json_line(value: object) -> str:
  """Returns a value as one line of JSON that every reader sees as one line.

  Text stays readable, except for what would break a line or UTF-8: lone
  surrogates, line and paragraph separators and control characters are escaped.
  """
  text = json.dumps(value, ensure_ascii=False, allow_nan=False)
  return _UNSAFE.sub(lambda match: f'\\u{ord(match[0]):04x}', text) + '\n'


def _seal(fields: Mapping[str, Any]) -> str:
  """Returns a hash that does not depend on how the fields are laid out."""
  text = json.dumps(fields, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


class _LongNumberError(ValueError):
  """An integer has too many digits."""


def _parse_integer(text: str) -> int:
  num_digits = len(text.lstrip('-'))
  if num_digits > _MOST_DIGITS:
    raise _LongNumberError(f'a number has {num_digits:,} digits')
  return int(text)


_DECODER = json.JSONDecoder(parse_int=_parse_integer)


def _decode(content: bytes | str, where: str, expected: str) -> str:
  """Returns content as text, and says what a crash of the machine has left."""
  if isinstance(content, bytes):
    try:
      content = content.decode('utf-8')
    except UnicodeDecodeError as error:
      raise InputError(
        f'{where}: not UTF-8 at byte {error.start}: {error.reason}.'
      ) from None
  if not content.strip():
    raise InputError(f'{where}: empty; expected {expected}.')
  if '\0' in content:
    raise InputError(
      f'{where}: holds NUL bytes, as a crash of the machine leaves them; '
      f'expected {expected}.'
    )
  return content
