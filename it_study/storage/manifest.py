"""Sizes and hashes of files, written last: manifests of checkpoints, DONE.

A checkpoint written directly to a bucket is hashed with the CRC32C that the
bucket computes; every other one with SHA-256.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
import concurrent.futures
import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple

from it_study.errors import InputError
from it_study.storage import text_files

MANIFEST = 'manifest.json'
# Marks the folder of finished work.
DONE = 'DONE'

_FORMAT = 1
_HASH_THREADS = 8
_BLOCK_BYTES = 1 << 20


class Done(NamedTuple):
  """The content of a DONE.

  Attributes:
    record: What was recorded of the work.
    files: Sizes and hashes by name; empty in a DONE of a former version.
  """

  record: dict[str, Any]
  files: dict[str, dict[str, Any]]


def write_manifest(path: pathlib.Path, *, loss: float | None = None) -> None:
  """Writes `manifest.json` into a checkpoint, atomically.

  It reads `{"format": 1, "loss": null, "files": {"params/_METADATA": {"bytes":
  7, "sha256": "…"}, …}}`.

  Args:
    path: Folder of a checkpoint.
    loss: Held-out loss, which decides the best checkpoint; None if unknown.
  """
  names = sorted(
    str(file.relative_to(path))
    for file in path.rglob('*')
    if file.is_file() and file.name != MANIFEST
  )
  with text_files.replacing(path / MANIFEST) as file:
    file.write(to_text(entries(path, names), loss=loss).encode())


def entries(
  path: pathlib.Path, names: Iterable[str]
) -> dict[str, dict[str, Any]]:
  """Returns the size and SHA-256 of files in a folder, by name."""
  names = list(names)
  with concurrent.futures.ThreadPoolExecutor(_HASH_THREADS) as pool:
    hashes = list(pool.map(lambda name: _sha256(path / name), names))
  return {
    name: {'bytes': (path / name).stat().st_size, 'sha256': sha256}
    for name, sha256 in zip(names, hashes, strict=True)
  }


def find_damage(path: pathlib.Path) -> str | None:
  """Returns the first problem with a checkpoint's files, or None.

  Orbax itself restores a flipped byte silently, so every file is compared with
  the manifest.

  Raises:
    InputError: If the checkpoint was written to a bucket and the library for
      its hashes is missing.
  """
  sizes = {
    str(file.relative_to(path)): file.stat().st_size
    for file in path.rglob('*')
    if file.is_file()
  }

  def hash_of(name: str, kind: str) -> str:
    return (_crc32c if kind == 'crc32c' else _sha256)(path / name)

  return compare(read_manifest(path), sizes, hash_of)


def find_changes(
  path: pathlib.Path, files: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
  """Compares files in a folder with what `entries` returned for them.

  Args:
    path: Folder of the files.
    files: Entries by name.

  Returns:
    What is wrong, by name of the file, such as 'is missing'; empty if nothing
    is.
  """
  sizes = {
    name: (path / name).stat().st_size
    for name in files
    if (path / name).is_file()
  }
  changes = dict(_changes(files, sizes, lambda name, _: _sha256(path / name)))
  for name in changes.keys() - sizes.keys():
    if (path / name).exists():
      changes[name] = 'is not a file'
  return changes


def read_manifest(path: pathlib.Path) -> bytes | None:
  """Returns the content of a checkpoint's manifest; None if it has none."""
  try:
    return (path / MANIFEST).read_bytes()
  except (FileNotFoundError, IsADirectoryError):
    return None


def compare(
  manifest: bytes | str | None,
  sizes: Mapping[str, int],
  hash_of: Callable[[str, str], str | None],
) -> str | None:
  """Compares a checkpoint's files with their manifest.

  Args:
    manifest: Content of the manifest; None if there is none.
    sizes: Sizes in bytes of the existing files, by name.
    hash_of: Function from a file's name and 'sha256' or 'crc32c' to its hash.

  Returns:
    The first difference; None if there is none.
  """
  if manifest is None:
    return f'it has no {MANIFEST}, so it was never finished'
  try:
    files = parse_entries(text_files.parse_object(manifest, where=MANIFEST))
  except InputError:
    return f'its {MANIFEST} cannot be read'
  for name, problem in _changes(files, sizes, hash_of):
    return f'its file {name} {problem}'
  return None


def parse_entries(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """Returns the entries of a manifest or a DONE, checked.

  Raises:
    InputError: If they are not what was written.
  """
  files = fields.get('files')
  if not isinstance(files, dict) or not all(map(_is_entry, files.values())):
    raise InputError('expected sizes and hashes in files.')
  return files


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
  files = entries(folder, existing)
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
    files = parse_entries(record)
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
  return find_changes(path.parent, listed).get(path.name)


def to_text(
  files: Mapping[str, Mapping[str, Any]], *, loss: float | None
) -> str:
  """Returns the text of a manifest with the entries `files`, by name."""
  return json.dumps({'format': _FORMAT, 'loss': loss, 'files': files}, indent=1)


def loss_of(manifest: bytes | str) -> float | None:
  """Returns the loss in a manifest; None without one, or if it is damaged."""
  try:
    loss = text_files.parse_object(manifest, where=MANIFEST).get('loss')
  except InputError:
    return None
  return loss if isinstance(loss, int | float) else None


def _is_entry(entry: object) -> bool:
  return (
    isinstance(entry, dict)
    and isinstance(entry.get('bytes'), int)
    and isinstance(entry.get('crc32c', entry.get('sha256')), str)
  )


def _changes(
  files: Mapping[str, Mapping[str, Any]],
  sizes: Mapping[str, int],
  hash_of: Callable[[str, str], str | None],
) -> Iterator[tuple[str, str]]:
  """Yields names of files and what is wrong with them.

  All sizes are compared before the first hash, which takes long.
  """
  same_size = []
  for name, entry in files.items():
    size = sizes.get(name)
    if size is None:
      yield name, 'is missing'
    elif size != entry['bytes']:
      yield name, f'has {size} bytes, not {entry["bytes"]}'
    else:
      same_size.append(name)

  def is_same(name: str) -> bool:
    kind = 'crc32c' if 'crc32c' in files[name] else 'sha256'
    return hash_of(name, kind) == files[name][kind]

  with concurrent.futures.ThreadPoolExecutor(_HASH_THREADS) as pool:
    for name, same in zip(same_size, pool.map(is_same, same_size), strict=True):
      if not same:
        yield name, 'has changed since it was written'


def _crc32c(path: pathlib.Path) -> str:
  try:
    import google_crc32c
  except ImportError:
    raise InputError(
      f'{path}: the checkpoint was written to a bucket, and its hashes need '
      "google-crc32c: pip install 'it_study[gcs]'."
    ) from None
  checksum = google_crc32c.Checksum()
  with path.open('rb') as file:
    while block := file.read(_BLOCK_BYTES):
      checksum.update(block)
  return base64.b64encode(checksum.digest()).decode()


def _sha256(path: pathlib.Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
