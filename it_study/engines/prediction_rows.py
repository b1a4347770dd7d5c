"""The instances to predict, and what is written of the answers."""

from collections.abc import Mapping, Sequence
import json
import pathlib
import time
from typing import Any

from it_study import predictions
from it_study.engines import arguments, instances
from it_study.inference.answers import Answer
from it_study.inference.decoding import Decoding
from it_study.storage import local_folders


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
  arguments.check_whole(INFER_BATCH_SIZE=batch_size, SEED=seed)
  arguments.check_lengths(task_feature_lengths)
  arguments.import_tasks(mixture_or_task_module)
  local_folders.make_directory(infer_output_dir)
  return instances.load(
    name=mixture_or_task_name, lengths=task_feature_lengths, split=split
  )


def write(
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
  tasks = instances.tasks_of(mixture_or_task_name)
  predictions.write_predictions(
    path,
    [
      instances.to_prediction(
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
  predictions.write_text(
    path.with_name('inference.json'), json.dumps(summary, indent=2) + '\n'
  )
  return path
