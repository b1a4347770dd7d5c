"""The vocabulary of the tasks, what it can spell, and answers decoded by it."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Iterable, Mapping, Sequence
import functools
import hashlib
import os
import pathlib
import re
from typing import NamedTuple

from etils import epath
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
import seqio
import tensorflow as tf

from it_study.checkpoints.gguf import known_models
from it_study.corpus.normalization import normalize_answer
from it_study.data.tokens import sentencepiece_models
from it_study.data.tokens.tokenizer_vocabulary import TokenizerVocabulary
from it_study.errors import InputError, nearest, nearest_path
from it_study.predictions import NO_TOKEN, UNKNOWN
from it_study.storage import git_lfs
from it_study.storage.storage_path import expanded

VARIABLE = 'IT_STUDY_VOCABULARY'
DEFAULT = 'gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model'
BYTE = 'byte'
# The vocabulary of the miniature corpus; `prepare` replaces this name by the
# path of its model file.
MINIATURE = 'miniature'
_SPECIAL = ('<pad>', '</s>', '<unk>')
_SENTINEL = re.compile('▁?(<extra_id_[0-9]+>)')


def current_vocabulary() -> seqio.Vocabulary:
  """The vocabulary that the environment variable names, or T5's own.

  The variable is read whenever a task is looked up, so imports do not fix the
  vocabulary. A model file is used verbatim, without additional extra ids, like
  in T5X's own models: T5X refuses a task whose vocabulary differs from the
  model's.
  """
  return _vocabulary(_name())


def checked_vocabulary() -> seqio.Vocabulary:
  """The current vocabulary. Raises `InputError` if it cannot be read."""
  return checked(current_vocabulary())


def checked(vocabulary: seqio.Vocabulary) -> seqio.Vocabulary:
  """The same vocabulary. Raises `InputError` if it cannot be read."""
  if isinstance(vocabulary, seqio.SentencePieceVocabulary):
    _check_once(vocabulary.sentencepiece_model_file)
  return vocabulary


def fingerprint(vocabulary: seqio.Vocabulary | None = None) -> str:
  """A hash of a vocabulary's content; None is the current one."""
  vocabulary = vocabulary or checked_vocabulary()
  if isinstance(vocabulary, TokenizerVocabulary):
    return vocabulary.sha256
  if isinstance(vocabulary, seqio.SentencePieceVocabulary):
    content = vocabulary.sp_model
  else:
    # Its `str` contains a memory address.
    content = f'{type(vocabulary).__name__} {vocabulary.vocab_size}'.encode()
  return hashlib.sha256(content).hexdigest()


def num_own_tokens(vocabulary: seqio.Vocabulary | None = None) -> int:
  """Number of tokens of a vocabulary, without sentinels at its end.

  Only rows beyond these may be missing in an embedding table.

  Args:
    vocabulary: Vocabulary; None for the current one.
  """
  vocabulary = vocabulary or checked_vocabulary()
  if not isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return vocabulary.vocab_size
  size = vocabulary.tokenizer.GetPieceSize()
  while size and _SENTINEL.fullmatch(vocabulary.tokenizer.IdToPiece(size - 1)):
    size -= 1
  return size


def pieces_of(model_file: str | os.PathLike[str]) -> list[str]:
  """Returns the pieces of a SentencePiece model, by id.

  Raises:
    InputError: If the file is not a SentencePiece model.
  """
  try:
    model = sentencepiece.SentencePieceProcessor(os.fspath(model_file))
  except (OSError, RuntimeError):
    git_lfs.check(model_file)
    raise InputError(
      f'{model_file}: not a SentencePiece model; it may be truncated. Download '
      'it again.'
    ) from None
  return _pieces(model)


def begins_like(
  pieces: Sequence[str], vocabulary: seqio.Vocabulary | None = None
) -> bool:
  """Whether two vocabularies share their ids.

  They do if one's pieces are the first pieces of the other, whatever the
  sentinels are called. Weights on model hubs come with T5's model of 32,000
  pieces; T5X's model has the same 32,000, followed by the 100 sentinels.

  Args:
    pieces: Pieces of one vocabulary, by id.
    vocabulary: The other vocabulary; None for the current one.
  """
  vocabulary = vocabulary or checked_vocabulary()
  if isinstance(vocabulary, TokenizerVocabulary):
    return all(map(str.__eq__, vocabulary.pieces, pieces))
  if not isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return False
  return all(
    own == other or (_SENTINEL.fullmatch(own) and _SENTINEL.fullmatch(other))
    for own, other in zip(_pieces(vocabulary.tokenizer), pieces, strict=False)
  )


