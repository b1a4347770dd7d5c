"""doctor: checks this machine and says how to fix what does not work."""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import math
import os
import sys

from it_study.commands import doctor as doctor_lib
from it_study.commands.flags import Command
from it_study.errors import InputError

_MARKS = {
  doctor_lib.OK: 'ok',
  doctor_lib.OPTIONAL: '-',
  doctor_lib.WARNING: 'warning',
  doctor_lib.BROKEN: 'BROKEN',
}
_COLOURS = {
  doctor_lib.OK: '\033[32m',
  doctor_lib.OPTIONAL: '\033[2m',
  doctor_lib.WARNING: '\033[33m',
  doctor_lib.BROKEN: '\033[31m',
}


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--seconds',
    type=float,
    default=60.0,
    metavar='N',
    help='time limit of the checks that may hang (devices, vocabulary, T5X), '
    'in seconds; default %(default)g',
  )


def doctor(options: argparse.Namespace) -> int:
  """Prints the result of every check; returns 1 if one is BROKEN."""
  if not 0 < options.seconds < math.inf:
    raise InputError(
      f'--seconds is {options.seconds:g}; it must be above 0, such as 60.'
    )
  checks = doctor_lib.examine(seconds=options.seconds)
  broken = [check for check in checks if check.status == doctor_lib.BROKEN]
  if options.json:
    print(
      json.dumps(
        {
          'works': not broken,
          'checks': [dataclasses.asdict(check) for check in checks],
        }
      )
    )
  elif not options.quiet:
    print('\n'.join(_lines(checks, coloured=_has_colour())))
  else:
    for check in broken:
      advice = f'; {check.advice}' if check.advice else ''
      print(f'it-study: {check.name}: {check.found}{advice}', file=sys.stderr)
  return 1 if broken else 0


COMMAND = Command(
  name='doctor',
  run=doctor,
  summary='check this machine, and say how to fix what does not work',
  example='it-study doctor',
  add_flags=_add_flags,
  details='Exit status 1 if something that every command needs is BROKEN, '
  'else 0.',
)


def _has_colour() -> bool:
  return (
    sys.stdout.isatty()
    and not os.environ.get('NO_COLOR')
    and os.environ.get('TERM') != 'dumb'
  )


def _lines(
  checks: Sequence[doctor_lib.DoctorCheck], *, coloured: bool
) -> list[str]:
  """Returns the checks as a table, advice below the line it belongs to."""
  width = max(len(check.name) for check in checks) + 2
  lines = []
  for check in checks:
    mark = f'{_MARKS[check.status]:9}'
    if coloured:
      mark = f'{_COLOURS[check.status]}{mark}\033[0m'
    lines.append(f'{mark}{check.name:{width}}{check.found}')
    if check.advice:
      lines.append(f'{"":{9 + width}}-> {check.advice}')
  broken = [c.name for c in checks if c.status == doctor_lib.BROKEN]
  num_warnings = sum(c.status == doctor_lib.WARNING for c in checks)
  if broken:
    lines.append(f'Fix the BROKEN checks first: {", ".join(broken)}.')
  elif num_warnings:
    plural = '' if num_warnings == 1 else 's'
    lines.append(
      f'The miniature study runs here; {num_warnings} warning{plural}.'
    )
  else:
    lines.append('Everything works.')
  return lines
