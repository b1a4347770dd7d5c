"""Errors while a checkpoint is written, in one line."""

from collections.abc import Iterator, Sequence
import contextlib
import errno
import functools
import logging
import os
import sys
from typing import Any

from it_study.errors import InputError
from it_study.storage.storage_path import reason

# Errors of a disk that is full, and others that are the user's to mend.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
FREE_SPACE = ' Free some space, then run the same command.'


def lacks_space(error: BaseException) -> str | None:
  """Returns the reason if an error says that a disk is full, otherwise None.

  Orbax, TensorStore and TensorFlow raise errors of their own types.

  >>> lacks_space(ValueError('Error writing "a": No space left on device [x]'))
  'No space left on device'
  """
  return _find(error, _FULL)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
  """Raises what goes wrong while `path` is written as an `InputError`.

  Orbax also logs an error in the thread that writes, TensorStore prints one for
  each other write under way, and asyncio logs those that nobody waited for when
  they are collected. These are dropped for the rest of the process.

  Raises:
    InputError: If `path` cannot be written.
  """
  _silence_threads()
  try:
    yield
  except InputError:
    raise
  # XLA's errors are RuntimeErrors.
  except (OSError, ValueError, RuntimeError) as error:
    full = lacks_space(error)
    why = full or _find(error, _REFUSED)
    if why is None and not isinstance(error, OSError):
      raise
    raise InputError(
      f'{os.fspath(path)}: cannot be written: {why or reason(error)}.'
      f'{FREE_SPACE if full else ""}'
    ) from None


def _find(error: BaseException, codes: Sequence[int]) -> str | None:
  """Returns the text of the first of the system's errors that is named."""
  text = str(error)
  return next((why for why in map(os.strerror, codes) if why in text), None)


@functools.cache
def _silence_threads() -> None:
  """Drops reports of failed writes whose error is raised by Orbax as well."""

  def is_kept(record: logging.LogRecord) -> bool:
    error = record.exc_info and record.exc_info[1]
    return not error or _find(error, _FULL + _REFUSED) is None

  report = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    # TensorStore has no way to tell a loop that the first failure has closed.
    if str(unraisable.exc_value) != 'Event loop is closed':
      report(unraisable)

  for name in ('absl', 'asyncio'):
    logging.getLogger(name).addFilter(is_kept)
  sys.unraisablehook = hook
