"""The commands below `corpus`: what each does, its arguments, an example."""

import argparse

from it_study.commands import flags
from it_study.commands.flags import Command


def _directory_argument(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR')


def _mini_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  parser.add_argument('--seed', type=int, default=0)


def _controls_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  parser.add_argument('out', metavar='OUT', help='a new directory')
  parser.add_argument(
    '--track', default='default', help='folder below splits; default default'
  )
  parser.add_argument('--seed', type=int, default=0)


def _fetch_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  parser.add_argument(
    '--track', metavar='T', help='only the tasks of this track; default: all'
  )
  parser.add_argument(
    '--source',
    metavar='S',
    help='a git repository, or a .tar.gz or .zip of a checkout; default: the '
    'public repository',
  )
  parser.add_argument(
    '--commit', metavar='ID', help='in full; default: the pinned one'
  )
  parser.add_argument(
    '--sha256', metavar='HEX', help="what the archive's should be"
  )


def _stats_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  flags.module_argument(parser)
  flags.selection_arguments(parser)
  group = parser.add_argument_group(
    'what is left of the prompts', 'measured if any of these is given'
  )
  flags.conditions_argument(group)
  flags.split_argument(group, default=None)
  flags.length_arguments(group)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  flags.module_argument(parser)
  flags.selection_arguments(parser)
  parser.add_argument(
    '--severity',
    choices=('error', 'warning', 'note'),
    default='note',
    help='print what is as bad or worse; default: everything',
  )
  parser.add_argument(
    '--out', metavar='F', help='all findings, as JSON lines, or F.csv'
  )
  parser.add_argument(
    '--write_exclusions',
    metavar='F',
    help='the exclusion list with which no error is left',
  )


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
  _check_arguments(parser)
  parser.add_argument('--allow_overlap', action='store_true', help='warn only')


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  flags.module_argument(parser)
  flags.selection_arguments(parser)
  parser.add_argument(
    '--data_dir', metavar='DIR', help='of the rows; default: the cache folder'
  )
  parser.add_argument(
    '--condition',
    action='extend',
    nargs='+',
    metavar='NAME',
    help='default: every definition with 0 to 2 examples, real and delusive',
  )
  parser.add_argument(
    '--split', action='extend', nargs='+', help='default: all three'
  )
  parser.add_argument(
    '--prompts', metavar='F.jsonl', help='certify these instead of stored rows'
  )
  parser.add_argument(
    '--partial',
    action='store_true',
    help='these may be a part of a split, as prompt --task, --id and --limit '
    'write; the verdict says how much of it; default: what is missing fails',
  )
  flags.length_arguments(parser)
  parser.add_argument(
    '--out', metavar='F.jsonl', help='the certificate, then every failure'
  )
  parser.add_argument(
    '--num_workers', type=int, metavar='N', help='processes; default 2 at most'
  )


def _build_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  parser.add_argument(
    '--data_dir', metavar='DIR', help='default: the cache folder'
  )
  parser.add_argument(
    '--max_instances_per_task',
    type=int,
    default=1000,
    metavar='N',
    help='of training tasks; default %(default)s',
  )
  flags.selection_arguments(parser)
  parser.add_argument(
    '--allow_overlap',
    action='store_true',
    help='build although test instances are trained on',
  )


CORPUS_COMMANDS = (
  Command(
    'fetch',
    'corpus.fetching:fetch',
    'get the public collection, or continue to; some 3 GB',
    'it-study corpus fetch natural-instructions',
    _fetch_arguments,
    continues=True,
  ),
  Command(
    'mini',
    'corpus.building:mini',
    'write the miniature, a small benchmark with controls',
    'it-study corpus mini /tmp/mini',
    _mini_arguments,
  ),
  Command(
    'controls',
    'corpus.building:controls',
    "add the miniature's control tasks to a copy of a corpus",
    'it-study corpus controls CORPUS /tmp/corpus_with_controls',
    _controls_arguments,
    continues=True,
  ),
  Command(
    'check',
    'corpus.auditing:check',
    'validate every task of a corpus and lint its output spaces',
    'it-study corpus check miniature',
    _check_arguments,
  ),
  Command(
    'audit',
    'corpus.auditing:audit',
    'tell what training tasks have in common with test tasks',
    'it-study corpus audit miniature',
    _audit_arguments,
  ),
  Command(
    'stats',
    'corpus.building:stats',
    'describe a corpus and the ways to choose classification tasks',
    'it-study corpus stats miniature',
    _stats_arguments,
  ),
  Command(
    'build',
    'corpus.building:build',
    'build the rows that SeqIO and T5X read',
    'it-study corpus build miniature --data_dir /tmp/rows',
    _build_arguments,
  ),
  Command(
    'verify',
    'corpus.verifying:verify',
    'certify that altered instructions are what they claim to be',
    'it-study corpus verify miniature --split test '
    '--condition natinst_def_simplified_ex_delusive2',
    _verify_arguments,
  ),
)
