"""Parts of a tokenizer.json, and the whole of one like SentencePiece's BPE."""

from collections.abc import Sequence
from typing import Any

# A space in the tokens of SentencePiece.
SPACE = '\u2581'
# Types of tokens, by the same numbers in SentencePiece and GGUF.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4


def sentencepiece_bpe(
  tokens: Sequence[str],
  *,
  scores: Sequence[float],
  types: Sequence[int],
  unknown: str,
  added: Sequence[dict[str, Any]],
  begin: str | None,
  prefix: str | None,
) -> dict[str, Any]:
  """Returns a tokenizer.json with the tokens of a SentencePiece BPE model.

  Args:
    tokens: Tokens by id.
    scores: Scores of the tokens; of two pairs, the one whose token has the
      higher score is merged first.
    types: Types of the tokens; only `NORMAL` ones are merged from others.
    unknown: Token for what cannot be encoded.
    added: Tokens that are matched as they are, from `added_token`.
    begin: Token that begins every text; None for none.
    prefix: Where a space is put before a text: 'always', also after a control
      token; 'first', only at the beginning; or None, nowhere.
  """
  escape = {'type': 'Replace', 'pattern': {'String': ' '}, 'content': SPACE}
  # `Metaspace` puts no space before a text that begins with one.
  normalizer: Any = escape
  if prefix == 'always':
    prepend = {'type': 'Prepend', 'prepend': SPACE}
    normalizer = {'type': 'Sequence', 'normalizers': [prepend, escape]}
  metaspace = {
    'type': 'Metaspace',
    'replacement': SPACE,
    'prepend_scheme': 'first',
    'split': False,
  }
  is_first = prefix == 'first'
  return {
    'version': '1.0',
    'truncation': None,
    'padding': None,
    'added_tokens': list(added),
    'normalizer': None if is_first else normalizer,
    'pre_tokenizer': metaspace if is_first else None,
    'post_processor': None
    if begin is None
    else begin_with(begin, tokens.index(begin)),
    'decoder': {
      'type': 'Sequence',
      'decoders': [
        {'type': 'Replace', 'pattern': {'String': SPACE}, 'content': ' '},
        {'type': 'ByteFallback'},
        {'type': 'Fuse'},
        {
          'type': 'Strip',
          'content': ' ',
          'start': int(prefix is not None),
          'stop': 0,
        },
      ],
    },
    'model': {
      'type': 'BPE',
      'dropout': None,
      'unk_token': unknown,
      'continuing_subword_prefix': None,
      'end_of_word_suffix': None,
      'fuse_unk': True,
      'byte_fallback': True,
      'ignore_merges': False,
      'vocab': {token: index for index, token in enumerate(tokens)},
      'merges': _merges(tokens, scores, types),
    },
  }


def added_token(id_: int, name: str, *, is_special: bool) -> dict[str, Any]:
  """Returns a token of a tokenizer.json that is matched as it is."""
  return {
    'id': id_,
    'content': name,
    'single_word': False,
    'lstrip': False,
    'rstrip': False,
    'normalized': False,
    'special': is_special,
  }


def begin_with(token: str, token_id: int) -> dict[str, Any]:
  """Returns the post-processor that puts a token before every text."""

  def text(name: str) -> dict[str, Any]:
    return {'Sequence': {'id': name, 'type_id': 0}}

  begin = {'SpecialToken': {'id': token, 'type_id': 0}}
  return {
    'type': 'TemplateProcessing',
    'single': [begin, text('A')],
    'pair': [begin, text('A'), text('B')],
    'special_tokens': {
      token: {'id': token, 'ids': [token_id], 'tokens': [token]}
    },
  }


def _merges(
  tokens: Sequence[str], scores: Sequence[float], types: Sequence[int]
) -> list[tuple[str, str]]:
  """Returns the pairs that BPE merges, in order: the best token first."""
  normal = {
    token: score
    for token, score, type_ in zip(tokens, scores, types, strict=True)
    if type_ == NORMAL
  }
  return [
    (token[:end], token[end:])
    for token in sorted(normal, key=normal.__getitem__, reverse=True)
    for end in range(1, len(token))
    if token[:end] in normal and token[end:] in normal
  ]
