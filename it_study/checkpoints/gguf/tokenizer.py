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
# whether whole words in the vocabulary need no merges.
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
  """Returns tokenizer.json and tokenizer_config.json by name.

  Args:
    fields: Fields of the tokenizer in a GGUF file, without 'tokenizer.'.
    source: Path of the file, for error messages.

  Raises:
    InputError: If the tokenizer is not a byte-level BPE of a known kind.
  """
  model, kind = fields.get('ggml.model'), fields.get('ggml.pre')
  if model != 'gpt2' or kind not in _PRE_TOKENIZERS:
    raise InputError(
      f'{source}: the tokenizer {model!r} with the pre-tokenizer {kind!r} is '
      'not supported in GGUF; supported is gpt2 with '
      f'{", ".join(_PRE_TOKENIZERS)}.{nearest(str(kind), _PRE_TOKENIZERS)} Use '
      "the model's folder in Hugging Face's format."
    )
  normalizer, pre_tokenizers, ignores_merges = _PRE_TOKENIZERS[kind]
  tokens = fields['ggml.tokens']
  added = [
    {
      'id': index,
      'content': token,
      'single_word': False,
      'lstrip': False,
      'rstrip': False,
      'normalized': False,
      'special': type_ == _CONTROL,
    }
    for index, (token, type_) in enumerate(
      zip(tokens, fields['ggml.token_type'], strict=True)
    )
    if type_ in (_CONTROL, _USER_DEFINED)
  ]
  tokenizer = {
    'version': '1.0',
    'truncation': None,
    'padding': None,
    'added_tokens': added,
    'normalizer': normalizer,
    'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': pre_tokenizers},
    'post_processor': None,
    'decoder': {**_BYTES, 'use_regex': True},
    'model': {
      'type': 'BPE',
      'dropout': None,
      'unk_token': None,
      'continuing_subword_prefix': None,
      'end_of_word_suffix': None,
      'fuse_unk': False,
      'byte_fallback': False,
      'ignore_merges': ignores_merges,
      'vocab': {token: index for index, token in enumerate(tokens)},
      'merges': [merge.split(' ') for merge in fields['ggml.merges']],
    },
  }
  config: dict[str, Any] = {
    'tokenizer_class': 'PreTrainedTokenizerFast',
    'add_bos_token': bool(fields.get('ggml.add_bos_token', False)),
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
  return {
    'tokenizer.json': json.dumps(tokenizer, ensure_ascii=False) + '\n',
    'tokenizer_config.json': json.dumps(config, indent=2) + '\n',
  }
