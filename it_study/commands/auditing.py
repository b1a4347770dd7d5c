"""corpus check: what is wrong with a corpus."""

import argparse
import json
import sys

from it_study import corpora, natinst
from it_study.errors import InputError
from it_study.evaluation import label_rules


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
