"""A SeqIO vocabulary over a tokenizer.json, or LLaMA's tokenizer.model."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Mapping, Sequence
import hashlib
import itertools
import json
import os
import pathlib
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
import tokenizers

from it_study.checkpoints.hf.tokenizer_json import SPACE
from it_study.data.tokens import llama_sentencepiece
from it_study.data.tokens.prompt_formats import BEGINS, CONTINUES
from it_study.errors import InputError
from it_study.storage import text_files

TOKENIZER = 'tokenizer.json'
CONFIG = 'tokenizer_config.json'
# Files that need not be there.
_TEMPLATE = 'chat_template.jinja'
_GENERATION = 'generation_config.json'
_MODEL = 'config.json'
_ADDED = 'added_tokens.json'
# A control token is written as its name between these two in a prompt, which
# keeps the same name in a text from becoming one. They are private-use
# characters, which no font shows and no corpus holds.
_OPEN, _CLOSE = '\U000ffffc', '\U000ffffd'
_MARKS = dict.fromkeys(map(ord, (_OPEN, _CLOSE, BEGINS, CONTINUES)))
# Parts of a tokenizer.json that add tokens to a text, which prompts do instead.
_WITHOUT = ('post_processor', 'truncation', 'padding')
# Those that may put a space before a text.
_SPACING = ('normalizer', 'pre_tokenizer')


class TokenizerVocabulary(seqio.Vocabulary):
  """The tokens of a decoder-only model.

  Control tokens, such as `<|im_start|>`, are encoded only where `control` wrote
  them. A text that contains their names is encoded as any other text.

  A tokenizer may put a space before every text, as SentencePiece does. Then a
  text that starts with `prompt_formats.CONTINUES` gets none, and what is before
  and after `prompt_formats.BEGINS` are texts of their own.

  Decoding leaves control tokens out.
  """

  def __init__(self, folder: str | os.PathLike[str]):
    """Reads a folder's tokenizer.json and tokenizer_config.json.

    A SentencePiece model, tokenizer.model, stands in for a tokenizer.json that
    is not there.

    Raises:
      InputError: If a file is missing or cannot be used.
    """
    super().__init__()
    self.folder = pathlib.Path(folder)
    # The files may change later; ids are those of now.
    content, self.config, self._files = _read_tokenizer(self.folder)
    self._chat_template = _chat_template(self.folder, self.config)
    try:
      original = tokenizers.Tokenizer.from_buffer(content)
      added = json.loads(content)['added_tokens']
      self._control_ids = {
        token['content']: token['id'] for token in added if token['special']
      }
      fields = _for_prompts(content)
      self.tokenizer = tokenizers.Tokenizer.from_str(json.dumps(fields))
      without = {part: _without_space(fields.get(part)) for part in _SPACING}
      self._pads_texts = without != {part: fields.get(part) for part in without}
      # SentencePiece, unlike a pre-tokenizer, also puts a space before a text
      # that begins with one.
      self._doubles_space = (
        llama_sentencepiece.MODEL in self._files
        and fields['pre_tokenizer'] is not None
      )
      # Encodes what continues a text.
      self._continuing = self.tokenizer
      if self._pads_texts:
        self._continuing = tokenizers.Tokenizer.from_str(
          json.dumps(fields | without)
        )
    # The library raises a bare Exception.
    except Exception as error:
      raise InputError(
        f'{self.folder / TOKENIZER}: cannot be read: {error}. Download it '
        'again.'
      ) from None
    _check_ids(self.folder / TOKENIZER, original, added)
    self._size = original.get_vocab_size()
    self._pieces = [
      original.id_to_token(key) or '' for key in range(self._size)
    ]
    self._control_tokens = {
      id_: name for name, id_ in self._control_ids.items()
    }
    # A tokenizer may also put a token after a text.
    text = original.encode('a')
    has_begin = text.special_tokens_mask[:1] == [1]
    self._bos_id = text.ids[0] if has_begin else None
    self._end_ids = _end_ids(self.folder, self._size)
    settings = [self.config, self._chat_template, self._end_ids]
    settings += [llama_sentencepiece.MODEL] if self._doubles_space else []
    self.sha256 = hashlib.sha256(
      content + json.dumps(settings, sort_keys=True).encode()
    ).hexdigest()

  @property
  def bos_id(self) -> int | None:
    """Id of the token that begins every text; None if texts have none."""
    return self._bos_id

  @property
  def eos_id(self) -> int:
    return self.id_of('eos_token')

  @property
  def other_end_ids(self) -> tuple[int, ...]:
    """Ids of tokens that end an answer besides `eos_id`.

    Models tuned for chats may end a turn otherwise than a text. As transformers
    reads them, they stand in generation_config.json, else in config.json.
    """
    return tuple(id_ for id_ in self._end_ids if id_ != self.eos_id)

  @property
  def pad_id(self) -> int:
    """No token: id 0 is one like any other in most of these vocabularies."""
    return -1

  @property
  def control_tokens(self) -> Mapping[int, str]:
    """Names of the control tokens by id."""
    return self._control_tokens

  @property
  def pieces(self) -> list[str]:
    """Names of all tokens, by id."""
    return self._pieces

  @property
  def unk_id(self) -> int | None:
    """None: a byte-level tokenizer represents every text."""
    return None

  @property
  def _base_vocab_size(self) -> int:
    return self._size

  @property
  def chat_template(self) -> str | None:
    """The Jinja template of a conversation; None if there is none."""
    return self._chat_template

  @property
  def bos_token(self) -> str | None:
    """Name of the token that begins every text; None if texts have none."""
    return next(
      (name for name, id_ in self._control_ids.items() if id_ == self._bos_id),
      None,
    )

  def id_of(self, role: str) -> int:
    """Returns the id of a token that tokenizer_config.json names.

    Args:
      role: Name of the field, such as 'eos_token'.

    Raises:
      InputError: If there is no such token.
    """
    name = self.config.get(role)
    if isinstance(name, Mapping):
      name = name.get('content')
    if not isinstance(name, str) or name not in self._control_ids:
      raise InputError(
        f'{self.folder / CONFIG}: {role} is {name!r}, which is not a '
        'control token of the tokenizer.'
      )
    return self._control_ids[name]

  @property
  def pads_texts(self) -> bool:
    """Whether the tokenizer puts a space before every text."""
    return self._pads_texts

  def control(self, text: str) -> str:
    """Marks the names of control tokens in a template's text as tokens."""
    for name in sorted(self._control_ids, key=len, reverse=True):
      text = text.replace(name, f'{_OPEN}{name}{_CLOSE}')
    return text

  def shown(self, text: str) -> str:
    """Returns a text with control tokens as their names, to read."""
    return text.translate(_MARKS)

  def save(self, folder: pathlib.Path) -> None:
    """Writes files to another folder that make an equal vocabulary."""
    for name, content in self._files.items():
      text_files.write_file(folder / name, content)
    config = json.dumps(self.config)
    text_files.write_file(folder / CONFIG, config.encode())
    if self._chat_template is not None:
      text_files.write_file(folder / _TEMPLATE, self._chat_template.encode())
    if self._end_ids:
      ends = json.dumps({'eos_token_id': self._end_ids})
      text_files.write_file(folder / _GENERATION, ends.encode())

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Encodes many texts at once."""
    ids: list[list[int]] = [[] for _ in texts]
    for tokenizer, continues in (
      (self.tokenizer, False),
      (self._continuing, True),
    ):
      parts = [
        (place, part if continues else self._begun(part))
        for place, text in enumerate(texts)
        if text.startswith(CONTINUES) == continues
        for part in text.removeprefix(CONTINUES).split(BEGINS)
      ]
      encoded = tokenizer.encode_batch(
        [part for _, part in parts], add_special_tokens=False
      )
      for (place, _), encoding in zip(parts, encoded, strict=True):
        ids[place] += encoding.ids
    return ids

  def tokens_of(self, text: str) -> list[tuple[int, str, int]]:
    """Returns id, name and place of each token of a prompt.

    A token's place is that of its last character in the text as shown.
    """
    tokens, start = [], 0
    for part in text.split(BEGINS):
      # Characters that are shown before each one.
      before = list(
        itertools.accumulate((ord(c) not in _MARKS for c in part), initial=0)
      )
      begun = self._begun(part)
      encoding = self.tokenizer.encode(begun, add_special_tokens=False)
      for id_, (_, end) in zip(encoding.ids, encoding.offsets, strict=True):
        end = max(end - len(begun) + len(part), 0)
        place = start + max(before[end] - 1, 0)
        tokens.append((id_, self._pieces[id_], place))
      start += before[-1]
    return tokens

  def _begun(self, text: str) -> str:
    """Returns a text that begins as the tokenizer needs it."""
    is_doubled = self._doubles_space and text.startswith((' ', SPACE))
    return f' {text}' if is_doubled else text

  def _encode(self, s: str) -> list[int]:
    return self.encode_batch([s])[0]

  def _decode(self, ids: Sequence[int]) -> str:
    return self.tokenizer.decode(list(ids), skip_special_tokens=True)

  def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
    def encode(text: np.ndarray | bytes) -> np.ndarray:
      # An array without dimensions outside a graph.
      content = np.asarray(text, object).item()
      return np.array(self._encode(content.decode()), np.int32)

    text = tf.convert_to_tensor(s, tf.string)
    ids = tf.numpy_function(encode, [text], tf.int32, stateful=False)
    return tf.ensure_shape(ids, [None])

  def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
    def decode(ids: np.ndarray) -> bytes:
      return self._decode(ids.tolist()).encode()

    return tf.numpy_function(decode, [ids], tf.string, stateful=False)

  def __eq__(self, other: object) -> bool:
    return (
      isinstance(other, TokenizerVocabulary) and self.sha256 == other.sha256
    )

  def __hash__(self) -> int:
    return hash(self.sha256)


def _read_tokenizer(
  folder: pathlib.Path,
) -> tuple[bytes, dict[str, Any], dict[str, bytes]]:
  """Returns contents of a tokenizer.json and of tokenizer_config.json.

  Also returns the contents of the files that hold the tokens, by name.
  """
  path = folder / llama_sentencepiece.MODEL
  if (folder / TOKENIZER).exists() or not path.is_file():
    content = _read(folder / TOKENIZER)
    config = _parse(folder / CONFIG, _read(folder / CONFIG))
    return content, config, {TOKENIZER: content}
  config = llama_sentencepiece.DEFAULTS | _read_if_there(folder / CONFIG)
  added = _read_if_there(folder / _ADDED)
  model = _read(path)
  fields = llama_sentencepiece.make_tokenizer(
    path, model, config=config, added=added
  )
  files = {path.name: model, _ADDED: json.dumps(added).encode()}
  return json.dumps(fields).encode(), config, files


def _read(path: pathlib.Path) -> bytes:
  try:
    return path.read_bytes()
  except OSError as error:
    raise InputError(
      f'{path}: cannot be read: {error.strerror or error}. A vocabulary of a '
      f'decoder-only model is a folder with {TOKENIZER} and {CONFIG}.'
    ) from None


def _parse(path: pathlib.Path, content: bytes) -> dict[str, Any]:
  try:
    return text_files.parse_object(content, where=str(path))
  except InputError as error:
    raise InputError(f'{error} Download it again.') from None


def _read_if_there(path: pathlib.Path) -> dict[str, Any]:
  return _parse(path, _read(path)) if path.is_file() else {}


def _chat_template(
  folder: pathlib.Path, config: Mapping[str, Any]
) -> str | None:
  """Returns the template for a conversation, as transformers finds it.

  Raises:
    InputError: If it is neither a text nor a list of named texts.
  """
  path = folder / _TEMPLATE
  if path.is_file():
    return text_files.read_text(path)
  found = config.get('chat_template')
  if isinstance(found, list):
    named = {
      template.get('name'): template.get('template')
      for template in found
      if isinstance(template, dict)
    }
    found = named.get('default')
  if found is not None and not isinstance(found, str):
    raise InputError(
      f'{folder / CONFIG}: chat_template must be a text or a list of named '
      f'texts, got {found!r:.60}.'
    )
  return found


def _end_ids(folder: pathlib.Path, size: int) -> list[int]:
  """Returns the ids of the tokens that end an answer, as the files give them.

  Raises:
    InputError: If one of them is not a token.
  """
  for name in (_GENERATION, _MODEL):
    ids = _read_if_there(folder / name).get('eos_token_id')
    if ids is None:
      continue
    ids = ids if isinstance(ids, list) else [ids]
    for id_ in ids:
      if type(id_) is not int or not 0 <= id_ < size:
        raise InputError(
          f'{folder / name}: eos_token_id is {id_!r:.60}; expected ids of '
          f'tokens, from 0 to {size - 1}.'
        )
    return sorted({*ids})
  return []


def _check_ids(
  path: pathlib.Path,
  tokenizer: tokenizers.Tokenizer,
  added: Sequence[Mapping[str, Any]],
) -> None:
  """Refuses added tokens that the library gives another id than the file."""
  for token in added:
    found = tokenizer.token_to_id(token['content'])
    if found != token['id']:
      raise InputError(
        f'{path}: the added token {token["content"]!r:.60} has the id '
        f'{token["id"]}, but is read as {found}, which would be another row of '
        'the embedding table. Add tokens for the ids between.'
      )


def _for_prompts(content: bytes) -> dict[str, Any]:
  """Returns a tokenizer.json in which control tokens have marked names.

  Texts are split as in inference: without dropout of merges, which would be
  drawn anew each time.
  """
  fields: dict[str, Any] = json.loads(content)
  if 'dropout' in fields['model']:
    fields['model']['dropout'] = None
  for name in _WITHOUT:
    fields[name] = None
  vocabulary = fields['model']['vocab']
  for token in fields['added_tokens']:
    if not token['special']:
      continue
    name = token['content']
    token['content'] = f'{_OPEN}{name}{_CLOSE}'
    # Otherwise white space beside it would be taken for a part of it.
    token['lstrip'] = token['rstrip'] = False
    if name in vocabulary:
      vocabulary[token['content']] = vocabulary.pop(name)
    if fields['model'].get('unk_token') == name:
      fields['model']['unk_token'] = token['content']
  return fields


def _without_space(part: Any) -> Any:
  """Returns a part of a tokenizer.json that puts no space before a text."""
  if isinstance(part, list):
    return [kept for item in part if (kept := _without_space(item)) is not None]
  if not isinstance(part, dict):
    return part
  if part.get('type') == 'Prepend':
    return None
  never = {'prepend_scheme': 'never', 'add_prefix_space': False}
  return {
    name: never.get(name, _without_space(value)) for name, value in part.items()
  }
