"""DONE, the marker of a finished folder, with the hashes of its files."""

from collections.abc import Iterable, Mapping
import os
import pathlib
from typing import Any, NamedTuple

from it_study.errors import InputError
from it_study.storage import manifest, text_files

DONE = 'DONE'


class Done(NamedTuple):
  """The content of a DONE.

  Attributes:
    record: What was recorded of the work.
    files: Sizes and hashes by name; empty in a DONE of a former version.
  """

  record: dict[str, Any]
  files: dict[str, dict[str, Any]]


def write_done(
  folder: pathlib.Path, record: Mapping[str, Any], *, names: Iterable[str]
) -> None:
  """Writes DONE, with the sizes and hashes of the folder's files.

  It reads `{"seconds": 1.5, "files": {"metrics.json": {"bytes": 7, "sha256":
  "…"}, …}}`.

  Args:
    folder: Folder that is finished.
    record: Other entries.
    names: Names of the files to list; those that do not exist are left out.
  """
  existing = [name for name in names if (folder / name).is_file()]
  files = manifest.entries(folder, existing)
  text_files.write_json(folder / DONE, {**record, 'files': files})


def read_done(folder: pathlib.Path) -> Done:
  """Reads DONE.

  Raises:
    InputError: If it does not exist or is damaged.
  """
  record = text_files.read_json(folder / DONE)
  if 'files' not in record:
    return Done(record, {})
  try:
    files = manifest.parse_entries(record)
  except InputError as error:
    raise InputError(f'{folder / DONE}: {error}') from None
  del record['files']
  return Done(record, files)


def find_change(path: str | os.PathLike[str]) -> str | None:
  """Compares a file with the DONE beside it.

  Args:
    path: Path of the file.

  Returns:
    What has changed, such as 'has 3 bytes, not 7'; None if nothing has, or
    there is no DONE that lists the file.

  Raises:
    InputError: If DONE is damaged.
  """
  path = pathlib.Path(path)
  if not (path.parent / DONE).exists():
    return None
  try:
    files = read_done(path.parent).files
  except InputError as error:
    raise InputError(
      f'{error} Run the study again, which repairs it.'
    ) from None
  listed = {name: files[name] for name in files if name == path.name}
  return manifest.find_changes(path.parent, listed).get(path.name)
