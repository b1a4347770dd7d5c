"""corpus mini: the embedded miniature benchmark, as a corpus directory."""

import argparse

from it_study.commands import flags
from it_study.commands.corpus import printing
from it_study.commands.flags import Command
from it_study.corpus import natinst


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR', help='directory to write')
  flags.add_seed_flag(parser)


def mini(options: argparse.Namespace) -> None:
  """Writes the miniature."""
  from it_study.corpus.miniature import benchmark

  path = benchmark.write_miniature(options.directory, seed=options.seed)
  printing.print_corpus(options, natinst.open_corpus(path))


COMMAND = Command(
  name='mini',
  run=mini,
  summary='write the miniature, a small benchmark with control tasks',
  example='it-study corpus mini /tmp/mini',
  add_flags=_add_flags,
)
