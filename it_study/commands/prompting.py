"""prompt and explain: what the model sees."""

import argparse
import collections
from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from it_study import instructions
from it_study.commands import flags
from it_study.commands.flags import Command
from it_study.commands.progress import CountProgress
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

if TYPE_CHECKING:
  from it_study.data.tokens import shown_prompts


def _add_prompt_flags(parser: argparse.ArgumentParser) -> None:
  flags.add_corpus_flag(parser, required=True)
  parser.add_argument(
    '--condition', required=True, metavar='NAME', help='condition name'
  )
  flags.add_module_flag(parser)
  parser.add_argument(
    '--split',
    help='train, validation or test; default: test, or the split of --id',
  )
  parser.add_argument('--task', metavar='T', help='only prompts of this task')
  parser.add_argument('--id', metavar='ID', help='only this instance')
  parser.add_argument(
    '--limit', type=int, metavar='N', help='maximum number of prompts'
  )
  flags.add_length_flags(parser)
  flags.add_selection_flags(parser)
  parser.add_argument(
    '--out',
    metavar='F.jsonl',
    help='write JSON lines to F.jsonl; default: print',
  )


def prompt(options: argparse.Namespace) -> None:
  """Prints or writes the prompts of a split under a condition."""
  condition = tk_instruct.from_name(options.condition)
  if options.limit is not None and options.limit < 1:
    raise InputError(f'--limit is {options.limit}; it must be at least 1.')
  if options.id is not None and options.task is not None:
    raise InputError('--id already names one instance. Leave out --task.')
  corpus = open_corpus(options)
  with CountProgress('tasks', quiet=options.quiet or not options.out) as show:
    if options.id is not None:
      instances = iter([_find(corpus, options)])
    else:
      instances = instances_of(corpus, options, show)
    counts: collections.Counter[str] = collections.Counter()
    rows = render(
      itertools.islice(instances, options.limit),
      corpus=corpus,
      condition=condition,
      limit=limit_of(options, condition),
      counts=counts,
      around=format_of(condition, options, corpus=options.corpus).parts,
    )
    if options.out:
      text_files.write_lines(options.out, _json_lines(rows, show))
    else:
      _print(rows, options)
  if not options.quiet:
    note_fewer_examples(counts)


PROMPT = Command(
  name='prompt',
  run=prompt,
  summary='print the prompts of a condition, as the model sees them',
  example='it-study prompt --corpus miniature '
  '--condition natinst_def_simplified_ex_original2',
  add_flags=_add_prompt_flags,
)


def _add_explain_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('id', metavar='ID', help='id of the instance')
  flags.add_module_flag(parser)
  flags.add_corpus_flag(parser, required=True)
  flags.add_condition_flag(parser)
  parser.add_argument(
    '--split', help='train, validation or test; default: search all three'
  )
  flags.add_length_flags(parser)
  flags.add_selection_flags(parser)
  parser.add_argument(
    '--tokens', action='store_true', help='also show the tokens and their ids'
  )


def explain(options: argparse.Namespace) -> None:
  """Shows one instance under several conditions."""
  conditions = [tk_instruct.from_name(name) for name in options.condition]
  corpus = open_corpus(options)
  found = _find(corpus, options)
  needs_tokens = options.tokens or flags.input_length(options) is not None
  # Conditions that differ only in their training data look the same at test
  # time; show them once.
  shown = dict.fromkeys(
    _shown(condition, found) for condition in conditions or standard_grid()
  )
  explanations = []
  for condition in shown:
    around = format_of(
      condition, options, corpus=options.corpus, needs_tokens=needs_tokens
    )
    tokenizer, eos = around.tokenizer() if needs_tokens else (None, None)
    explanations.append(
      explanation.explain(
        found,
        corpus=corpus,
        condition=condition,
        limit=limit_of(options, condition),
        tokenizer=tokenizer,
        eos=eos,
        around=around.parts,
      )
    )
  if options.json:
    record = _found_json(found) | {
      'conditions': [e.to_json() for e in explanations]
    }
    print(json.dumps(record))
  elif not options.quiet:
    from it_study.commands.prompt_display import Display

    Display().show(found, explanations, with_tokens=options.tokens)


