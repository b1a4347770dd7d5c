"""The JSON of a task file, read strictly, and how a file is refused."""

import json

from it_study.errors import InputError, shown


class TaskFileError(InputError):
  """A task file that cannot be used.

  Attributes:
    code: kind of fault, lower case with hyphens.
    where: the field, empty where it is about the file.
    instance: id of the one instance at fault, if it has one.
  """

  code = 'bad-field'
  where = ''
  instance: str | None = None


def load(text: str, *, path: str) -> dict:
  """Reads the text of a task file.

  Args:
    text: of one JSON object.
    path: of the file, for messages.

  Raises:
    TaskFileError: if it is not JSON, no object, or a field comes twice.
  """

  def unique(pairs: list[tuple[str, object]]) -> dict:
    # Of a field that comes twice neither is the right one.
    found = dict(pairs)
    if len(found) < len(pairs):
      names = [name for name, _ in pairs]
      twice = next(name for name in found if names.count(name) > 1)
      raise error(
        path,
        f'field {shown(twice)}: found {names.count(twice)} times in one '
        'object, allowed is once.',
        code='repeated-field',
        where=shown(twice),
      )
    return found

  try:
    raw = json.loads(text, object_pairs_hook=unique)
  except json.JSONDecodeError as fault:
    raise _not_json(path, text, fault) from None
  except RecursionError:
    raise error(
      path, 'not a task: JSON nested too deeply.', code='not-json'
    ) from None
  except InputError:
    raise
  except ValueError as fault:
    # Python reads no number of more than some thousands of digits.
    raise error(path, f'not a task: {fault}.', code='not-json') from None
  if not isinstance(raw, dict):
    raise refusal(path, 'file', type(raw).__name__, 'one JSON object')
  return raw


def refusal(
  path: str, field: str, found: object, allowed: str
) -> TaskFileError:
  """What to raise for a field of the wrong kind."""
  return error(
    path,
    f'{field}: found {shown(found)}, allowed is {allowed}.',
    where=field,
  )


def error(
  path: str, message: str, *, code: str = 'bad-field', where: str = ''
) -> TaskFileError:
  """What to raise, with the file's name before the message."""
  made = TaskFileError(f'{path}: {message}')
  made.code, made.where = code, where
  return made


def _not_json(
  path: str, text: str, fault: json.JSONDecodeError
) -> TaskFileError:
  # A string that never ends swallows what follows it.
  cut = not text[fault.pos :].strip() or 'Unterminated' in fault.msg
  # Some of the decoder's messages end with the word that joins them.
  what = fault.msg.removesuffix(' at')
  return error(
    path,
    f'not JSON{", cut short" if cut else ""}: {what} at line {fault.lineno}, '
    f'column {fault.colno}. Fetch the file again or mend it there.',
    code='truncated-json' if cut else 'not-json',
  )
