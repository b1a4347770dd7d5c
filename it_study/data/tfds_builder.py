"""The TFDS dataset of a corpus: a row an instance, task texts once."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import io
import itertools
import os
import pathlib
import tempfile

from etils import epath
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from it_study.corpus import natinst
from it_study.data import build_folder, overlap, spooled_rows
from it_study.errors import InputError
from it_study.storage import local_folders

NAME = 'natural_instructions_study'
VERSION = '1.2.0'
MAX_INSTANCES_PER_TASK = 1000

# What is being done ('parse' or 'write'), how much of it is done, of how much.
OnProgress = Callable[[str, int, int], None]
# Split to task to keys, uint64 [instances, 2], in the order of the ranks; what
# is returned joins the metadata.
OnKeys = Callable[[Mapping[str, Mapping[str, np.ndarray]]], Mapping]

# Files enough for the hosts of a large machine, and none larger than this.
_MANY_ROWS, _MANY_SHARDS = 16_000, 16
_SHARD_BYTES = 256 << 20
_ROWS_BETWEEN_REPORTS = 1000


class NaturalInstructionsStudy(tfds.core.dataset_builder.FileReaderBuilder):
  """Rows of a natural-instructions corpus, written by `build_rows`.

  Features of a row:
    id: string, unique in the corpus.
    task: string, a key of `info.metadata['tasks']`, where the task's texts
      stand once, as `Task.to_json` writes them.
    position: int64, index in the task's file.
    rank: int64, order of the stable hash within the task; in train it starts
      at 0 after the instances that validation holds out, so that the first n
      are nested.
    split: string, 'train', 'validation' or 'test'.
    input: string. outputs: strings, the accepted references.

  Rows of train are stored by rank, then by task, so that the first n of each
  task are `train[:k]`, where k is the sum of min(count, n) over the counts of
  `info.metadata['num_train_instances']`. Those of validation and test are
  stored by task, then by rank.

  The files are written here, from rows that are serialised already. TFDS's own
  writer would keep a split in memory to keep its order, and would then mark it
  as ordered (`disable_shuffling`), which SeqIO refuses to shuffle by files. So
  the order is that of the files, and whoever wants it while reading several at
  once asks for `tfds.ReadConfig(interleave_cycle_length=1)`.

  1.2.0: rows in the order above; 1.1.0 had them in TFDS's random order, all of
  which must be read to find the first few of each task.
  """

  name = NAME
  VERSION = tfds.core.Version(VERSION)

  def __init__(
    self,
    *,
    spool: spooled_rows.Spool | None = None,
    metadata: Mapping | None = None,
    on_progress: OnProgress | None = None,
    **kwargs,
  ):
    self._spool = spool
    self._metadata = metadata or {}
    self._on_progress = on_progress
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='Instances of Super-NaturalInstructions tasks (Wang et al. '
      '2022, arXiv 2204.07705), split for the study of instruction tuning.',
      homepage='https://github.com/allenai/natural-instructions',
      license='Apache-2.0',
      features=tfds.features.FeaturesDict(
        {
          'id': tfds.features.Text(),
          'task': tfds.features.Text(),
          'position': tfds.features.Scalar(np.int64),
          'rank': tfds.features.Scalar(np.int64),
          'split': tfds.features.Text(),
          'input': tfds.features.Text(),
          'outputs': tfds.features.Sequence(tfds.features.Text()),
        }
      ),
      metadata=tfds.core.MetadataDict(self._metadata),
    )

  def _download_and_prepare(self, dl_manager, download_config) -> None:
    del dl_manager, download_config
    if self._spool is None:
      raise InputError(
        f'no rows of {NAME} in {self.data_dir}. Write them with '
        "'it-study corpus build CORPUS --data_dir DIR', and name DIR."
      )
    records = {split: self._spool.records(split) for split in natinst.SPLITS}
    numbers = {split: self._spool.num_rows(split) for split in natinst.SPLITS}
    total = sum(numbers.values())
    counts = itertools.count(1)

    def counted(rows: Iterator[bytes]) -> Iterator[bytes]:
      for row in rows:
        done = next(counts)
        if self._on_progress and (
          done % _ROWS_BETWEEN_REPORTS == 0 or done == total
        ):
          self._on_progress('write', done, total)
        yield row

    self.info.set_splits(
      tfds.core.splits.SplitDict(
        [
          self._write_split(split, counted(records[split]), numbers[split])
          for split in natinst.SPLITS
        ]
      )
    )

  def _write_split(
    self, split: str, records: Iterator[bytes], num_rows: int
  ) -> tfds.core.SplitInfo:
    num_bytes = self._spool.num_bytes(split)
    num_shards = _num_shards(num_rows, num_bytes)
    template = self._get_filename_template(split)
    bounds = [num_rows * i // num_shards for i in range(num_shards + 1)]
    lengths = [stop - start for start, stop in itertools.pairwise(bounds)]
    for index, length in enumerate(lengths):
      path = template.sharded_filepath(shard_index=index, num_shards=num_shards)
      with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for record in itertools.islice(records, length):
          writer.write(record)
    return tfds.core.SplitInfo(
      name=split,
      shard_lengths=lengths,
      num_bytes=num_bytes,
      filename_template=template,
    )


def build_rows(
  *,
  corpus: natinst.Corpus,
  data_dir: str | os.PathLike,
  max_instances_per_task: int = MAX_INSTANCES_PER_TASK,
  num_workers: int | None = None,
  on_progress: OnProgress | None = None,
  instance_keys: spooled_rows.InstanceKeys | None = None,
  on_keys: OnKeys | None = None,
) -> epath.Path:
  """Writes a corpus's rows below `data_dir`, as TFRecord, if not there yet.

  Each task file is parsed once, in worker processes; the rows wait on disk,
  beside where they will be, until all are there. Another process that builds in
  the same place is waited for. What a killed build has left is removed.

  Args:
    corpus: to read.
    data_dir: where stock T5X finds them by `--tfds_data_dir`.
    max_instances_per_task: cap of training instances; those of lowest stable
      hash are kept.
    num_workers: processes to parse in; None takes one for each processor.
    on_progress: called after each file, and now and then while rows are
      written.
    instance_keys: called in the workers with each instance that is kept;
      importable by name.
    on_keys: called once with all that it returned, before any row is written.
      What this returns joins the metadata, what it raises ends the build.

  Returns:
    The dataset's own directory.

  Raises:
    InputError: if a task file cannot be used or changes while it is read, or
      the directory cannot be written, or holds the rows of another corpus or
      cap.
  """
  if max_instances_per_task < 1:
    raise InputError(
      f'max_instances_per_task: found {max_instances_per_task}, allowed is 1 '
      'or more.'
    )
  directory = rows_directory(data_dir)

  def is_there() -> bool:
    if not directory.exists() or build_folder.find_damage(directory):
      return False
    check_same(
      data_dir,
      corpus=corpus,
      max_instances_per_task=max_instances_per_task,
    )
    return True

  if is_there():
    return directory
  local_folders.make_directory(data_dir)
  clear = functools.partial(
    build_folder.clear_build,
    fingerprint=corpus.fingerprint(),
    max_instances_per_task=max_instances_per_task,
  )
  with (
    build_folder.disk_full_as_input_error(data_dir),
    build_folder.working_folder(directory, clear=clear) as folder,
  ):
    if is_there():
      return directory
    fingerprint = corpus.fingerprint()
    spool = spooled_rows.fill(
      corpus=corpus,
      folder=folder,
      max_instances_per_task=max_instances_per_task,
      num_workers=num_workers,
      instance_keys=instance_keys,
      on_task=on_progress and functools.partial(on_progress, 'parse'),
    )
    _check_spool(spool, corpus, fingerprint)
    metadata = _metadata(corpus, spool, fingerprint, max_instances_per_task)
    if on_keys is not None:
      metadata |= on_keys(_keys(spool))
    builder = NaturalInstructionsStudy(
      spool=spool,
      metadata=metadata,
      on_progress=on_progress,
      data_dir=os.fspath(data_dir),
      file_format='tfrecord',
    )
    _prepare(builder)
    build_folder.write_file_list(directory)
  return directory


def build_corpus(
  corpus: natinst.Corpus,
  *,
  data_dir: str | os.PathLike | None = None,
  max_instances_per_task: int = MAX_INSTANCES_PER_TASK,
  allow_overlap: bool = False,
  **settings,
) -> pathlib.Path:
  """Builds a corpus's rows where asked, or in the cache folder.

  What test instances are trained on is counted in the metadata, 'overlap'. Rows
  that were built with leave are taken as they are by later calls.

  Args:
    corpus: to read.
    data_dir: where to; None takes the cache folder.
    max_instances_per_task: cap of training instances.
    allow_overlap: whether test instances may be trained on.
    **settings: more of `build_rows`.

  Returns:
    The data dir.

  Raises:
    InputError: if they are, and may not be; and as `build_rows` does.
  """
  if data_dir is None:
    data_dir = cached_data_dir(corpus, max_instances_per_task)
  build_rows(
    corpus=corpus,
    data_dir=data_dir,
    max_instances_per_task=max_instances_per_task,
    instance_keys=overlap.instance_keys,
    on_keys=functools.partial(
      overlap.gate,
      corpus=corpus,
      max_instances_per_task=max_instances_per_task,
      allow=allow_overlap,
    ),
    **settings,
  )
  return pathlib.Path(data_dir)


def cached_data_dir(
  corpus: natinst.Corpus, max_instances_per_task: int = MAX_INSTANCES_PER_TASK
) -> pathlib.Path:
  """Where in the cache folder a corpus's rows are, keyed by its content."""
  key = f'{corpus.fingerprint()[:24]}_{max_instances_per_task}'
  return local_folders.cache_directory() / 'rows' / key


