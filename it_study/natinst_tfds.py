"""The TFDS dataset of a corpus: a row an instance, task texts once."""

from collections.abc import Iterator
import contextlib
import io
import os
import pathlib
import tempfile

from etils import epath
import numpy as np
import tensorflow_datasets as tfds

from it_study import folders, natinst
from it_study.errors import InputError

NAME = 'natural_instructions_study'
VERSION = '1.1.0'
MAX_INSTANCES_PER_TASK = 1000


class NaturalInstructionsStudy(tfds.core.GeneratorBasedBuilder):
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
  """

  name = NAME
  VERSION = tfds.core.Version(VERSION)

  def __init__(
    self,
    *,
    corpus: natinst.Corpus | None = None,
    max_instances_per_task: int = MAX_INSTANCES_PER_TASK,
    **kwargs,
  ):
    self._corpus = corpus
    self._max_instances_per_task = max_instances_per_task
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    metadata = tfds.core.MetadataDict()
    if self._corpus is not None:
      metadata['fingerprint'] = self._corpus.fingerprint()
      metadata['max_instances_per_task'] = self._max_instances_per_task
      metadata['tasks'] = {
        name: self._corpus.load(name).task.to_json()
        for split in ('train', 'test')
        for name in self._corpus.tasks_of(split)
      }
      metadata['train_tasks'] = list(self._corpus.train_tasks)
      metadata['num_train_instances'] = {
        name: len(self._train_instances(name))
        for name in self._corpus.train_tasks
      }
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
      metadata=metadata,
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    del dl_manager
    if self._corpus is None:
      raise InputError(
        f'no rows of {NAME} in {self.data_dir}. Write them with '
        "'it-study corpus build CORPUS --data_dir DIR', and name DIR."
      )
    return {split: self._rows(split) for split in natinst.SPLITS}

  def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
    yield from self._rows(split)

  def _train_instances(self, name: str) -> tuple[natinst.Instance, ...]:
    instances = self._corpus.instances(name, 'train')
    return instances[: self._max_instances_per_task]

  def _rows(self, split: str) -> Iterator[tuple[str, dict]]:
    for name in sorted(self._corpus.tasks_of(split)):
      if split == 'train':
        instances = self._train_instances(name)
      else:
        instances = self._corpus.instances(name, split)
      for rank, instance in enumerate(instances):
        row = {
          'id': instance.id,
          'task': name,
          'position': instance.position,
          'rank': rank,
          'split': split,
          'input': instance.input,
          'outputs': list(instance.outputs),
        }
        yield f'{name}/{instance.id}', row


def build_rows(
  *,
  corpus: natinst.Corpus,
  data_dir: str | os.PathLike,
  max_instances_per_task: int = MAX_INSTANCES_PER_TASK,
) -> epath.Path:
  """Writes a corpus's rows below `data_dir`, as TFRecord, if not there yet.

  Args:
    corpus: to read.
    data_dir: where stock T5X finds them by `--tfds_data_dir`.
    max_instances_per_task: cap of training instances; those of lowest stable
      hash are kept.

  Returns:
    The dataset's own directory.

  Raises:
    InputError: if the directory cannot be written, or holds the rows of
      another corpus or cap.
  """
  directory = _rows_directory(data_dir)
  if (directory / 'dataset_info.json').exists():
    # Without a builder of the corpus, which would parse every task file.
    _check_same(
      data_dir,
      corpus=corpus,
      max_instances_per_task=max_instances_per_task,
    )
    return directory
  folders.make_directory(data_dir)
  builder = NaturalInstructionsStudy(
    corpus=corpus,
    max_instances_per_task=max_instances_per_task,
    data_dir=os.fspath(data_dir),
    file_format='tfrecord',
  )
  # TFDS talks of a download and draws a bar a split, whoever calls.
  tfds.disable_progress_bar()
  with (
    contextlib.redirect_stdout(io.StringIO()),
    tempfile.TemporaryDirectory() as downloads,
  ):
    # Nothing is downloaded, but TFDS makes a folder for it.
    builder.download_and_prepare(download_dir=downloads)
  return directory


def build_corpus(
  corpus: natinst.Corpus,
  *,
  data_dir: str | os.PathLike | None = None,
  max_instances_per_task: int = MAX_INSTANCES_PER_TASK,
) -> pathlib.Path:
  """Builds a corpus's rows where asked, or in the cache folder.

  Args:
    corpus: to read.
    data_dir: where to; None takes the cache folder.
    max_instances_per_task: cap of training instances.

  Returns:
    The data dir.
  """
  if data_dir is None:
    data_dir = cached_data_dir(corpus, max_instances_per_task)
  build_rows(
    corpus=corpus,
    data_dir=data_dir,
    max_instances_per_task=max_instances_per_task,
  )
  return pathlib.Path(data_dir)


def cached_data_dir(
  corpus: natinst.Corpus, max_instances_per_task: int = MAX_INSTANCES_PER_TASK
) -> pathlib.Path:
  """Where in the cache folder a corpus's rows are, keyed by its content."""
  key = f'{corpus.fingerprint()[:24]}_{max_instances_per_task}'
  return folders.cache_directory() / 'rows' / key


def stored_metadata(data_dir: str | os.PathLike) -> dict:
  """The metadata of the rows below `data_dir`."""
  directory = _rows_directory(data_dir)
  return dict(tfds.builder_from_directory(directory).info.metadata)


def _rows_directory(data_dir: str | os.PathLike) -> epath.Path:
  return epath.Path(data_dir) / NAME / VERSION


def _check_same(
  data_dir: str | os.PathLike,
  *,
  corpus: natinst.Corpus,
  max_instances_per_task: int,
) -> None:
  directory, found = _rows_directory(data_dir), stored_metadata(data_dir)
  fingerprint = corpus.fingerprint()
  if found['fingerprint'] != fingerprint:
    raise InputError(
      f'{directory} holds the rows of another corpus, or of other contents of '
      f'{corpus.directory} (fingerprint {found["fingerprint"][:12]}, found '
      f'{fingerprint[:12]}). Name another directory or remove it.'
    )
  cap = found['max_instances_per_task']
  if cap != max_instances_per_task:
    raise InputError(
      f'{directory} holds at most {cap} training instances a task, asked for '
      f'are {max_instances_per_task}. Name another directory or remove it.'
    )
