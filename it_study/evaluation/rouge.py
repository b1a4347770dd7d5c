"""ROUGE-1 and ROUGE-L F-measure, as the rouge_score package computes them."""

from collections import Counter
from collections.abc import Callable, Sequence
import functools
import os
import pathlib
import re
from typing import TYPE_CHECKING

from it_study.errors import InputError, nearest_path
from it_study.storage.storage_path import expanded

if TYPE_CHECKING:
  from nltk.stem import porter

Tokenizer = Callable[[str], Sequence[str]]

_NOT_IN_A_WORD = re.compile('[^a-z0-9]+')
# rouge_score does not stem words of at most this many letters.
_LONGEST_UNSTEMMED = 3
# The stem of a longer word begins with the word's first two letters: Porter's
# rules change an ending of at most three letters ('ing') or leave at least two
# letters (a measure above 0). So do NLTK's longer irregular forms.
_LONGEST_THAT_LOSES_ITS_START = 5
# Longer texts rarely repeat and would fill the memory.
_LONGEST_CACHED = 4096


class Rouge:
  """Scores texts by the words they share.

  ROUGE-1 counts common words, ROUGE-L the words of the longest common
  subsequence; the F-measure is 2 P R / (P + R) (Lin 2004). Gives the same
  numbers as rouge_score many times faster: repeated texts are cached, a word is
  stemmed only if the other text has one that it might equal, and rapidfuzz
  finds the subsequence with a bit-parallel algorithm (Hyyrö 2004).

  Args:
    tokenizer: Function that splits a text into words, which are not stemmed;
      None for that of rouge_score with Porter stems, which
      Super-NaturalInstructions uses on its English track.
  """

  def __init__(self, tokenizer: Tokenizer | None = None):
    self._is_stemmed = tokenizer is None
    self._tokenize = tokenizer or words
    self._cached_words = functools.lru_cache(maxsize=1 << 16)(self._split)
    self._cached_pairs = functools.lru_cache(maxsize=1 << 16)(self._score)

  def score(self, prediction: str, reference: str) -> tuple[float, float]:
    """Returns ROUGE-1 and ROUGE-L F-measure, each from 0 to 1.

    >>> Rouge().score('the cats sat', 'cat sat the')
    (1.0, 0.6666666666666666)
    """
    if len(prediction) + len(reference) > _LONGEST_CACHED:
      return self._score(prediction, reference)
    return self._cached_pairs(prediction, reference)

  def has_words(self, text: str) -> bool:
    """Returns whether a text has any words."""
    return bool(self._words(text)[0])

  def _score(self, prediction: str, reference: str) -> tuple[float, float]:
    predicted, predicted_starts = self._words(prediction)
    expected, expected_starts = self._words(reference)
    if not predicted or not expected:
      return 0.0, 0.0
    if predicted == expected:
      return 1.0, 1.0
    # Words without a counterpart in the other text count only in the lengths.
    ours = self._comparable(predicted, predicted_starts, expected_starts)
    theirs = self._comparable(expected, expected_starts, predicted_starts)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    if not shared:
      return 0.0, 0.0
    from rapidfuzz.distance import LCSseq

    numbers: dict[str, int] = {}
    longest = LCSseq.similarity(
      *(
        [numbers.setdefault(word, len(numbers)) for word in sequence]
        for sequence in (ours, theirs)
      )
    )
    lengths = len(predicted), len(expected)
    return _f_measure(shared, *lengths), _f_measure(longest, *lengths)

  def _words(self, text: str) -> '_Words':
    if len(text) > _LONGEST_CACHED:
      return self._split(text)
    return self._cached_words(text)

  def _split(self, text: str) -> '_Words':
    tokens = list(self._tokenize(text))
    starts: dict[str, str | None] = {}
    if not self._is_stemmed:
      starts.update(zip(tokens, tokens, strict=True))
      return tokens, starts
    for word in tokens:
      start = word[:2]
      if starts.setdefault(start, word) != word:
        starts[start] = None
    return tokens, starts

  def _comparable(
    self,
    tokens: list[str],
    starts: dict[str, str | None],
    other_starts: dict[str, str | None],
  ) -> list[str]:
    """Returns the words that may equal one of the other text, stemmed."""
    if not self._is_stemmed:
      return [word for word in tokens if word in other_starts]
    comparable = []
    for word in tokens:
      if len(word) > _LONGEST_THAT_LOSES_ITS_START:
        start = word[:2]
        if start not in other_starts:
          continue
        if word == other_starts[start] == starts[start]:
          # No other word of either text starts like it: its stem is not needed.
          comparable.append(word)
          continue
      comparable.append(
        word if len(word) <= _LONGEST_UNSTEMMED else _stem(word)
      )
    return comparable


# Words in order, and the only word with given first letters, None if several.
_Words = tuple[list[str], dict[str, str | None]]


def words(text: str) -> list[str]:
  """Splits a text into lower-case words of ASCII letters and digits.

  >>> words("The Cats' café")
  ['the', 'cats', 'caf']
  """
  return _NOT_IN_A_WORD.sub(' ', text.lower()).split()


def byte_pair_words(path: str | os.PathLike[str]) -> Tokenizer:
  """Loads GPT-2's tokenizer, which the cross-lingual track uses, from a file.

  Like Super-NaturalInstructions, removes the space marker from each token, so
  that the first word of a text is like any other.

  Args:
    path: Path of GPT-2's `tokenizer.json`, or of the folder that holds it.

  Raises:
    InputError: If the file or the tokenizers package is missing, or the file is
      not a tokenizer.
  """
  path = pathlib.Path(expanded(path))
  if path.is_dir():
    path = path / 'tokenizer.json'
  if not path.is_file():
    raise InputError(
      f"{path}: no such file. The cross-lingual track needs GPT-2's "
      'tokenizer.json, which model hubs publish with its weights; download it '
      f'and pass its path.{nearest_path(path)}'
    )
  try:
    import tokenizers
  except ImportError:
    raise InputError(
      'the cross-lingual track needs the tokenizers package. Install it with '
      "pip install 'it_study[xlingual]'."
    ) from None
  try:
    tokenizer = tokenizers.Tokenizer.from_file(os.fspath(path))
  # The package raises plain Exceptions.
  except Exception as error:
    raise InputError(
      f'{path}: not a tokenizer.json: {str(error).splitlines()[0]:.200}.'
    ) from None

  def tokenize(text: str) -> list[str]:
    tokens = tokenizer.encode(text, add_special_tokens=False).tokens
    return [token.lstrip('Ġ') for token in tokens]

  return tokenize


def _f_measure(shared: int, predicted: int, expected: int) -> float:
  # The same order of operations as rouge_score, for identical rounding.
  precision, recall = shared / predicted, shared / expected
  if precision + recall > 0:
    return 2 * precision * recall / (precision + recall)
  return 0.0


@functools.lru_cache(maxsize=1 << 17)
def _stem(word: str) -> str:
  return _stemmer().stem(word)


@functools.cache
def _stemmer() -> 'porter.PorterStemmer':
  # Imported here because nltk takes most of a second to load.
  from nltk.stem import porter

  return porter.PorterStemmer()
