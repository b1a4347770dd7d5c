"""The instances to predict, and the files that hold their answers."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import itertools
import os
import pathlib
import time
from typing import Any

import seqio

from it_study import seqio_lib
from it_study.checkpoints import weights_source
from it_study.checkpoints.weights_source import WeightsSource
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.data import (
  row_source,
  user_module,
  vocabularies,
)
from it_study.data.seqio_tasks import examples, instances
from it_study.data.tokens import row_tokens
from it_study.engines import model_setup
from it_study.errors import InputError, nearest
from it_study.inference.decoding import Decoding
from it_study.storage import local_folders
from it_study.training.settings import check_lengths, check_whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionSettings:
  """What a prediction reads, and how it decodes.

  Attributes:
    mixture_or_task_name: Name of a SeqIO task or mixture.
    mixture_or_task_module: Module that registers it; imported first.
    task_feature_lengths: Maximum lengths of 'inputs' and 'targets' in tokens.
    split: 'test', 'validation' or 'train'; any split of a SeqIO task of the
      user's own.
    instances_per_test_task: Number of instances of each test task to
      answer; None for all.
    seed: Seed for the parameters of a model without a checkpoint.
    batch_size: Number of prompts decoded at once.
    decoding: Decoding method and its settings.

  Raises:
    InputError: If a number is out of range.
  """

  mixture_or_task_name: str
  mixture_or_task_module: str
  task_feature_lengths: Mapping[str, int]
  split: str
  seed: int
  batch_size: int
  decoding: Decoding
  instances_per_test_task: int | None = None

  def __post_init__(self):
    natinst.check_test_instances(self.instances_per_test_task)
    check_whole(INFER_BATCH_SIZE=self.batch_size, SEED=self.seed)
    check_lengths(self.task_feature_lengths)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionInputs:
  """A prediction's rows and model, ready for an engine.

  Attributes:
    settings: Task, split and decoding.
    rows: Rows of the split from `load_instances`.
    path: Path of the predictions.jsonl to write; its folder exists.
    config: Configuration of the model.
    vocabulary: Vocabulary of the task.
    weights: Weights of the model; None to draw parameters from the seed.
    training: Content of the training.json of the weights; empty without one.
    started: `time.monotonic()` at the beginning of the prediction.
  """

  settings: PredictionSettings
  rows: Sequence[Mapping[str, Any]]
  path: pathlib.Path
  config: model_setup.Config
  vocabulary: seqio.Vocabulary
  weights: WeightsSource | None
  training: Mapping[str, Any]
  started: float


def prepare(
  settings: PredictionSettings,
  *,
  model_config: model_setup.MakeConfig,
  dtype: str,
  infer_output_dir: pathlib.Path,
  checkpoint_path: str | os.PathLike | None,
) -> PredictionInputs:
  """Imports the task's module, loads its rows and configures the model.

  Args:
    settings: Task, split and decoding.
    model_config: Function that makes a `T5Config` or `DecoderConfig` from
      `vocab_size` and `dtype`.
    dtype: Type of matrix products, or 'auto'.
    infer_output_dir: Folder to write to; made if it does not exist.
    checkpoint_path: Weights in any format, also in a bucket; None to draw
      parameters from the seed.

  Raises:
    InputError: If there are no such rows, the folder cannot be written, or the
      weights were made with another vocabulary.
  """
  started = time.monotonic()
  user_module.load(
    settings.mixture_or_task_module, setting='MIXTURE_OR_TASK_MODULE'
  )
  vocabulary = seqio_lib.vocabulary_of(settings.mixture_or_task_name)
  source = weights_source.resolve(checkpoint_path)
  training = model_setup.check_weights(source, vocabulary=vocabulary)
  config = model_setup.complete_config(
    model_config, dtype=dtype, source=source, vocabulary=vocabulary
  )
  model_setup.check_memory(config)
  local_folders.make_directory(infer_output_dir)
  rows = load_instances(
    name=settings.mixture_or_task_name,
    lengths=settings.task_feature_lengths,
    split=settings.split,
    instances_per_test_task=settings.instances_per_test_task,
  )
  model_setup.warn_of_long_texts(
    source,
    [len(row['inputs']) for row in rows],
    max_answer=settings.task_feature_lengths['targets'],
  )
  return PredictionInputs(
    settings=settings,
    rows=rows,
    path=infer_output_dir / 'predictions.jsonl',
    config=config,
    vocabulary=vocabulary,
    weights=source,
    training=training,
    started=started,
  )


def load_instances(
  *,
  name: str,
  lengths: Mapping[str, int],
  split: str,
  instances_per_test_task: int | None = None,
) -> tuple[dict[str, Any], ...]:
  """Returns the rows of a split, preprocessed.

  Args:
    name: Name of a SeqIO task, or of a mixture, whose tasks come one by one.
    lengths: Maximum lengths of 'inputs' and 'targets' in tokens.
    split: Split of the task.
    instances_per_test_task: Number of instances of each test task to
      return, if the split is 'test'; of a SeqIO task of the user's own, of
      each split. None for all.

  Raises:
    InputError: If there is no such task or split, it is empty, a row is not
      valid, two have the same id, or a condition can only be trained on.
  """
  task = seqio_lib.find_task(name)
  splits = examples.splits_of(task)
  if split not in splits:
    raise InputError(
      f'{name} has no split {split!r}; there are {", ".join(splits)}.'
      f'{nearest(str(split), splits)}'
    )
  parts = _parts(task, split)
  rows: list[dict[str, Any]] = []
  for part in parts:
    is_own = row_source.source_of(part) is None
    condition = condition_of(part)
    if split != 'train' and condition is not None:
      condition.check_test()
    rows += _render(
      part,
      split,
      tuple(sorted(lengths.items())),
      instances_per_test_task if split == 'test' or is_own else None,
      row_source.SOURCE.tfds_dataset.data_dir,
      vocabularies.fingerprint(seqio_lib.vocabulary_of(part.name)),
    )
  if not rows:
    raise InputError(f'{name} has no instance in {split}: nothing to predict.')
  if len(parts) > 1:
    _check_unique(rows, name)
  return tuple(rows)


def condition_of(task: seqio.Task) -> Condition | None:
  """Returns the condition that a task trains on, if it has one."""
  choice = getattr(task.source, 'choice', None)
  return choice if isinstance(choice, Condition) else None


def _parts(task: seqio.Task | seqio.Mixture, split: str) -> list[seqio.Task]:
  """Returns the tasks to predict: one, or those of a mixture with the split."""
  if isinstance(task, seqio.Mixture):
    return [part for part in task.tasks if split in part.splits]
  return [task]


def _check_unique(rows: Sequence[Mapping[str, Any]], name: str) -> None:
  """Raises `InputError` if two tasks of a mixture have the same instance."""
  seen: dict[tuple[bytes, bytes], str] = {}
  for row in rows:
    part = row['seqio_task']
    other = seen.setdefault((row['task'], row['id']), part)
    if other != part:
      raise InputError(
        f'{name}: its tasks {other} and {part} have the same instances, such '
        f'as {row["id"].decode()!r} of {row["task"].decode()}, so predictions '
        'could not be told apart. Predict its tasks one by one.'
      )


# A study tests every training with the original instructions too, so the same
# rows come back after the two splits of another condition.
@functools.lru_cache(maxsize=4)
def _render(
  task: seqio.Task,
  split: str,
  lengths: tuple[tuple[str, int], ...],
  number: int | None,
  data_dir: str,
  vocabulary: str,
) -> tuple[dict[str, Any], ...]:
  """Returns the rows of a split; the last two arguments only key the cache."""
  del data_dir, vocabulary
  by_name = dict(lengths)
  rows: Iterator[dict[str, Any]]
  if row_source.source_of(task) is None:
    rows = instances.load(task, lengths=by_name, split=split)
    rows = itertools.islice(rows, number)
  elif isinstance(task, seqio_lib.ConditionTask):
    rows = row_tokens.evaluation_rows(
      task.source.get_dataset(split=split, shuffle=False),
      condition=task.source.choice,
      source=task.source.rows,
      vocabulary=vocabularies.checked_vocabulary(),
      sequence_length=by_name,
      number=number,
    )
  else:
    rows = examples.read(task, lengths=by_name, split=split, number=number)
  return tuple({**row, 'seqio_task': task.name} for row in rows)
