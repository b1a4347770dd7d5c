"""corpus mini, controls, stats and build."""

import argparse
import collections
import json
import sys

from it_study.commands.corpus import budgeting
from it_study.corpus import locate, natinst
from it_study.corpus.findings import plural
from it_study.corpus.miniature import add_controls, benchmark as mini_corpus
from it_study.data import tensorflow_setup
from it_study.evaluation import label_rules


def mini(options: argparse.Namespace) -> None:
  """Writes the miniature."""
  path = mini_corpus.write_miniature(options.directory, seed=options.seed)
  _print_corpus(options, natinst.open_corpus(path))


def controls(options: argparse.Namespace) -> None:
  """Adds the control tasks to a copy of a corpus."""
  path = add_controls.add_controls(
    locate.find(options.directory),
    options.out,
    track=options.track,
    seed=options.seed,
  )
  _print_corpus(options, natinst.open_corpus(path, track=options.track))


def stats(options: argparse.Namespace) -> None:
  """Describes a corpus, and how the choice of CLS tasks moves the baseline."""
  corpus = natinst.open_corpus(
    locate.find(options.directory),
    track=options.track,
    exclusions=options.exclude,
  )
  counts: dict[str, object] = {}
  for split in natinst.SPLITS:
    rows = collections.Counter(task.kind for task, _ in corpus.rows(split))
    counts[split] = {
      'tasks': len(corpus.tasks_of(split)),
      'classification_instances': rows['classification'],
      'generation_instances': rows['generation'],
    }
  rules = label_rules.expectations(corpus)
  budgets = budgeting.measure(corpus, options)
  if options.json:
    found = {'splits': counts, 'rules': rules}
    if budgets is not None:
      found['budgets'] = [budget.to_json() for budget in budgets]
    print(json.dumps(found))
  if options.json or options.quiet:
    return
  for split, row in counts.items():
    print(
      f'{split}: {row["tasks"]} tasks, {row["classification_instances"]} '
      f'classification and {row["generation_instances"]} generation instances'
    )
  print(
    '\nRandom baseline on test tasks, by the rule that chooses classification '
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
    budgeting.show(budgets)


def build(options: argparse.Namespace) -> None:
  """Builds the rows that SeqIO and T5X read."""
  tensorflow_setup.import_tensorflow()
  from it_study.commands.progress import BuildProgress
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
      on_progress=show,
    )
  found = tfds_builder.stored_metadata(data_dir).get('overlap', {})
  if found.get('test_instances') and not options.quiet:
    print(
      f'warning: {plural(found["test_instances"], "test instance")} of '
      f'{plural(found["pairs_of_tasks"], "pair")} of tasks, with an output, '
      'in training or validation too.',
      file=sys.stderr,
    )
  _print(options, {'corpus': str(directory), 'tfds_data_dir': str(data_dir)})


def _print_corpus(options: argparse.Namespace, corpus: natinst.Corpus) -> None:
  _print(
    options,
    {
      'directory': str(corpus.directory),
      'train_tasks': len(corpus.train_tasks),
      'test_tasks': len(corpus.test_tasks),
      'fingerprint': corpus.fingerprint(),
    },
  )


def _print(options: argparse.Namespace, result: dict) -> None:
  if options.json:
    print(json.dumps(result))
  elif not options.quiet:
    for name, value in result.items():
      print(f'{name}: {value}')
