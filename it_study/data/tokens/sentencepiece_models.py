"""Loads SentencePiece models."""

import sentencepiece


def processor_of(content: bytes) -> sentencepiece.SentencePieceProcessor | None:
  """Returns a model's processor; None if it is no model, or has no pieces."""
  processor = sentencepiece.SentencePieceProcessor()
  try:
    is_loaded = processor.LoadFromSerializedProto(content)
  except RuntimeError:
    return None
  return processor if is_loaded and processor.vocab_size() else None
