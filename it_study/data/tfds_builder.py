"""The TFDS dataset of a corpus: one row per instance, each task's text once."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import io
import itertools
import logging
import os
import pathlib
import tempfile
from typing import Any

from etils import epath
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from it_study.corpus import natinst
from it_study.data import build_folder, overlap, spooled_rows
from it_study.errors import InputError
from it_study.storage import local_folders
from it_study.storage.storage_path import expanded

NAME = 'natural_instructions_study'
VERSION = '1.2.0'
MAX_INSTANCES_PER_TASK = 1000

# Called with the phase ('parse' or 'write'), the number of files or rows done,
# and their total.
OnProgress = Callable[[str, int, int], None]

# Enough files for the hosts of a large machine, and none larger than this.
_MANY_ROWS, _MANY_SHARDS = 16_000, 16
_SHARD_BYTES = 256 << 20
_ROWS_BETWEEN_REPORTS = 1000

_logger = logging.getLogger(__name__)


class NaturalInstructionsStudy(tfds.core.dataset_builder.FileReaderBuilder):
  """Rows of a natural-instructions corpus, written by `build_rows`.

  Features of a row:
    id: string, unique in the corpus.
    task: string, a key of `info.metadata['tasks']`, which holds the task's
      texts once, as `Task.to_json` writes them.
    position: int64, index in the task's file.
    rank: int64, position in the order of the stable hash within the task. In
      train, rank 0 comes after the instances held out for validation, so that
      the first n are nested.
    split: string, 'train', 'validation' or 'test'.
    input: string. outputs: strings, the accepted references.

  Rows of train are sorted by rank, then by task, so that the first n of each
  task are `train[:k]`, where k is the sum of min(count, n) over the counts of
  `info.metadata['num_train_instances']`. Rows of validation and test are
  sorted by task, then by rank.

  This class writes the files itself, from serialised rows. TFDS's own writer
  holds a split in memory to preserve its order, and then marks it as ordered
  (`disable_shuffling`); SeqIO refuses to shuffle the files of such a split. To
  read several files in stored order, pass
  `tfds.ReadConfig(interleave_cycle_length=1)`.

  Version 1.2.0 stores rows in the order above. Version 1.1.0 stored them in
  TFDS's random order, so finding the first few of each task took a full read.
  """

  name = NAME
  VERSION = tfds.core.Version(VERSION)

  def __init__(
    self,
    *,
    spool: spooled_rows.Spool | None = None,
    metadata: Mapping | None = None,
    on_progress: OnProgress | None = None,
    **kwargs: Any,
  ):
    self._spool = spool
    self._metadata = metadata or {}
    self._on_progress = on_progress
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return _LocalInfo(
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

  def _download_and_prepare(
    self, dl_manager: Any, download_config: Any
  ) -> None:
    del dl_manager, download_config
    spool = self._spool
    if spool is None:
      raise InputError(
        f'no rows of {NAME} in {self.data_dir}. Build them with '
        "'it-study corpus build CORPUS --data_dir DIR', then pass DIR."
      )
    total = sum(spool.num_rows(split) for split in natinst.SPLITS)
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
          self._write_split(
            split,
            counted(spool.records(split)),
            num_rows=spool.num_rows(split),
            num_bytes=spool.num_bytes(split),
          )
          for split in natinst.SPLITS
        ]
      )
    )

  def _write_split(
    self,
    split: str,
    records: Iterator[bytes],
    *,
    num_rows: int,
    num_bytes: int,
  ) -> tfds.core.SplitInfo:
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


class _LocalInfo(tfds.core.DatasetInfo):
  """Information about a data set that TFDS's public bucket does not have."""

  def initialize_from_bucket(self) -> None:
    """Does nothing; TFDS's own method leaves a temporary folder behind."""


