"""Checks the types of the fields of a config.json."""

from collections.abc import Callable, Mapping
import math
from typing import Any


def _is_integer(value: object) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_positive(value: object) -> bool:
  is_number = _is_integer(value) or isinstance(value, float)
  return is_number and 0 < value < math.inf  # type: ignore[operator]


_CHECKS: Mapping[str, Callable[[object], bool]] = {
  'true or false': lambda value: isinstance(value, bool),
  'an integer': _is_integer,
  'a positive integer': lambda value: (
    _is_integer(value) and _is_positive(value)
  ),
  'a positive number': _is_positive,
  'a text': lambda value: isinstance(value, str),
  'a list': lambda value: isinstance(value, list),
  'an object': lambda value: isinstance(value, dict),
}


def check(fields: Mapping[str, Any], types: Mapping[str, str]) -> None:
  """Checks the fields that are there and not null.

  Args:
    fields: Fields of a config.json.
    types: Names of fields by type, separated by white space. The types are
      'true or false', 'an integer', 'a positive integer', 'a positive number',
      'a text', 'a list' and 'an object'.

  Raises:
    ValueError: If a field has another type; names it.
  """
  for kind, names in types.items():
    for name in names.split():
      value = fields.get(name)
      if value is not None and not _CHECKS[kind](value):
        raise ValueError(f'{name} must be {kind}, got {value!r:.60}')
