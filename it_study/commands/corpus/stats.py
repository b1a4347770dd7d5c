"""corpus stats: sizes, the random baseline, and the length of prompts."""

import argparse
import collections
import json

from it_study.commands import flags
from it_study.commands.corpus import prompt_budgets
from it_study.commands.flags import Command
from it_study.corpus import locate, natinst
from it_study.evaluation import label_rules


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR', help='corpus directory')
  flags.add_module_flag(parser)
  flags.add_selection_flags(parser)
  group = parser.add_argument_group(
    'prompt lengths', 'measured if any of these is given'
  )
  flags.add_condition_flag(group)
  group.add_argument(
    '--split', help='train, validation or test; default: all three'
  )
  flags.add_length_flags(group)


def stats(options: argparse.Namespace) -> None:
  """Describes a corpus, its random baseline, and its prompts if requested."""
  corpus = natinst.open_corpus(
    locate.find(options.directory),
    track=options.track,
    exclusions=options.exclude,
  )
  splits = {split: _sizes(corpus, split) for split in natinst.SPLITS}
  rules = label_rules.expectations(corpus)
  budgets = prompt_budgets.measure(corpus, options)
  if options.json:
    record: dict[str, object] = {'splits': splits, 'rules': rules}
    if budgets is not None:
      record['budgets'] = [budget.to_json() for budget in budgets]
    print(json.dumps(record))
  if options.json or options.quiet:
    return
  for split, sizes in splits.items():
    print(
      f'{split}: {sizes["tasks"]} tasks, {sizes["classification_instances"]} '
      f'classification and {sizes["generation_instances"]} generation instances'
    )
  print(
    '\nRandom baseline on test tasks, by the rule that selects classification '
    'tasks:'
  )
  for rule in rules:
    expected = rule['expected_exact_match']
    shown = '-' if expected is None else f'{expected:.2f}'
    print(
      f'  {rule["rule"]:<44} {rule["num_tasks"]:>4} tasks, expected exact '
      f'match {shown}'
    )
  if budgets is not None:
    prompt_budgets.show(budgets)


COMMAND = Command(
  name='stats',
  run=stats,
  summary='describe a corpus: sizes, random baseline, prompt lengths',
  example='it-study corpus stats miniature',
  add_flags=_add_flags,
)


def _sizes(corpus: natinst.Corpus, split: str) -> dict[str, int]:
  """Counts the tasks of a split, and its instances by kind."""
  counts = collections.Counter(task.kind for task, _ in corpus.rows(split))
  return {
    'tasks': len(corpus.tasks_of(split)),
    'classification_instances': counts['classification'],
    'generation_instances': counts['generation'],
  }
