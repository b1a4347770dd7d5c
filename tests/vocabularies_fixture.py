"""Small SentencePiece models."""

import io

import sentencepiece


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
