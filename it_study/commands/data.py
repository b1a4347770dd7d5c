"""corpus and prompt: what goes in."""

import argparse
import collections
from collections.abc import Iterator
import json
import sys

from it_study import corpora, natinst, prompts, tensorflow_setup
from it_study import predict as predictions
from it_study.conditions import Condition
from it_study.errors import InputError, nearest
from it_study.evaluation import label_rules
from it_study.mini import corpus as mini_corpus


def mini(options: argparse.Namespace) -> None:
  """Writes the miniature."""
  path = mini_corpus.write_miniature(options.directory, seed=options.seed)
  corpus = natinst.open_corpus(path)
  _print(
    options,
    {
      'directory': str(path),
      'train_tasks': len(corpus.train_tasks),
      'test_tasks': len(corpus.test_tasks),
      'fingerprint': corpus.fingerprint(),
    },
  )


def check(options: argparse.Namespace) -> int:
  """Validates every task file; status 2 if one cannot be used."""
  corpus = natinst.open_corpus(corpora.find(options.directory))
  warnings = list(corpus.warnings)
  errors: list[str] = []
  owners: dict[str, str] = {}
  for name in (*corpus.train_tasks, *corpus.test_tasks):
    try:
      file = corpus.load(name)
    except InputError as error:
      errors.append(str(error))
      continue
    warnings.extend(file.warnings)
    for instance in file.instances:
      owner = owners.setdefault(instance.id, name)
      if owner != name:
        errors.append(
          f'instance id {instance.id!r} is in {owner} and in {name}; ids must '
          'tell instances of a corpus apart.'
        )
    if name in corpus.train_tasks and not corpus.instances(name, 'train'):
      warnings.append(
        f'{name}: all of its {len(file.instances)} instances are held out for '
        'validation, none is trained on'
      )
    unseen = label_rules.labels_missing_from_data(file.task)
    if unseen:
      warnings.append(
        f'{name}: its definition names {", ".join(map(repr, unseen))}, which '
        'no output is'
      )
  if options.json:
    print(json.dumps({'errors': errors, 'warnings': warnings}))
    return 2 if errors else 0
  for warning in [] if options.quiet else warnings:
    print(f'warning: {warning}')
  for error in errors:
    print(f'error: {error}', file=sys.stderr)
  if not options.quiet:
    print(
      f'{len(corpus.train_tasks)} training and {len(corpus.test_tasks)} test '
      f'tasks: {len(errors)} errors, {len(warnings)} warnings'
    )
  return 2 if errors else 0


def stats(options: argparse.Namespace) -> None:
  """Describes a corpus, and how the choice of CLS tasks moves the baseline."""
  corpus = natinst.open_corpus(corpora.find(options.directory))
  counts: dict[str, object] = {}
  for split in natinst.SPLITS:
    rows = collections.Counter(task.kind for task, _ in corpus.rows(split))
    counts[split] = {
      'tasks': len(corpus.tasks_of(split)),
      'classification_instances': rows['classification'],
      'generation_instances': rows['generation'],
    }
  rules = label_rules.expectations(corpus)
  if options.json:
    print(json.dumps({'splits': counts, 'rules': rules}))
  if options.json or options.quiet:
    return
  for split, row in counts.items():
    print(
      f'{split}: {row["tasks"]} tasks, {row["classification_instances"]} '
      f'classification and {row["generation_instances"]} generation instances'
    )
  print('\nRandom baseline on test tasks, by the rule that chooses CLS tasks:')
  for rule in rules:
    expected = rule['expected_exact_match']
    shown = '-' if expected is None else f'{expected:.2f}'
    print(
      f'  {rule["rule"]:<44} {rule["num_tasks"]:>4} tasks, expected exact '
      f'match {shown}'
    )


def build(options: argparse.Namespace) -> None:
  """Builds the rows that SeqIO and T5X read."""
  tensorflow_setup.import_tensorflow()
  from it_study import rows

  directory = corpora.find(options.directory)
  data_dir = rows.build(
    directory,
    data_dir=options.data_dir,
    max_instances_per_task=options.max_instances_per_task,
  )
  _print(options, {'corpus': str(directory), 'tfds_data_dir': str(data_dir)})


def prompt(options: argparse.Namespace) -> None:
  """Shows, or writes, the prompts of a split under a condition."""
  condition = Condition.from_name(options.condition)
  corpus = natinst.open_corpus(corpora.find(options.corpus))
  natinst.check_split(options.split)
  if options.split == 'test':
    condition = condition.for_test()
  names = corpus.tasks_of(options.split)
  if options.task is not None and options.task not in names:
    raise InputError(
      f'no task {options.task!r} in {options.split}.'
      f'{nearest(options.task, names)}'
    )
  limit = _limit(options)
  rows = _prompt_rows(corpus, condition, limit, options)
  if options.out:
    predictions.write_text(
      options.out, ''.join(map(predictions.json_line, rows))
    )
    return
  for row in rows:
    if options.json:
      print(predictions.json_line(row), end='')
      continue
    print(f'--- {row["id"]} ({row["task"]})\n{row["inputs"]}')
    print(f'--- accepted: {" | ".join(row["targets"])}\n')


def _prompt_rows(
  corpus: natinst.Corpus,
  condition: Condition,
  limit: prompts.TokenLimit | None,
  options: argparse.Namespace,
) -> Iterator[dict]:
  for task, instance in corpus.rows(options.split):
    if options.task in (None, task.name):
      rendered = prompts.render(
        task=task, instance=instance, condition=condition, limit=limit
      )
      yield {
        'id': instance.id,
        'task': task.name,
        'inputs': rendered.text,
        'targets': list(instance.outputs),
      }


def _limit(options: argparse.Namespace) -> prompts.TokenLimit | None:
  if options.max_input_length is None and options.vocabulary is None:
    return None
  if options.max_input_length is not None and options.max_input_length < 1:
    raise InputError(
      f'--max_input_length is {options.max_input_length}; give 1 or more.'
    )
  tensorflow_setup.import_tensorflow()
  from it_study import rows, seqio_lib, vocabularies

  rows.settle_vocabulary(options.vocabulary)
  return seqio_lib.token_limit(
    vocabulary=vocabularies.current_vocabulary(),
    max_tokens=options.max_input_length,
  )


def _print(options: argparse.Namespace, result: dict) -> None:
  if options.json:
    print(json.dumps(result))
  elif not options.quiet:
    for name, value in result.items():
      print(f'{name}: {value}')
