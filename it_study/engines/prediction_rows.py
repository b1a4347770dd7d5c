"""The instances to predict, and what is written of the answers."""

from collections.abc import Mapping, Sequence
import functools
import json
import pathlib
import time
from typing import Any

import seqio

from it_study import predictions, seqio_lib
from it_study.corpus import natinst
from it_study.data import preprocessors, row_source, vocabularies
from it_study.engines import training_inputs
from it_study.errors import InputError, nearest
from it_study.inference.answers import Answer
from it_study.inference.decoding import Decoding
from it_study.predictions import Prediction
from it_study.storage import local_folders, text_files
from it_study.training.settings import check_whole


def check_and_load(
  *,
  mixture_or_task_name: str,
  mixture_or_task_module: str,
  task_feature_lengths: Mapping[str, int],
  infer_output_dir: pathlib.Path,
  split: str,
  batch_size: int,
  seed: int,
) -> tuple[dict[str, Any], ...]:
  """The rows that an engine's `predict` is asked for.

  Raises:
    InputError: if an argument does not fit, or the folder cannot be written.
  """
  check_whole(INFER_BATCH_SIZE=batch_size, SEED=seed)
  training_inputs.check_lengths(task_feature_lengths)
  training_inputs.import_tasks(mixture_or_task_module)
  local_folders.make_directory(infer_output_dir)
  return load_instances(
    name=mixture_or_task_name, lengths=task_feature_lengths, split=split
  )


def write_rows(
  path: pathlib.Path,
  *,
  rows: Sequence[Mapping[str, Any]],
  answers: Sequence[Answer],
  engine: str,
  training: Mapping[str, Any],
  mixture_or_task_name: str,
  split: str,
  seed: int,
  decoding: Decoding,
  num_kept_answers: int,
  started: float,
) -> pathlib.Path:
  """Writes predictions.jsonl, and inference.json beside it.

  Args:
    path: of predictions.jsonl.
    rows: from `check_and_load`.
    answers: one a row.
    engine: its name.
    training: training.json of the checkpoint, empty if there is none.
    mixture_or_task_name: of the task that was predicted.
    split: of the task.
    seed: of untuned parameters.
    decoding: how it was answered.
    num_kept_answers: of the answers, how many were there before.
    started: `time.monotonic()` at the beginning.

  Returns:
    The path.
  """
  tasks = tasks_of(mixture_or_task_name)
  predictions.write_predictions(
    path,
    [
      to_prediction(
        row,
        task=tasks[row['task'].decode()],
        prediction=answer.text,
        scores=answer.scores,
        split=split,
        engine=engine,
        train_condition=training.get('mixture_or_task_name'),
        test_condition=mixture_or_task_name,
        seed=training.get('seed', seed),
      )
      for row, answer in zip(rows, answers, strict=True)
    ],
  )
  summary = {
    'engine': engine,
    'decoding': decoding.method,
    **decoding.settings(decoding.method),
    'num_instances': len(rows),
    'num_kept_answers': num_kept_answers,
    'num_shortened': sum(bool(row['shortened']) for row in rows),
    'num_dropped_examples': sum(
      int(row['num_dropped_examples']) for row in rows
    ),
    # Of the instance's text, in characters; the mean over instances.
    'input_kept': sum(float(row['input_kept']) for row in rows) / len(rows),
    'seconds': time.monotonic() - started,
  }
  text_files.write_text(
    path.with_name('inference.json'), json.dumps(summary, indent=2) + '\n'
  )
  return path


def load_instances(
  *, name: str, lengths: Mapping[str, int], split: str
) -> tuple[dict[str, Any], ...]:
  """The rows of a split, as the task's preprocessors leave them.

  Args:
    name: of a task made by `seqio_lib.add_task`.
    lengths: 'inputs' and 'targets', in tokens.
    split: of the task.

  Raises:
    InputError: if there is no such task or split, nothing in it, or its rows
      cannot be told apart.
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
  rows = _render(
    task,
    split,
    tuple(sorted(lengths.items())),
    row_source.SOURCE.tfds_dataset.data_dir,
    vocabularies.fingerprint(),
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
  """The NatInst tasks whose instances a SeqIO task has, by name."""
  source = seqio_lib.find_task(name).source
  rows = source.rows if hasattr(source, 'rows') else row_source.SOURCE
  return rows.metadata()['tasks']


def to_prediction(
  row: Mapping[str, Any], *, task: natinst.Task, **fields: Any
) -> Prediction:
  """A line of predictions.jsonl.

  Args:
    row: from `load`.
    task: the row's.
    **fields: split, prediction, engine, conditions and seed.
  """
  # The row's own, as its condition may have renamed the task's.
  label_space = tuple(label.decode() for label in row['label_space'])
  return Prediction(
    id=row['id'].decode(),
    task=task.name,
    category=task.category,
    kind=task.kind,
    label_space=label_space or None,
    position=int(row['position']),
    inputs=row['inputs_pretokenized'].decode(),
    targets=tuple(reference.decode() for reference in row['references']),
    **fields,
  )


# A study tests every training with the original instructions, so the same rows
# come back after the two splits of one other condition.
@functools.lru_cache(maxsize=4)
def _render(
  task: seqio.Task,
  split: str,
  lengths: tuple[tuple[str, int], ...],
  data_dir: str,
  vocabulary: str,
) -> tuple[dict[str, Any], ...]:
  """The rows of a split; the last two arguments only tell them apart."""
  del data_dir, vocabulary
  dataset = task.get_dataset(
    sequence_length=dict(lengths), split=split, shuffle=False, num_epochs=1
  )
  return tuple(preprocessors.numpy_rows(dataset))