EXPLAIN = Command(
  name='explain',
  run=explain,
  summary='show one instance under several conditions, prompt parts marked',
  example='it-study explain task11001-dd59eb3da33b92679fcec174f8b2d88e '
  '--corpus miniature --vocabulary miniature --max_input_length 128',
  add_flags=_add_explain_flags,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendered:
  """A prompt.

  Attributes:
    found: Instance, as the corpus has it.
    condition: Condition of the prompt.
    prompt: Prompt.
    parts: Text before the prompt, the prompt, and text after it.
    task: Task as the condition shows it.
    seen: Instance as the condition shows it.
  """

  found: Found
  condition: Condition
  prompt: prompts.Prompt
  parts: tuple[str, str, str]
  task: natinst.Task
  seen: natinst.Instance

  @property
  def text(self) -> str:
    return ''.join(self.parts)

  def spans(self) -> Sequence[prompt_spans.Span]:
    return prompt_spans.framed(
      prompt_spans.spans(self.prompt, instance=self.seen),
      text=self.prompt.text,
      parts=self.parts,
    )

  def to_json(self) -> dict[str, object]:
    return {
      'id': self.found.instance.id,
      'task': self.found.task.name,
      'inputs': self.text,
      'targets': list(self.seen.outputs),
    }


def open_corpus(options: argparse.Namespace) -> natinst.Corpus:
  """Opens the corpus that the options name; checks that it has the split."""
  corpus = natinst.open_corpus(
    locate.find(options.corpus),
    track=options.track,
    exclusions=options.exclude,
  )
  if options.split is not None:
    corpus.check_has(options.split)
  return corpus


def _find(corpus: natinst.Corpus, options: argparse.Namespace) -> Found:
  quiet = options.quiet or options.json
  with CountProgress('task files', quiet=quiet) as show:
    return instance_search.find_instance(
      corpus, options.id, split=options.split, on_progress=show
    )


def instances_of(
  corpus: natinst.Corpus, options: argparse.Namespace, show: CountProgress
) -> Iterator[Found]:
  """Yields the instances of a split, or of one task, in the corpus's order.

  Raises:
    InputError: If the split does not have the task.
  """
  split = options.split or 'test'
  names = sorted(corpus.tasks_of(split))
  if options.task is not None:
    if options.task not in names:
      raise InputError(
        f'split {split} has no task {options.task!r}.'
        f'{_elsewhere(corpus, options.task) or _near(options.task, names)}'
      )
    names = [options.task]
  for number, name in enumerate(names):
    show(number, len(names))
    task = corpus.load(name).task
    for instance in corpus.instances(name, split):
      yield Found(split=split, task=task, instance=instance)


def _elsewhere(corpus: natinst.Corpus, name: str) -> str:
  """Hint at the splits that do hold a task: --split is easily forgotten."""
  splits = [s for s in natinst.SPLITS if name in corpus.tasks_of(s)]
  if not splits:
    return ''
  return f' It is in {" and ".join(splits)}: pass --split.'


def _near(name: str, names: Sequence[str]) -> str:
  """Hint at the task of that number, as in 'task002', or of a similar name."""
  for candidate in names:
    if candidate.split('_')[0] == name.split('_')[0]:
      return f' Did you mean {candidate!r}?'
  return nearest(name, names)


def _print(rows: Iterator[Rendered], options: argparse.Namespace) -> None:
  from it_study.commands.prompt_display import Display

  display = Display()
  for row in rows:
    if options.json:
      # ASCII, since a console may lack a character.
      print(json.dumps(row.to_json()))
    # Rendering is what may fail, so it happens even with --quiet.
    if options.json or options.quiet:
      continue
    found = row.found
    display.say(f'--- {found.instance.id} ({found.task.name})')
    display.show_prompt(row.text, row.spans())
    display.say(f'--- accepted: {" | ".join(row.seen.outputs)}\n')


def render(
  instances: Iterator[Found],
  *,
  corpus: natinst.Corpus,
  condition: Condition | TkInstruct,
  limit: prompts.TokenLimit | None,
  counts: collections.Counter[str],
  around: explanation.Parts = lambda text: ('', text, ''),
) -> Iterator[Rendered]:
  """Renders instances, and counts them.

  Args:
    instances: Instances to render.
    corpus: Corpus of the instances.
    condition: Condition to render under.
    limit: Maximum prompt length; None for no limit.
    counts: Incremented: 'prompts' for each, 'fewer' for each whose task has
      fewer examples than the condition requests.
    around: What surrounds prompts.
  """
  for found in instances:
    shown = _shown(condition, found)
    task, seen = instructions.rewrite(
      task=found.task, instance=found.instance, condition=shown
    )
    prompt = prompts.render(
      task=found.task,
      instance=found.instance,
      condition=shown,
      limit=limit,
      tasks=corpus.lazy_tasks(found.split),
    )
    available = len(prompt.examples) + prompt.num_dropped_examples
    requested = shown.num_examples + shown.num_negative_examples
    counts['prompts'] += 1
    counts['fewer'] += available < requested
    yield Rendered(
      found=found,
      condition=shown,
      prompt=prompt,
      parts=around(prompt.text),
      task=task,
      seen=seen,
    )


def note_fewer_examples(counts: collections.Counter[str]) -> None:
  """Prints how many prompts have fewer examples, if any; see `render`."""
  if counts['fewer']:
    print(
      f'it-study: note: {counts["fewer"]:,} of {counts["prompts"]:,} prompts '
      'have fewer examples than the condition requests: their tasks have no '
      'more.',
      file=sys.stderr,
    )


def _json_lines(rows: Iterator[Rendered], show: CountProgress) -> Iterator[str]:
  for number, row in enumerate(rows, start=1):
    show.note = f'{number:,} prompts'
    yield text_files.json_line(row.to_json())


def _shown(condition: Condition | TkInstruct, found: Found) -> Condition:
  """Returns the condition that applies to an instance at training or test."""
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


def limit_of(
  options: argparse.Namespace,
  condition: Condition | TkInstruct | None = None,
) -> prompts.TokenLimit | None:
  """Returns the limit on prompts that the options set; None for no limit.

  Args:
    options: Options with those of `flags.add_length_flags`.
    condition: Condition whose prompt format counts; None for the plain one.
  """
  max_tokens = flags.input_length(options)
  if max_tokens is None:
    return None
  vocabulary = _vocabulary(options, options.corpus)
  from it_study.data import preprocessors
  from it_study.data.tokens import token_limits

  return token_limits.token_limit(
    vocabulary=vocabulary,
    max_tokens=max_tokens,
    around=preprocessors.prompt_format(condition or Condition(), vocabulary),
  )


def format_of(
  condition: Condition | TkInstruct,
  options: argparse.Namespace,
  *,
  corpus: str,
  needs_tokens: bool = False,
) -> 'shown_prompts.ShownFormat':
  """Returns what surrounds the prompts of a condition.

  Args:
    condition: Condition of the prompts.
    options: Options with those of `flags.add_length_flags`. If they name a
      vocabulary, the format is that of its model.
    corpus: Corpus, which may have a vocabulary of its own.
    needs_tokens: Whether to load the vocabulary in use if they do not.

  Raises:
    InputError: If the format needs a tokenizer, and none is named.
  """
  from it_study.data.tokens import shown_prompts

  name = 'plain'
  if isinstance(condition, Condition):
    name = condition.prompt_format
  if name == 'chat' and not needs_tokens:
    if not (options.vocabulary or os.environ.get('IT_STUDY_VOCABULARY')):
      raise InputError(
        f'{condition.name}: _fmtchat needs the chat template of a tokenizer. '
        'Name the folder of the model with --vocabulary, such as '
        '--vocabulary=smollm2-135m-instruct.'
      )
    needs_tokens = True
  if needs_tokens or flags.input_length(options) is not None:
    return shown_prompts.ShownFormat(name, _vocabulary(options, corpus))
  return shown_prompts.ShownFormat(name)


def _vocabulary(options: argparse.Namespace, corpus: str) -> Any:
  """Returns the vocabulary, a `seqio.Vocabulary`."""
  tensorflow_setup.import_tensorflow()
  from it_study.data import prepare, vocabularies

  prepare.set_or_check_vocabulary(options.vocabulary, corpus=corpus)
  return vocabularies.current_vocabulary()
