"""corpus build: the TFDS rows that SeqIO and T5X read."""

import argparse
import sys

from it_study.commands import flags
from it_study.commands.corpus import printing
from it_study.commands.flags import Command
from it_study.commands.progress import BuildProgress
from it_study.corpus import locate
from it_study.corpus.findings import plural
from it_study.data import tensorflow_setup


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR', help='corpus directory')
  parser.add_argument(
    '--data_dir',
    metavar='DIR',
    help='folder for the rows; default: a folder of the cache',
  )
  parser.add_argument(
    '--max_instances_per_task',
    type=int,
    default=1000,
    metavar='N',
    help='maximum number of instances of each training task; default '
    '%(default)s',
  )
  flags.add_selection_flags(parser)
  parser.add_argument(
    '--allow_overlap',
    action='store_true',
    help='build even if training data contains test instances',
  )


def build(options: argparse.Namespace) -> None:
  """Builds the rows that SeqIO and T5X read."""
  tensorflow_setup.import_tensorflow()
  from it_study.data import prepare, tfds_builder

  directory = locate.find(options.directory)
  with BuildProgress(quiet=options.quiet) as show:
    data_dir = prepare.build_corpus(
      directory,
      track=options.track,
      exclusions=options.exclude,
      data_dir=options.data_dir,
      max_instances_per_task=options.max_instances_per_task,
      allow_overlap=options.allow_overlap,
      reread=True,
      on_progress=show,
    )
  overlap = tfds_builder.stored_metadata(data_dir).get('overlap', {})
  if overlap.get('test_instances') and not options.quiet:
    print(
      f'warning: {plural(overlap["test_instances"], "test instance")} (in '
      f'{plural(overlap["pairs_of_tasks"], "pair")} of tasks) also in the '
      'training or validation data, with an output.',
      file=sys.stderr,
    )
  printing.print_record(
    options, {'corpus': str(directory), 'tfds_data_dir': str(data_dir)}
  )


COMMAND = Command(
  name='build',
  run=build,
  summary='build the rows that SeqIO and T5X read',
  example='it-study corpus build miniature --data_dir /tmp/rows',
  add_flags=_add_flags,
)
