"""The one error a user is meant to read, and the near-miss hint in it."""

from collections.abc import Iterable
import difflib
import os
import pathlib
import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class InputError(ValueError):
  """Bad input, told in one line: what, found, allowed, what to do next.

  The command line prints the message alone and exits with status 2.
  """


def shown(found: object) -> str:
  """Returns a value as a message shows it: in part, where there is much.

  >>> shown(list('abcdefgh'))
  "['a', 'b', 'c', 'd', 'e', 'f', ...]"
  """
  return _SHORT.repr(found)


def nearest(name: str, allowed: Iterable[str]) -> str:
  """Returns ` Did you mean 'x'?` for the closest name, or an empty string.

  >>> nearest('orignal', ['original', 'empty'])
  " Did you mean 'original'?"
  """
  matches = difflib.get_close_matches(str(name), list(allowed), n=1)
  return f' Did you mean {matches[0]!r}?' if matches else ''


def nearest_path(path: str | os.PathLike[str]) -> str:
  """Like `nearest`, for a path that is not there: what lies beside it.

  The first part of the path that is missing is the one looked for. What is no
  local path, or cannot be listed, has no hint.
  """
  path = pathlib.Path(path)
  missing = [
    part for part in (path, *path.parents) if not os.path.lexists(part)
  ]
  if not missing:
    return ''
  try:
    beside = sorted(os.listdir(missing[-1].parent))
  except (OSError, ValueError):
    return ''
  matches = difflib.get_close_matches(missing[-1].name, beside, n=1)
  if not matches:
    return ''
  found = missing[-1].with_name(matches[0])
  whole = found / path.relative_to(missing[-1])
  return f' Did you mean {os.fspath(whole if whole.exists() else found)!r}?'
