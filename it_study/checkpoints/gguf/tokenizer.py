"""Makes a Hugging Face folder's tokenizer files from a GGUF file's fields."""

from collections.abc import Mapping
import json
from typing import Any

from it_study.errors import InputError, nearest

# Token types of GGUF: control tokens, and tokens that users added.
_CONTROL, _USER_DEFINED = 3, 4
_BYTES = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True}
_SPLIT_QWEN = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
  r' ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
_SPLIT_LLAMA3 = _SPLIT_QWEN.replace(r'|\p{N}|', r'|\p{N}{1,3}|')


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
    InputError: If the tokenizer is not a byte-level BPE of a known kind, or a
      field is missing.
  """
  model, kind = fields.get('ggml.model'), fields.get('ggml.pre')
  if model != 'gpt2' or kind not in _PRE_TOKENIZERS:
    raise InputError(
      f'{source}: the tokenizer {model!r} with the pre-tokenizer {kind!r} is '
      'not supported in GGUF; supported is gpt2 with '
      f'{", ".join(_PRE_TOKENIZERS)}.{nearest(str(kind), _PRE_TOKENIZERS)} Use '
      "the model's folder in Hugging Face's format."
    )
  normalizer, pre_tokenizers, is_llama3 = _PRE_TOKENIZERS[kind]
  for name in ('tokens', 'token_type', 'merges', 'eos_token_id'):
    if f'ggml.{name}' not in fields:
      raise InputError(
        f'{source}: the field tokenizer.ggml.{name} is missing. Download the '
        'file again.'
      )
  tokens = fields['ggml.tokens']
  add_bos = bool(fields.get('ggml.add_bos_token', is_llama3))
  bos_id = fields.get('ggml.bos_token_id')
  tokenizer = {
    'version': '1.0',
    'truncation': None,
    'padding': None,
    'added_tokens': _added_tokens(fields),
    'normalizer': normalizer,
    'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': pre_tokenizers},
    'post_processor': begin_with(tokens[bos_id], bos_id)
    if add_bos and bos_id is not None
    else None,
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
  config = _config(fields, add_bos=add_bos)
  ends = {
    fields[f'ggml.{name}_token_id']
    for name in ('eos', 'eot', 'eom')
    if f'ggml.{name}_token_id' in fields
  }
  generation = {'eos_token_id': sorted(ends)}
  return {
    'tokenizer.json': json.dumps(tokenizer, ensure_ascii=False) + '\n',
    'tokenizer_config.json': json.dumps(config, indent=2) + '\n',
    **(
      {'generation_config.json': json.dumps(generation, indent=2) + '\n'}
      if len(ends) > 1
      else {}
    ),
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


def _added_tokens(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the control tokens, and the tokens that users added."""
  typed = zip(fields['ggml.tokens'], fields['ggml.token_type'], strict=True)
  return [
    added_token(index, token, is_special=type_ == _CONTROL)
    for index, (token, type_) in enumerate(typed)
    if type_ in (_CONTROL, _USER_DEFINED)
  ]


def _config(fields: Mapping[str, Any], *, add_bos: bool) -> dict[str, Any]:
  """Returns the content of tokenizer_config.json."""
  tokens = fields['ggml.tokens']
  config: dict[str, Any] = {
    'tokenizer_class': 'PreTrainedTokenizerFast',
    'add_bos_token': add_bos,
    'clean_up_tokenization_spaces': False,
  }
  for name, theirs in (
    ('bos', 'bos_token'),
    ('eos', 'eos_token'),
    ('unknown', 'unk_token'),
    ('padding', 'pad_token'),
  ):
    index = fields.get(f'ggml.{name}_token_id')
    if index is not None:
      config[theirs] = tokens[index]
  if 'chat_template' in fields:
    config['chat_template'] = fields['chat_template']
  return config
