"""Shortens text and formats numbers for a report."""

import math

from it_study.evaluation.stats.intervals import Interval

MISSING = '–'
_LONGEST = 160


def shorten(text: str, longest: int = _LONGEST) -> str:
  """Returns text on one line of at most `longest` characters.

  The middle of a longer text is left out.

  >>> shorten('a  b\\nc', 9), shorten('abcdefghij', 5)
  ('a b c', 'ab…ij')
  """
  if len(text) > 4 * longest:
    # Splitting a huge text takes long, and most of it is not shown.
    text = text[: 2 * longest] + '…' + text[-2 * longest :]
  text = ' '.join(text.split())
  if len(text) <= longest:
    return text
  tail = (longest - 1) // 2
  return f'{text[: longest - 1 - tail]}…{text[len(text) - tail :]}'


def number(value: float | None, *, signed: bool = False) -> str:
  """Formats a percentage or a difference in points, to one decimal.

  >>> number(38.14), number(-0.04), number(-3.0, signed=True), number(None)
  ('38.1', '0.0', '−3.0', '–')
  """
  if value is None or not math.isfinite(value):
    return MISSING
  text = f'{value:+.1f}' if signed else f'{value:.1f}'
  if text in ('+0.0', '-0.0'):
    text = '0.0'
  return text.replace('-', '−')


def limits(interval: Interval | None, *, signed: bool = False) -> str | None:
  """Formats an interval's ends; returns None without an interval.

  >>> limits(Interval(mean=1, low=-2.51, high=4, level=0.95, num_tasks=3,
  ...                 num_instances=9), signed=True)
  '[−2.5, +4.0]'
  """
  if interval is None:
    return None
  low, high = (
    number(value, signed=signed) for value in (interval.low, interval.high)
  )
  return f'[{low}, {high}]'


def points(interval: Interval) -> str:
  """Formats a difference in points and its interval.

  >>> points(Interval(mean=1, low=-2.51, high=4, level=0.95, num_tasks=3,
  ...                 num_instances=9))
  '+1.0 points [−2.5, +4.0]'
  """
  mean = number(interval.mean, signed=True)
  return f'{mean} points {limits(interval, signed=True)}'


def p_value(value: float) -> str:
  """Formats a p-value, with two or three decimals.

  >>> p_value(0.21739), p_value(0.0032), p_value(1e-9), p_value(1.0)
  ('0.22', '0.003', '< 0.001', '1.00')
  """
  if value < 0.001:
    return '< 0.001'
  return f'{value:.2f}' if value >= 0.01 else f'{value:.3f}'


def count(value: int, noun: str) -> str:
  """Formats a number with its noun.

  >>> count(1, 'task'), count(1200, 'instance')
  ('1 task', '1,200 instances')
  """
  return f'{value:,} {noun}' if value == 1 else f'{value:,} {noun}s'


def join(parts: list[str] | tuple[str, ...]) -> str:
  """Joins parts as in a sentence.

  >>> join(['a', 'b', 'c'])
  'a, b and c'
  """
  if len(parts) < 2:
    return ''.join(parts)
  return f'{", ".join(parts[:-1])} and {parts[-1]}'
