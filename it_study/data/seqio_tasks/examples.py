"""Reads the examples of a SeqIO task's split, each once, in stable order."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Iterator, Mapping
import inspect
import re
from typing import Any

import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from it_study.data import preprocessors, row_source
from it_study.data.seqio_tasks.features import check_inputs_and_targets
from it_study.data.tokens import row_tokens
from it_study.errors import InputError, function_name

# Of preprocessors that draw; a prediction that resumes meets the same prompts.
_SEED = 0
# What TensorFlow writes around the message of an error.
_AROUND = re.compile(r'\{\{.*?\}\} ?| \[Op:\w+\].*')


def read(
  task: seqio.Task,
  *,
  lengths: Mapping[str, int],
  split: str,
  number: int | None = None,
) -> Iterator[dict[str, Any]]:
  """Yields the examples of a task's split once, in order, as NumPy arrays.

  They come from the task's offline cache if it has one; SeqIO finds it below
  the folders of `seqio.add_global_cache_dirs`.

  Args:
    task: Task to read.
    lengths: Maximum lengths of its features in tokens.
    split: Split to read.
    number: Number of instances to read of each NatInst task, drawn as
      `Corpus.instances` draws them; None for all, as for other tasks.

  Raises:
    InputError: If the task lacks inputs or targets, its source or a
      preprocessor fails, or it needs an offline cache that it does not have.
  """
  check_inputs_and_targets(task)
  source = row_source.source_of(task)
  is_cached = task.supports_caching and task.cache_dir is not None
  if task.requires_caching and not is_cached:
    folders = ', '.join(seqio.get_global_cache_dirs()) or 'no folder is named'
    raise InputError(
      f'SeqIO task {task.name!r} needs its offline cache, which is in none of '
      f'the cache folders ({folders}). Run seqio_cache_tasks, and name its '
      "folder in the task's module: seqio.add_global_cache_dirs(['FOLDER'])."
    )
  if number is not None:
    # Before preprocessing, which takes far longer than reading.
    task = type(task)(
      task.name,
      source=_drawn_rows(task.source, number),
      output_features=task.output_features,
      preprocessors=task.preprocessors,
    )
  names = [function_name(function) for function in task.preprocessors]
  theirs = [n for n in names if n.split('.')[0] not in ('it_study', 'seqio')]
  try:
    dataset = task.get_dataset(
      sequence_length=dict(lengths),
      split=split,
      use_cached=is_cached,
      shuffle=False,
      seed=_SEED if _takes_seed(task.source) else None,
      num_epochs=1,
    )
    if source is None:
      yield from dataset.as_numpy_iterator()
    else:
      yield from preprocessors.numpy_rows(dataset, source=source)
  except InputError:
    raise
  except Exception as error:
    is_damaged = isinstance(error, tf.errors.DataLossError)
    if source is not None and (is_damaged or not theirs):
      raise
    message = preprocessors.input_error_in(error)
    if message is not None:
      raise InputError(f'SeqIO task {task.name!r}: {message}') from error
    parts = f'preprocessors are {", ".join(theirs)}'
    if not theirs:
      parts = f'source is a {type(task.source).__name__}'
    raise InputError(
      f'SeqIO task {task.name!r} cannot be read: {_reason(error)}. Its '
      f'{parts}; add --debug to see where.'
    ) from error


def splits_of(task: seqio.Task | seqio.Mixture) -> tuple[str, ...]:
  """Returns the splits of a task, or those that any task of a mixture has.

  Raises:
    InputError: If a task has none, like one whose data set TFDS has not built.
  """
  splits: dict[str, None] = {}
  for part in getattr(task, 'tasks', [task]):
    if not part.source.splits:
      reason = 'its source has no splits'
      if isinstance(part.source, seqio.TfdsDataSource):
        data_set = part.source.tfds_dataset
        folder = data_set.data_dir or tfds.core.constants.DATA_DIR
        reason = (
          f'TFDS has no {data_set.name} in {folder}. Build it: tfds build '
          f'{data_set.name} --data_dir={folder}'
        )
      raise InputError(f'SeqIO task {part.name!r} cannot be read: {reason}.')
    splits |= dict.fromkeys(part.source.splits)
  return tuple(splits)


def _drawn_rows(source: seqio.DataSource, number: int) -> seqio.DataSource:
  """Returns a source of some instances of each NatInst task."""

  def read(
    split: str, shuffle_files: bool, seed: int | None = None
  ) -> tf.data.Dataset:
    rows = source.get_dataset(split, shuffle=shuffle_files, seed=seed)
    named = rows.map(lambda row: (row['id'], row['task']))
    drawn = [
      task + b' ' + id_
      for id_, task in row_tokens.drawn(named.as_numpy_iterator(), number)
    ]
    table = tf.lookup.StaticHashTable(
      tf.lookup.KeyValueTensorInitializer(
        tf.constant(drawn, tf.string), tf.ones(len(drawn), tf.int64)
      ),
      default_value=0,
    )
    return rows.filter(
      lambda row: table.lookup(row['task'] + ' ' + row['id']) == 1
    )

  return seqio.FunctionDataSource(read, splits=source.splits)


def _reason(error: Exception) -> str:
  """Returns an error in a line, without what TensorFlow writes around it."""
  # TensorFlow puts the error of a Python function after its own name.
  cause = re.search(r'\b\w+(?:Error|Exception): .*', str(error))
  text = cause[0] if cause else f'{type(error).__name__}: {error}'
  return _AROUND.sub('', text.splitlines()[0]).rstrip('.')


def _takes_seed(source: seqio.DataSource) -> bool:
  """Whether a source can be read with a seed."""
  if not isinstance(source, seqio.FunctionDataSource):
    return True
  return 'seed' in inspect.signature(source._dataset_fn).parameters
