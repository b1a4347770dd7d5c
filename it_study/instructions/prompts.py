"""The prompt of a row under a condition, as Tk-Instruct feeds its model."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import functools
import string

from it_study import instructions
from it_study.conditions import (
  DEFINITION_LEVELS,
  EXAMPLE_LEVELS,
  Condition,
)
from it_study.corpus.schema import Example, Instance, Task
from it_study.errors import InputError
from it_study.seeding import stable_random


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenLimit:
  """How many tokens a prompt may have, and how they are counted.

  Attributes:
    encode: text to token ids, without end-of-sequence.
    decode: token ids to text, for `tk_truncation`.
    max_tokens: the limit, end-of-sequence included.
    count: None, or the number of tokens of one piece of a prompt, for a
      vocabulary under which the pieces' numbers add up to the prompt's. It
      should remember them, as instances of a task share most pieces.
    margin: how far such a sum may be from the number of the prompt's tokens.
  """

  encode: Callable[[str], Sequence[int]]
  decode: Callable[[Sequence[int]], str]
  max_tokens: int
  count: Callable[[str], int] | None = None
  margin: int = 0

  def fits(self, *pieces: str) -> bool:
    """Whether the text that the pieces make when joined is within the limit."""
    if self.count is not None:
      spare = self.max_tokens - 1 - sum(map(self.count, pieces))
      if spare >= self.margin:
        return True
      if spare < -self.margin:
        return False
    return len(self.encode(''.join(pieces))) + 1 <= self.max_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
  """A rendered prompt and what had to be left out of it.

  Attributes:
    text: what the model sees; ends in 'Output: ' unless `tk_truncation` cut it.
    pieces: definition, one block an example, and query, which joined make the
      text, or what it was before `tk_truncation` cut it; the definition's is
      empty where there is none. Every piece but the last ends in a line break.
    examples: those in the pieces, positive ones first.
    num_dropped_examples: examples of the condition that did not fit.
    shortened: whether definition or instance was cut.
  """

  text: str
  pieces: tuple[str, ...]
  examples: tuple[Example, ...]
  num_dropped_examples: int
  shortened: bool


def render(
  *,
  task: Task,
  instance: Instance,
  condition: Condition,
  limit: TokenLimit | None = None,
  tasks: Mapping[str, Task] | None = None,
) -> Prompt:
  """Renders the prompt of one instance under a condition.

  The format is that of Tk-Instruct's collator (Wang et al. 2022): pieces are
  stripped, and a full stop is added to a finished piece whose last character
  is no ASCII punctuation.

      Definition: Say yes if the door is open.

       Positive Example 1 -
      Input: The door is shut.
       Output: no.

      Now complete the following example -
      Input: The door is open.
      Output:

  With a limit, examples are added in order while definition, kept examples
  (joined by a space for this count), candidate and query fit, and adding stops
  at the first that does not. Where definition and query alone are too long the
  middle of the instance's input is cut, then the end of the definition. Under
  `tk_truncation` the end of the whole text is, cue included, and what is left
  is tidied as Tk-Instruct's tokenizer tidies what it decodes; as there, the
  tokens of that fill the limit without end-of-sequence, for which one more is
  cut before they reach the model.

  Args:
    task: of the instance.
    instance: the row to render.
    condition: levels, numbers of examples, what to do when it is too long.
    limit: None renders everything.
    tasks: all tasks on the same side of the split, for a level that needs
      them; a `LazyTasks`, as looking through them is remembered for it. Without
      it a matched budget leaves such levels out.

  Raises:
    InputError: if not even the cue fits the limit, or the condition's own level
      needs `tasks`.
  """
  real_task, real_instance = task, instance
  task, instance = instructions.rewrite(
    task=task, instance=instance, condition=condition
  )
  seen = {'task': task, 'instance': instance, 'condition': condition}
  positive = EXAMPLE_LEVELS.get(condition.examples)(**seen, tasks=tasks)
  negative = task.negative_examples[: condition.num_negative_examples]
  wording = DEFINITION_LEVELS.get(condition.definition)(**seen, tasks=tasks)
  text_input = instance.input.strip()
  shortened = False
  if limit is not None and not condition.tk_truncation:
    wording, text_input, shortened = _shorten(
      wording=wording,
      text_input=text_input,
      others=_other_wordings(real_task, real_instance, condition, tasks),
      limit=limit,
      instance_id=instance.id,
    )
  definition, query = _definition(wording), _query(text_input)
  blocks: dict[str, list[str]] = {'Positive': [], 'Negative': []}
  used: list[Example] = []
  for label, examples in (('Positive', positive), ('Negative', negative)):
    for number, example in enumerate(examples, start=1):
      block = _example(label, number, example, condition.explanations)
      if limit is not None:
        kept = (*_spaced(blocks['Positive']), *_spaced(blocks['Negative']))
        if not limit.fits(definition, *kept, block, query):
          break
      blocks[label].append(block)
      used.append(example)
  kept = [*blocks['Positive'], *blocks['Negative']]
  pieces = (definition, *kept, query)
  text = ''.join(pieces)
  if limit is not None and condition.tk_truncation and not limit.fits(*pieces):
    ids = list(limit.encode(text))[: limit.max_tokens]
    text = _clean_up(limit.decode(ids))
    shortened = True
  elif limit is not None:
    # A vocabulary may take more tokens without the space that was counted.
    while kept and not limit.fits(*pieces):
      del kept[-1], used[-1]
      pieces = (definition, *kept, query)
      text = ''.join(pieces)
  return Prompt(
    text=text,
    pieces=pieces,
    examples=tuple(used),
    num_dropped_examples=len(positive) + len(negative) - len(used),
    shortened=shortened,
  )


def choose_target(*, instance: Instance, condition: Condition) -> str:
  """The reference to train on, drawn by (seed, instance id).

  Args:
    instance: as `perturb.rewrite` leaves it under the condition.
    condition: gives the seed.
  """
  random = stable_random(condition.seed, instance.id, 'target')
  return random.choice(instance.outputs)


# What transformers 4.18, which Tk-Instruct pins, replaces in a decoded text.
_CLEANED = (
  *((f' {mark}', mark) for mark in '.?!,'),
  (" ' ", "'"),
  *((f' {end}', end) for end in ("n't", "'m", "'s", "'ve", "'re")),
)


def _clean_up(text: str) -> str:
  for found, cleaned in _CLEANED:
    text = text.replace(found, cleaned)
  return text


def _finish(piece: str) -> str:
  return piece if piece[-1] in string.punctuation else piece + '.'


def _definition(wording: str | None) -> str:
  if wording is None:
    return ''
  return _finish(f'Definition: {wording.strip()}') + '\n\n'


def _query(text_input: str) -> str:
  piece = _finish(f'Input: {text_input.strip()}')
  return f'Now complete the following example -\n{piece}\nOutput: '


def _spaced(blocks: Sequence[str]) -> list[str]:
  """Blocks with a space between any two, as Tk-Instruct counts them."""
  spaced = [' '] * (2 * len(blocks) - 1)
  spaced[::2] = blocks
  return spaced


def _example(
  label: str, number: int, example: Example, with_explanation: bool
) -> str:
  explanation = example.explanation if with_explanation else None
  return _block(label, number, example.input, example.output, explanation)


# Asked for by every instance of a task.
@functools.lru_cache(maxsize=8192)
def _block(
  label: str, number: int, text_input: str, output: str, explanation: str | None
) -> str:
  block = f' {label} Example {number} -\n'
  block += _finish(f'Input: {text_input.strip()}') + '\n'
  block += _finish(f' Output: {output.strip()}') + '\n'
  if explanation is not None:
    block += _finish(f' Explanation: {explanation.strip()}') + '\n'
  return block + '\n'


def _other_wordings(
  task: Task,
  instance: Instance,
  condition: Condition,
  tasks: Mapping[str, Task] | None,
) -> set[str | None]:
  """What the definition would be at every other level, for a matched budget.

  A level that has nothing for this task, as `shuffled` has not for the only one
  of its kind, is in no condition to be matched.
  """
  if not condition.matched_budget:
    return set()
  wordings = set()
  for name in DEFINITION_LEVELS.names():
    level = DEFINITION_LEVELS.get(name)
    if level.needs_tasks and tasks is None:
      continue
    other = dataclasses.replace(condition, definition=name)
    seen_task, seen_instance = instructions.rewrite(
      task=task, instance=instance, condition=other
    )
    with contextlib.suppress(InputError):
      wordings.add(
        level(
          task=seen_task, instance=seen_instance, condition=other, tasks=tasks
        )
      )
  return wordings


def _shorten(
  *,
  wording: str | None,
  text_input: str,
  others: set[str | None],
  limit: TokenLimit,
  instance_id: str,
) -> tuple[str | None, str, bool]:
  """Cuts the input's middle, then the definition's end, until both fit."""
  wordings = {wording, *others}

  def fits(wording: str | None, text: str) -> bool:
    return limit.fits(_definition(wording), _query(text))

  keep = _longest(
    len(text_input),
    lambda n: all(fits(w, _cut_middle(text_input, n)) for w in wordings),
  )
  if keep == len(text_input):
    return wording, text_input, False
  # -1 says that some definition alone is too long.
  cut_input = _cut_middle(text_input, max(keep, 0))
  cut_wording = wording
  if keep < 0 and not fits(wording, cut_input):
    keep = _longest(
      len(wording or ''), lambda n: fits(wording[:n] if n else None, cut_input)
    )
    if keep < 0:
      raise InputError(
        f'the limit of {limit.max_tokens} input tokens has no room for the cue '
        f'of a prompt (instance {instance_id!r}); raise '
        "TASK_FEATURE_LENGTHS['inputs'] or --max_input_length."
      )
    cut_wording = wording[:keep] if keep else None
  return (
    cut_wording,
    cut_input,
    (cut_wording, cut_input) != (wording, text_input),
  )


def _cut_middle(text: str, keep: int) -> str:
  """Keeps `keep` characters, half of them from either end.

  >>> _cut_middle('one two three', 7)
  'one ree'
  """
  if keep >= len(text):
    return text
  head, tail = text[: (keep + 1) // 2], text[len(text) - keep // 2 :]
  return f'{head.rstrip()} {tail.lstrip()}'.strip()


def _longest(length: int, fits: Callable[[int], bool]) -> int:
  """The largest n up to `length` that fits, -1 if none does."""
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
