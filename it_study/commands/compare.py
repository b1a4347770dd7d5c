"""compare: two prediction files, instance by instance."""

import argparse
import json

from it_study.commands import flags, score
from it_study.commands.flags import Command
from it_study.storage import text_files


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('first', metavar='A', help='prediction file, any format')
  parser.add_argument(
    'second', metavar='B', help='prediction file of the same instances'
  )
  parser.add_argument(
    '--seed_pair',
    nargs=2,
    action='append',
    metavar=('A2', 'B2'),
    help='predictions of the same two settings, trained with another seed; '
    'repeatable',
  )
  parser.add_argument(
    '--margin',
    type=float,
    default=3.0,
    metavar='POINTS',
    help='equivalence margin: largest difference that counts as none, above 0 '
    'and below 100; default %(default)s',
  )
  parser.add_argument(
    '--per_category', action='store_true', help='add a row for each category'
  )
  flags.add_module_flag(parser)
  flags.add_corpus_flag(parser, required=False)
  flags.add_task_flag(parser)
  flags.add_split_flag(parser, default=None)
  parser.add_argument('--out', metavar='F', help='write all results to F, JSON')


def compare(options: argparse.Namespace) -> None:
  """Compares two prediction files, instance by instance."""
  from it_study.evaluation import score as scoring
  from it_study.evaluation.stats import comparison, margins

  margins.check_margin(options.margin, setting='--margin')
  corpus = score.open_corpus(options)
  pairs = ((options.first, options.second), *(options.seed_pair or ()))
  seeds, notes = [], dict[str, None]()
  for pair in pairs:
    first, second = (
      scoring.load_rows(path, corpus=corpus, split=options.split)
      for path in pair
    )
    notes |= dict.fromkeys((*first.notes, *second.notes))
    seeds.append((first.rows, second.rows))
  result = comparison.compare(seeds, margin=options.margin, names=pairs)
  if options.out:
    text_files.write_text(
      options.out, json.dumps(result.to_json(), indent=2) + '\n'
    )
  score.print_notes(options, notes)
  if options.json:
    print(json.dumps(result.to_json()))
  elif not options.quiet:
    from it_study.commands import score_tables

    score_tables.print_comparison(result, per_category=options.per_category)


COMMAND = Command(
  name='compare',
  run=compare,
  summary='compare two prediction files: differences, equivalence, changes',
  example='it-study baseline random --corpus miniature --out /tmp/a.jsonl && '
  'it-study baseline majority --corpus miniature --out /tmp/b.jsonl && '
  'it-study compare /tmp/a.jsonl /tmp/b.jsonl --margin 3',
  add_flags=_add_flags,
  details=(
    'Differences are A minus B. Their 95% intervals generalize over tasks and, '
    'with --seed_pair, over training seeds. Equivalence is tested with two '
    'one-sided tests at the margin, which should be fixed before looking at '
    'the results.'
  ),
)
