"""The error that users read, the hints in its messages, text safe to show."""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import difflib
import functools
import os
import pathlib
import reprlib
import unicodedata

_SHOWN_CONTROLS = '\n\t'
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class InputError(ValueError):
  """Bad input, in one line: what, the problem, what is allowed, what to do.

  The command line prints only the message, and exits with status 2.
  """


def is_plain_name(name: str) -> bool:
  """Returns whether a name from data cannot lead out of a folder.

  >>> is_plain_name('task1_a'), is_plain_name('../task1_a')
  (True, False)
  """
  return name not in ('', '.', '..') and not set(name) & set('/\\\0')


def shown(value: object) -> str:
  """Returns a value for a message, shortened if it is long.

  >>> shown(list('abcdefgh'))
  "['a', 'b', 'c', 'd', 'e', 'f', ...]"
  """
  return _SHORT.repr(value)


def nearest(name: str, allowed: Iterable[str]) -> str:
  """Returns ` Did you mean 'x'?` for the closest name, or an empty string.

  >>> nearest('orignal', ['original', 'empty'])
  " Did you mean 'original'?"
  """
  matches = difflib.get_close_matches(str(name), list(allowed), n=1)
  return f' Did you mean {matches[0]!r}?' if matches else ''


def nearest_path(path: str | os.PathLike[str]) -> str:
  """Returns a hint like `nearest`, for a path that does not exist.

  The hint replaces the first missing part of the path with a similar name in
  the same folder. It is empty for a path that is not local or not readable.

  Args:
    path: Path that does not exist.
  """
  path = pathlib.Path(path)
  missing = [
    part for part in (path, *path.parents) if not os.path.lexists(part)
  ]
  if not missing:
    return ''
  try:
    siblings = sorted(os.listdir(missing[-1].parent))
  except (OSError, ValueError):
    return ''
  matches = difflib.get_close_matches(missing[-1].name, siblings, n=1)
  if not matches:
    return ''
  match = missing[-1].with_name(matches[0])
  whole = match / path.relative_to(missing[-1])
  return f' Did you mean {os.fspath(whole if whole.exists() else match)!r}?'


def function_name(function: Callable[..., object]) -> str:
  """Returns a function's module and name, or those of a callable's class.

  A `functools.partial` has those of its function.
  """
  while isinstance(function, functools.partial):
    function = function.func
  named = function if hasattr(function, '__qualname__') else type(function)
  return f'{named.__module__}.{named.__qualname__}'


@contextlib.contextmanager
def naming_function(
  function: Callable[..., object], where: str
) -> Iterator[None]:
  """Turns what a user's function raises in the block into an `InputError`.

  Errors of our own functions pass as they are.

  Args:
    function: Function that the block calls.
    where: Place for the message, such as the name of a level.
  """
  try:
    yield
  except InputError:
    raise
  except Exception as error:
    name = function_name(function)
    if name.startswith('it_study.'):
      raise
    raise InputError(
      f'{where}: {name} raised {type(error).__name__}: {error}. Add --debug to '
      'see where.'
    ) from error


def visible(text: str) -> str:
  """Replaces characters that hide, reorder or break text by visible ones.

  Whatever comes from data passes through here before it reaches a terminal or
  a page. Control characters become their pictures. Format characters that
  reorder text, lone surrogates and characters that XML forbids become U+FFFD.
  Line feeds and tabs stay. Each character becomes one character.

  >>> visible('a\\x1b[31mb\\u202ec')
  'a␛[31mb�c'
  """
  return ''.join(map(_visible_character, text))


def _visible_character(character: str) -> str:
  if character in _SHOWN_CONTROLS or character.isprintable():
    return character
  code = ord(character)
  if code < 0x20:
    return chr(0x2400 + code)
  if code == 0x7F:
    return '␡'
  # Keep all kinds of spaces, and joiners, which are part of words and emoji.
  if unicodedata.category(character) == 'Zs' or character in '\u200c\u200d':
    return character
  return '\ufffd'
