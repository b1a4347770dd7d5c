"""doctor: what works on this machine, and what to do about the rest."""

import argparse
import dataclasses
import json
import math
import os
import sys

from it_study.commands import doctor as doctor_lib
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


def doctor(options: argparse.Namespace) -> int:
  """Prints what was found; 1 if something is broken that all else needs."""
  if not 0 < options.seconds < math.inf:
    raise InputError(
      f'--seconds is {options.seconds:g}; give a number above 0, such as 60.'
    )
  findings = doctor_lib.examine(seconds=options.seconds)
  broken = [f for f in findings if f.status == doctor_lib.BROKEN]
  if options.json:
    print(
      json.dumps(
        {
          'works': not broken,
          'checks': [dataclasses.asdict(finding) for finding in findings],
        }
      )
    )
  elif not options.quiet:
    print('\n'.join(_lines(findings, coloured=_has_colour())))
  else:
    for finding in broken:
      advice = f'; {finding.advice}' if finding.advice else ''
      print(
        f'it-study: {finding.name}: {finding.found}{advice}', file=sys.stderr
      )
  return 1 if broken else 0


def _has_colour() -> bool:
  return (
    sys.stdout.isatty()
    and not os.environ.get('NO_COLOR')
    and os.environ.get('TERM') != 'dumb'
  )


def _lines(findings, *, coloured: bool) -> list[str]:
  """The findings as a table, what to do below the line that it is about."""
  width = max(len(finding.name) for finding in findings) + 2
  lines = []
  for finding in findings:
    mark = f'{_MARKS[finding.status]:9}'
    if coloured:
      mark = f'{_COLOURS[finding.status]}{mark}\033[0m'
    lines.append(f'{mark}{finding.name:{width}}{finding.found}')
    if finding.advice:
      lines.append(f'{"":{9 + width}}-> {finding.advice}')
  counts = {
    status: sum(f.status == status for f in findings) for status in _MARKS
  }
  if counts[doctor_lib.BROKEN]:
    lines.append(
      'Nothing will run before what is BROKEN is mended: '
      + ', '.join(f.name for f in findings if f.status == doctor_lib.BROKEN)
      + '.'
    )
  elif counts[doctor_lib.WARNING]:
    lines.append(
      f'The miniature runs here; {counts[doctor_lib.WARNING]} to look at.'
    )
  else:
    lines.append('All is well.')
  return lines
