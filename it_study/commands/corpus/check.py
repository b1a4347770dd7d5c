"""corpus check: every task of a corpus validated."""

import argparse
import functools

from it_study.commands.corpus import findings_output
from it_study.commands.flags import Command
from it_study.commands.progress import BuildProgress
from it_study.corpus import locate


def check(options: argparse.Namespace) -> int:
  """Validates every task; returns status 2 if one cannot be used."""
  from it_study.audit import corpus_check

  with BuildProgress(quiet=options.quiet) as show:
    corpus, findings = corpus_check.check(
      locate.find(options.directory),
      track=options.track,
      exclusions=options.exclude,
      on_task=functools.partial(show, 'parse'),
    )
  return findings_output.write(options, corpus, findings)


COMMAND = Command(
  name='check',
  run=check,
  summary='validate every task of a corpus, and lint its label spaces',
  example='it-study corpus check miniature',
  add_flags=findings_output.add_flags,
  details='Exit status 2 if a task cannot be used, else 0.',
)
