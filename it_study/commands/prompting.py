"""prompt and explain: what the model sees."""

import argparse
import collections
from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import sys

from it_study import instructions
from it_study.commands.progress import CountProgress
from it_study.commands.prompt_display import Display
from it_study.conditions import Condition, standard_grid
from it_study.corpus import instance_search, locate, natinst
from it_study.corpus.instance_search import Found
from it_study.data import tensorflow_setup
from it_study.errors import InputError, nearest
from it_study.instructions import (
  explanation,
  prompt_spans,
  prompts,
  tk_instruct,
)
from it_study.instructions.tk_instruct import TkInstruct
from it_study.storage import text_files


def prompt(options: argparse.Namespace) -> None:
  """Shows, or writes, the prompts of a split under a condition."""
  condition = tk_instruct.from_name(options.condition)
  if options.limit is not None and options.limit < 1:
    raise InputError(f'--limit is {options.limit}; give 1 or more.')
  if options.id is not None and options.task is not None:
    raise InputError('--id names one instance, so --task has to be left out.')
  corpus = _open(options)
  with CountProgress('tasks', quiet=options.quiet or not options.out) as show:
    if options.id is not None:
      found = iter([_find(corpus, options)])
    else:
      found = _instances(corpus, options, show)
    counts: collections.Counter = collections.Counter()
    shown = _rendered(
      itertools.islice(found, options.limit),
      corpus=corpus,
      condition=condition,
      limit=_limit(options),
      counts=counts,
    )
    if options.out:
      text_files.write_lines(options.out, _json_lines(shown, show))
    else:
      _print(shown, options)
  if counts['fewer'] and not options.quiet:
    print(
      f'it-study: note: {counts["fewer"]:,} of {counts["prompts"]:,} prompts '
      'have fewer examples than the condition asks for: their tasks have no '
      'more.',
      file=sys.stderr,
    )


def explain(options: argparse.Namespace) -> None:
  """Shows one instance under several conditions."""
  conditions = [tk_instruct.from_name(name) for name in options.condition]
  corpus = _open(options)
  found = _find(corpus, options)
  needs_tokens = (
    options.tokens
    or options.vocabulary is not None
    or options.max_input_length is not None
  )
  limit, fields = _limit(options), {}
  if needs_tokens:
    fields = _tokenizer(options)
  # Two that differ in what is trained on alone are one when they are tested.
  shown = dict.fromkeys(
    _shown(condition, found) for condition in conditions or standard_grid()
  )
  explanations = [
    explanation.explain(
      found, corpus=corpus, condition=condition, limit=limit, **fields
    )
    for condition in shown
  ]
  if options.json:
    record = _found_json(found) | {
      'conditions': [e.to_json() for e in explanations]
    }
    print(text_files.json_line(record), end='')
  elif not options.quiet:
    Display().show(found, explanations, with_tokens=options.tokens)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
  """A prompt, and the instance as its condition has it."""

  id: str
  task: str
  prompt: prompts.Prompt
  seen: natinst.Instance

  def spans(self) -> Sequence[prompt_spans.Span]:
    return prompt_spans.spans(self.prompt, instance=self.seen)

  def to_json(self) -> dict[str, object]:
    return {
      'id': self.id,
      'task': self.task,
      'inputs': self.prompt.text,
      'targets': list(self.seen.outputs),
    }


def _open(options: argparse.Namespace) -> natinst.Corpus:
  corpus = natinst.open_corpus(
    locate.find(options.corpus),
    track=options.track,
    exclusions=options.exclude,
  )
  if options.split is not None:
    natinst.check_split(options.split)
  return corpus


def _find(corpus: natinst.Corpus, options: argparse.Namespace) -> Found:
  quiet = options.quiet or options.json
  with CountProgress('task files', quiet=quiet) as show:
    return instance_search.find_instance(
      corpus, options.id, split=options.split, on_progress=show
    )


def _instances(
  corpus: natinst.Corpus, options: argparse.Namespace, show: CountProgress
) -> Iterator[Found]:
  split = options.split or 'test'
  names = sorted(corpus.tasks_of(split))
  if options.task is not None:
    if options.task not in names:
      raise InputError(
        f'no task {options.task!r} in {split}.'
        f'{_elsewhere(corpus, options.task) or _near(options.task, names)}'
      )
    names = [options.task]
  for number, name in enumerate(names):
    show(number, len(names))
    task = corpus.load(name).task
    for instance in corpus.instances(name, split):
      yield Found(split=split, task=task, instance=instance)


