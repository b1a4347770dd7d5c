"""Stored rows against the task files: each instance once, where it belongs."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import os
import pathlib
import pickle

from it_study.audit.certificates.failures import Failure, differ, differ_in_list
from it_study.audit.certificates.originals import RawTask


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredRow:
  """A row as it is read from TFRecord.

  Attributes:
    id: of the instance.
    task: name.
    position: index in the task's file.
    rank: within task and split.
    split: that the row names.
    input: the text.
    outputs: accepted references.
    stored_in: split that it was read from.
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
  """Yields the rows of a split in their order.

  Of a file that cannot be read to its end, a failure instead of what is left of
  it; the files after it are read.
  """
  import tensorflow as tf
  import tensorflow_datasets as tfds

  from it_study.data import tfds_builder

  info = tfds.builder_from_directory(
    os.path.join(data_dir, tfds_builder.NAME, tfds_builder.VERSION)
  ).info
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
      # TensorFlow takes an empty file for a whole one.
      is_damaged = length > 0 and done == 0
    except (tf.errors.OpError, UnicodeDecodeError):
      is_damaged = True
    if is_damaged:
      yield Failure(
        code='record-damaged',
        expected=f'{length:,} records',
        found=f'{path.name}, which cannot be read after {done:,}; build the '
        "rows again with 'it-study corpus build'",
        split=split,
      )


class Sorter:
  """Puts rows into a file a task, and judges the order they come in."""

  def __init__(self, folder: pathlib.Path, names: Sequence[str]):
    self._folder = folder
    self._numbers = {name: number for number, name in enumerate(names)}
    self._waiting: dict[str, list[StoredRow]] = {}
    self._num_waiting = 0
    self._last: dict[str, tuple] = {}
    self.counts: dict[str, int] = {}

  def add(self, row: StoredRow) -> list[Failure]:
    """Takes a row; returns what is wrong with its place."""
    place = {'split': row.stored_in, 'task': row.task, 'instance': row.id}
    self.counts[row.stored_in] = self.counts.get(row.stored_in, 0) + 1
    if row.task not in self._numbers:
      return [
        Failure(
          code='row-unknown',
          expected='a task of the corpus',
          found=row.task[:80],
          split=row.stored_in,
          instance=row.id,
        )
      ]
    self._waiting.setdefault(row.task, []).append(row)
    self._num_waiting += 1
    if self._num_waiting >= 20_000:
      self.flush()
    order = (row.task, row.rank)
    if row.stored_in == 'train':
      order = order[::-1]
    last = self._last.get(row.stored_in)
    self._last[row.stored_in] = order
    if last is not None and order <= last:
      return [
        Failure(
          code='row-order',
          expected=f'a row after {last}',
          found=str(order),
          **place,
        )
      ]
    return []

  def flush(self) -> None:
    """Writes what is kept in memory."""
    for name, rows in self._waiting.items():
      with open(self._folder / str(self._numbers[name]), 'ab') as file:
        pickle.dump(rows, file)
    self._waiting, self._num_waiting = {}, 0


def sorted_rows(path: pathlib.Path) -> list[StoredRow]:
  """The rows that a `Sorter` has put into a file."""
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
  """Judges all rows that name a task.

  Args:
    rows: of the splits, in any order.
    task: read anew.
    splits: that were read to the end; in others no row is missed.
    max_instances_per_task: cap of training instances.
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
    failures += _judge_row(row, task, where, seen)
    seen.add(row.id)
  for id_, (split, _) in where.items():
    if split in splits and id_ not in seen:
      failures.append(
        Failure(
          code='row-missing',
          expected=f'one row in {split}',
          found='none',
          split=split,
          task=task.name,
          instance=id_,
        )
      )
  return failures


def judge_stored_task(stored: Mapping, task: RawTask) -> list[Failure]:
  """Judges the texts that are stored once for all rows of a task.

  Args:
    stored: the task as the dataset's metadata has it.
    task: read anew.
  """
  failures = []

  def compare(where: str, expected: str, found: str) -> None:
    if expected != found:
      failures.append(
        differ(
          'stored-task',
          f'{where}: {expected}',
          f'{where}: {found}',
          task=task.name,
        )
      )

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


def _judge_row(
  row: StoredRow,
  task: RawTask,
  where: Mapping[str, tuple[str, int]],
  seen: set[str],
) -> list[Failure]:
  place = {'split': row.stored_in, 'task': row.task, 'instance': row.id}
  instance = task.instances.get(row.id)
  if instance is None:
    return [
      Failure(
        code='row-unknown',
        expected='an instance of the task',
        found=row.id[:80],
        **place,
      )
    ]
  if row.id not in where:
    return [
      Failure(
        code='row-split', expected='no split', found=row.stored_in, **place
      )
    ]
  failures = []
  if row.id in seen:
    failures.append(
      Failure(code='row-twice', expected='one row', found='another', **place)
    )
  split, rank = where[row.id]
  for code, expected, found in (
    ('row-split', split, row.stored_in),
    ('row-split', split, row.split),
    ('row-position', str(instance.position), str(row.position)),
    ('row-rank', str(rank), str(row.rank)),
  ):
    if expected != found:
      failures.append(
        Failure(code=code, expected=expected, found=found, **place)
      )
  if row.input != instance.input:
    failures.append(differ('row-input', instance.input, row.input, **place))
  if row.outputs != instance.outputs:
    failures.append(
      differ_in_list('row-references', instance.outputs, row.outputs, **place)
    )
  return failures
