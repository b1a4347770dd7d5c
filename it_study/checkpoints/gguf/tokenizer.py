"""Makes a Hugging Face folder's tokenizer files from a GGUF file's fields."""

from collections.abc import Mapping
import json
from typing import Any

from it_study.checkpoints.hf import tokenizer_json
from it_study.errors import InputError, nearest

_BYTES = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True}
_SPLIT_QWEN = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
  r' ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
_SPLIT_LLAMA3 = _SPLIT_QWEN.replace(r'|\p{N}|', r'|\p{N}{1,3}|')
# What llama.cpp takes for LLaMA's SentencePiece model if the file does not say.
_SENTENCEPIECE_DEFAULTS = {
  'ggml.bos_token_id': 1,
  'ggml.eos_token_id': 2,
  'ggml.unknown_token_id': 0,
  'ggml.add_bos_token': True,
  'ggml.add_space_prefix': True,
}
# Tokens that end an answer: of a text, of a turn, and before a tool's answer.
_ENDS = ('eos', 'eot', 'eom')
_ADDED = (
  tokenizer_json.UNKNOWN,
  tokenizer_json.CONTROL,
  tokenizer_json.USER_DEFINED,
)


def _split(pattern: str) -> dict[str, Any]:
  return {
    'type': 'Split',
    'pattern': {'Regex': pattern},
    'behavior': 'Isolated',
    'invert': False,
  }


# By the name of the pre-tokenizer: the normalizer, the pre-tokenizers, and
# whether it is Llama 3's: then whole words in the vocabulary need no merges,
# and texts begin with a token unless the file says otherwise.
_PRE_TOKENIZERS: dict[str, tuple[Any, list[dict[str, Any]], bool]] = {
  'smollm': (
    None,
    [
      {'type': 'Digits', 'individual_digits': True},
      {**_BYTES, 'use_regex': True},
    ],
    False,
  ),
  'qwen2': (
    {'type': 'NFC'},
    [_split(_SPLIT_QWEN), {**_BYTES, 'use_regex': False}],
    False,
  ),
  'llama-bpe': (
    None,
    [_split(_SPLIT_LLAMA3), {**_BYTES, 'use_regex': False}],
    True,
  ),
}


def tokenizer_files(
  fields: Mapping[str, Any], *, source: str
) -> dict[str, str]:
  """Returns tokenizer.json, tokenizer_config.json and others by name.

  generation_config.json is among them if several tokens end an answer.

  Args:
    fields: Fields of the tokenizer in a GGUF file, without 'tokenizer.'.
    source: Path of the file, for error messages.

  Raises:
    InputError: If the tokenizer is neither LLaMA's SentencePiece model nor a
      byte-level BPE of a known kind, or a field is missing or damaged.
  """
  model, kind = fields.get('ggml.model'), fields.get('ggml.pre')
  if model == 'llama':
    fields = {**_SENTENCEPIECE_DEFAULTS, **fields}
    make, needed = _sentencepiece, ('tokens', 'token_type', 'scores')
  elif model == 'gpt2' and kind in _PRE_TOKENIZERS:
    is_llama3 = _PRE_TOKENIZERS[kind][-1]
    fields = {'ggml.add_bos_token': is_llama3, **fields}
    make, needed = _byte_level, ('tokens', 'token_type', 'merges')
  else:
    raise InputError(
      f'{source}: the tokenizer {model!r} with the pre-tokenizer {kind!r} is '
      'not supported in GGUF; supported are llama, and gpt2 with '
      f'{", ".join(_PRE_TOKENIZERS)}.{nearest(str(kind), _PRE_TOKENIZERS)} Use '
      "the model's folder in Hugging Face's format."
    )
  for name in (*needed, 'eos_token_id'):
    if f'ggml.{name}' not in fields:
      raise InputError(
        f'{source}: the field tokenizer.ggml.{name} is missing. Download the '
        'file again.'
      )
  _check_sizes(fields, source)
  if model == 'llama':
    _check_merges(fields, source)
  tokenizer = make(fields)
  ends = {
    fields[f'ggml.{name}_token_id']
    for name in _ENDS
    if f'ggml.{name}_token_id' in fields
  }
  texts = {
    'tokenizer.json': json.dumps(tokenizer, ensure_ascii=False) + '\n',
    'tokenizer_config.json': json.dumps(_config(fields), indent=2) + '\n',
  }
  if len(ends) > 1:
    generation = {'eos_token_id': sorted(ends)}
    texts['generation_config.json'] = json.dumps(generation, indent=2) + '\n'
  return texts


