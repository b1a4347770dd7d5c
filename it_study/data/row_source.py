"""SeqIO data sources of a corpus's rows, all or those a condition takes."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

import collections
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import functools
import itertools
import os
from typing import Any, Protocol

import numpy as np
import seqio
import tensorflow as tf

from it_study.corpus import natinst
from it_study.corpus.schema import Instance, LazyInstances, LazyTasks
from it_study.data import build_folder, tfds_builder
from it_study.errors import InputError
from it_study.seeding import stable_hash
from it_study.storage.storage_path import expanded

# Rows read together before filtering.
_AT_ONCE = 4096


class TrainingSubset(Protocol):
  """Which training instances to take; a `Condition` is one."""

  @property
  def instances_per_task(self) -> int: ...

  @property
  def num_tasks(self) -> int | None: ...

  @property
  def seed(self) -> int: ...


class RowsSource(seqio.TfdsDataSource):
  """Rows that `tfds_builder` has built, shared by every condition."""

  def __init__(self, data_dir: str | os.PathLike | None = None):
    """Initialises the source; nothing is read yet.

    Args:
      data_dir: Data dir of the rows; None for TFDS's own folder or T5X's
        `--tfds_data_dir`, until `use` is called.
    """
    super().__init__(
      tfds_name=f'{tfds_builder.NAME}:{tfds_builder.VERSION}',
      splits=natinst.SPLITS,
      caching_permitted=False,
      read_only=True,
    )
    self._metadata: dict[str, dict] = {}
    self._counts: dict[tuple[str, str], Mapping[str, int]] = {}
    self._instances: dict[str, LazyInstances] = {}
    self._orders: dict[tuple[str, int], Mapping[str, np.ndarray]] = {}
    if data_dir is not None:
      self.use(data_dir)

  def use(self, data_dir: str | os.PathLike) -> None:
    """Switches this process to the rows in `data_dir`."""
    self.tfds_dataset.override_data_dir(expanded(data_dir))
    self.list_shards.cache_clear()

  def metadata(self) -> dict:
    """The metadata that the builder stored, with tasks parsed.

    'tasks' maps names to `Task`; 'train_table' and 'test_table' hold the
    training and the test tasks as `LazyTasks`.

    Raises:
      InputError: If there are no rows.
    """
    data_dir = str(self.tfds_dataset.data_dir)
    if expanded(data_dir) != data_dir:
      # From T5X's flag; TFDS takes it as it is.
      self.use(data_dir)
      data_dir = expanded(data_dir)
    if data_dir not in self._metadata:
      self._metadata[data_dir] = self._load_metadata(data_dir)
    return self._metadata[data_dir]

  def counts(self, split: str) -> Mapping[str, int]:
    """Returns each task's number of rows in a split, by name."""
    metadata = self.metadata()
    self._check_has(split)
    if split == 'train':
      return metadata['num_train_instances']
    key = (str(self.tfds_dataset.data_dir), split)
    if key not in self._counts:
      counts = collections.Counter(
        name for batch in self._only(split, 'task') for name in batch['task']
      )
      self._counts[key] = {name.decode(): n for name, n in counts.items()}
    return self._counts[key]

  def order(self, seed: int) -> Mapping[str, np.ndarray]:
    """Returns the ranks of each task's training rows, in order of choice.

    Under seed 0 that is the order of the ranks. Under another seed it is the
    order of a stable hash of seed and id, which takes one pass over all ids. So
    an instance added to a task displaces at most one that was chosen.

    Returns:
      Ranks by task name, int64 [rows of the task].
    """
    counts = self.counts('train')
    if seed == 0:
      return {name: np.arange(count) for name, count in counts.items()}
    key = (str(self.tfds_dataset.data_dir), seed)
    if key not in self._orders:
      # Overwritten below, as every rank occurs once.
      keys = {name: [(0, '')] * count for name, count in counts.items()}
      for batch in self._only('train', 'id', 'task', 'rank'):
        columns = (batch[name] for name in ('id', 'task', 'rank'))
        for row_id, name, rank in zip(*columns, strict=True):
          text = row_id.decode()
          keys[name.decode()][rank] = (
            stable_hash(seed, text, 'instances'),
            text,
          )
      self._orders[key] = {
        name: _argsort(task_keys) for name, task_keys in keys.items()
      }
    return self._orders[key]

  def training_instances(self) -> LazyInstances:
    """Returns every training row of each task, without its input.

    They are read in one pass, on the first call.
    """
    self.metadata()
    data_dir = str(self.tfds_dataset.data_dir)
    if data_dir not in self._instances:
      found = collections.defaultdict(list)
      spec = {
        'id': tf.io.FixedLenFeature([], tf.string),
        'task': tf.io.FixedLenFeature([], tf.string),
        'position': tf.io.FixedLenFeature([], tf.int64),
        'outputs': tf.io.RaggedFeature(tf.string),
      }
      names = ('id', 'task', 'position', 'outputs_lengths')
      for batch in self._parsed('train', spec):
        texts = iter(batch['outputs'])
        for row_id, task, position, count in zip(
          *(batch[name] for name in names), strict=True
        ):
          outputs = itertools.islice(texts, int(count))
          found[task.decode()].append(
            Instance(
              id=row_id.decode(),
              input='',
              outputs=tuple(text.decode() for text in outputs),
              position=int(position),
            )
          )
      self._instances[data_dir] = LazyInstances(
        sorted(found), lambda name: tuple(found[name])
      )
    return self._instances[data_dir]

  def chosen(self, choice: TrainingSubset) -> Mapping[str, np.ndarray]:
    """Returns which training rows a condition takes.

    Choices are nested: the rows for 10 instances per task are among those for
    20, and the tasks for `num_tasks=10` among those for 20.

    Returns:
      Flags by task name, bool [rows of the task], by rank.
    """
    tasks = set(self.chosen_tasks(choice))
    counts = self.counts('train')
    takes_all = choice.instances_per_task >= max(counts.values())
    order = self.order(0 if takes_all else choice.seed)
    chosen = {}
    for name, count in counts.items():
      chosen[name] = np.zeros(count, bool)
      if name in tasks:
        chosen[name][order[name][: choice.instances_per_task]] = True
    return chosen

  def chosen_tasks(self, choice: TrainingSubset) -> list[str]:
    """Returns the names of the training tasks that a condition takes.

    Raises:
      InputError: If it asks for more tasks than there are.
    """
    natinst.check_num_tasks(
      choice.num_tasks, len(self.metadata()['train_tasks'])
    )
    names = sorted(
      self.metadata()['train_tasks'],
      key=lambda name: (stable_hash(choice.seed, name, 'tasks'), name),
    )
    return names[: choice.num_tasks]

  def at(self, split: str, flags: np.ndarray) -> tf.data.Dataset:
    """Returns some rows of a split, in stored order.

    Args:
      split: Split to read.
      flags: Whether to take each row, in stored order, bool [number of rows].
        Rows after the last one to take are not read.
    """
    places = np.flatnonzero(flags)
    start, stop = (places[0], places[-1] + 1) if len(places) else (0, 0)
    chosen = tf.data.Dataset.from_tensor_slices(flags[start:stop])
    records = self._records(split).skip(start).take(stop - start)
    rows = tf.data.Dataset.zip(records.batch(_AT_ONCE), chosen.batch(_AT_ONCE))
    return (
      rows.map(tf.boolean_mask)
      .unbatch()
      .map(
        self.tfds_dataset.info.features.deserialize_example,
        num_parallel_calls=tf.data.AUTOTUNE,
      )
    )

  def get_dataset(
    self, split: str | None = None, *args: Any, **kwargs: Any
  ) -> tf.data.Dataset:
    """TFDS's dataset. Raises `InputError` if there are no rows."""
    self.metadata()
    if split is not None:
      self._check_has(split)
    return super().get_dataset(split, *args, **kwargs)

  @contextlib.contextmanager
  def damage_as_input_error(self) -> Iterator[None]:
    """Names a damaged file, where TensorFlow says only 'corrupted record'.

    The rows are hashed again, and the hashes kept: the next check of the rows
    sees the damage although no size or time has changed.

    Raises:
      InputError: If the block raised `DataLossError` and a file of the rows is
        damaged.
    """
    try:
      yield
    except tf.errors.DataLossError:
      self._check_files(reread=True)
      raise

  def _check_has(self, split: str) -> None:
    """Raises `InputError` for rows of test tasks only, unless on test."""
    if split != 'test' and not self.metadata()['train_tasks']:
      raise InputError(natinst.no_training_tasks('the corpus in use', split))

  def _check_files(self, *, reread: bool = False) -> None:
    data_dir = self.tfds_dataset.data_dir
    if data_dir is not None:
      build_folder.check_files(
        tfds_builder.rows_directory(data_dir), data_dir=data_dir, reread=reread
      )

  def _records(self, split: str) -> tf.data.Dataset:
    """Returns the serialised rows in stored order."""
    paths = self.tfds_dataset.info.splits[split].filepaths
    return tf.data.TFRecordDataset([os.fspath(path) for path in paths])

  def _only(self, split: str, *features: str) -> Iterator[dict]:
    """Yields batches of some features of all rows, as arrays."""
    info = self.tfds_dataset.info.features
    return self._parsed(
      split,
      {
        name: tf.io.FixedLenFeature([], info[name].tf_dtype)
        for name in features
      },
    )

  def _parsed(self, split: str, spec: Mapping[str, Any]) -> Iterator[dict]:
    """Yields batches of all rows, parsed by a specification of features.

    A ragged feature NAME gives its values in one array, and 'NAME_lengths'.
    """

    def parse(records: tf.Tensor) -> dict[str, tf.Tensor]:
      batch = tf.io.parse_example(records, spec)
      for name, values in list(batch.items()):
        if isinstance(values, tf.RaggedTensor):
          batch |= {
            name: values.flat_values,
            f'{name}_lengths': values.row_lengths(),
          }
      return batch

    dataset = self._records(split).batch(_AT_ONCE)
    dataset = dataset.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    with self.damage_as_input_error():
      yield from dataset.as_numpy_iterator()

  def _load_metadata(self, data_dir: str) -> dict:
    self._check_files()
    if not self.tfds_dataset.builder.is_prepared():
      where = '~/tensorflow_datasets' if data_dir == 'None' else data_dir
      raise InputError(
        f'no corpus is in use: no rows of {tfds_builder.NAME} in {where}. '
        'Call it_study.seqio_lib.use_corpus(DIR), or give T5X '
        "--tfds_data_dir=DIR after 'it-study corpus build'."
      )
    metadata = dict(self.tfds_dataset.info.metadata)
    tasks = {
      name: natinst.Task.from_json(fields)
      for name, fields in metadata['tasks'].items()
    }
    metadata['tasks'] = tasks
    train = set(metadata['train_tasks'])
    metadata['train_table'] = LazyTasks(sorted(train), tasks.__getitem__)
    metadata['test_table'] = LazyTasks(
      sorted(set(tasks) - train), tasks.__getitem__
    )
    return metadata


