"""Small SentencePiece models."""

import functools
import io

import sentencepiece
import seqio

from it_study.corpus import natinst
from it_study.corpus.miniature import (
  benchmark as mini_corpus,
  vocabulary as mini_vocabulary,
)

_TEXTS = (
  'Is it hot or cold? It is hot...',
  'Say (yes) or no; then count 1, 2, 3.',
  'Now complete the following example - Input: tea. Output: ',
  'Positive Example 1 - Negative Example 2 - Definition:',
  'aaaa oooo .... scooping snow, and scoops of ice-cream!',
  'élan naïve œuvre 茶。 ½ ﬁne',
)
# Settings under which a prompt's tokens are those of its pieces.
KINDS = {
  'unigram': {},
  'bytes': {'byte_fallback': True},
  'bpe': {'model_type': 'bpe'},
  'folded': {'normalization_rule_name': 'nmt_nfkc_cf'},
  'words_of_two': {'user_defined_symbols': ['\u2581it\u2581is', '<mask>']},
}
# Settings under which they may not be.
OTHERS = {
  'identity': {'normalization_rule_name': 'identity'},
  'no_line_breaks': {'normalization_rule_name': 'nfkc'},
  'no_prefix': {'add_dummy_prefix': False},
  'all_spaces': {'remove_extra_whitespaces': False},
  'suffix': {'treat_whitespace_as_suffix': True},
  'across': {'user_defined_symbols': ['.\u2581Now']},
  'line_break': {'user_defined_symbols': ['\n']},
}


def write_model(path, *, texts=(), **settings):
  """A SentencePiece model of a few words, with T5's special ids."""
  model = io.BytesIO()
  special = {'pad_id': 0, 'eos_id': 1, 'unk_id': 2, 'bos_id': -1, **settings}
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(
      ['a red hat', 'a blue cup', 'yes or no', *texts] * 20
    ),
    model_writer=model,
    vocab_size=40,
    hard_vocab_limit=False,
    minloglevel=2,
    **special,
  )
  path.write_bytes(model.getvalue())
  return path


def add_pieces(path, model, pieces):
  """Writes a model with further pieces, and returns its path."""
  proto = sentencepiece.sentencepiece_model_pb2.ModelProto()
  proto.ParseFromString(model.read_bytes())
  for piece in pieces:
    proto.pieces.add(piece=piece, score=0.0, type=4)
  path.write_bytes(proto.SerializeToString())
  return path


@functools.cache
def model_of_kind(kind: str, folder) -> bytes:
  if kind == 'miniature':
    directory = mini_corpus.write_miniature(
      folder / 'corpus', size=mini_corpus.SMALL
    )
    return mini_vocabulary.train_vocabulary(
      corpus=natinst.open_corpus(directory), path=folder / 'trained.model'
    ).read_bytes()
  stem = io.BytesIO()
  fields = {**KINDS, **OTHERS}[kind]
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(_TEXTS * 20),
    model_writer=stem,
    hard_vocab_limit=False,
    vocab_size=360 if 'byte_fallback' in fields else 110,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
    **fields,
  )
  return stem.getvalue()


@functools.cache
def vocabulary_of_kind(kind: str, folder) -> seqio.Vocabulary:
  if kind == 'byte':
    return seqio.ByteVocabulary()
  path = folder / f'{kind}.model'
  path.write_bytes(model_of_kind(kind, folder))
  return seqio.SentencePieceVocabulary(str(path))
