"""Small SentencePiece models with LLaMA's settings, and texts for them."""

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

PROMPTS = (
  'Definition: In this task, you are given a sentence about an animal. Say '
  '"yes" if the animal is a bird, and "no" if it is not.\n\nPositive Example 1 '
  '-\nInput: The robin sings.\nOutput: yes.\n\nNow complete the following '
  'example -\nInput: The cat sleeps.\nOutput: ',
  'Definition: Given 2 numbers, 1207 and 35, add;  keep\ttabs.\r\n\nOutput:',
  'Ist das «naïve» 猫 \U0001f408 <s>[INST] </s> <unk> <0x0A> ▁ a  b?',
  'x',
  # As Tk-Instruct's prompts begin without a definition.
  ' Positive Example 1 -\nInput: The robin sings.',
  '   three spaces, and    four',
  '▁',
  '',
)
# LLaMA's settings, but for the size.
SETTINGS = {
  'model_type': 'bpe',
  'vocab_size': 420,
  'byte_fallback': True,
  'character_coverage': 0.99,
  'normalization_rule_name': 'identity',
  'remove_extra_whitespaces': False,
  'allow_whitespace_only_pieces': True,
  'split_digits': True,
  'minloglevel': 2,
}


def train(path, **settings):
  """Writes a small model, and returns its content."""
  words = ' '.join(PROMPTS[:2]).split()
  with path.open('wb') as file:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter([*PROMPTS[:2], ' '.join(reversed(words))] * 20),
      model_writer=file,
      **{**SETTINGS, **settings},
    )
  return path.read_bytes()


def reference(model):
  """Returns SentencePiece's own tokenizer."""
  return sentencepiece.SentencePieceProcessor(model_proto=model)


def with_spaces(model):
  """Gives a model tokens of several spaces, with scores as in LLaMA's.

  They have low ids, and the lowest score, all the same one.
  """
  proto = sentencepiece_model_pb2.ModelProto.FromString(model)
  normal = [piece for piece in proto.pieces if piece.type == piece.NORMAL]
  longer = [piece for piece in normal if len(piece.piece) > 1]
  longer[0].piece, longer[1].piece = '▁▁', '▁▁▁'
  for piece in normal:
    if not piece.piece.strip('▁'):
      piece.score = -1e9
  return proto.SerializeToString()
