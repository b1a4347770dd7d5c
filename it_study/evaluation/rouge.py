"""ROUGE-1 and ROUGE-L F-measure, as the rouge_score package computes them."""

from collections import Counter
from collections.abc import Callable, Sequence
import functools
import os
import pathlib
import re

from it_study.errors import InputError, nearest_path

Tokenizer = Callable[[str], Sequence[str]]

_NOT_IN_A_WORD = re.compile('[^a-z0-9]+')
# rouge_score leaves shorter words as they are.
_LONGEST_UNSTEMMED = 3
# The stem of a longer word begins with the same two letters as the word:
# Porter's rules cut or change an end that is at most three letters long
# ('ing'), or leave two letters at least (a measure above 0); so do the longer
# ones of NLTK's irregular forms.
_LONGEST_THAT_LOSES_ITS_START = 5
# Longer texts are rarely seen twice, and would fill the memory.
_LONGEST_KEPT = 4096


class Rouge:
  """Scores texts by the words they share.

  Lin (2004): ROUGE-1 counts the words in common, ROUGE-L the words of the
  longest common subsequence; the F-measure is 2 P R / (P + R). The same numbers
  as rouge_score, many times as fast: what comes again is looked up, a word is
  stemmed only if the other text has one that it might equal, and the
  subsequence is found by rapidfuzz's bit-parallel algorithm (Hyyrö 2004).

  Args:
    tokenizer: splits a text into words, which are compared as they are; None
      takes rouge_score's own with stems, which Super-NaturalInstructions uses
      on its English track.
  """

  def __init__(self, tokenizer: Tokenizer | None = None):
    self._is_stemmed = tokenizer is None
    self._tokenize = tokenizer or words
    self._kept_words = functools.lru_cache(maxsize=1 << 16)(self._split)
    self._kept_pairs = functools.lru_cache(maxsize=1 << 16)(self._score)

  def score(self, prediction: str, reference: str) -> tuple[float, float]:
    """ROUGE-1 and ROUGE-L F-measure, each from 0 to 1.

    >>> Rouge().score('the cats sat', 'cat sat the')
    (1.0, 0.6666666666666666)
    """
    if len(prediction) + len(reference) > _LONGEST_KEPT:
      return self._score(prediction, reference)
    return self._kept_pairs(prediction, reference)

  def has_words(self, text: str) -> bool:
    """Whether anything is left of a text once it is split into words."""
    return bool(self._words(text)[0])

  def _score(self, prediction: str, reference: str) -> tuple[float, float]:
    predicted, predicted_starts = self._words(prediction)
    wanted, wanted_starts = self._words(reference)
    if not predicted or not wanted:
      return 0.0, 0.0
    if predicted == wanted:
      return 1.0, 1.0
    # Words that have no like in the other text count in the lengths alone.
    ours = self._comparable(predicted, predicted_starts, wanted_starts)
    theirs = self._comparable(wanted, wanted_starts, predicted_starts)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    if not shared:
      return 0.0, 0.0
    from rapidfuzz.distance import LCSseq

    numbers: dict[str, int] = {}
    longest = LCSseq.similarity(
      *(
        [numbers.setdefault(word, len(numbers)) for word in several]
        for several in (ours, theirs)
      )
    )
    lengths = len(predicted), len(wanted)
    return _f_measure(shared, *lengths), _f_measure(longest, *lengths)

  def _words(self, text: str) -> '_Words':
    return (
      self._split(text) if len(text) > _LONGEST_KEPT else self._kept_words(text)
    )

  def _split(self, text: str) -> '_Words':
    """A text's words, and by their first letters the one that has them."""
    found = list(self._tokenize(text))
    if not self._is_stemmed:
      return found, dict(zip(found, found, strict=True))
    starts: dict[str, str | None] = {}
    for word in found:
      start = word[:2]
      if starts.setdefault(start, word) != word:
        starts[start] = None
    return found, starts

  def _comparable(
    self,
    found: list[str],
    starts: dict[str, str | None],
    others: dict[str, str | None],
  ) -> list[str]:
    """The words that may have a like in the other text, stemmed if need be."""
    if not self._is_stemmed:
      return [word for word in found if word in others]
    kept = []
    for word in found:
      if len(word) > _LONGEST_THAT_LOSES_ITS_START:
        start = word[:2]
        if start not in others:
          continue
        if word == others[start] == starts[start]:
          # No other word begins like it in either text.
          kept.append(word)
          continue
      kept.append(word if len(word) <= _LONGEST_UNSTEMMED else _stem(word))
    return kept


# Words in order; first letters to the one word that has them, None if several.
_Words = tuple[list[str], dict[str, str | None]]


def words(text: str) -> list[str]:
  """Words of ASCII letters and digits, in lower case.

  >>> words("The Cats' café")
  ['the', 'cats', 'caf']
  """
  return _NOT_IN_A_WORD.sub(' ', text.lower()).split()


def byte_pair_words(path: str | os.PathLike[str]) -> Tokenizer:
  """The tokenizer of the cross-lingual track: GPT-2's, from a local file.

  As Super-NaturalInstructions does, the marks of a space before a word are
  taken off each token, so that the first word of a text is like any other.

  Args:
    path: of GPT-2's `tokenizer.json`, or of a folder that holds it.

  Raises:
    InputError: if the file or the tokenizers package is missing, or it is no
      tokenizer.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    path = path / 'tokenizer.json'
  if not path.is_file():
    raise InputError(
      f"{path}: no such file. The cross-lingual track needs GPT-2's "
      'tokenizer.json, which lies beside its weights on model hubs; copy it '
      f'here and name it.{nearest_path(path)}'
    )
  try:
    import tokenizers
  except ImportError:
    raise InputError(
      'the cross-lingual track needs the tokenizers package; install it with '
      "pip install 'it_study[xlingual]'."
    ) from None
  try:
    tokenizer = tokenizers.Tokenizer.from_file(os.fspath(path))
  # The package raises bare Exceptions.
  except Exception as error:
    raise InputError(
      f'{path}: not a tokenizer.json: {str(error).splitlines()[0]:.200}.'
    ) from None

  def tokenize(text: str) -> list[str]:
    tokens = tokenizer.encode(text, add_special_tokens=False).tokens
    return [token.lstrip('Ġ') for token in tokens]

  return tokenize


def _f_measure(shared: int, predicted: int, wanted: int) -> float:
  # In the order of operations of rouge_score, down to the last bit.
  precision, recall = shared / predicted, shared / wanted
  if precision + recall > 0:
    return 2 * precision * recall / (precision + recall)
  return 0.0


@functools.lru_cache(maxsize=1 << 17)
def _stem(word: str) -> str:
  return _stemmer().stem(word)


@functools.cache
def _stemmer():
  # Imported here, as it takes most of a second.
  from nltk.stem import porter

  return porter.PorterStemmer()
