"""Makes a tokenizer.json of a SentencePiece model such as LLaMA 1's and 2's."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Mapping
import pathlib
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from it_study.checkpoints.hf import tokenizer_json
from it_study.data.tokens import sentencepiece_models
from it_study.errors import InputError
from it_study.storage import git_lfs

MODEL = 'tokenizer.model'
# What transformers' LlamaTokenizer takes if tokenizer_config.json does not say.
DEFAULTS = {
  'bos_token': '<s>',
  'eos_token': '</s>',
  'unk_token': '<unk>',
  'add_bos_token': True,
  'legacy': False,
}


def make_tokenizer(
  path: pathlib.Path,
  content: bytes,
  *,
  config: Mapping[str, Any],
  added: Mapping[str, int],
) -> dict[str, Any]:
  """Returns the content of a tokenizer.json with the same tokens.

  They are those of transformers' LlamaTokenizer: a space is put before a text,
  with `legacy` also before what follows a control token, as SentencePiece
  itself does with every piece of a conversation.

  Args:
    path: Path of the model, for error messages.
    content: Serialised SentencePiece model.
    config: Content of tokenizer_config.json, with `DEFAULTS`.
    added: Content of added_tokens.json: ids of tokens that were added.

  Raises:
    InputError: If it is no SentencePiece model, or not of LLaMA's kind, or the
      added tokens are damaged.
  """
  proto = _parse(path, content)
  pieces = [piece.piece for piece in proto.pieces]
  scheme = 'always' if config.get('legacy') else 'first'
  begin = _name_of(config.get('bos_token'))
  begins = config.get('add_bos_token') and begin in pieces
  return tokenizer_json.sentencepiece_bpe(
    pieces,
    scores=[piece.score for piece in proto.pieces],
    types=[piece.type for piece in proto.pieces],
    unknown=pieces[proto.trainer_spec.unk_id],
    added=_added_tokens(path, proto, config, added),
    begin=begin if begins else None,
    prefix=scheme if proto.normalizer_spec.add_dummy_prefix else None,
  )


def _added_tokens(
  path: pathlib.Path,
  proto: Any,
  config: Mapping[str, Any],
  added: Mapping[str, int],
) -> list[dict[str, Any]]:
  """Returns the model's control tokens, and those that were added."""
  names: dict[int, str] = {}
  plain: set[int] = set()
  try:
    names |= {int(id_): str(name) for name, id_ in added.items()}
    for id_, token in (config.get('added_tokens_decoder') or {}).items():
      names[int(id_)] = _name_of(token)
      if isinstance(token, Mapping) and token.get('special') is False:
        plain.add(int(id_))
  except (AttributeError, TypeError, ValueError):
    raise InputError(
      f'{path.parent}: added_tokens.json or added_tokens_decoder in '
      'tokenizer_config.json is damaged. Download them again.'
    ) from None
  for id_, piece in enumerate(proto.pieces):
    if piece.type in (piece.CONTROL, piece.UNKNOWN):
      names[id_] = piece.piece
      plain.discard(id_)
  return [
    tokenizer_json.added_token(id_, name, is_special=id_ not in plain)
    for id_, name in sorted(names.items())
  ]


def _name_of(token: Any) -> str:
  """Returns the name of a token, which may be an object with more fields."""
  return str(token.get('content') if isinstance(token, Mapping) else token)


def _parse(path: pathlib.Path, content: bytes) -> Any:
  """Returns the model; raises `InputError` if it is not of LLaMA's kind."""
  git_lfs.check(path, content)
  if sentencepiece_models.processor_of(content) is None:
    raise InputError(
      f'{path}: not a SentencePiece model; it may be truncated. Download it '
      'again.'
    )
  # The class is generated at import, so mypy does not see it.
  proto = sentencepiece_model_pb2.ModelProto.FromString(content)  # type: ignore[attr-defined]
  normalizer, trainer = proto.normalizer_spec, proto.trainer_spec
  user_defined = sum(piece.type == piece.USER_DEFINED for piece in proto.pieces)
  for lacks, found in (
    ('is not BPE', trainer.model_type != trainer.BPE),
    ('has no byte fallback', not trainer.byte_fallback),
    ('normalizes texts', bool(normalizer.precompiled_charsmap)),
    ('removes white space', normalizer.remove_extra_whitespaces),
    ('does not mark spaces', not normalizer.escape_whitespaces),
    ('puts spaces after words', trainer.treat_whitespace_as_suffix),
    ('has user-defined tokens', user_defined),
  ):
    if found:
      raise InputError(
        f'{path}: a SentencePiece model that {lacks} is not supported as the '
        'tokenizer of a decoder-only model; those of LLaMA 1 and 2 are. Add '
        "the model's tokenizer.json."
      )
  return proto
