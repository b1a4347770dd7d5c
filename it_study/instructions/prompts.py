"""Renders a row under a condition, by default in Tk-Instruct's format."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import functools
import itertools

from it_study import instructions
from it_study.conditions import (
  DEFINITION_LEVELS,
  EXAMPLE_LEVELS,
  Condition,
  PromptTemplate,
)
from it_study.corpus.schema import Example, Instance, Task
from it_study.errors import InputError
from it_study.instructions import surfaces
from it_study.seeding import stable_random


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenLimit:
  """The maximum length of a prompt, and how tokens are counted.

  Attributes:
    encode: Function from text to token ids, without end-of-sequence.
    decode: Function from token ids to text, for `tk_truncation`.
    max_tokens: Maximum number of tokens, end-of-sequence included.
    num_added: Number of tokens that follow the text: 1 for end-of-sequence.
    count: Function that returns the number of tokens of one piece of a prompt,
      for a vocabulary under which these numbers add up to the prompt's. It
      should cache, as instances of a task share most pieces. None to encode
      the whole prompt.
    margin: Largest difference between such a sum and the number of tokens of
      the prompt.
  """

  encode: Callable[[str], Sequence[int]]
  decode: Callable[[Sequence[int]], str]
  max_tokens: int
  num_added: int = 1
  count: Callable[[str], int] | None = None
  margin: int = 0

  def fits(self, *pieces: str) -> bool:
    """Returns whether the pieces, joined, are within the limit."""
    if self.count is not None:
      spare = self.max_tokens - self.num_added - sum(map(self.count, pieces))
      if spare >= self.margin:
        return True
      if spare < -self.margin:
        return False
    count = len(self.encode(''.join(pieces)))
    return count + self.num_added <= self.max_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
  """A rendered prompt and a record of what did not fit.

  Attributes:
    text: Text for the model; ends in the template's cue, 'Output: ', unless
      `tk_truncation` cut it.
    pieces: Definition (possibly empty), one block per example, and query, in
      the order of the template. Joined, they are the text before
      `tk_truncation`. Every piece but the last ends in a line break.
    examples: Examples in the pieces, positive ones first.
    num_negative_examples: Number of negative examples among them.
    num_dropped_examples: Number of the condition's examples that did not fit.
    shortened: Whether the definition or the instance was cut.
    template: Template of the pieces.
  """

  text: str
  pieces: tuple[str, ...]
  examples: tuple[Example, ...]
  num_negative_examples: int
  num_dropped_examples: int
  shortened: bool
  template: PromptTemplate


def render(
  *,
  task: Task,
  instance: Instance,
  condition: Condition,
  limit: TokenLimit | None = None,
  tasks: Mapping[str, Task] | None = None,
) -> Prompt:
  """Renders the prompt of one instance under a condition.

  The default format is Tk-Instruct's (Wang et al. 2022), with a full stop after
  a text whose last character is not ASCII punctuation.

      Definition: Say yes if the door is open.

       Positive Example 1 -
      Input: The door is shut.
       Output: no.

      Now complete the following example -
      Input: The door is open.
      Output:

  With a limit, examples are added in order until one does not fit together
  with the definition, the examples so far (joined by a space for this count)
  and the query. If definition and query alone are too long, the middle of the
  instance's input is cut, then the end of the definition. Under
  `tk_truncation`, the end of the whole text is cut instead, cue included, and
  the rest is cleaned up as Tk-Instruct's tokenizer does when it decodes. As
  there, its tokens fill the limit without end-of-sequence, so one more token is
  cut before they reach the model.

  Args:
    task: Task of the instance.
    instance: Instance to render.
    condition: Condition to render under.
    limit: Maximum length; None for no limit.
    tasks: All tasks on the same side of the split, for a level that needs
      them. Pass a `LazyTasks`, for which lookups are cached. Without it, a
      matched budget ignores such levels.

  Raises:
    InputError: If not even the cue fits the limit, or the condition's own level
      needs `tasks`.
  """
  template = surfaces.template_of(condition)
  wording, text_input, examples = _altered(task, instance, condition, tasks)
  shortened = False
  if limit is not None and not condition.tk_truncation:
    wording, text_input, shortened = _shorten(
      wording=wording,
      text_input=text_input,
      other_wordings=_other_wordings(task, instance, condition, tasks),
      limit=limit,
      instance_id=instance.id,
      template=template,
    )
  bare = template.pieces(definition=wording, blocks=(), text_input=text_input)
  arrange = functools.partial(_arranged, template.split(bare))
  blocks, used = _fitting_blocks(
    examples, condition.explanations, arrange, limit, template
  )
  truncated_text = None
  if limit is not None and condition.tk_truncation:
    truncated_text = _truncated(arrange(blocks), limit)
  elif limit is not None:
    # Without the counted spaces, a vocabulary may need more tokens.
    while blocks and not limit.fits(*arrange(blocks)):
      del blocks[-1], used[-1]
  pieces = arrange(blocks)
  return Prompt(
    text=''.join(pieces) if truncated_text is None else truncated_text,
    pieces=pieces,
    examples=tuple(example for _, example in used),
    num_negative_examples=sum(label == _NEGATIVE for label, _ in used),
    num_dropped_examples=sum(map(len, examples.values())) - len(used),
    shortened=shortened or truncated_text is not None,
    template=template,
  )


def choose_target(*, instance: Instance, condition: Condition) -> str:
  """Returns the reference to train on, drawn by (seed, instance id).

  Args:
    instance: Instance as returned by `instructions.rewrite`.
    condition: Condition that provides the seed.
  """
  random = stable_random(condition.seed, instance.id, 'target')
  return random.choice(instance.outputs)


_POSITIVE, _NEGATIVE = 'Positive', 'Negative'
# Replacements in decoded text by transformers 4.18, which Tk-Instruct pins.
_CLEANED = (
  *((f' {mark}', mark) for mark in '.?!,'),
  (" ' ", "'"),
  *((f' {end}', end) for end in ("n't", "'m", "'s", "'ve", "'re")),
)


def _truncated(pieces: Sequence[str], limit: TokenLimit) -> str | None:
  """Returns the start of a prompt that is too long; None if it fits."""
  if limit.fits(*pieces):
    return None
  ids = limit.encode(''.join(pieces))
  return _clean_up(limit.decode(list(ids)[: limit.max_tokens]))


def _clean_up(text: str) -> str:
  for old, new in _CLEANED:
    text = text.replace(old, new)
  return text


def _altered(
  task: Task,
  instance: Instance,
  condition: Condition,
  tasks: Mapping[str, Task] | None,
) -> tuple[str | None, str, dict[str, Sequence[Example]]]:
  """Returns definition, input and examples by label, under a condition."""
  task, instance = instructions.rewrite(
    task=task, instance=instance, condition=condition
  )
  row = {'task': task, 'instance': instance, 'condition': condition}
  positive = EXAMPLE_LEVELS.get(condition.examples)(**row, tasks=tasks)
  negative = task.negative_examples[: condition.num_negative_examples]
  wording = DEFINITION_LEVELS.get(condition.definition)(**row, tasks=tasks)
  examples = {_POSITIVE: positive, _NEGATIVE: negative}
  return wording, instance.input.strip(), examples


def _fitting_blocks(
  examples: Mapping[str, Sequence[Example]],
  explanations: bool,
  arrange: Callable[[Sequence[str]], tuple[str, ...]],
  limit: TokenLimit | None,
  template: PromptTemplate,
) -> tuple[list[str], list[tuple[str, Example]]]:
  """Returns the blocks that fit, and their examples with their labels.

  Args:
    examples: Label, 'Positive' or 'Negative', to its examples.
    explanations: Whether to include explanations.
    arrange: Function from pieces of examples to those of the prompt.
    limit: Maximum length; None for no limit.
    template: Template of the prompt.
  """
  blocks: list[str] = []
  used: list[tuple[str, Example]] = []
  for label in examples:
    # Of the labels before.
    num_others = len(blocks)
    for number, example in enumerate(examples[label], start=1):
      block = _block(
        template,
        number,
        example.input,
        example.output,
        example.explanation if explanations else None,
        label == _NEGATIVE,
      )
      if limit is not None:
        spaced = _spaced(blocks[:num_others]) + _spaced(blocks[num_others:])
        if not limit.fits(*arrange([*spaced, block])):
          break
      blocks.append(block)
      used.append((label, example))
  return blocks, used


def _arranged(
  parts: Mapping[str, Sequence[str]], blocks: Sequence[str]
) -> tuple[str, ...]:
  """Returns the pieces of a prompt without examples, and the examples.

  Args:
    parts: Pieces of each part, in order; none of the examples.
    blocks: Pieces of the examples.
  """
  pieces = (blocks if name == 'examples' else parts[name] for name in parts)
  return tuple(itertools.chain.from_iterable(pieces))


def _spaced(blocks: Sequence[str]) -> list[str]:
  """Returns blocks separated by spaces, as Tk-Instruct counts them."""
  spaced = [' '] * (2 * len(blocks) - 1)
  spaced[::2] = blocks
  return spaced


# Cached: each instance of a task requests the same blocks.
@functools.lru_cache(maxsize=8192)
def _block(
  template: PromptTemplate,
  number: int,
  text_input: str,
  output: str,
  explanation: str | None,
  is_negative: bool,
) -> str:
  block = template.block(
    number=number,
    input=text_input,
    output=output,
    explanation=explanation,
    is_negative=is_negative,
  )
  return block + template.separator


def _other_wordings(
  task: Task,
  instance: Instance,
  condition: Condition,
  tasks: Mapping[str, Task] | None,
) -> set[str | None]:
  """Returns the definitions at all levels, for a matched budget.

  A level that has no definition for this task, such as `shuffled` for the only
  task of its kind, is ignored.
  """
  if not condition.matched_budget:
    return set()
  wordings: set[str | None] = set()
  for name in DEFINITION_LEVELS.names():
    level = DEFINITION_LEVELS.get(name)
    if level.needs_tasks and tasks is None:
      continue
    other = _with_definition(condition, name)
    new_task, new_instance = instructions.rewrite(
      task=task, instance=instance, condition=other
    )
    with contextlib.suppress(InputError):
      wordings.add(
        level(
          task=new_task, instance=new_instance, condition=other, tasks=tasks
        )
      )
  return wordings


# Cached: each instance requests the same conditions, and checking one is slow.
@functools.lru_cache(maxsize=1024)
def _with_definition(condition: Condition, name: str) -> Condition:
  return dataclasses.replace(condition, definition=name)


def _shorten(
  *,
  wording: str | None,
  text_input: str,
  other_wordings: set[str | None],
  limit: TokenLimit,
  instance_id: str,
  template: PromptTemplate,
) -> tuple[str | None, str, bool]:
  """Cuts the input's middle, then the definition's end, until both fit.

  Returns:
    The definition, the input, and whether either was cut.
  """
  wordings = {wording, *other_wordings}

  def fits(text: str, *shown: str | None) -> bool:
    return all(
      limit.fits(*template.pieces(definition=w, blocks=(), text_input=text))
      for w in shown
    )

  keep = _longest(
    len(text_input),
    lambda n: fits(_cut_middle(text_input, n), *wordings),
  )
  if keep == len(text_input):
    return wording, text_input, False
  # -1 means that some definition alone is too long.
  cut_input = _cut_middle(text_input, max(keep, 0))
  cut_wording = wording
  if keep < 0 and not fits(cut_input, wording):
    whole = wording or ''
    keep = _longest(len(whole), lambda n: fits(cut_input, whole[:n] or None))
    if keep < 0:
      raise InputError(
        f'the limit of {limit.max_tokens} input tokens has no room for the cue '
        f'of a prompt (instance {instance_id!r}); raise '
        "TASK_FEATURE_LENGTHS['inputs'] or --max_input_length."
      )
    cut_wording = whole[:keep] or None
  return (
    cut_wording,
    cut_input,
    (cut_wording, cut_input) != (wording, text_input),
  )


def _cut_middle(text: str, keep: int) -> str:
  """Keeps `keep` characters, half of them from each end.

  >>> _cut_middle('one two three', 7)
  'one ree'
  """
  if keep >= len(text):
    return text
  head, tail = text[: (keep + 1) // 2], text[len(text) - keep // 2 :]
  return f'{head.rstrip()} {tail.lstrip()}'.strip()


def _longest(length: int, fits: Callable[[int], bool]) -> int:
  """Returns the largest n up to `length` that fits, or -1."""
  if fits(length):
    return length
  low, high = -1, length
  while high - low > 1:
    middle = (low + high) // 2
    if fits(middle):
      low = middle
    else:
      high = middle
  return low
