"""Definition levels that keep some of the words, or none in its place."""

from collections.abc import Callable, Iterator
import dataclasses
import functools
import re

from it_study.conditions import Condition
from it_study.corpus.schema import Instance, Task
from it_study.seeding import stable_hash

# A sentence ends at a line break, or at a mark and perhaps a closing quote or
# bracket, unless it goes on in lower case or the mark is that of 'i.e.'.
_SENTENCE_END = re.compile(
  r'\n\s*|(?<!i\.e\.)(?<!e\.g\.)(?<=[.!?])["\')\]’”]*\s+(?![a-z\s])'
)
_WORD = re.compile(r'\w+')


@dataclasses.dataclass(frozen=True)
class KeptWords:
  """A level that shows a random share of the definition's words.

  The words keep their order, and one space separates them. Each word has a rank
  that depends on the seed, the task and the word's place, and those of lowest
  rank are kept. So the words of a smaller share are among those of a larger
  one.

  >>> KeptWords(50)(task=task, instance=instance, condition=Condition())
  'if the is'

  Attributes:
    percent: Share of the words in percent, rounded up to a whole word.
  """

  percent: int

  def __call__(
    self, *, task: Task, instance: Instance, condition: Condition
  ) -> str:
    del instance
    return _kept(task.name, task.definition, self.percent, condition.seed)


keep25, keep50, keep75 = KeptWords(25), KeptWords(50), KeptWords(75)


def wordshuffled(
  *, task: Task, instance: Instance, condition: Condition
) -> str:
  """Returns the definition's words in another, random order.

  The order depends on the seed, the task and each word's place. It differs from
  the original one wherever two words differ.
  """
  del instance
  return _shuffled(task.name, task.definition, condition.seed)


def nolabels(
  *, task: Task, instance: Instance, condition: Condition
) -> str | None:
  """Returns the definition without the sentences that name a label.

  A label is named if its words stand side by side, in any case; a label of a
  single character is named in its own case only, or 'A' would remove every
  sentence with an article. A label without letters and digits is named where it
  occurs. The definition of a generation task has no output space and stays.

  'Read it. Say yes or no.' becomes 'Read it.'

  Returns:
    The remaining sentences; None if none is left.
  """
  del instance, condition
  if task.label_space is None:
    return task.definition
  return _without_labels(task.definition, task.label_space)


@functools.lru_cache(maxsize=8192)
def _kept(name: str, definition: str, percent: int, seed: int) -> str:
  words = definition.split()
  # Rounded up, in whole numbers.
  count = -(-len(words) * percent // 100)
  kept = _by_rank(len(words), seed, name, 'keep')[:count]
  return ' '.join(words[index] for index in sorted(kept))


@functools.lru_cache(maxsize=8192)
def _shuffled(name: str, definition: str, seed: int) -> str:
  words = definition.split()
  order = _by_rank(len(words), seed, name, 'wordshuffled')
  shuffled = [words[index] for index in order]
  if shuffled == words:
    shuffled = [*words[1:], *words[:1]]
  return ' '.join(shuffled)


def _by_rank(count: int, seed: int, name: str, purpose: str) -> list[int]:
  """Returns the places of words, by the stable hash of each."""
  return sorted(
    range(count), key=lambda index: stable_hash(seed, name, index, purpose)
  )


@functools.lru_cache(maxsize=8192)
def _without_labels(definition: str, labels: tuple[str, ...]) -> str | None:
  named = [_finder(label) for label in labels]
  kept = [
    sentence
    for sentence in _sentences(definition)
    if not any(names(sentence) for names in named)
  ]
  return ''.join(kept).strip() or None


def _sentences(text: str) -> Iterator[str]:
  """Yields the sentences of a text, with the white space after each."""
  start = 0
  for match in _SENTENCE_END.finditer(text):
    yield text[start : match.end()]
    start = match.end()
  yield text[start:]


def _finder(label: str) -> Callable[[str], bool]:
  """Returns a function that tells whether a sentence names a label."""
  is_short = len(label.strip()) == 1

  def words_of(text: str) -> str:
    words = _WORD.findall(text if is_short else text.lower())
    return f' {" ".join(words)} '

  words = words_of(label)
  if not words.strip():
    return lambda sentence: label.strip() in sentence
  return lambda sentence: words in words_of(sentence)