def missing_tokens(
  tokens: Mapping[int, str], vocabulary: seqio.Vocabulary | None = None
) -> list[str]:
  """Returns the tokens, given by id, that a vocabulary lacks.

  Sentinels and T5's special tokens are not missed.

  Args:
    tokens: Tokens by id.
    vocabulary: Vocabulary; None for the current one.
  """
  vocabulary = vocabulary or checked_vocabulary()
  pieces: list[str] = []
  if isinstance(vocabulary, TokenizerVocabulary):
    pieces = vocabulary.pieces
  elif isinstance(vocabulary, seqio.SentencePieceVocabulary):
    pieces = _pieces(vocabulary.tokenizer)
  return [
    token
    for key, token in sorted(tokens.items())
    if token not in _SPECIAL
    and not _SENTINEL.fullmatch(token)
    and token not in pieces[key : key + 1]
  ]


def describe(vocabulary: seqio.Vocabulary | None = None) -> str:
  """Name, size and content hash of a vocabulary; None is the current one."""
  vocabulary = vocabulary or checked_vocabulary()
  if isinstance(vocabulary, seqio.ByteVocabulary):
    name = BYTE
  elif isinstance(vocabulary, seqio.SentencePieceVocabulary):
    name = vocabulary.sentencepiece_model_file
    name = name if name == DEFAULT else os.path.basename(name)
  elif isinstance(vocabulary, TokenizerVocabulary):
    name = vocabulary.folder.name
  else:
    name = type(vocabulary).__name__
  return (
    f'{name}, {vocabulary.vocab_size} tokens, SHA-256 '
    f'{fingerprint(vocabulary)[:12]}'
  )


def set_vocabulary(name: str) -> None:
  """Sets the vocabulary for this process and those it starts.

  Args:
    name: Path of a SentencePiece model, or of the folder of a decoder-only
      model; the name of a known one; or 'byte'.

  Raises:
    InputError: If there is no such file or folder, or it cannot be used.
  """
  name = known_models.resolve(expanded(name))
  _check(name)
  os.environ[VARIABLE] = name


def check_current() -> None:
  """Raises `InputError` unless the current vocabulary can be read."""
  _check(_name())


def ends_inputs(vocabulary: seqio.Vocabulary) -> bool:
  """Whether prompts end in the end of sequence, as T5's do.

  A decoder-only model continues its prompt.
  """
  return not isinstance(vocabulary, TokenizerVocabulary)


def other_ends(vocabulary: seqio.Vocabulary) -> tuple[int, ...]:
  """Returns the tokens that end an answer besides the end of sequence."""
  if isinstance(vocabulary, TokenizerVocabulary):
    return vocabulary.other_end_ids
  return ()


def save(vocabulary: seqio.Vocabulary, folder: pathlib.Path) -> None:
  """Copies the tokenizer of a decoder-only model beside its weights.

  Other vocabularies are shared by many models, and are not copied.
  """
  if isinstance(vocabulary, TokenizerVocabulary):
    vocabulary.save(folder)


def readable(vocabulary: seqio.Vocabulary, text: str) -> str:
  """Returns a prompt with its control tokens as their names."""
  if isinstance(vocabulary, TokenizerVocabulary):
    return vocabulary.shown(text)
  return text


def check_model_file(path: str) -> None:
  """Raises `InputError` unless `path` is a SentencePiece model."""
  try:
    content = epath.Path(path).read_bytes()
  except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, KeyError):
      reason = 'download it and name the file'
    raise InputError(
      f'vocabulary {path}: cannot be read ({reason}). Allowed are the path of '
      f'a SentencePiece model, {BYTE!r} or {MINIATURE!r}; name it with '
      f'--vocabulary, --gin.{VARIABLE} (study, train, predict) or the variable '
      f'{VARIABLE}.'
      f'{nearest(path, (BYTE, MINIATURE)) or nearest_path(path)}'
    ) from None
  git_lfs.check(path, content)
  processor = sentencepiece_models.processor_of(content)
  if processor is None:
    raise InputError(
      f'vocabulary {path}: not a SentencePiece model ({len(content)} bytes). '
      f'Name a file that spm_train or T5 wrote, or {BYTE!r}.'
    )
  if (processor.pad_id(), processor.eos_id()) != (0, 1):
    raise InputError(
      f'vocabulary {path}: padding is {processor.pad_id()} and end of sequence '
      f'{processor.eos_id()}; T5 needs 0 and 1. Train it with --pad_id=0 '
      '--eos_id=1 --unk_id=2 --bos_id=-1.'
    )


