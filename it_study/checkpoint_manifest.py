"""Sizes and hashes beside a checkpoint, written last, checked on reading."""

import concurrent.futures
import hashlib
import json
import os
import pathlib

MANIFEST = 'manifest.json'

_FORMAT = 1
_HASH_THREADS = 8


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
    json.dump({'format': _FORMAT, 'loss': loss, 'files': files}, file, indent=1)
    file.flush()
    os.fsync(file.fileno())
  partial.rename(path / MANIFEST)


def find_damage(path: pathlib.Path) -> str | None:
  """Returns what is wrong with a checkpoint's files, None if nothing is.

  Orbax itself restores a flipped byte in silence, so every file is compared
  with the manifest.
  """
  try:
    files = json.loads((path / MANIFEST).read_text())['files']
  except FileNotFoundError:
    return f'it has no {MANIFEST}, so it was never finished'
  except (ValueError, KeyError, TypeError):
    return f'its {MANIFEST} cannot be read'
  for name, entry in files.items():
    if not (path / name).is_file():
      return f'its file {name} is missing'
    size = (path / name).stat().st_size
    if size != entry['bytes']:
      return f'its file {name} has {size} bytes, not {entry["bytes"]}'
  with concurrent.futures.ThreadPoolExecutor(_HASH_THREADS) as pool:
    hashes = pool.map(lambda name: _sha256(path / name), files)
    for (name, entry), sha256 in zip(files.items(), hashes, strict=True):
      if sha256 != entry['sha256']:
        return f'its file {name} has changed since it was written'
  return None


def _sha256(path: pathlib.Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
