"""Ragged token sequences on local disk, read by random access."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any, Protocol

from array_record.python import array_record_module
import grain
import numpy as np

from it_study import seeding
from it_study.errors import InputError
from it_study.storage import manifest, text_files

FEATURES = ('inputs', 'targets')

_FORMAT = 3
_RECORDS, _LENGTHS, _DESCRIPTION = (
  'tokens.arrayrecord',
  'lengths.npy',
  'cache.json',
)
# Random access needs one group per record, and decompression costs more than
# the space it saves: benchmarks/RESULTS.md.
_WRITER_OPTIONS = 'group_size:1,uncompressed'
# The calling thread reads; a pool of threads makes small reads slower.
_READER_OPTIONS = {'max_parallelism': '0'}


class DamagedCacheError(InputError):
  """A token cache is damaged or of another format."""


class _Records(Protocol):
  """Serialised examples, read by random access."""

  def __getitems__(self, record_keys: Sequence[int]) -> Sequence[bytes]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenCache:
  """Ragged token sequences on local disk, read by random access.

  Tokens are in one ArrayRecord file, one record per example: the inputs, then
  the targets, as little-endian int32. Lengths are in a separate index, so that
  packing is planned without reading tokens.

      inputs [[7, 8, 1], [9, 1]], targets [[3, 1], [4, 1]]:
      tokens.arrayrecord   7 8 1 3 1 | 9 1 4 1
      lengths.npy          [[3, 2], [2, 2]]

  Attributes:
    path: Folder of the cache.
    lengths: Length of every sequence in tokens, int32 [num_examples, features].
    records: Source of the serialised examples.
    fingerprint: Hexadecimal hash of all tokens and lengths.
    num_cut_targets: Number of targets that were truncated; None if unknown, as
      for a task that `seqio_lib` did not make.
  """

  path: pathlib.Path
  lengths: np.ndarray
  records: _Records
  fingerprint: str
  num_cut_targets: int | None = None

  def __len__(self) -> int:
    return len(self.lengths)

  def sequence_lengths(self, feature: str) -> np.ndarray:
    """Returns the length of every sequence, int64 [num_examples]."""
    return self.lengths[:, FEATURES.index(feature)].astype(np.int64)

  def read(self, examples: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Returns the sequences of some examples by feature, int32 [their lengths].

    Safe to call from several threads.

    Raises:
      DamagedCacheError: If the records are not what was written.
    """
    examples = [int(example) for example in examples]
    if not examples:
      return []
    try:
      records = self.records.__getitems__(examples)
    except (RuntimeError, ValueError, IndexError, OSError) as error:
      raise self._damaged(str(error).partition('\n')[0]) from error
    rows = []
    table = self.lengths[examples].tolist()
    for example, record, lengths in zip(examples, records, table, strict=True):
      if len(record) != 4 * sum(lengths):
        raise self._damaged(f'example {example} has the wrong length')
      row, offset = {}, 0
      for feature, length in zip(FEATURES, lengths, strict=True):
        row[feature] = np.frombuffer(record, '<i4', length, offset)
        offset += 4 * length
      rows.append(row)
    return rows

  def sequence(self, feature: str, index: int) -> np.ndarray:
    """Returns one sequence, int32 [its length]."""
    return self.read([index])[0][feature]

  def epoch_order(self, *, seed: int, epoch: int) -> np.ndarray:
    """Returns every example once, shuffled, int64 [num_examples]."""
    return shuffled(len(self), seed, epoch)

  def metadata(self) -> dict[str, Any]:
    """Returns what identifies this cache, for JSON."""
    return {'cache': self.fingerprint, 'num_examples': len(self)}

  def _damaged(self, what: str) -> DamagedCacheError:
    return DamagedCacheError(
      f'token cache {self.path} is damaged: {what}. Restart the run: a damaged'
      ' cache is rewritten when it is opened.'
    )


def shuffled(num_examples: int, *key: object) -> np.ndarray:
  """Returns the numbers below `num_examples` in random order, int64.

  Sorts raw words of a counter-based generator (Philox), so the order depends on
  key and number alone, also across versions of numpy.
  """
  words = random_words(num_examples, 'feed shuffle', *key)
  return np.argsort(words, kind='stable')


def random_words(count: int, *key: object) -> np.ndarray:
  """Returns random numbers, uint64 [count], that depend on the key alone."""
  return np.random.Philox(key=seeding.stable_hash(*key)).random_raw(count)