class Decoded(NamedTuple):
  """An answer as text.

  Attributes:
    text: Text without special and unknown tokens, by which it is scored.
    raw: Text with them, white space around each; None if there are none.
  """

  text: str
  raw: str | None


def decode(vocabulary: seqio.Vocabulary, tokens: Iterable[int]) -> Decoded:
  """Decodes tokens up to the end of sequence, without padding.

  Tk-Instruct decodes with `skip_special_tokens`, which leaves out sentinels,
  control tokens, the unknown token and rows of the model's table that are no
  tokens. They are shown in the raw text: a sentinel as `<extra_id_0>`, the
  unknown token as `⁇`, others by their number, as `<id 32105>`.

      [sentinel 0, '▁yes', unknown]:
      text 'yes', raw '<extra_id_0> yes ⁇'
  """
  marks = _marks(vocabulary)
  size = vocabulary.vocab_size
  parts: list[str] = []
  kept: list[int] = []
  since_mark: list[int] = []
  for token in map(int, tokens):
    if token == vocabulary.eos_id:
      break
    if token == vocabulary.pad_id:
      continue
    mark = marks.get(token) if token < size else NO_TOKEN.format(token)
    if mark is None:
      kept.append(token)
      since_mark.append(token)
    else:
      parts += [vocabulary.decode(since_mark).strip(), mark]
      since_mark = []
  text = vocabulary.decode(kept)
  if isinstance(vocabulary, TokenizerVocabulary):
    # Which may be between the prompt and the answer.
    text = text.removeprefix(' ')
  if not parts:
    return Decoded(text, None)
  parts.append(vocabulary.decode(since_mark).strip())
  return Decoded(text, ' '.join(filter(None, parts)))


def spell(vocabulary: seqio.Vocabulary, text: str) -> Decoded:
  """Returns what a model that has learnt a text perfectly would answer."""
  return decode(vocabulary, vocabulary.encode(text))


def is_matched(text: str, spelled: Decoded) -> bool:
  """Whether an answer as spelled equals its text for exact match.

  Of a text such as '{' nothing is left, which would equal any punctuation.
  """
  answer = normalize_answer(spelled.text)
  if not answer and spelled.raw is not None:
    return False
  return answer == normalize_answer(text)


def loses_characters(spelled: Decoded) -> bool:
  """Whether the vocabulary lacks characters of a text that it spells."""
  return spelled.raw is not None


def changes_characters(text: str, spelled: Decoded) -> bool:
  """Whether normalisation (NFKC) changes a text besides its white space.

  False for a text of which the vocabulary lacks characters.
  """
  return spelled.raw is None and spelled.text.split() != text.split()


def _check(name: str) -> None:
  if os.path.isdir(name):
    _vocabulary(name)
  elif name != BYTE:
    check_model_file(name)


def _name() -> str:
  return expanded(os.environ.get(VARIABLE) or DEFAULT)


def _vocabulary(name: str) -> seqio.Vocabulary:
  # Paths are read once, and a relative one depends on the working directory.
  is_path = name != BYTE and '://' not in name and os.path.exists(name)
  return _read_once(os.path.abspath(name) if is_path else name)


@functools.cache
def _read_once(name: str) -> seqio.Vocabulary:
  if name == BYTE:
    return seqio.ByteVocabulary()
  if os.path.isdir(name):
    return TokenizerVocabulary(name)
  return seqio.SentencePieceVocabulary(name)


def _pieces(model: sentencepiece.SentencePieceProcessor) -> list[str]:
  return [model.IdToPiece(key) for key in range(model.GetPieceSize())]


_check_once = functools.cache(check_model_file)


def _marks(vocabulary: seqio.Vocabulary) -> Mapping[int, str]:
  """Returns how to show the tokens that are left out, by id."""
  if isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return _marks_of_model(vocabulary.sp_model)
  if isinstance(vocabulary, TokenizerVocabulary):
    return vocabulary.control_tokens
  unknown = vocabulary.unk_id
  return {} if unknown is None else {unknown: UNKNOWN}


@functools.lru_cache(maxsize=8)
def _marks_of_model(model: bytes) -> Mapping[int, str]:
  # The class is generated at import, so mypy does not see it.
  proto = sentencepiece_model_pb2.ModelProto.FromString(model)  # type: ignore[attr-defined]
  marks = {}
  for token, piece in enumerate(proto.pieces):
    sentinel = _SENTINEL.fullmatch(piece.piece)
    if sentinel:
      marks[token] = sentinel[1]
    elif piece.type == piece.UNKNOWN:
      marks[token] = UNKNOWN
    elif piece.type == piece.CONTROL:
      marks[token] = NO_TOKEN.format(token)
  return marks