def stored_metadata(data_dir: str | os.PathLike) -> dict:
  """The metadata of the rows below `data_dir`."""
  directory = rows_directory(data_dir)
  build_folder.check_files(directory, data_dir=data_dir, sizes=False)
  return dict(tfds.builder_from_directory(directory).info.metadata)


def rows_directory(data_dir: str | os.PathLike) -> epath.Path:
  """The dataset's own directory below a data dir."""
  return epath.Path(data_dir) / NAME / VERSION


def _metadata(
  corpus: natinst.Corpus,
  spool: spooled_rows.Spool,
  fingerprint: str,
  max_instances_per_task: int,
) -> dict:
  return {
    'fingerprint': fingerprint,
    'max_instances_per_task': max_instances_per_task,
    'tasks': {
      name: spool.tasks[name].task
      for name in (*corpus.train_tasks, *corpus.test_tasks)
    },
    'train_tasks': list(corpus.train_tasks),
    'num_train_instances': {
      name: len(spool.tasks[name].rows['train'].ends)
      for name in corpus.train_tasks
    },
  }


def _check_spool(
  spool: spooled_rows.Spool, corpus: natinst.Corpus, fingerprint: str
) -> None:
  if corpus.fingerprint() != fingerprint:
    raise InputError(
      f'corpus {corpus.directory}: a file changed while it was read. Build '
      'again when nothing writes there.'
    )
  for split in natinst.SPLITS:
    if spool.num_rows(split) == 0:
      raise InputError(
        f'corpus {corpus.directory}: no instance in {split}; each training '
        f'task holds out {natinst.VALIDATION_INSTANCES} for validation, so '
        'at least one needs more.'
      )


