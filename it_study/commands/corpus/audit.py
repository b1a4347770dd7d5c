"""corpus audit: what training tasks share with test tasks."""

import argparse

from it_study.commands.corpus import findings_output
from it_study.commands.flags import Command
from it_study.commands.progress import BuildProgress
from it_study.corpus import locate, natinst


def _add_flags(parser: argparse.ArgumentParser) -> None:
  findings_output.add_flags(parser)
  parser.add_argument(
    '--allow_overlap',
    action='store_true',
    help='report overlap as warnings, with exit status 0',
  )


def audit(options: argparse.Namespace) -> int:
  """Finds overlap; returns status 2 if training data has test instances."""
  from it_study.audit import overlap_report

  corpus = natinst.open_corpus(
    locate.find(options.directory),
    track=options.track,
    exclusions=options.exclude,
  )
  with BuildProgress(quiet=options.quiet) as show:
    findings = overlap_report.audit(corpus, on_progress=show)
  return findings_output.write(
    options, corpus, findings, errors_allowed=options.allow_overlap
  )


COMMAND = Command(
  name='audit',
  run=audit,
  summary='find overlap between training and test tasks',
  example='it-study corpus audit miniature',
  add_flags=_add_flags,
  details='Exit status 2 if training data contains test instances, else 0.',
)
