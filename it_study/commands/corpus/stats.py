"""corpus stats: tasks, sizes, the random baseline, the length of prompts."""

import argparse
import collections
from collections.abc import Mapping, Sequence
import json
from typing import Any

from it_study.commands import flags
from it_study.commands.corpus import prompt_budgets
from it_study.commands.flags import Command
from it_study.corpus import locate, natinst
from it_study.errors import visible
from it_study.evaluation import author_baseline, label_rules


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR', help='corpus directory')
  flags.add_module_flag(parser)
  flags.add_selection_flags(parser)
  flags.add_label_spaces_flag(parser)
  group = parser.add_argument_group(
    'prompts and targets', 'measured if any of these is given'
  )
  flags.add_condition_flag(group)
  group.add_argument(
    '--split', help='train, validation or test; default: all three'
  )
  flags.add_length_flags(group)
  group.add_argument(
    '--max_target_length',
    type=int,
    metavar='N',
    help='maximum length of a target in tokens; default: no limit, or '
    f'{prompt_budgets.TARGET_LENGTH} with --vocabulary',
  )


def stats(options: argparse.Namespace) -> None:
  """Lists a corpus's tasks; describes it and its prompts, if requested."""
  corpus = natinst.open_corpus(
    locate.find(options.directory),
    track=options.track,
    exclusions=options.exclude,
  )
  splits = {split: _sizes(corpus, split) for split in natinst.SPLITS}
  tasks = [
    _describe(corpus, name, side)
    for side in ('train', 'test')
    for name in sorted(corpus.tasks_of(side))
  ]
  rules = label_rules.expectations(corpus)
  author = author_baseline.author_baseline(
    corpus, label_spaces=options.label_spaces
  )
  measured = prompt_budgets.measure(corpus, options)
  if options.json:
    record: dict[str, object] = {
      'splits': splits,
      'tasks': tasks,
      'rules': rules,
      'author': author.to_json(),
    }
    if measured is not None:
      budgets, spellings = measured
      record['budgets'] = [budget.to_json() for budget in budgets]
      record['spelling'] = [spelling.to_json() for spelling in spellings]
    print(json.dumps(record))
  if options.json or options.quiet:
    return
  _show_tasks(tasks)
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
  print("\nThe same as the author's notebook counts it:")
  for name in author_baseline.COUNTED:
    print(f'  {author.sentence(name)}')
  for sentence in (author.origin(), *author.notes):
    print(visible(f'  {sentence}'))
  if measured is not None:
    prompt_budgets.show(*measured)


COMMAND = Command(
  name='stats',
  run=stats,
  summary='describe a corpus: tasks, sizes, random baseline, prompt lengths',
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


def _describe(
  corpus: natinst.Corpus, name: str, side: str
) -> dict[str, object]:
  """Describes a task; `side` is that of its split file, train or test."""
  file = corpus.load(name)
  space = file.task.label_space
  return {
    'task': name,
    'split': side,
    'category': file.task.category,
    'kind': file.task.kind,
    'label_space': None if space is None else list(space),
    'instances': len(file.instances),
  }


def _show_tasks(tasks: Sequence[Mapping[str, Any]]) -> None:
  """Prints a line for each task, with whole names however narrow the window."""
  width = max(len(visible(task['task'])) for task in tasks)
  print(f'{"task":<{width}} {"split":<5} {"kind":<14} {"instances":>9}  labels')
  for task in tasks:
    labels = ', '.join(map(repr, task['label_space'] or ()))
    print(
      f'{visible(task["task"]):<{width}} {task["split"]:<5} {task["kind"]:<14} '
      f'{task["instances"]:>9,}  {labels}'.rstrip()
    )
  print()
