"""The instances to predict, and the files that hold their answers."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import json
import os
import pathlib
import time
from typing import Any

import seqio

from it_study import predictions, seqio_lib
from it_study.checkpoints import weights_source
from it_study.checkpoints.weights_source import WeightsSource
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.data import preprocessors, row_source, user_module, vocabularies
from it_study.engines import model_setup
from it_study.errors import InputError, nearest
from it_study.inference import label_spaces
from it_study.inference.answers import Answer
from it_study.inference.decoding import Decoding
from it_study.instructions import labels
from it_study.predictions import Prediction
from it_study.storage import local_folders, text_files
from it_study.training.settings import check_lengths, check_whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionSettings:
  """What a prediction reads, and how it decodes.

  Attributes:
    mixture_or_task_name: Name of a task made by `seqio_lib.add_task`.
    mixture_or_task_module: Module that registers it; imported first.
    task_feature_lengths: Maximum lengths of 'inputs' and 'targets' in tokens.
    split: 'test', 'validation' or 'train'.
    instances_per_test_task: Number of first instances of each test task to
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


def write(
  inputs: PredictionInputs,
  answers: Sequence[Answer],
  *,
  engine: str,
  num_kept_answers: int = 0,
) -> None:
  """Writes predictions.jsonl, and inference.json beside it.

  Args:
    inputs: Rows and settings of the prediction.
    answers: One answer per row.
    engine: Name of the engine.
    num_kept_answers: Number of answers that were in the cache before.
  """
  settings, training = inputs.settings, inputs.training
  tasks = tasks_of(settings.mixture_or_task_name)
  condition = _condition_of(seqio_lib.find_task(settings.mixture_or_task_name))
  if condition is not None and settings.split != 'train':
    condition = condition.for_test()
  predictions.write_predictions(
    inputs.path,
    [
      to_prediction(
        row,
        task=tasks[row['task'].decode()],
        vocabulary=inputs.vocabulary,
        condition=condition,
        prediction=answer.text,
        raw_prediction=answer.raw,
        scores=answer.scores,
        split=settings.split,
        engine=engine,
        train_condition=training.get('mixture_or_task_name'),
        test_condition=settings.mixture_or_task_name,
        seed=training.get('seed', settings.seed),
      )
      for row, answer in zip(inputs.rows, answers, strict=True)
    ],
  )
  summary = {
    'engine': engine,
    **_decoding_summary(inputs),
    'num_instances': len(inputs.rows),
    'num_kept_answers': num_kept_answers,
    **_truncation_summary(inputs),
    'seconds': time.monotonic() - inputs.started,
  }
  text_files.write_text(
    inputs.path.with_name('inference.json'),
    json.dumps(summary, indent=2) + '\n',
  )


def _decoding_summary(inputs: PredictionInputs) -> dict[str, Any]:
  decoding = inputs.settings.decoding
  summary = {'decoding': decoding.method, **decoding.settings(decoding.method)}
  if decoding.is_constrained or decoding.is_ranked:
    lacking = label_spaces.unspellable(
      inputs.rows, vocabulary=inputs.vocabulary
    )
    if lacking:
      summary |= {
        'unspellable_labels': decoding.unspellable_labels,
        'num_unspellable_labels': sum(map(len, lacking.values())),
        'num_unspellable_tasks': len(lacking),
      }
  return summary


def _truncation_summary(inputs: PredictionInputs) -> dict[str, Any]:
  """Counts what did not fit in the maximum lengths."""
  rows = inputs.rows
  longest = inputs.settings.task_feature_lengths['targets']

  @functools.cache
  def fits(reference: bytes) -> bool:
    return len(inputs.vocabulary.encode(reference.decode())) < longest

  return {
    'num_shortened': sum(bool(row['shortened']) for row in rows),
    'num_dropped_examples': sum(
      int(row['num_dropped_examples']) for row in rows
    ),
    # Share of the instance's text, in characters; the mean over instances.
    'input_kept': sum(float(row['input_kept']) for row in rows) / len(rows),
    # No answer is a reference, end of sequence included.
    'num_unreachable': sum(
      not any(map(fits, row['references'])) for row in rows
    ),
  }