def build_rows(
  corpus: natinst.Corpus,
  *,
  data_dir: str | os.PathLike | None = None,
  max_instances_per_task: int = MAX_INSTANCES_PER_TASK,
  allow_overlap: bool = False,
  reread: bool = False,
  num_workers: int | None = None,
  on_progress: OnProgress | None = None,
) -> pathlib.Path:
  """Writes a corpus's rows as TFRecord, unless they are already there.

  Worker processes parse each task file once. The rows wait on disk, next to
  their final place, until all are there. A second process that builds in the
  same place waits for the first. What a killed build left behind is removed.
  Rows with a damaged file are built again.

  The metadata records under 'overlap' how many test instances are also in
  training. Later calls reuse rows built with `allow_overlap=True`.

  Args:
    corpus: Corpus to read.
    data_dir: Data dir to write to, which stock T5X takes as
      `--tfds_data_dir`; None for the cache folder.
    max_instances_per_task: Maximum number of training instances per task; the
      instances with the lowest stable hash are kept.
    allow_overlap: Whether to build rows that train on test instances.
    reread: Whether to look for damage in files that have not changed by size
      and times, too.
    num_workers: Number of processes that parse; None for one per processor.
    on_progress: Called after each file, and every so often while rows are
      written.

  Returns:
    The data dir.

  Raises:
    InputError: If a task file cannot be used or changes during the build, if
      training and test instances overlap and `allow_overlap` is False, if the
      directory cannot be written, or if it holds rows of another corpus or cap.
  """
  if max_instances_per_task < 1:
    raise InputError(
      f'max_instances_per_task is {max_instances_per_task}; it must be 1 or '
      'more.'
    )
  if data_dir is None:
    data_dir = cached_data_dir(corpus, max_instances_per_task)
  data_dir = _as_path(data_dir)
  directory = rows_directory(data_dir)
  if _is_built(data_dir, corpus, max_instances_per_task, reread=reread):
    _logger.info('rows cache hit: %s', directory)
    return data_dir
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
    # Another process may have built them while this one waited.
    if _is_built(data_dir, corpus, max_instances_per_task):
      _logger.info('rows cache hit, built by another process: %s', directory)
      return data_dir
    _logger.info('rows cache miss: building %s', directory)
    _write_rows(
      corpus,
      data_dir=data_dir,
      folder=folder,
      max_instances_per_task=max_instances_per_task,
      allow_overlap=allow_overlap,
      num_workers=num_workers,
      on_progress=on_progress,
    )
  return data_dir


def cached_data_dir(
  corpus: natinst.Corpus, max_instances_per_task: int = MAX_INSTANCES_PER_TASK
) -> pathlib.Path:
  """The data dir in the cache folder of a corpus's rows, keyed by content."""
  key = f'{corpus.fingerprint()[:24]}_{max_instances_per_task}'
  return local_folders.cache_directory() / build_folder.ROWS / key


def stored_metadata(data_dir: str | os.PathLike) -> dict:
  """The metadata of the rows below `data_dir`.

  Raises:
    InputError: If a file is missing or cannot be parsed.
  """
  directory = rows_directory(data_dir)
  build_folder.check_files(directory, data_dir=data_dir, contents=False)
  try:
    metadata = dict(tfds.builder_from_directory(directory).info.metadata)
    for fields in metadata['tasks'].values():
      natinst.Task.from_json(fields)
  except (ValueError, TypeError, KeyError):
    build_folder.check_files(directory, data_dir=data_dir)
    raise
  return metadata


def rows_directory(data_dir: str | os.PathLike) -> epath.Path:
  """The dataset's own directory below a data dir."""
  return epath.Path(_as_path(data_dir)) / NAME / VERSION


def _as_path(data_dir: str | os.PathLike) -> pathlib.Path:
  """The data dir as a path; one in a bucket keeps its 'gs://'."""
  path = expanded(data_dir)
  try:
    return epath.Path(path) if '://' in path else pathlib.Path(path)
  except KeyError:
    raise InputError(
      f'data_dir {path}: rows are in a local folder or in a bucket, gs://….'
    ) from None


