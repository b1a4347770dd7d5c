"""Trains the miniature's SentencePiece vocabulary on its training tasks."""

from collections.abc import Iterator
import io
import pathlib
import re

import sentencepiece

from it_study.corpus.natinst import Corpus
from it_study.errors import InputError
from it_study.storage.storage_path import expanded
from it_study.storage.text_files import write_file

VOCAB_SIZE = 1000
# Texts that every prompt contains, one piece each. As single words they would
# be half of a short prompt.
PROMPT_PIECES = (
  'Definition:',
  'Possible outputs:',
  'Positive Example 1 -',
  'Positive Example 2 -',
  'Positive Example',
  'Negative Example 1 -',
  'Negative Example 2 -',
  'Negative Example',
  'Explanation:',
  'Now complete the following example -',
  'Input:',
  'Output:',
)
# How often each word is repeated in the training text, to make it a piece.
_WORD_WEIGHT = 100


def train_vocabulary(
  *,
  corpus: Corpus,
  path: str | pathlib.Path,
  vocab_size: int = VOCAB_SIZE,
) -> pathlib.Path:
  """Trains and writes a unigram model; the same bytes for the same corpus.

  It is trained on definitions, examples and training instances of the training
  tasks, never on held-out instances or test tasks. Special ids are those of T5:
  padding 0, end of sequence 1, unknown 2, no beginning of sequence. Unknown
  characters are encoded as bytes. In a small corpus, most words become one
  piece.

  Args:
    corpus: Corpus whose training tasks are read.
    path: Path of the model file.
    vocab_size: Maximum number of pieces; a corpus with fewer words has fewer.

  Returns:
    The path, for `seqio.SentencePieceVocabulary`.

  Raises:
    InputError: If `vocab_size` is too small or the file cannot be written.
  """
  texts = list(_texts(corpus))
  words = dict.fromkeys(
    word for text in texts for word in re.findall(r'[^\W\d_]+', text)
  )
  for piece in (*words, *'0123456789-'):
    texts += [piece] * _WORD_WEIGHT
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(texts),
      model_writer=model,
      model_type='unigram',
      vocab_size=vocab_size,
      hard_vocab_limit=False,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      byte_fallback=True,
      character_coverage=1.0,
      user_defined_symbols=[
        '\u2581' + piece.replace(' ', '\u2581') for piece in PROMPT_PIECES
      ],
      num_threads=1,
      minloglevel=2,
    )
  except RuntimeError as error:
    reason = str(error).splitlines()[0]
    raise InputError(
      f'cannot train a vocabulary of {vocab_size} pieces: {reason} '
      f'The default is {VOCAB_SIZE}.'
    ) from None
  path = pathlib.Path(expanded(path))
  try:
    write_file(path, model.getvalue())
  except OSError as error:
    raise InputError(
      f'cannot write the vocabulary {path}: {error.strerror or error}. Name a '
      'path that can be written.'
    ) from None
  return path


def _texts(corpus: Corpus) -> Iterator[str]:
  for name in corpus.train_tasks:
    task = corpus.load(name).task
    yield task.definition
    for example in (*task.positive_examples, *task.negative_examples):
      yield from (example.input, example.output, example.explanation or '')
    for instance in corpus.instances(name, 'train'):
      yield from (instance.input, *instance.outputs)
