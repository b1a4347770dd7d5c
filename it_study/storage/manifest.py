"""Sizes and hashes beside a checkpoint, written last, checked on reading.

Of a checkpoint that was written in a bucket they are the CRC32C that the bucket
has itself; of all others SHA-256.
"""

import base64
from collections.abc import Callable, Mapping
import concurrent.futures
import hashlib
import json
import os
import pathlib
from typing import Any

from it_study.errors import InputError

MANIFEST = 'manifest.json'

_FORMAT = 1
_HASH_THREADS = 8
_BLOCK_BYTES = 1 << 20


def write_manifest(path: pathlib.Path, *, loss: float | None = None) -> None:
  """Writes sizes and SHA-256 of a checkpoint's files beside them, atomically.

  Args:
    path: a checkpoint's folder.
    loss: written along, by which the best checkpoint is found.

  The `manifest.json` in it then reads `{"format": 1, "loss": null, "files":
  {"params/_METADATA": {"bytes": 7, "sha256": "…"}, …}}`.
  """
  names = sorted(
    str(file.relative_to(path))
    for file in path.rglob('*')
    if file.is_file() and file.name != MANIFEST
  )
  with concurrent.futures.ThreadPoolExecutor(_HASH_THREADS) as pool:
    hashes = list(pool.map(lambda name: _sha256(path / name), names))
  files = {
    name: {'bytes': (path / name).stat().st_size, 'sha256': sha256}
    for name, sha256 in zip(names, hashes, strict=True)
  }
  partial = path / f'{MANIFEST}.partial'
  with partial.open('w') as file:
    file.write(to_text(files, loss=loss))
    file.flush()
    os.fsync(file.fileno())
  partial.rename(path / MANIFEST)


def find_damage(path: pathlib.Path) -> str | None:
  """Returns what is wrong with a checkpoint's files, None if nothing is.

  Orbax itself restores a flipped byte in silence, so every file is compared
  with the manifest.

  Raises:
    InputError: it was written in a bucket, and the library for its hashes is
      missing.
  """
  try:
    text = (path / MANIFEST).read_text()
  except FileNotFoundError:
    text = None
  sizes = {
    str(file.relative_to(path)): file.stat().st_size
    for file in path.rglob('*')
    if file.is_file()
  }

  def hash_of(name: str, kind: str) -> str:
    return (_crc32c if kind == 'crc32c' else _sha256)(path / name)

  return compare(text, sizes, hash_of)


def compare(
  manifest: str | None,
  sizes: Mapping[str, int],
  hash_of: Callable[[str, str], str],
) -> str | None:
  """Returns in what a checkpoint's files differ from their manifest.

  Args:
    manifest: its text, None if there is none.
    sizes: name to bytes, of the files that are there.
    hash_of: gives a file's hash, by its name and 'sha256' or 'crc32c'.

  Returns:
    The first thing that is wrong, None if nothing is.
  """
  if manifest is None:
    return f'it has no {MANIFEST}, so it was never finished'
  try:
    files = json.loads(manifest)['files']
  except (ValueError, KeyError, TypeError):
    return f'its {MANIFEST} cannot be read'
  for name, entry in files.items():
    size = sizes.get(name)
    if size is None:
      return f'its file {name} is missing'
    if size != entry['bytes']:
      return f'its file {name} has {size} bytes, not {entry["bytes"]}'

  def is_same(name: str) -> bool:
    kind = 'crc32c' if 'crc32c' in files[name] else 'sha256'
    return hash_of(name, kind) == files[name][kind]

  with concurrent.futures.ThreadPoolExecutor(_HASH_THREADS) as pool:
    for name, same in zip(files, pool.map(is_same, files), strict=True):
      if not same:
        return f'its file {name} has changed since it was written'
  return None


def to_text(
  files: Mapping[str, Mapping[str, Any]], *, loss: float | None
) -> str:
  """The text of a manifest; `files` are its entries by name."""
  return json.dumps({'format': _FORMAT, 'loss': loss, 'files': files}, indent=1)


def loss_of(manifest: str) -> float | None:
  """The loss that a manifest's text tells, None if it tells none."""
  try:
    return json.loads(manifest).get('loss')
  except ValueError:
    return None


def _crc32c(path: pathlib.Path) -> str:
  try:
    import google_crc32c
  except ImportError:
    raise InputError(
      f'{path}: the checkpoint was written in a bucket, and its hashes need '
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
