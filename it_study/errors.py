"""The one error a user is meant to read, and the near-miss hint in it."""

from collections.abc import Iterable
import difflib


class InputError(ValueError):
  """Bad input, told in one line: what, found, allowed, what to do next.

  The command line prints the message alone and exits with status 2.
  """


def nearest(name: str, allowed: Iterable[str]) -> str:
  """Returns ` Did you mean 'x'?` for the closest name, or an empty string.

  >>> nearest('orignal', ['original', 'empty'])
  " Did you mean 'original'?"
  """
  matches = difflib.get_close_matches(name, list(allowed), n=1)
  return f" Did you mean '{matches[0]}'?" if matches else ''
