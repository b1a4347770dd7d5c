"""corpus check: every task of a corpus validated."""

import argparse
import functools
import os

from it_study.commands.corpus import findings_output
from it_study.commands.flags import Command
from it_study.commands.progress import BuildProgress
from it_study.corpus import locate
from it_study.data import tensorflow_setup


def _add_flags(parser: argparse.ArgumentParser) -> None:
  findings_output.add_flags(parser)
  parser.add_argument(
    '--vocabulary',
    metavar='F',
    help="SentencePiece model, 'byte' or 'miniature'; also check what it can "
    'spell; default: $IT_STUDY_VOCABULARY, if set',
  )


def check(options: argparse.Namespace) -> int:
  """Validates every task; returns status 2 if one cannot be used."""
  from it_study.audit import corpus_check

  named = options.vocabulary or os.environ.get('IT_STUDY_VOCABULARY')
  if named:
    tensorflow_setup.import_tensorflow()
    from it_study.data import prepare

    prepare.set_or_check_vocabulary(
      options.vocabulary, corpus=options.directory
    )
  with BuildProgress(quiet=options.quiet) as show:
    corpus, findings = corpus_check.check(
      locate.find(options.directory),
      track=options.track,
      exclusions=options.exclude,
      with_vocabulary=bool(named),
      on_task=functools.partial(show, 'parse'),
    )
  return findings_output.write(options, corpus, findings)


COMMAND = Command(
  name='check',
  run=check,
  summary='validate every task of a corpus, and lint its label spaces',
  example='it-study corpus check miniature',
  add_flags=_add_flags,
  details='Exit status 2 if a task cannot be used, else 0.',
)