def _sentencepiece(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the tokenizer.json of a SentencePiece BPE model such as LLaMA's.

  As in llama.cpp, a space is also put before what follows a control token.
  """
  tokens = fields['ggml.tokens']
  return tokenizer_json.sentencepiece_bpe(
    tokens,
    scores=fields['ggml.scores'],
    types=fields['ggml.token_type'],
    unknown=tokens[fields['ggml.unknown_token_id']],
    added=_added_tokens(fields),
    begin=_begin(fields),
    prefix='always' if fields['ggml.add_space_prefix'] else None,
  )


def _byte_level(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the tokenizer.json of a byte-level BPE."""
  normalizer, pre_tokenizers, is_llama3 = _PRE_TOKENIZERS[fields['ggml.pre']]
  tokens, begin = fields['ggml.tokens'], _begin(fields)
  return {
    'version': '1.0',
    'truncation': None,
    'padding': None,
    'added_tokens': _added_tokens(fields),
    'normalizer': normalizer,
    'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': pre_tokenizers},
    'post_processor': None
    if begin is None
    else tokenizer_json.begin_with(begin, tokens.index(begin)),
    'decoder': {**_BYTES, 'use_regex': True},
    'model': {
      'type': 'BPE',
      'dropout': None,
      'unk_token': None,
      'continuing_subword_prefix': None,
      'end_of_word_suffix': None,
      'fuse_unk': False,
      'byte_fallback': False,
      'ignore_merges': is_llama3,
      'vocab': {token: index for index, token in enumerate(tokens)},
      'merges': [merge.split(' ') for merge in fields['ggml.merges']],
    },
  }


def _check_sizes(fields: Mapping[str, Any], source: str) -> None:
  """Refuses lists of another length than the tokens', and ids beyond them."""
  size = len(fields['ggml.tokens'])
  for name in ('ggml.token_type', 'ggml.scores'):
    if name in fields and len(fields[name]) != size:
      raise InputError(
        f'{source}: tokenizer.{name} has {len(fields[name])} values for {size} '
        'tokens. Download the file again.'
      )
  for name in ('bos', 'unknown', *_ENDS):
    value = fields.get(f'ggml.{name}_token_id', 0)
    if not 0 <= value < size:
      raise InputError(
        f'{source}: tokenizer.ggml.{name}_token_id is {value}, but there are '
        f'{size} tokens. Download the file again.'
      )


def _check_merges(fields: Mapping[str, Any], source: str) -> None:
  """Refuses a SentencePiece model that does not say how texts are split."""
  tokens, scores = fields['ggml.tokens'], fields['ggml.scores']
  bytes_ = {f'<0x{byte:02X}>' for byte in range(256)}
  merged = {
    score
    for token, score, type_ in zip(
      tokens, scores, fields['ggml.token_type'], strict=True
    )
    if type_ == tokenizer_json.NORMAL and len(token) > 1
  }
  for lacks, found in (
    ('has no tokens of single bytes', not bytes_.issubset(tokens)),
    # As of conversions without the SentencePiece model.
    ('gives all tokens the same score', len(merged) == 1),
  ):
    if found:
      raise InputError(
        f'{source}: the tokenizer {lacks}, so that texts cannot be split as '
        "the model expects. Use the model's folder in Hugging Face's format."
      )


def _begin(fields: Mapping[str, Any]) -> str | None:
  """Returns the token that begins every text; None if there is none."""
  bos_id = fields.get('ggml.bos_token_id')
  if bos_id is None or not fields['ggml.add_bos_token']:
    return None
  return fields['ggml.tokens'][bos_id]


def _added_tokens(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the control tokens, and the tokens that users added."""
  typed = zip(fields['ggml.tokens'], fields['ggml.token_type'], strict=True)
  return [
    tokenizer_json.added_token(
      index, token, is_special=type_ != tokenizer_json.USER_DEFINED
    )
    for index, (token, type_) in enumerate(typed)
    if type_ in _ADDED
  ]


def _config(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the content of tokenizer_config.json."""
  tokens = fields['ggml.tokens']
  config: dict[str, Any] = {
    'tokenizer_class': 'PreTrainedTokenizerFast',
    'add_bos_token': bool(fields['ggml.add_bos_token']),
    'clean_up_tokenization_spaces': False,
  }
  for name, theirs in (
    ('bos', 'bos_token'),
    ('eos', 'eos_token'),
    ('unknown', 'unk_token'),
    ('padding', 'pad_token'),
  ):
    index = fields.get(f'ggml.{name}_token_id')
    # Files of tuned models may name a token for padding that is not there.
    if index is not None and index < len(tokens):
      config[theirs] = tokens[index]
  if 'chat_template' in fields:
    config['chat_template'] = fields['chat_template']
  return config
