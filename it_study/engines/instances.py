"""The instances of a split on their way to an engine and back."""

from collections.abc import Mapping
import functools
from typing import Any

import seqio

from it_study import seqio_lib
from it_study.corpus import natinst
from it_study.data import vocabularies
from it_study.errors import InputError, nearest
from it_study.input_pipeline import training_tokens
from it_study.predictions import Prediction


def load(
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
  task = training_tokens.find_task(name)
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
    seqio_lib.SOURCE.tfds_dataset.data_dir,
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
  source = training_tokens.find_task(name).source
  return getattr(source, 'rows', seqio_lib.SOURCE).metadata()['tasks']


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
  return tuple(seqio_lib.numpy_rows(dataset))