def _is_built(
  data_dir: pathlib.Path,
  corpus: natinst.Corpus,
  max_instances_per_task: int,
  *,
  reread: bool = False,
) -> bool:
  """Whether the rows are there, undamaged. Raises `InputError` for others."""
  directory = rows_directory(data_dir)
  if not directory.exists() or build_folder.find_damage(
    directory, reread=reread
  ):
    return False
  check_same(
    data_dir, corpus=corpus, max_instances_per_task=max_instances_per_task
  )
  return True


def _write_rows(
  corpus: natinst.Corpus,
  *,
  data_dir: str | os.PathLike,
  folder: pathlib.Path,
  max_instances_per_task: int,
  allow_overlap: bool,
  num_workers: int | None,
  on_progress: OnProgress | None,
) -> None:
  """Parses a corpus into `folder`, checks it, and writes it as TFRecord."""
  fingerprint = corpus.fingerprint()
  spool = spooled_rows.fill(
    corpus=corpus,
    folder=folder,
    max_instances_per_task=max_instances_per_task,
    num_workers=num_workers,
    instance_keys=overlap.instance_keys,
    on_task=on_progress and functools.partial(on_progress, 'parse'),
  )
  _check_spool(spool, corpus, fingerprint)
  metadata = _metadata(corpus, spool, fingerprint, max_instances_per_task)
  metadata |= overlap.gate(
    _keys(spool),
    corpus=corpus,
    max_instances_per_task=max_instances_per_task,
    allow=allow_overlap,
  )
  builder = NaturalInstructionsStudy(
    spool=spool,
    metadata=metadata,
    on_progress=on_progress,
    data_dir=os.fspath(data_dir),
    file_format='tfrecord',
  )
  _prepare(builder)
  build_folder.write_file_list(rows_directory(data_dir))


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
      f'corpus {corpus.directory}: a file changed during the build. Build '
      'again once nothing writes to the corpus.'
    )
  for split in natinst.SPLITS:
    if corpus.tasks_of(split) and spool.num_rows(split) == 0:
      raise InputError(
        f'corpus {corpus.directory}: no instances in {split}. Each training '
        f'task holds out {natinst.VALIDATION_INSTANCES} instances for '
        'validation, so at least one task needs more than that.'
      )


def _keys(spool: spooled_rows.Spool) -> dict[str, dict[str, np.ndarray]]:
  """Split to task to keys, uint64 [instances, 2], in the order of the ranks."""
  keys: dict[str, dict[str, np.ndarray]] = {}
  for split in natinst.SPLITS:
    keys[split] = {}
    for name, rows in spool.rows_of(split).items():
      assert rows.keys is not None, 'the spool was filled without keys'
      keys[split][name] = np.frombuffer(rows.keys, np.uint64).reshape(-1, 2)
  return keys


def _prepare(builder: tfds.core.DatasetBuilder) -> None:
  # TFDS prints about a download and draws progress bars.
  tfds.disable_progress_bar()
  with (
    contextlib.redirect_stdout(io.StringIO()),
    tempfile.TemporaryDirectory() as downloads,
  ):
    # Nothing is downloaded, but TFDS creates a folder for it.
    builder.download_and_prepare(download_dir=downloads)


def _num_shards(num_rows: int, num_bytes: int) -> int:
  """The number of files: a power of two, to divide evenly among hosts."""
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
  """Raises `InputError` if stored rows are of another corpus or cap."""
  directory, stored = rows_directory(data_dir), stored_metadata(data_dir)
  fingerprint = corpus.fingerprint()
  if stored['fingerprint'] != fingerprint:
    raise InputError(
      f'{directory} holds the rows of another corpus, track or exclusion list, '
      f'or of other contents of {corpus.directory} (fingerprint '
      f'{stored["fingerprint"][:12]}, the corpus has {fingerprint[:12]}). '
      'Choose another directory or remove this one.'
    )
  cap = stored['max_instances_per_task']
  if cap != max_instances_per_task:
    raise InputError(
      f'{directory} was built with max_instances_per_task={cap}, not '
      f'{max_instances_per_task}. Choose another directory or remove this one.'
    )