# The rows of the corpus in use.
SOURCE = RowsSource()


class ChosenRows(seqio.DataSource):
  """The rows that a condition trains on; other splits are complete.

  Rows of train are sorted by rank, so under seed 0 the first n of every task
  come first, and no others are read. Under another seed all rows are read from
  disk, but only the chosen ones are parsed. The hosts of a training share the
  chosen rows among them.
  """

  def __init__(
    self,
    *,
    choice: TrainingSubset,
    rows: RowsSource = SOURCE,
    task: str | None = None,
  ):
    """Initialises the source; nothing is read yet.

    Args:
      choice: Choice of training instances.
      rows: Source of the rows to choose from.
      task: Name of the only task to read; None for all tasks.
    """
    super().__init__(splits=rows.splits, caching_permitted=False)
    self.rows = rows
    self.choice = choice
    self.task = task

  @property
  def splits(self) -> tuple[str, ...]:
    if self.task is None:
      return tuple(self.rows.splits)
    is_train = self.task in self.rows.metadata()['train_table']
    return ('train', 'validation') if is_train else ('test',)

  @property
  def supports_arbitrary_sharding(self) -> bool:
    return False

  def list_shards(self, split: str) -> list[str]:
    """The files to read; a single one makes SeqIO shard by rows instead."""
    if self._takes_all(split):
      return self.rows.list_shards(split)
    return [f'some of {split}']

  def num_input_examples(self, split: str) -> int:
    """The number of rows chosen; 0 for a `task` without any."""
    counts = dict(self.rows.counts(split))
    if split == 'train':
      counts = {
        name: min(counts[name], self.choice.instances_per_task)
        for name in self.rows.chosen_tasks(self.choice)
      }
    if self.task is not None:
      return counts.get(self.task, 0)
    return sum(counts.values())

  def get_dataset(
    self,
    split: str = 'train',
    shuffle: bool = True,
    seed: int | None = None,
    shard_info: seqio.ShardInfo | None = None,
    **unused: Any,
  ) -> tf.data.Dataset:
    if self._takes_all(split):
      return self.rows.get_dataset(
        split, shuffle=shuffle, seed=seed, shard_info=shard_info
      )
    return self.rows.at(split, self._flags(split))

  def _flags(self, split: str) -> np.ndarray:
    """Whether each row is taken, in stored order."""
    if split == 'train':
      chosen = self.rows.chosen(self.choice)
    else:
      counts = self.rows.counts(split)
      chosen = {name: np.ones(count, bool) for name, count in counts.items()}
    if self.task is not None:
      chosen = {
        name: flags & (name == self.task) for name, flags in chosen.items()
      }
    return _by_place(chosen, by_rank=split == 'train')

  def _takes_all(self, split: str) -> bool:
    if self.task is not None:
      return False
    return split != 'train' or (
      self.choice.num_tasks is None
      and self.choice.instances_per_task
      >= max(self.rows.counts('train').values())
    )


