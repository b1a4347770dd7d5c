"""Turns rows into model features: prompts, targets and their tokens."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable, Iterator, Mapping, Sequence
import concurrent.futures
import itertools
import re
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from it_study import instructions
from it_study.conditions import TARGET_LEVELS, Condition
from it_study.corpus import natinst
from it_study.data import vocabularies
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
TOKENS_VERSION = 2

# Rows that are read, rendered and tokenised together.
_ROWS_AT_ONCE = 512


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
  render = _row_renderer(
    condition=condition,
    source=source,
    limit=token_limits.token_limit(
      vocabulary=vocabulary,
      max_tokens=(sequence_length or {}).get('inputs'),
      around=around,
    ),
  )

  def render_row(*fields: Any) -> tuple:
    prompt, target, task, instance = render(*fields)
    start = around.answer_start(prompt.text)
    return (
      around.apply(prompt.text).encode(),
      (start + target).encode(),
      start.encode(),
      _strings(instance.outputs),
      _strings(task.label_space or ()),
      np.int64(prompt.num_dropped_examples),
      np.bool_(prompt.shortened),
      np.float32(prompt_spans.kept_input(prompt, instance=instance).share),
    )

  def map_row(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    rendered = tf.numpy_function(
      render_row,
      [row[name] for name in _RENDERED],
      [tf_type for tf_type, _ in _FEATURES.values()],
      # T5X saves its position in the data, which TensorFlow refuses for
      # stateful functions.
      stateful=False,
    )
    return {
      **{name: row[name] for name in ('id', 'task', 'position')},
      **{
        name: tf.ensure_shape(value, shape)
        for (name, (_, shape)), value in zip(
          _FEATURES.items(), rendered, strict=True
        )
      },
    }

  return dataset.map(map_row, num_parallel_calls=tf.data.AUTOTUNE)


def token_rows(
  dataset: tf.data.Dataset,
  *,
  condition: Condition | TkInstruct,
  source: RowsSource,
  vocabulary: seqio.Vocabulary,
  sequence_length: Mapping[str, int],
) -> Iterator[dict[str, Any]]:
  """Tokenises rows as SeqIO does, but several times as fast.

  Tokens and order are the same: the tokeniser is SeqIO's, but gets many texts
  at once, on another thread while the next rows are rendered.

  Args:
    dataset: Stored rows.
    condition: Condition to render the rows under.
    source: Source of the rows.
    vocabulary: Vocabulary of prompts and targets.
    sequence_length: Maximum lengths of 'inputs' and 'targets' in tokens, end of
      sequence included; a missing one does not truncate.

  Yields:
    'inputs' and 'targets' of a row, int32 [number of tokens], ending in the end
    of sequence; and 'is_target_cut', whether the target was truncated.

  Raises:
    InputError: If a row cannot be rendered.
  """
  around = prompt_format(condition, vocabulary)
  render = _row_renderer(
    condition=condition,
    source=source,
    limit=token_limits.token_limit(
      vocabulary=vocabulary,
      max_tokens=sequence_length.get('inputs'),
      around=around,
    ),
  )
  tokenize = _batch_tokenizer(vocabulary)
  end = vocabulary.eos_id
  ends_inputs = vocabularies.ends_inputs(vocabulary)
  ends = {'inputs': end if ends_inputs else None, 'targets': end}

  def tokens_of(texts: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    whole = {name: tokenize(of_feature) for name, of_feature in texts.items()}
    columns: dict[str, list] = {
      name: _end(sequences, sequence_length.get(name), ends[name])
      for name, sequences in whole.items()
    }
    columns['is_target_cut'] = [
      len(ended) <= len(sequence)
      for ended, sequence in zip(
        columns['targets'], whole['targets'], strict=True
      )
    ]
    return [
      dict(zip(columns, row, strict=True))
      for row in zip(*columns.values(), strict=True)
    ]

  pool = concurrent.futures.ThreadPoolExecutor(1)
  try:
    pending = None
    for fields in _batches(dataset, source):
      rendered = [render(*row) for row in zip(*fields, strict=True)]
      texts = {
        'inputs': [around.apply(prompt.text) for prompt, *_ in rendered],
        'targets': [
          around.answer_start(prompt.text) + target
          for prompt, target, *_ in rendered
        ],
      }
      done, pending = pending, pool.submit(tokens_of, texts)
      if done is not None:
        yield from done.result()
    if pending is not None:
      yield from pending.result()
  finally:
    pool.shutdown(cancel_futures=True)


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
_RENDERED = ('id', 'task', 'position', 'split', 'input', 'outputs')


def _row_renderer(
  *,
  condition: Condition | TkInstruct,
  source: RowsSource,
  limit: prompts.TokenLimit | None,
) -> Callable[..., tuple[prompts.Prompt, str, natinst.Task, natinst.Instance]]:
  """Returns a function that renders a stored row from its `_RENDERED` features.

  It returns the prompt, the target, and the task and the instance under the
  condition.
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


def _batches(dataset: tf.data.Dataset, source: RowsSource) -> Iterator[tuple]:
  """Yields the `_RENDERED` features of a batch of rows, as sequences."""
  options = tf.data.Options()
  # Rows are small: passing them between threads costs more than reading them.
  options.threading.private_threadpool_size = 1
  dataset = dataset.ragged_batch(_ROWS_AT_ONCE).prefetch(2)
  for batch in numpy_rows(dataset.with_options(options), source=source):
    yield tuple(batch[name] for name in _RENDERED)


def _split(values: np.ndarray, splits: np.ndarray) -> list[np.ndarray]:
  bounds = splits.tolist()
  return [values[start:end] for start, end in itertools.pairwise(bounds)]


def _batch_tokenizer(
  vocabulary: seqio.Vocabulary,
) -> Callable[[list[str]], list[np.ndarray]]:
  """Returns `vocabulary.encode_tf` for many texts at once."""
  if isinstance(vocabulary, seqio.ByteVocabulary):
    (first,) = vocabulary.encode('\0')
    return lambda texts: [
      np.frombuffer(text.encode(), np.uint8).astype(np.int32) + first
      for text in texts
    ]
  if isinstance(vocabulary, TokenizerVocabulary):
    return lambda texts: [
      np.array(ids, np.int32) for ids in vocabulary.encode_batch(texts)
    ]
  if not isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return lambda texts: [vocabulary.encode_tf(text).numpy() for text in texts]
  # The property creates a new tokeniser at each access.
  tokenizer = vocabulary.tf_tokenizer

  def tokenize(texts: list[str]) -> list[np.ndarray]:
    ragged = tokenizer.tokenize(tf.constant(texts, tf.string))
    return _split(ragged.values.numpy(), ragged.row_splits.numpy())

  return tokenize


def _end(
  sequences: list[np.ndarray], max_tokens: int | None, eos_id: int | None
) -> list[np.ndarray]:
  """Truncates to the limit and appends the end of sequence, as SeqIO does.

  None appends nothing.
  """
  if eos_id is None:
    return [sequence[:max_tokens] for sequence in sequences]
  cut = None if max_tokens is None else max_tokens - 1
  end = np.array([eos_id], np.int32)
  return [np.concatenate((sequence[:cut], end)) for sequence in sequences]


def _strings(texts: Sequence[str]) -> np.ndarray:
  return np.array([text.encode() for text in texts], object)