def _keys(spool: spooled_rows.Spool) -> dict[str, dict[str, np.ndarray]]:
  return {
    split: {
      name: np.frombuffer(rows.keys, np.uint64).reshape(-1, 2)
      for name, rows in spool.rows_of(split).items()
    }
    for split in natinst.SPLITS
  }


def _prepare(builder: tfds.core.DatasetBuilder) -> None:
  # TFDS talks of a download and draws bars, whoever calls.
  tfds.disable_progress_bar()
  with (
    contextlib.redirect_stdout(io.StringIO()),
    tempfile.TemporaryDirectory() as downloads,
  ):
    # Nothing is downloaded, but TFDS makes a folder for it.
    builder.download_and_prepare(download_dir=downloads)


def _num_shards(num_rows: int, num_bytes: int) -> int:
  """A power of two, so that it divides evenly among hosts."""
  shards = _MANY_SHARDS if num_rows >= _MANY_ROWS else 1
  while num_bytes / shards > _SHARD_BYTES and num_rows >= 2 * shards:
    shards *= 2
  return shards


def check_same(
  data_dir: str | os.PathLike,
  *,
  corpus: natinst.Corpus,
  max_instances_per_task: int,
) -> None:
  """Raises `InputError` unless stored rows are this corpus's, of this cap."""
  directory, found = rows_directory(data_dir), stored_metadata(data_dir)
  fingerprint = corpus.fingerprint()
  if found['fingerprint'] != fingerprint:
    raise InputError(
      f'{directory} holds the rows of another corpus, track or exclusion list, '
      f'or of other contents of {corpus.directory} (fingerprint '
      f'{found["fingerprint"][:12]}, found {fingerprint[:12]}). Name another '
      'directory or remove it.'
    )
  cap = found['max_instances_per_task']
  if cap != max_instances_per_task:
    raise InputError(
      f'{directory} holds at most {cap} training instances a task, asked for '
      f'are {max_instances_per_task}. Name another directory or remove it.'
    )