def source_of(task: seqio.Task) -> RowsSource | None:
  """Returns the corpus rows that a task reads; None for any other task."""
  if isinstance(task.source, RowsSource):
    return task.source
  return task.source.rows if isinstance(task.source, ChosenRows) else None


def _argsort(keys: Sequence[tuple[int, str]]) -> np.ndarray:
  """The indices that sort `keys`, int64."""
  return np.array(sorted(range(len(keys)), key=lambda index: keys[index]), int)


def _by_place(chosen: Mapping[str, np.ndarray], *, by_rank: bool) -> np.ndarray:
  """Concatenates the flags of tasks, which are by rank, in stored order.

  Rows are stored by task, then by rank; in train by rank, then by task:

  >>> chosen = {'b': np.array([True, False]), 'a': np.array([False])}
  >>> _by_place(chosen, by_rank=True)
  array([False,  True, False])
  """
  tasks = [chosen[name] for name in sorted(chosen)]
  if not by_rank:
    return np.concatenate(tasks)
  return np.concatenate(tasks)[_by_rank(tuple(map(len, tasks)))]


@functools.lru_cache(maxsize=4)
def _by_rank(counts: tuple[int, ...]) -> np.ndarray:
  """Indices that sort the concatenated rows of tasks by rank."""
  ranks = np.concatenate([np.arange(count) for count in counts])
  # Stable: rows of one rank stay sorted by task.
  return np.argsort(ranks, kind='stable')