def _elsewhere(corpus: natinst.Corpus, name: str) -> str:
  """A task is on one side of the split, and --split is easily forgotten."""
  there = [s for s in natinst.SPLITS if name in corpus.tasks_of(s)]
  return f' It is in {" and ".join(there)}: give --split.' if there else ''


def _near(name: str, names: Sequence[str]) -> str:
  """A task may be called by its number alone, as in 'task002'."""
  for candidate in names:
    if candidate.split('_')[0] == name.split('_')[0]:
      return f' Did you mean {candidate!r}?'
  return nearest(name, names)


def _print(rows: Iterator[_Row], options: argparse.Namespace) -> None:
  display = Display()
  for row in rows:
    if options.json:
      print(text_files.json_line(row.to_json()), end='')
    # Made all the same, as that is what may fail.
    if options.json or options.quiet:
      continue
    display.say(f'--- {row.id} ({row.task})')
    display.show_prompt(row.prompt.text, row.spans())
    display.say(f'--- accepted: {" | ".join(row.seen.outputs)}\n')


def _rendered(
  instances: Iterator[Found],
  *,
  corpus: natinst.Corpus,
  condition: Condition | TkInstruct,
  limit: prompts.TokenLimit | None,
  counts: collections.Counter,
) -> Iterator[_Row]:
  """Counts 'prompts', and 'fewer' of those whose task lacks examples."""
  for found in instances:
    shown = _shown(condition, found)
    fields = {
      'task': found.task,
      'instance': found.instance,
      'condition': shown,
    }
    _, seen = instructions.rewrite(**fields)
    prompt = prompts.render(
      **fields, limit=limit, tasks=corpus.lazy_tasks(found.split)
    )
    there = len(prompt.examples) + prompt.num_dropped_examples
    counts['prompts'] += 1
    counts['fewer'] += there < shown.num_examples + shown.num_negative_examples
    yield _Row(
      id=found.instance.id, task=found.task.name, prompt=prompt, seen=seen
    )


def _json_lines(rows: Iterator[_Row], show: CountProgress) -> Iterator[str]:
  for number, row in enumerate(rows, start=1):
    show.note = f'{number:,} prompts'
    yield text_files.json_line(row.to_json())


def _shown(condition: Condition | TkInstruct, found: Found) -> Condition:
  """The condition as it shows on an instance."""
  if found.split != 'train':
    condition = condition.for_test()
  return condition.of_instance(found.instance.id)


def _found_json(found: Found) -> dict[str, object]:
  task, instance = found.task, found.instance
  space = task.label_space
  return {
    'id': instance.id,
    'split': found.split,
    'position': instance.position,
    'task': task.name,
    'category': task.category,
    'kind': task.kind,
    'input': instance.input,
    'references': list(instance.outputs),
    'label_space': None if space is None else list(space),
  }


def _limit(options: argparse.Namespace) -> prompts.TokenLimit | None:
  if options.max_input_length is None and options.vocabulary is None:
    return None
  if options.max_input_length is not None and options.max_input_length < 1:
    raise InputError(
      f'--max_input_length is {options.max_input_length}; give 1 or more.'
    )
  vocabulary = _vocabulary(options)
  from it_study.data import preprocessors

  return preprocessors.token_limit(
    vocabulary=vocabulary, max_tokens=options.max_input_length
  )


def _tokenizer(options: argparse.Namespace) -> dict[str, object]:
  """What `explanation.explain` needs to know of the vocabulary."""
  vocabulary = _vocabulary(options)
  processor = getattr(vocabulary, 'tokenizer', None)
  if processor is None:
    return {'tokenizer': explanation.byte_tokenizer(vocabulary.encode)}
  return {
    'tokenizer': explanation.sentencepiece_tokenizer(processor),
    'eos': (vocabulary.eos_id, processor.IdToPiece(vocabulary.eos_id)),
  }


def _vocabulary(options: argparse.Namespace):
  tensorflow_setup.import_tensorflow()
  from it_study.data import prepare, vocabularies

  prepare.set_or_check_vocabulary(options.vocabulary, corpus=options.corpus)
  return vocabularies.current_vocabulary()
