"""The rows of a corpus on their way from its files to TFRecord, on disk."""

import array
from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import itertools
import pathlib

from it_study.corpus import natinst, worker_pool

# Instance to two unsigned 64-bit numbers to know it by.
InstanceKeys = Callable[[natinst.Instance], tuple[int, int]]

# Read back at once while tasks are interleaved.
_BLOCK_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpooledRows:
  """A task's rows of one split: records one after the other in its file.

  Attributes:
    path: of the task's file.
    start: where in the file they begin, in bytes.
    ends: where each ends, from `start`.
    keys: two a row, if they were asked for.
  """

  path: str
  start: int
  ends: array.array
  keys: array.array | None = None

  def size(self, start: int, stop: int) -> int:
    """Bytes of rows `start` to `stop`."""
    start, stop = min(start, len(self.ends)), min(stop, len(self.ends))
    return self._end(stop) - self._end(start)

  def read(self, start: int, stop: int) -> list[bytes]:
    """Rows `start` to `stop`, fewer where there are fewer."""
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
  """A task, as `Task.to_json` writes it, and its rows by split."""

  task: dict
  rows: dict[str, SpooledRows]


@dataclasses.dataclass(frozen=True)
class Spool:
  """Every task of a corpus, by name in alphabetical order."""

  tasks: dict[str, SpooledTask]

  def rows_of(self, split: str) -> dict[str, SpooledRows]:
    """Task name to rows, of the tasks that have any place in the split."""
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
    """A split's rows, serialised, in the order in which they are stored.

    In train every task's row of rank 0 comes first, then of rank 1, so that the
    first n instances of each task stand at the beginning. The other splits go
    task by task.

    Args:
      split: one of `natinst.SPLITS`.
      block_bytes: of rows held in memory at a time, unless one rank has more.
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
  """Parses every task file of a corpus once and puts its rows on disk.

  Args:
    corpus: to read.
    folder: for a file a task; the caller's to remove.
    max_instances_per_task: cap of training instances.
    instance_keys: called with each instance that is kept, in the workers; so it
      must be importable by name.
    num_workers: as `worker_pool.map_tasks` has it.
    on_task: called with the number of files done and of all.

  Raises:
    InputError: if a task file cannot be used; names it.
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
  tasks = {}
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
  # Not its name, which may be as long as a file's name can be.
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
  """A row as a serialised `tf.train.Example`, without TensorFlow.

  By protobuf's wire format (protobuf.dev/programming-guides/encoding) and
  TensorFlow's example.proto and feature.proto. What TFDS would write for the
  same row parses to an equal message.
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
  """Where to stop reading: at least one rank, then by halves what fits."""
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
  """A length-delimited field; the tag is 8 times its number, plus 2."""
  return tag + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
  """An unsigned integer, seven bits a byte, the lowest first."""
  if value < 0x80:
    return bytes((value,))
  parts = bytearray()
  while value >= 0x80:
    parts.append(value & 0x7F | 0x80)
    value >>= 7
  parts.append(value)
  return bytes(parts)
