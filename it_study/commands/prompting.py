"""prompt: what the model sees."""

import argparse
from collections.abc import Iterator

from it_study import corpora, natinst, prompts, tensorflow_setup
from it_study import predict as predictions
from it_study.conditions import Condition
from it_study.errors import InputError, nearest


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
