"""The one error a user is meant to read, and the near-miss hint in it."""

from collections.abc import Iterable
import difflib
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
