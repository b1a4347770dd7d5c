"""Judges definitions that lack some words or sentences, or their order."""

from collections.abc import Iterator, Sequence
import math
import re

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.levels.definitions import (
  DefinitionVerdict,
  compared,
  judge_original,
)
from it_study.audit.certificates.originals import RawTask
from it_study.seeding import stable_hash

# Documented shares in percent.
_SHARES = {'keep25': 25, 'keep50': 50, 'keep75': 75}
LEVELS = (*_SHARES, 'wordshuffled', 'nolabels')


def judge(
  piece: str, task: RawTask, *, level: str, seed: int, cut: bool
) -> DefinitionVerdict:
  """Judges a definition at one of `LEVELS`.

  Args:
    piece: Definition in the prompt.
    task: Task as read by `originals.read_task`.
    level: Level that the definition claims.
    seed: Seed of the condition on the row's side of the split.
    cut: Whether a token limit may have cut the definition.
  """
  if level == 'nolabels':
    return _judge_nolabels(piece, task, cut=cut)
  original = task.definition.split()
  ranks = [
    stable_hash(
      seed, task.name, place, 'keep' if level in _SHARES else 'wordshuffled'
    )
    for place in range(len(original))
  ]
  ranked = sorted(range(len(original)), key=ranks.__getitem__)
  shown = piece.removeprefix('Definition: ').removesuffix('\n\n').split()
  if level in _SHARES:
    count = math.ceil(_SHARES[level] * len(original) / 100)
    ranked = sorted(ranked[:count])
    code = _of_kept(shown, original, count)
  else:
    code = 'wordshuffled-order'
    if sorted(_bare(shown)) != sorted(_bare(original)):
      code = 'wordshuffled-words'
    if ranked == sorted(ranked):
      ranked = [*ranked[1:], *ranked[:1]]
  text = ' '.join(original[place] for place in ranked)
  whole = anatomy.definition_piece(text)
  return compared(code, piece, whole, text, cut=cut)


def _judge_nolabels(
  piece: str, task: RawTask, *, cut: bool
) -> DefinitionVerdict:
  if task.labels is None:
    return judge_original(piece, task, cut=cut)
  text = ''.join(
    sentence
    for sentence in _sentences(task.definition)
    if not any(_names(sentence, label) for label in task.labels)
  ).strip()
  shown = piece.removeprefix('Definition: ')
  code = 'nolabels-text'
  if any(_names(shown, label) for label in task.labels):
    code = 'nolabels-label'
  whole = anatomy.definition_piece(text) if text else ''
  return compared(code, piece, whole, text, cut=cut)


def _of_kept(shown: Sequence[str], original: Sequence[str], count: int) -> str:
  """Returns the code of a failure for kept words that are not as expected."""
  if len(shown) != count:
    return 'kept-count'
  rest = iter(_bare(original))
  return (
    'kept-choice'
    if all(word in rest for word in _bare(shown))
    else 'kept-order'
  )


def _bare(words: Sequence[str]) -> list[str]:
  """Returns words without the full stop that a prompt may have added."""
  return [word.removesuffix('.') for word in words]


def _sentences(text: str) -> Iterator[str]:
  """Yields sentences by the documented rule, with the white space after each.

  A sentence ends at a line break, or at white space after a mark unless a
  lower-case letter follows or the mark is that of 'i.e.' or 'e.g.'.
  """
  start = 0
  for space in re.finditer(r'\s+', text):
    before = text[start : space.start()].rstrip('"\')]’”')
    after = text[space.end() : space.end() + 1]
    ends = before.endswith(('.', '!', '?')) and not (
      before.endswith(('i.e.', 'e.g.')) or ('a' <= after <= 'z')
    )
    if ends or '\n' in space[0]:
      yield text[start : space.end()]
      start = space.end()
  yield text[start:]


def _names(sentence: str, label: str) -> bool:
  """Returns whether a sentence names a label by the documented rule."""
  label = label.strip()
  if not re.search(r'\w', label):
    return label in sentence
  if len(label) > 1:
    sentence, label = sentence.lower(), label.lower()
  words, wanted = (re.findall(r'\w+', text) for text in (sentence, label))
  return any(
    words[start : start + len(wanted)] == wanted for start in range(len(words))
  )
