"""Ragged token sequences on local disk, read by random access."""

from collections.abc import Iterable, Mapping
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np

from it_study.errors import InputError

FEATURES = ('inputs', 'targets')

_FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenCache:
  """Ragged token sequences on local disk, read by random access.

  Attributes:
    path: the cache's folder.
    tokens: by feature, all sequences end to end, int32 [num_tokens].
    offsets: by feature, where each sequence starts, int64 [num_examples + 1].
    fingerprint: hexadecimal hash of all tokens and offsets.
  """

  path: pathlib.Path
  tokens: Mapping[str, np.ndarray]
  offsets: Mapping[str, np.ndarray]
  fingerprint: str

  def __len__(self) -> int:
    return len(self.offsets[FEATURES[0]]) - 1

  def sequence(self, feature: str, index: int) -> np.ndarray:
    """Returns one sequence, int32 [its length], without copying it."""
    start, end = self.offsets[feature][index : index + 2]
    return self.tokens[feature][start:end]

  def sequence_lengths(self, feature: str) -> np.ndarray:
    """Returns the length of every sequence, int64 [num_examples]."""
    return np.diff(self.offsets[feature])


def write_token_cache(
  path: str | os.PathLike[str],
  examples: Iterable[Mapping[str, Any]],
) -> TokenCache:
  """Writes token sequences to a folder, which appears complete or not at all.

  Args:
    path: the folder to make, on a local disk; one that exists is replaced.
    examples: in an order that is always the same; each has one sequence of
      token ids for `inputs` and one for `targets`, not empty, that ends in the
      end of sequence.

  Returns:
    The cache, opened.

  Raises:
    InputError: an example with an empty or missing feature.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'{path.name}.partial-{os.getpid()}')
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir()
  try:
    _write_arrays(partial, examples)
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  return open_token_cache(path)


def open_token_cache(path: str | os.PathLike[str]) -> TokenCache:
  """Opens a cache that `write_token_cache` wrote, memory-mapped.

  Raises:
    InputError: there is none, or its files have not the size they were written
      with.
  """
  path = pathlib.Path(path)
  try:
    description = json.loads((path / 'cache.json').read_text())
  except FileNotFoundError:
    raise InputError(
      f'no token cache at {path}: it has no cache.json. Write one with'
      ' write_token_cache.'
    ) from None
  if description['format'] != _FORMAT:
    raise InputError(
      f'token cache {path} has format {description["format"]}; this version'
      f' reads format {_FORMAT}. Delete the folder to have it made again.'
    )
  for name, size in description['sizes'].items():
    found = (path / name).stat().st_size if (path / name).exists() else 'none'
    if found != size:
      raise InputError(
        f'token cache {path} is damaged: {name} should have {size} bytes,'
        f' found {found}. Delete the folder to have it made again.'
      )
  tokens, offsets = {}, {}
  for feature in FEATURES:
    offsets[feature] = np.fromfile(path / f'{feature}.offsets', np.int64)
    file = path / f'{feature}.tokens'
    # An empty file cannot be mapped.
    tokens[feature] = (
      np.memmap(file, np.int32, 'r')
      if file.stat().st_size
      else np.zeros(0, np.int32)
    )
  return TokenCache(
    path=path,
    tokens=tokens,
    offsets=offsets,
    fingerprint=description['fingerprint'],
  )


def _write_arrays(
  folder: pathlib.Path, examples: Iterable[Mapping[str, Any]]
) -> None:
  offsets = {feature: [0] for feature in FEATURES}
  digests = {feature: hashlib.sha256() for feature in FEATURES}
  files = {
    feature: open(folder / f'{feature}.tokens', 'wb')  # noqa: SIM115
    for feature in FEATURES
  }
  try:
    for index, example in enumerate(examples):
      for feature in FEATURES:
        tokens = np.asarray(example.get(feature, ()), np.int32)
        if tokens.ndim != 1 or not tokens.size:
          raise InputError(
            f'example {index} has {feature!r} of shape {tokens.shape}; it must'
            ' be one sequence of at least one token. Append the end of'
            ' sequence to every feature.'
          )
        data = tokens.astype('<i4').tobytes()
        files[feature].write(data)
        digests[feature].update(data)
        offsets[feature].append(offsets[feature][-1] + len(tokens))
  finally:
    for file in files.values():
      file.close()
  fingerprint = hashlib.sha256()
  for feature in FEATURES:
    data = np.array(offsets[feature], '<i8').tobytes()
    (folder / f'{feature}.offsets').write_bytes(data)
    fingerprint.update(digests[feature].digest() + data)
  description = {
    'format': _FORMAT,
    'num_examples': len(offsets[FEATURES[0]]) - 1,
    'num_tokens': {name: ends[-1] for name, ends in offsets.items()},
    'fingerprint': fingerprint.hexdigest(),
    'sizes': {file.name: file.stat().st_size for file in folder.iterdir()},
  }
  (folder / 'cache.json').write_text(json.dumps(description, indent=2) + '\n')
