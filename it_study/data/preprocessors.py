"""Turns rows into model features: prompts, targets and their tokens."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable, Iterator, Mapping, Sequence
import re
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from it_study import instructions
from it_study.conditions import TARGET_LEVELS, Condition
from it_study.corpus import natinst
from it_study.data.row_source import SOURCE, RowsSource
from it_study.data.tokens import prompt_formats, token_limits
from it_study.data.tokens.prompt_formats import PromptFormat
from it_study.data.tokens.tokenizer_vocabulary import TokenizerVocabulary
from it_study.errors import InputError
from it_study.instructions import prompt_spans, prompts, targets
from it_study.instructions.tk_instruct import TkInstruct

# Version of the tokens that `token_rows` makes of a corpus's rows; part of the
# key of every token cache. Raise it when tokens change: through prompts,
# alterations (`instructions/`), the choice of instances, or tokenization.
# `tests/input_pipeline/tokens_version_test.py` fails if that was forgotten.
TOKENS_VERSION = 3


def render_rows(
  dataset: tf.data.Dataset,
  sequence_length: Mapping[str, int] | None,
  output_features: Mapping[str, seqio.Feature],
  *,
  condition: Condition | TkInstruct,
  source: RowsSource,
) -> tf.data.Dataset:
  """Renders rows into prompts and targets, with ids and references.

  Each row of the result has, all but the first two for evaluation only:
    inputs, targets: string. id, task: string. position: int64.
    answer_start: string, the start of every answer to the prompt, which
      `targets` includes and `references` and `label_space` do not.
    references: strings [num_references], under the condition.
    label_space: strings [num_labels], under the condition; empty for
      generation.
    num_dropped_examples: int64. shortened: bool.
    input_kept: float32, the share of the instance's text that is left.
  """
  vocabulary = output_features['inputs'].vocabulary
  around = prompt_format(condition, vocabulary)
  render = row_renderer(
    condition=condition,
    source=source,
    limit=token_limits.token_limit(
      vocabulary=vocabulary,
      max_tokens=(sequence_length or {}).get('inputs'),
      around=around,
    ),
  )

  def render_row(*fields: Any) -> tuple:
    return tuple(features_of(*render(*fields), around=around).values())

  def map_row(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    rendered = tf.numpy_function(
      render_row,
      [row[name] for name in RENDERED],
      [tf_type for tf_type, _ in _FEATURES.values()],
      # T5X saves its position in the data, which TensorFlow refuses for
      # stateful functions.
      stateful=False,
    )
    return {
      **{name: row[name] for name in KEPT},
      **{
        name: tf.ensure_shape(value, shape)
        for (name, (_, shape)), value in zip(
          _FEATURES.items(), rendered, strict=True
        )
      },
    }

  return dataset.map(map_row, num_parallel_calls=tf.data.AUTOTUNE)


def numpy_rows(
  dataset: tf.data.Dataset, *, source: RowsSource = SOURCE
) -> Iterator[dict]:
  """Yields the rows of a task's dataset as NumPy arrays.

  Args:
    dataset: Dataset of a task.
    source: Source of its rows, for errors.

  Raises:
    InputError: If `render_rows` raised it, which TensorFlow wraps, or if a file
      of the rows is damaged.
  """
  try:
    with source.damage_as_input_error():
      yield from dataset.as_numpy_iterator()
  except tf.errors.OpError as error:
    message = input_error_in(error)
    if message is None:
      raise
    raise InputError(message) from None


def input_error_in(error: Exception) -> str | None:
  """Returns the message of an `InputError` that TensorFlow wrapped, or None."""
  raised = re.search('InputError: (.*)', str(error))
  return raised and raised[1]


def prompt_format(
  condition: Condition | TkInstruct, vocabulary: seqio.Vocabulary
) -> PromptFormat:
  """Returns the text around a condition's prompts.

  Raises:
    InputError: If the vocabulary has no chat template, and one is asked for.
  """
  name = (
    condition.prompt_format if isinstance(condition, Condition) else 'plain'
  )
  tokens = vocabulary if isinstance(vocabulary, TokenizerVocabulary) else None
  return prompt_formats.make_format(name, tokens)


# Type and shape of the features that rendering a row makes, in order.
_FEATURES = {
  'inputs': (tf.string, []),
  'targets': (tf.string, []),
  'answer_start': (tf.string, []),
  'references': (tf.string, [None]),
  'label_space': (tf.string, [None]),
  'num_dropped_examples': (tf.int64, []),
  'shortened': (tf.bool, []),
  'input_kept': (tf.float32, []),
}
# Features of a stored row that rendering it needs.
RENDERED = ('id', 'task', 'position', 'split', 'input', 'outputs')
# The first of them, which are features as well.
KEPT = RENDERED[:3]


def row_renderer(
  *,
  condition: Condition | TkInstruct,
  source: RowsSource,
  limit: prompts.TokenLimit | None,
) -> Callable[..., tuple[prompts.Prompt, str, natinst.Task, natinst.Instance]]:
  """Returns a function that renders a stored row from its `RENDERED` features.

  It returns the prompt, the target, and the task and the instance under the
  condition.

  Args:
    condition: Condition to render the rows under.
    source: Source of the rows.
    limit: Limit on the prompt; None for no limit.
  """
  metadata = source.metadata()
  tables = {
    True: metadata['test_table'],
    False: metadata['train_table'],
  }
  # Only training rows depend on the seed and the numbers of instances.
  tested = condition.for_test()
  needs_instances = (
    isinstance(condition, Condition)
    and TARGET_LEVELS.get(condition.targets).needs_instances
  )
  # Read before the dataset's own rows: not from within its pipeline.
  instances = source.training_instances() if needs_instances else None

  def render(
    row_id: bytes,
    task_name: bytes,
    position: int,
    split: bytes,
    text_input: bytes,
    outputs: Sequence[bytes],
  ) -> tuple[prompts.Prompt, str, natinst.Task, natinst.Instance]:
    instance_id = row_id.decode()
    shown = condition if split == b'train' else tested
    shown = shown.of_instance(instance_id)
    instance = natinst.Instance(
      id=instance_id,
      input=text_input.decode(),
      outputs=tuple(output.decode() for output in outputs),
      position=int(position),
    )
    tasks = tables[split == b'test']
    task = tasks[task_name.decode()]
    prompt = prompts.render(
      task=task,
      instance=instance,
      condition=shown,
      limit=limit,
      tasks=tasks,
    )
    seen_task, seen = instructions.rewrite(
      task=task, instance=instance, condition=shown
    )
    target = targets.training_target(
      task=task, instance=instance, condition=shown, instances=instances
    )
    return prompt, target, seen_task, seen

  return render


def features_of(
  prompt: prompts.Prompt,
  target: str,
  task: natinst.Task,
  instance: natinst.Instance,
  *,
  around: PromptFormat,
) -> dict[str, Any]:
  """Returns the features that `render_rows` gives a row, in order.

  Args:
    prompt: Prompt of the row.
    target: Target of the row.
    task: Task under the condition.
    instance: Instance under the condition.
    around: Text around the prompt.
  """
  start = around.answer_start(prompt.text)
  return {
    'inputs': around.apply(prompt.text).encode(),
    'targets': (start + target).encode(),
    'answer_start': start.encode(),
    'references': _strings(instance.outputs),
    'label_space': _strings(task.label_space or ()),
    'num_dropped_examples': np.int64(prompt.num_dropped_examples),
    'shortened': np.bool_(prompt.shortened),
    'input_kept': np.float32(
      prompt_spans.kept_input(prompt, instance=instance).share
    ),
  }


def _strings(texts: Sequence[str]) -> np.ndarray:
  return np.array([text.encode() for text in texts], object)
