"""An on-disk cache of answers, by the content that they depend on."""

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
from it_study.storage.storage_path import expanded
from it_study.storage.text_files import json_line

_logger = logging.getLogger(__name__)
_SETTINGS = 'settings.json'
_NAME = re.compile(r'[0-9a-f]{32}\.jsonl')


class AnswerStore:
  """Append-only answers by key, for one model and one way of decoding.

  Each commit is a file named by the hash of its content. So any number of
  processes can add to one folder, partial commits are never visible, and
  damaged ones are reported and skipped.
  """

  def __init__(
    self,
    directory: str | os.PathLike | None,
    *,
    settings: Mapping[str, Any],
  ):
    """Opens or creates a store.

    Args:
      directory: Folder of all stores; None for a store in memory.
      settings: Everything that answers depend on besides their keys, as
        JSON-serialisable values. Different settings use different stores.

    Raises:
      InputError: If the folder cannot be used.
    """
    self._answers: dict[str, Any] = {}
    self._directory: pathlib.Path | None = None
    if directory is None:
      return
    text = json.dumps(settings, indent=2, sort_keys=True) + '\n'
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    self._directory = pathlib.Path(expanded(directory)) / name
    local_folders.make_directory(self._directory)
    path = self._directory / _SETTINGS
    if not path.is_file() or path.read_bytes() != text.encode():
      text_files.write_text(path, text)
    self._read(self._directory)

  def __contains__(self, key: str) -> bool:
    return key in self._answers

  def __getitem__(self, key: str) -> Any:
    return self._answers[key]

  def __len__(self) -> int:
    return len(self._answers)

  def commit(self, answers: Mapping[str, Any]) -> None:
    """Adds JSON-serialisable answers; they are on disk when it returns.

    Raises:
      InputError: If they cannot be written.
    """
    if self._directory is not None:
      text = ''.join(json_line([key, answers[key]]) for key in sorted(answers))
      name = f'{_digest(text.encode())}.jsonl'
      text_files.write_lines(self._directory / name, (text,))
    self._answers.update(answers)

  def _read(self, directory: pathlib.Path) -> None:
    for path in sorted(directory.iterdir()):
      if not _NAME.fullmatch(path.name):
        continue
      try:
        content = path.read_bytes()
      except OSError as error:
        raise InputError(
          f'{path}: cannot be read: {error.strerror or error}.'
        ) from None
      if _digest(content) != path.stem:
        _logger.warning('%s is damaged; its answers will be recomputed.', path)
        path.unlink()
        continue
      for line in content.rstrip(b'\n').split(b'\n'):
        key, answer = text_files.parse_json(line, where=str(path))
        self._answers[key] = answer


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()[:32]
