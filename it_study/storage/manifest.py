"""Manifests of checkpoints: file sizes and hashes, written last.

A checkpoint written directly to a bucket is hashed with the CRC32C that the
bucket computes; every other one with SHA-256.
"""

import base64
from collections.abc import Callable, Mapping
import concurrent.futures
import hashlib
import json
import pathlib
from typing import Any

from it_study.errors import InputError
from it_study.storage import text_files

MANIFEST = 'manifest.json'

_FORMAT = 1
_HASH_THREADS = 8
_BLOCK_BYTES = 1 << 20


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
  with concurrent.futures.ThreadPoolExecutor(_HASH_THREADS) as pool:
    hashes = list(pool.map(lambda name: _sha256(path / name), names))
  files = {
    name: {'bytes': (path / name).stat().st_size, 'sha256': sha256}
    for name, sha256 in zip(names, hashes, strict=True)
  }
  with text_files.replacing(path / MANIFEST) as file:
    file.write(to_text(files, loss=loss).encode())


def find_damage(path: pathlib.Path) -> str | None:
  """Returns the first problem with a checkpoint's files, or None.

  Orbax itself restores a flipped byte silently, so every file is compared with
  the manifest.

  Raises:
    InputError: If the checkpoint was written to a bucket and the library for
      its hashes is missing.
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
  hash_of: Callable[[str, str], str | None],
) -> str | None:
  """Compares a checkpoint's files with their manifest.

  Args:
    manifest: Text of the manifest; None if there is none.
    sizes: Sizes in bytes of the existing files, by name.
    hash_of: Function from a file's name and 'sha256' or 'crc32c' to its hash.

  Returns:
    The first difference; None if there is none.
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
  """Returns the text of a manifest with the entries `files`, by name."""
  return json.dumps({'format': _FORMAT, 'loss': loss, 'files': files}, indent=1)


def loss_of(manifest: str) -> float | None:
  """Returns the loss in a manifest's text, or None."""
  try:
    return json.loads(manifest).get('loss')
  except ValueError:
    return None


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
