"""The limit on prompts under a vocabulary, and how it counts their tokens."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable, Sequence
import functools
import re
import string

from sentencepiece import sentencepiece_model_pb2
import seqio

from it_study.data import vocabularies
from it_study.data.tokens.prompt_formats import PromptFormat
from it_study.instructions import prompts

_PLAIN = PromptFormat()
# Two segmentations of a word can be equally likely up to rounding, and rounding
# depends on all of the text before it. Such words are rare: in 7,618 prompts of
# 436 tokens, the sum over pieces differed from the whole 4 times, by one token.
_MARGIN = 16
# The normalisers that turn line breaks into spaces.
_NORMALIZERS = ('nmt_nfkc', 'nmt_nfkc_cf')


def token_limit(
  *,
  vocabulary: seqio.Vocabulary,
  max_tokens: int | None,
  around: PromptFormat = _PLAIN,
) -> prompts.TokenLimit | None:
  """Returns the limit on a prompt under a vocabulary; None for no limit.

  Args:
    vocabulary: Vocabulary of the prompt.
    max_tokens: Maximum number of tokens, end-of-sequence included; None for no
      limit.
    around: Text around the prompt, whose tokens count.
  """
  if max_tokens is None:
    return None

  def decode(ids: Sequence[int]) -> str:
    # Tk-Instruct skips special tokens, including the unknown token; SeqIO would
    # write a placeholder.
    return vocabulary.decode([i for i in ids if i != vocabulary.unk_id])

  count, margin = _counter(vocabulary) if around == _PLAIN else (None, 0)
  return prompts.TokenLimit(
    encode=lambda text: vocabulary.encode(around.apply(text)),
    decode=decode,
    max_tokens=max_tokens,
    num_added=int(vocabularies.ends_inputs(vocabulary)),
    count=count,
    margin=margin,
  )


@functools.lru_cache(maxsize=8)
def counts_add_up(model: bytes) -> bool:
  """Whether a prompt's token count is the sum over its pieces.

  A piece ends in ASCII punctuation and line breaks, and the next begins with a
  letter, perhaps after a space. So the counts add up, except for rounding, if
  white space becomes one marker at the beginning of a word and no token holds
  that marker after punctuation: then no token spans two pieces. T5's own model
  qualifies.

  Args:
    model: Serialised SentencePiece model.
  """
  # The class is generated at import, so mypy does not see it.
  proto = sentencepiece_model_pb2.ModelProto.FromString(model)  # type: ignore[attr-defined]
  normalizer = proto.normalizer_spec
  if not (
    normalizer.add_dummy_prefix
    and normalizer.remove_extra_whitespaces
    and normalizer.escape_whitespaces
    and normalizer.name in _NORMALIZERS
    and not proto.trainer_spec.treat_whitespace_as_suffix
  ):
    return False
  pieces = {piece.piece for piece in proto.pieces}
  # If the marker were unknown, it would merge with an unknown before it.
  return _MARK in pieces and not any(map(_SPANS_PIECES.search, pieces))


_MARK = '\u2581'
_SPANS_PIECES = re.compile(rf'[{re.escape(string.punctuation)}]{_MARK}|\s')


def _counter(
  vocabulary: seqio.Vocabulary,
) -> tuple[Callable[[str], int] | None, int]:
  """The `count` and `margin` of a `TokenLimit`."""
  if isinstance(vocabulary, seqio.ByteVocabulary):
    return lambda piece: len(piece.encode()), 0
  if not isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return None, 0
  if not counts_add_up(vocabulary.sp_model):
    return None, 0
  encode = vocabulary.tokenizer.encode

  @functools.lru_cache(maxsize=8192)
  def count(piece: str) -> int:
    return len(encode(piece))

  return count, _MARGIN
