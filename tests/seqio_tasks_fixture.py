"""Small SeqIO tasks as users register them."""

from collections.abc import Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from it_study import seqio_lib
from it_study.data.seqio_tasks import declarations


def add_task(
  name: str, splits: Mapping[str, Sequence[Mapping[str, Any]]], **fields: Any
) -> seqio.Task:
  """Registers a task of a few examples, in place of one of the same name.

  Args:
    name: Name of the task.
    splits: Examples of each split, with the same features.
    **fields: Other arguments of `seqio.TaskRegistry.add`.
  """
  seqio.TaskRegistry.remove(name)
  declarations._declared.pop(name, None)

  def read(split, shuffle_files=False):
    examples = splits[split]
    return tf.data.Dataset.from_tensor_slices(
      {key: [example[key] for example in examples] for key in examples[0]}
    )

  feature = seqio.Feature(seqio.ByteVocabulary())
  defaults = {
    'source': seqio.FunctionDataSource(read, splits=tuple(splits)),
    'preprocessors': [
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos_after_trim,
    ],
    'output_features': {'inputs': feature, 'targets': feature},
  }
  return seqio.TaskRegistry.add(name, **{**defaults, **fields})


def questions(number: int, **more: Any) -> list[dict[str, Any]]:
  """Examples whether numbers are even."""
  return [
    {'inputs': f'Is {n} even?', 'targets': ('yes', 'no')[n % 2], **more}
    for n in range(number)
  ]


def add_mixture() -> None:
  """Registers `even`, which has a split dev, `echo` and their mixture."""
  add_task(
    'even',
    {'train': questions(6), 'test': questions(4), 'dev': questions(3)},
  )
  seqio_lib.declare('even', label_space=['yes', 'no'], category='Numbers')
  add_task(
    'echo',
    {
      'train': [{'inputs': 'a b', 'targets': 'a b', 'id': 'x'}],
      'test': [{'inputs': f'a {i}', 'targets': 'a', 'id': i} for i in (5, 3)],
    },
  )
  seqio.MixtureRegistry.remove('both')
  seqio_lib.add_mixture('both', {'even': 3, 'echo': 1})
