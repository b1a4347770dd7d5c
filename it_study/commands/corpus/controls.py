"""corpus controls: a copy of a corpus with the miniature's control tasks."""

import argparse

from it_study.commands import flags
from it_study.commands.corpus import printing
from it_study.commands.flags import Command
from it_study.corpus import locate, natinst


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR', help='corpus to copy')
  parser.add_argument('out', metavar='OUT', help='new directory for the copy')
  flags.add_track_flag(parser)
  flags.add_seed_flag(parser)


def controls(options: argparse.Namespace) -> None:
  """Copies a corpus and adds the control tasks."""
  from it_study.corpus.miniature import add_controls

  path = add_controls.add_controls(
    locate.find(options.directory),
    options.out,
    track=options.track,
    seed=options.seed,
  )
  printing.print_corpus(options, natinst.open_corpus(path, track=options.track))


COMMAND = Command(
  name='controls',
  run=controls,
  summary="copy a corpus and add the miniature's control tasks",
  example='it-study corpus controls CORPUS /tmp/corpus_with_controls',
  add_flags=_add_flags,
  continues=True,
)
