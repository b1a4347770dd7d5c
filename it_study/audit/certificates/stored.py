"""Judges stored rows against the task files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import os
import pathlib
import pickle

from it_study.audit.certificates.failures import (
  Failure,
  differ,
  differ_in_list,
)
from it_study.audit.certificates.originals import RawTask


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredRow:
  """A row as read from TFRecord.

  Attributes:
    id: Instance id.
    task: Task name.
    position: Index of the instance in the task file.
    rank: Rank within task and split.
    split: Split that the row names.
    input: Input of the instance.
    outputs: Accepted references.
    stored_in: Split that the row was read from.
  """

  id: str
  task: str
  position: int
  rank: int
  split: str
  input: str
  outputs: tuple[str, ...]
  stored_in: str


def read_rows(
  data_dir: str | os.PathLike, split: str
) -> Iterator[StoredRow | Failure]:
  """Yields the rows of a split in stored order.

  If a file is damaged, yields a failure in place of its remaining rows and
  continues with the next file.
  """
  import tensorflow as tf
  import tensorflow_datasets as tfds

  from it_study.data import tfds_builder

  info = tfds.builder_from_directory(tfds_builder.rows_directory(data_dir)).info
  stored = info.splits[split]
  for path, length in zip(stored.filepaths, stored.shard_lengths, strict=True):
    rows = tf.data.TFRecordDataset(os.fspath(path)).map(
      info.features.deserialize_example, num_parallel_calls=tf.data.AUTOTUNE
    )
    done = 0
    try:
      for row in rows.prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        yield _stored_row(row, split)
        done += 1
      # TensorFlow reads an empty file without an error.
      is_damaged = length > 0 and done == 0
    except (tf.errors.OpError, UnicodeDecodeError):
      is_damaged = True
    if is_damaged:
      yield Failure(
        'record-damaged',
        f'{length:,} records',
        f'{path.name} cannot be read after {done:,} records; rebuild the '
        "rows with 'it-study corpus build'",
        split=split,
      )


class Sorter:
  """Writes rows to one file for each task, and judges their order."""

  def __init__(self, folder: pathlib.Path, names: Sequence[str]):
    self._folder = folder
    self._numbers = {name: number for number, name in enumerate(names)}
    self._buffered: dict[str, list[StoredRow]] = {}
    self._num_buffered = 0
    self._last: dict[str, tuple] = {}
    self.counts: dict[str, int] = {}

  def add(self, row: StoredRow) -> list[Failure]:
    """Adds a row; returns the failures of its place."""
    self.counts[row.stored_in] = self.counts.get(row.stored_in, 0) + 1
    if row.task not in self._numbers:
      return [
        Failure(
          'row-unknown',
          'a task of the corpus',
          row.task[:80],
          split=row.stored_in,
          instance=row.id,
        )
      ]
    self._buffered.setdefault(row.task, []).append(row)
    self._num_buffered += 1
    if self._num_buffered >= 20_000:
      self.flush()
    order: tuple[str | int, ...] = (row.task, row.rank)
    if row.stored_in == 'train':
      order = order[::-1]
    last = self._last.get(row.stored_in)
    self._last[row.stored_in] = order
    if last is not None and order <= last:
      failure = Failure('row-order', f'a row after {last}', str(order))
      return _placed([failure], row)
    return []

  def flush(self) -> None:
    """Writes the buffered rows."""
    for name, rows in self._buffered.items():
      with open(self._folder / str(self._numbers[name]), 'ab') as file:
        pickle.dump(rows, file)
    self._buffered, self._num_buffered = {}, 0


def sorted_rows(path: pathlib.Path) -> list[StoredRow]:
  """Reads the rows that a `Sorter` has written to a file."""
  rows: list[StoredRow] = []
  if path.exists():
    with open(path, 'rb') as file:
      while True:
        try:
          rows += pickle.load(file)
        except EOFError:
          break
  return rows


def judge_rows(
  rows: Sequence[StoredRow],
  task: RawTask,
  *,
  splits: Sequence[str],
  max_instances_per_task: int,
) -> list[Failure]:
  """Judges all rows of a task.

  Args:
    rows: Rows of all splits, in any order.
    task: Task as read by `originals.read_task`.
    splits: Splits that were read completely; in others no row counts as
      missing.
    max_instances_per_task: Maximum number of training instances of a task.
  """
  failures: list[Failure] = []
  where: dict[str, tuple[str, int]] = {}
  for split in ('train', 'validation', 'test'):
    instances = task.rows(split)
    if split == 'train':
      instances = instances[:max_instances_per_task]
    for rank, instance in enumerate(instances):
      where[instance.id] = (split, rank)
  seen: set[str] = set()
  for row in rows:
    failures += _placed(_judge_row(row, task, where, seen), row)
    seen.add(row.id)
  for id_, (split, _) in where.items():
    if split in splits and id_ not in seen:
      failures.append(
        Failure(
          'row-missing',
          f'one row in {split}',
          'none',
          split=split,
          task=task.name,
          instance=id_,
        )
      )
  return failures


def judge_stored_task(stored: Mapping, task: RawTask) -> list[Failure]:
  """Judges the texts that are stored once for all rows of a task.

  Args:
    stored: Task in the metadata of the dataset.
    task: Task as read by `originals.read_task`.
  """
  failures = []

  def compare(where: str, expected: str, found: str) -> None:
    if expected != found:
      failure = differ(
        'stored-task', f'{where}: {expected}', f'{where}: {found}'
      )
      failures.append(dataclasses.replace(failure, task=task.name))

  compare('kind', task.kind, stored['kind'])
  compare('definition', task.definition, stored['definition'])
  compare('category', task.category, stored['categories'][0])
  labels = stored['label_space']
  compare('labels', repr(task.labels), repr(labels and tuple(labels)))
  for field, examples in (
    ('positive_examples', task.positive),
    ('negative_examples', task.negative),
  ):
    compare(
      field,
      repr([(e.input, e.output, e.explanation) for e in examples]),
      repr(
        [(e['input'], e['output'], e['explanation']) for e in stored[field]]
      ),
    )
  return failures


def _stored_row(row: Mapping, split: str) -> StoredRow:
  return StoredRow(
    id=row['id'].decode(),
    task=row['task'].decode(),
    position=int(row['position']),
    rank=int(row['rank']),
    split=row['split'].decode(),
    input=row['input'].decode(),
    outputs=tuple(output.decode() for output in row['outputs']),
    stored_in=split,
  )


def _placed(failures: Iterable[Failure], row: StoredRow) -> list[Failure]:
  return [
    dataclasses.replace(
      failure, split=row.stored_in, task=row.task, instance=row.id
    )
    for failure in failures
  ]


def _judge_row(
  row: StoredRow,
  task: RawTask,
  where: Mapping[str, tuple[str, int]],
  seen: set[str],
) -> list[Failure]:
  instance = task.instances.get(row.id)
  if instance is None:
    return [Failure('row-unknown', 'an instance of the task', row.id[:80])]
  if row.id not in where:
    return [Failure('row-split', 'no split', row.stored_in)]
  failures = []
  if row.id in seen:
    failures.append(Failure('row-twice', 'one row', 'another'))
  split, rank = where[row.id]
  for code, expected, found in (
    ('row-split', split, row.stored_in),
    ('row-split', split, row.split),
    ('row-position', str(instance.position), str(row.position)),
    ('row-rank', str(rank), str(row.rank)),
  ):
    if expected != found:
      failures.append(Failure(code, expected, found))
  if row.input != instance.input:
    failures.append(differ('row-input', instance.input, row.input))
  if row.outputs != instance.outputs:
    failures.append(
      differ_in_list('row-references', instance.outputs, row.outputs)
    )
  return failures
