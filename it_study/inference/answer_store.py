"""Answers that were given before, on disk, by what they are answers to."""

from collections.abc import Mapping
import hashlib
import json
import logging
import os
import pathlib
import re
from typing import Any

from it_study.errors import InputError
from it_study.storage import local_folders, text_files
from it_study.storage.text_files import json_line

_logger = logging.getLogger(__name__)
_SETTINGS = 'settings.json'
_NAME = re.compile(r'[0-9a-f]{32}\.jsonl')


class AnswerStore:
  """Keys to answers, for one model and one way of decoding; only ever added to.

  A commit is a file whose name is the hash of its content, so any number of
  processes may add to one folder, a half-written commit is not there, and a
  damaged one is noticed, named and left out.
  """

  def __init__(
    self,
    directory: str | os.PathLike | None,
    *,
    settings: Mapping[str, Any],
  ):
    """Opens a store, or makes it.

    Args:
      directory: the folder of all stores; None keeps answers in memory only.
      settings: whatever an answer depends on besides its key, as JSON has it;
        other settings are another store.

    Raises:
      InputError: if the folder cannot be used.
    """
    self._answers: dict[str, Any] = {}
    self._directory = None
    if directory is None:
      return
    text = json.dumps(settings, indent=2, sort_keys=True) + '\n'
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    self._directory = pathlib.Path(directory) / name
    local_folders.make_directory(self._directory)
    if not (self._directory / _SETTINGS).exists():
      text_files.write_lines(self._directory / _SETTINGS, (text,))
    self._read()

  def __contains__(self, key: str) -> bool:
    return key in self._answers

  def __getitem__(self, key: str) -> Any:
    return self._answers[key]

  def __len__(self) -> int:
    return len(self._answers)

  def commit(self, answers: Mapping[str, Any]) -> None:
    """Adds answers, each anything that JSON has; on disk when it returns.

    Raises:
      InputError: if they cannot be written.
    """
    if self._directory is not None:
      text = ''.join(json_line([key, answers[key]]) for key in sorted(answers))
      name = f'{_digest(text.encode())}.jsonl'
      text_files.write_lines(self._directory / name, (text,))
    self._answers.update(answers)

  def _read(self) -> None:
    for path in sorted(self._directory.iterdir()):
      if not _NAME.fullmatch(path.name):
        continue
      try:
        content = path.read_bytes()
      except OSError as error:
        raise InputError(
          f'{path}: cannot be read: {error.strerror or error}.'
        ) from None
      if _digest(content) != path.stem:
        _logger.warning('%s is damaged; its answers are made again.', path)
        path.unlink()
        continue
      lines = content.decode().rstrip('\n').split('\n')
      self._answers.update(map(json.loads, lines))


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()[:32]
