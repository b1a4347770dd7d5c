"""Spools a corpus's rows on disk, between its files and TFRecord."""

import array
from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import itertools
import pathlib

from it_study.corpus import natinst, worker_pool

# Instance to two unsigned 64-bit hashes.
InstanceKeys = Callable[[natinst.Instance], tuple[int, int]]

# Read back at a time while tasks are interleaved.
_BLOCK_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpooledRows:
  """A task's rows of one split: consecutive records in the task's file.

  Attributes:
    path: Path of the task's file.
    start: Offset of the first row in the file, in bytes.
    ends: Offset of each row's end relative to `start`, in bytes, uint64.
    keys: Two keys per row, uint64, or None if none were asked for.
  """

  path: str
  start: int
  ends: array.array
  keys: array.array | None = None

  def size(self, start: int, stop: int) -> int:
    """Returns the size of rows `start` to `stop - 1` in bytes."""
    start, stop = min(start, len(self.ends)), min(stop, len(self.ends))
    return self._end(stop) - self._end(start)

  def read(self, start: int, stop: int) -> list[bytes]:
    """Returns rows `start` to `stop - 1`, as far as there are any."""
    stop = min(stop, len(self.ends))
    if start >= stop:
      return []
    first = self._end(start)
    with open(self.path, 'rb') as file:
      file.seek(self.start + first)
      data = file.read(self._end(stop) - first)
    bounds = [first, *self.ends[start:stop]]
    return [data[a - first : b - first] for a, b in itertools.pairwise(bounds)]

  def _end(self, row: int) -> int:
    return self.ends[row - 1] if row else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpooledTask:
  """A task, in the form of `Task.to_json`, and its rows by split."""

  task: dict
  rows: dict[str, SpooledRows]


@dataclasses.dataclass(frozen=True)
class Spool:
  """All tasks of a corpus by name, in alphabetical order."""

  tasks: dict[str, SpooledTask]

  def rows_of(self, split: str) -> dict[str, SpooledRows]:
    """Returns task name to rows, for the tasks of the split."""
    return {
      name: task.rows[split]
      for name, task in self.tasks.items()
      if split in task.rows
    }

  def num_rows(self, split: str) -> int:
    return sum(len(rows.ends) for rows in self.rows_of(split).values())

  def num_bytes(self, split: str) -> int:
    return sum(
      rows.size(0, len(rows.ends)) for rows in self.rows_of(split).values()
    )

  def records(
    self, split: str, *, block_bytes: int = _BLOCK_BYTES
  ) -> Iterator[bytes]:
    """Yields a split's serialised rows in the order to store them.

    In train every task's row of rank 0 comes first, then of rank 1, so that the
    first n instances of each task come first. The other splits are sorted by
    task.

    Args:
      split: One of `natinst.SPLITS`.
      block_bytes: Maximum size of the rows in memory, in bytes; exceeded only
        if the rows of one rank are larger.
    """
    parts = list(self.rows_of(split).values())
    if split != 'train':
      for rows in parts:
        yield from rows.read(0, len(rows.ends))
      return
    last = max((len(rows.ends) for rows in parts), default=0)
    start = 0
    while start < last:
      stop = _block_end(parts, start, last, block_bytes)
      for rank in itertools.zip_longest(*(p.read(start, stop) for p in parts)):
        yield from (record for record in rank if record is not None)
      start = stop


def fill(
  *,
  corpus: natinst.Corpus,
  folder: pathlib.Path,
  max_instances_per_task: int,
  instance_keys: InstanceKeys | None = None,
  num_workers: int | None = None,
  on_task: Callable[[int, int], None] | None = None,
) -> Spool:
  """Parses every task file of a corpus once and spools its rows on disk.

  Args:
    corpus: Corpus to read.
    folder: Folder for one file per task; the caller removes it.
    max_instances_per_task: Maximum number of training instances per task.
    instance_keys: Called in the workers with each instance stored; importable
      by name.
    num_workers: Number of processes, as in `worker_pool.map_tasks`.
    on_task: Called with the number of files done and their total.

  Raises:
    InputError: If a task file cannot be used.
  """
  names = sorted({*corpus.train_tasks, *corpus.test_tasks})
  spooled = worker_pool.map_tasks(
    functools.partial(
      spool_task,
      folder=str(folder),
      max_instances_per_task=max_instances_per_task,
      instance_keys=instance_keys,
    ),
    corpus=corpus,
    names=names,
    num_workers=num_workers,
  )
  tasks: dict[str, SpooledTask] = {}
  with contextlib.closing(spooled):
    for name, task in spooled:
      tasks[name] = task
      if on_task is not None:
        on_task(len(tasks), len(names))
  return Spool(tasks)