def load_instances(
  *,
  name: str,
  lengths: Mapping[str, int],
  split: str,
  instances_per_test_task: int | None = None,
) -> tuple[dict[str, Any], ...]:
  """Returns the rows of a split, preprocessed.

  Args:
    name: Name of a task made by `seqio_lib.add_task`.
    lengths: Maximum lengths of 'inputs' and 'targets' in tokens.
    split: Split of the task.
    instances_per_test_task: Number of first instances of each test task to
      return, if the split is 'test'; None for all.

  Raises:
    InputError: If there is no such task or split, it is empty, its rows have
      no ids, or the condition can only be trained on.
  """
  task = seqio_lib.find_task(name)
  if split not in task.splits:
    raise InputError(
      f'{name} has no split {split!r}; there are {", ".join(task.splits)}.'
      f'{nearest(str(split), task.splits)}'
    )
  if isinstance(task, seqio.Mixture):
    raise InputError(
      f'{name} is a mixture, whose rows do not say which instance they are. '
      f'Predict its tasks, one by one: {", ".join(t.name for t in task.tasks)}.'
    )
  condition = _condition_of(task)
  if split != 'train' and condition is not None:
    condition.check_test()
  rows = _render(
    task,
    split,
    tuple(sorted(lengths.items())),
    instances_per_test_task if split == 'test' else None,
    row_source.SOURCE.tfds_dataset.data_dir,
    vocabularies.fingerprint(seqio_lib.vocabulary_of(name)),
  )
  if not rows:
    raise InputError(f'{name} has no instance in {split}: nothing to predict.')
  if 'id' not in rows[0]:
    raise InputError(
      f'{name} does not carry the id of its instances, so predictions could '
      'not be told apart. Register it with it_study.seqio_lib.add_task.'
    )
  return rows


def tasks_of(name: str) -> Mapping[str, natinst.Task]:
  """Returns the NatInst tasks of a SeqIO task's instances, by name."""
  return _source_of(seqio_lib.find_task(name)).metadata()['tasks']


def to_prediction(
  row: Mapping[str, Any],
  *,
  task: natinst.Task,
  vocabulary: seqio.Vocabulary,
  condition: Condition | None = None,
  **fields: Any,
) -> Prediction:
  """Returns a line of predictions.jsonl.

  Args:
    row: Row from `load_instances`.
    task: NatInst task of the row.
    vocabulary: Vocabulary of the prompt.
    condition: Condition of the prompt, which may rename labels; None if no
      single one is known.
    **fields: Split, prediction, scores, engine, conditions and seed.
  """
  # The row's own label space, as its condition may have renamed the task's.
  label_space = tuple(label.decode() for label in row['label_space'])
  targets = tuple(reference.decode() for reference in row['references'])
  prior = None
  if condition is not None:
    prior = labels.prior_references(
      task=task, references=targets, condition=condition
    )
  return Prediction(
    id=row['id'].decode(),
    task=task.name,
    category=task.category,
    kind=task.kind,
    label_space=label_space or None,
    position=int(row['position']),
    inputs=vocabularies.readable(
      vocabulary, row['inputs_pretokenized'].decode()
    ),
    targets=targets,
    prior_targets=prior,
    **fields,
  )


# A study tests every training with the original instructions too, so the same
# rows come back after the two splits of another condition.
@functools.lru_cache(maxsize=4)
def _render(
  task: seqio.Task,
  split: str,
  lengths: tuple[tuple[str, int], ...],
  first: int | None,
  data_dir: str,
  vocabulary: str,
) -> tuple[dict[str, Any], ...]:
  """Returns the rows of a split; the last two arguments only key the cache."""
  del data_dir, vocabulary
  return tuple(
    preprocessors.task_rows(
      task,
      lengths=dict(lengths),
      split=split,
      source=_source_of(task),
      first=first,
    )
  )


def _condition_of(task: seqio.Task) -> Condition | None:
  """Returns the condition that a task trains on, if it has one."""
  choice = getattr(task.source, 'choice', None)
  return choice if isinstance(choice, Condition) else None


def _source_of(task: seqio.Task) -> row_source.RowsSource:
  """The rows that a task reads: its own, or those of the corpus in use."""
  source = task.source
  return source.rows if hasattr(source, 'rows') else row_source.SOURCE
