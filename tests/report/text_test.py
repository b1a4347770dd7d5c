"""Tests of it_study.report.text."""

from it_study.evaluation.stats.intervals import Interval
from it_study.report import text


def test_shorten_keeps_both_ends():
  assert text.shorten('abcdefghij', 10) == 'abcdefghij'
  assert text.shorten('abcdefghijk', 10) == 'abcde…hijk'
  assert text.shorten(' a \n b ') == 'a b'


def test_shorten_takes_megabytes():
  short = text.shorten('x' * 5_000_000 + 'end', 50)
  assert len(short) == 50
  assert short.startswith('xxx')
  assert short.endswith('xend')


def test_numbers():
  assert text.number(12.349) == '12.3'
  assert text.number(-12.349, signed=True) == '−12.3'
  assert text.number(3, signed=True) == '+3.0'
  assert text.number(-0.01, signed=True) == '0.0'
  assert text.number(None) == '–'


def test_limits():
  interval = Interval(
    mean=1, low=-2.51, high=4, level=0.95, num_tasks=3, num_instances=9
  )
  assert text.limits(interval) == '[−2.5, 4.0]'
  assert text.limits(interval, signed=True) == '[−2.5, +4.0]'
  assert text.limits(None) is None


def test_count_and_join():
  assert text.count(1, 'task') == '1 task'
  assert text.count(12345, 'task') == '12,345 tasks'
  assert text.join([]) == ''
  assert text.join(['a']) == 'a'
  assert text.join(['a', 'b', 'c']) == 'a, b and c'
