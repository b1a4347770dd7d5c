"""Reads what a Hugging Face folder says about its vocabulary."""

import pathlib
from typing import Any, NamedTuple

from it_study.checkpoints.hf import files
from it_study.errors import InputError

# Files that hold a vocabulary, add tokens to one, or surround prompts.
VOCABULARY = 'spiece.model'
TOKENIZER = 'tokenizer.json'
# Of a decoder-only model; read where there is no tokenizer.json.
SENTENCEPIECE = 'tokenizer.model'
_SETTINGS = 'tokenizer_config.json'
_ADDED = 'added_tokens.json'
_TEMPLATE = 'chat_template.jinja'
FILES = (VOCABULARY, TOKENIZER, SENTENCEPIECE, _SETTINGS, _ADDED, _TEMPLATE)


class Tokenizer(NamedTuple):
  """A tokenizer, as far as its JSON files say.

  Attributes:
    pieces: Pieces of the vocabulary by id; empty without a tokenizer.json.
    added: Tokens by id that were added to the vocabulary.
    files: Names of the files that are there.
  """

  pieces: list[str]
  added: dict[int, str]
  files: list[str]


def read_tokenizer(path: pathlib.Path) -> Tokenizer:
  """Reads the JSON files of a folder's tokenizer; each may be missing.

  Raises:
    InputError: If one of them is damaged.
  """
  pieces: list[str] = []
  added: dict[int, str] = {}
  found: list[str] = []

  def of_tokenizer(fields: dict[str, Any]) -> None:
    # A list of pairs for T5's kind of model, an object for others.
    vocabulary = fields['model']['vocab']
    if isinstance(vocabulary, dict):
      pieces.extend(sorted(vocabulary, key=vocabulary.__getitem__))
    else:
      pieces.extend(str(piece) for piece, _ in vocabulary)
    for token in fields.get('added_tokens') or ():
      added[int(token['id'])] = str(token['content'])

  def of_settings(fields: dict[str, Any]) -> None:
    for key, token in (fields.get('added_tokens_decoder') or {}).items():
      added[int(key)] = str(token['content'])

  def of_added(fields: dict[str, Any]) -> None:
    added.update({int(key): token for token, key in fields.items()})

  for name, read in (
    (_ADDED, of_added),
    (_SETTINGS, of_settings),
    (TOKENIZER, of_tokenizer),
  ):
    if (path / name).is_file():
      found.append(name)
      fields = files.read_object(path / name)
      try:
        read(fields)
      except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
          f'{path / name}: not a tokenizer of Hugging Face; it may be damaged. '
          'Download it again.'
        ) from None
  return Tokenizer(pieces, added, found)