def write_token_cache(
  path: str | os.PathLike[str],
  examples: Iterable[Mapping[str, Any]],
) -> TokenCache:
  """Writes token sequences to a folder, atomically.

  Args:
    path: Folder to create on a local disk; an existing one is replaced.
    examples: Examples in a reproducible order. Each has one sequence of token
      ids for `inputs` and one for `targets`; neither is empty, and both end in
      the end of sequence. It may say `is_target_cut`.

  Returns:
    The cache, opened.

  Raises:
    InputError: If an example has an empty or missing feature, or the disk is
      full.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'{path.name}.partial-{os.getpid()}')
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir()
  try:
    _write(partial, examples)
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  return open_token_cache(path)


def open_token_cache(path: str | os.PathLike[str]) -> TokenCache:
  """Checks the hashes of a cache by `write_token_cache`, and opens it.

  Raises:
    DamagedCacheError: If its files are not what was written, or of a format
      that this version does not read.
    InputError: If there is no cache.
  """
  path = pathlib.Path(path)
  description = _read_description(path)
  for name, written in description['files'].items():
    actual = _state(path / name)
    for what in ('bytes', 'sha256'):
      if actual[what] != written[what]:
        raise DamagedCacheError(
          f'token cache {path} is damaged: {name} should have {what}'
          f' {written[what]}, found {actual[what]}. Delete the folder to'
          ' rewrite it.'
        )
  return TokenCache(
    path=path,
    lengths=np.load(path / _LENGTHS),
    records=grain.sources.ArrayRecordDataSource(
      os.fspath(path / _RECORDS), reader_options=_READER_OPTIONS
    ),
    fingerprint=description['fingerprint'],
    num_cut_targets=description['num_cut_targets'],
  )


def _read_description(path: pathlib.Path) -> dict[str, Any]:
  """Returns the description of the cache at `path`, checked."""
  file = path / _DESCRIPTION
  if not file.exists():
    raise InputError(
      f'no token cache at {path}: there is no {_DESCRIPTION}. Write one with'
      ' write_token_cache.'
    )
  try:
    description = text_files.read_json(file)
    stored_format = description['format']
    if stored_format != _FORMAT:
      raise DamagedCacheError(
        f'token cache {path} has format {stored_format}; this version'
        f' reads format {_FORMAT}. Delete the folder to rewrite it.'
      )
    manifest.parse_entries(description)
    # Caches of earlier versions have no checksum.
    known = (None, _checksum(description))
    if description.get('checksum') in known and 'fingerprint' in description:
      return description
  except DamagedCacheError:
    raise
  except (InputError, KeyError):
    pass
  raise DamagedCacheError(
    f'token cache {path} is damaged: {_DESCRIPTION} cannot be read. Delete'
    ' the folder to rewrite it.'
  )


def _checksum(description: Mapping[str, Any]) -> str:
  """Returns a hash of the other entries of a description."""
  others = {n: v for n, v in description.items() if n != 'checksum'}
  return hashlib.sha256(json.dumps(others).encode()).hexdigest()


def _state(file: pathlib.Path) -> dict[str, Any]:
  try:
    with open(file, 'rb') as opened:
      digest = hashlib.file_digest(opened, 'sha256').hexdigest()
      return {'bytes': opened.tell(), 'sha256': digest}
  except FileNotFoundError:
    return {'bytes': 'none', 'sha256': 'none'}


def _write(folder: pathlib.Path, examples: Iterable[Mapping[str, Any]]) -> None:
  lengths: list[list[int]] = []
  are_cut: list[bool | None] = []
  digests = {feature: hashlib.sha256() for feature in FEATURES}
  writer = array_record_module.ArrayRecordWriter(
    os.fspath(folder / _RECORDS), _WRITER_OPTIONS
  )
  try:
    for index, example in enumerate(examples):
      record = []
      for feature in FEATURES:
        tokens = np.asarray(example.get(feature, ()), np.int32)
        if tokens.ndim != 1 or not tokens.size:
          raise InputError(
            f'example {index} has {feature!r} of shape {tokens.shape}; it must'
            ' be one sequence of at least one token. Append the end of sequence'
            ' to every feature.'
          )
        record.append(tokens.astype('<i4').tobytes())
        digests[feature].update(record[-1])
      lengths.append([len(data) // 4 for data in record])
      are_cut.append(example.get('is_target_cut'))
      with _write_errors_as_input_errors(folder):
        writer.write(b''.join(record))
  except BaseException:
    # Closing fails again after a failed write.
    with contextlib.suppress(RuntimeError):
      writer.close()
    raise
  with _write_errors_as_input_errors(folder):
    writer.close()
  table = np.array(lengths, '<i4').reshape(-1, len(FEATURES))
  np.save(folder / _LENGTHS, table)
  fingerprint = hashlib.sha256()
  ends = np.cumsum(table, axis=0, dtype='<i8')
  for column, feature in enumerate(FEATURES):
    starts = np.concatenate([[0], ends[:, column]]).astype('<i8')
    fingerprint.update(digests[feature].digest() + starts.tobytes())
  description = {
    'format': _FORMAT,
    'num_examples': len(table),
    'num_tokens': dict(
      zip(FEATURES, table.sum(axis=0, dtype=np.int64).tolist(), strict=True)
    ),
    'num_cut_targets': None if None in are_cut else sum(map(bool, are_cut)),
    'fingerprint': fingerprint.hexdigest(),
    'files': {name: _state(folder / name) for name in (_RECORDS, _LENGTHS)},
  }
  description['checksum'] = _checksum(description)
  text_files.write_json(folder / _DESCRIPTION, description)


@contextlib.contextmanager
def _write_errors_as_input_errors(folder: pathlib.Path) -> Iterator[None]:
  """Reports errors of ArrayRecord's writer in one line."""
  try:
    yield
  except RuntimeError as error:
    why = str(error).partition(';')[0]
    raise InputError(
      f'cannot write tokens to {folder.parent}: {why}. Free some space, or'
      ' set IT_STUDY_CACHE to another folder.'
    ) from error