def spool_task(
  corpus: natinst.Corpus,
  name: str,
  *,
  folder: str,
  max_instances_per_task: int,
  instance_keys: InstanceKeys | None = None,
) -> SpooledTask:
  """Parses one task file and writes its rows to a file in `folder`."""
  task = corpus.load(name).task
  splits = ('test',) if name in corpus.test_tasks else ('train', 'validation')
  # The task's name may be too long for a file name.
  index = (*corpus.train_tasks, *corpus.test_tasks).index(name)
  path = pathlib.Path(folder) / f'{index:05d}'
  rows = {}
  with open(path, 'wb') as file:
    for split in splits:
      instances = corpus.instances(name, split)
      if split == 'train':
        instances = instances[:max_instances_per_task]
      start, ends, keys = file.tell(), array.array('Q'), array.array('Q')
      for rank, instance in enumerate(instances):
        file.write(
          serialize_row(task=name, instance=instance, rank=rank, split=split)
        )
        ends.append(file.tell() - start)
        if instance_keys is not None:
          keys.extend(instance_keys(instance))
      rows[split] = SpooledRows(
        path=str(path),
        start=start,
        ends=ends,
        keys=None if instance_keys is None else keys,
      )
  return SpooledTask(task=task.to_json(), rows=rows)


def serialize_row(
  *, task: str, instance: natinst.Instance, rank: int, split: str
) -> bytes:
  """Serialises a row as a `tf.train.Example`, without TensorFlow.

  Follows protobuf's wire format (protobuf.dev/programming-guides/encoding) and
  TensorFlow's example.proto and feature.proto. The result parses to the same
  message as what TFDS would write for the row.
  """
  features = b''.join(
    (
      _text_feature(b'id', (instance.id,)),
      _text_feature(b'input', (instance.input,)),
      _text_feature(b'outputs', instance.outputs),
      _integer_feature(b'position', instance.position),
      _integer_feature(b'rank', rank),
      _shared_features(task, split),
    )
  )
  return _field(b'\x0a', features)


@functools.lru_cache(maxsize=8)
def _shared_features(task: str, split: str) -> bytes:
  return _text_feature(b'split', (split,)) + _text_feature(b'task', (task,))


def _block_end(
  parts: Sequence[SpooledRows], start: int, last: int, block_bytes: int
) -> int:
  """Where to stop reading: halves the range until it fits or is one rank."""
  stop = last
  while (
    stop > start + 1
    and sum(rows.size(start, stop) for rows in parts) > block_bytes
  ):
    stop = start + (stop - start) // 2
  return stop


def _text_feature(name: bytes, values: Sequence[str]) -> bytes:
  # Feature.bytes_list = 1, BytesList.value = 1.
  texts = b''.join([_field(b'\x0a', value.encode()) for value in values])
  return _feature(name, _field(b'\x0a', texts))


def _integer_feature(name: bytes, value: int) -> bytes:
  # Feature.int64_list = 3, Int64List.value = 1, packed.
  return _feature(name, _field(b'\x1a', _field(b'\x0a', _varint(value))))


def _feature(name: bytes, feature: bytes) -> bytes:
  # Features.feature = 1, a map: an entry has key = 1 and value = 2.
  return _field(b'\x0a', _field(b'\x0a', name) + _field(b'\x12', feature))


def _field(tag: bytes, payload: bytes) -> bytes:
  """A length-delimited field; its tag is 8 times the field number, plus 2."""
  return tag + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
  """An unsigned integer, seven bits per byte, lowest bits first."""
  if value < 0x80:
    return bytes((value,))
  parts = bytearray()
  while value >= 0x80:
    parts.append(value & 0x7F | 0x80)
    value >>= 7
  parts.append(value)
  return bytes(parts)
