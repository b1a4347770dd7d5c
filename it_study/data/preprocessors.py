"""From rows to the features of a model: prompts, targets, their tokens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import concurrent.futures
import functools
import itertools
import re
import string

import numpy as np
from sentencepiece import sentencepiece_model_pb2
import seqio
import tensorflow as tf

from it_study import instructions
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.data.row_source import RowsSource
from it_study.errors import InputError
from it_study.instructions import prompt_spans, prompts
from it_study.instructions.tk_instruct import TkInstruct

# Rows that are read, rendered and tokenised together.
_ROWS_AT_ONCE = 512
# Two ways to cut a word may be equally likely but for rounding, and rounding
# hangs on all that stands before it. Such words are rare: in 7,618 prompts of
# 436 tokens, sum and whole differed 4 times, by a token.
_MARGIN = 16
# The normalisers that make spaces of line breaks.
_NORMALIZERS = ('nmt_nfkc', 'nmt_nfkc_cf')


def render_rows(
  dataset: tf.data.Dataset,
  sequence_length: Mapping[str, int] | None,
  output_features: Mapping[str, seqio.Feature],
  *,
  condition: Condition | TkInstruct,
  source: RowsSource,
) -> tf.data.Dataset:
  """Turns rows into prompts and targets; ids and references stay beside them.

  Adds to each row, all but the first two for evaluation only:
    inputs, targets: string. id, task: string. position: int64.
    references: strings [num_references], as the condition has them.
    label_space: strings [num_labels], likewise; none for generation.
    num_dropped_examples: int64. shortened: bool.
    input_kept: float32, the share of the instance's text that is left.
  """
  render = _row_renderer(
    condition=condition,
    source=source,
    limit=token_limit(
      vocabulary=output_features['inputs'].vocabulary,
      max_tokens=(sequence_length or {}).get('inputs'),
    ),
  )

  def render_row(*fields):
    prompt, target, task, instance = render(*fields)
    return (
      prompt.text.encode(),
      target.encode(),
      _strings(instance.outputs),
      _strings(task.label_space or ()),
      np.int64(prompt.num_dropped_examples),
      np.bool_(prompt.shortened),
      np.float32(prompt_spans.kept_input(prompt, instance=instance).share),
    )

  def map_row(row):
    inputs, targets, references, label_space, num_dropped, shortened, kept = (
      tf.numpy_function(
        render_row,
        [row[name] for name in _RENDERED],
        [*[tf.string] * 4, tf.int64, tf.bool, tf.float32],
        # T5X saves where it stands in the data, which TensorFlow refuses of
        # what it takes to have a state.
        stateful=False,
      )
    )
    return {
      'inputs': tf.ensure_shape(inputs, []),
      'targets': tf.ensure_shape(targets, []),
      'id': row['id'],
      'task': row['task'],
      'position': row['position'],
      'references': tf.ensure_shape(references, [None]),
      'label_space': tf.ensure_shape(label_space, [None]),
      'num_dropped_examples': tf.ensure_shape(num_dropped, []),
      'shortened': tf.ensure_shape(shortened, []),
      'input_kept': tf.ensure_shape(kept, []),
    }

  return dataset.map(map_row, num_parallel_calls=tf.data.AUTOTUNE)


def token_rows(
  dataset: tf.data.Dataset,
  *,
  condition: Condition | TkInstruct,
  source: RowsSource,
  vocabulary: seqio.Vocabulary,
  sequence_length: Mapping[str, int],
) -> Iterator[dict[str, np.ndarray]]:
  """The tokens that SeqIO makes of rows, several times as fast.

  The same tokens in the same order: the tokeniser is SeqIO's, but is given many
  texts at once, on another thread while the next ones are rendered.

  Args:
    dataset: rows as they are stored.
    condition: to render them under.
    source: of the rows.
    vocabulary: of prompts and targets.
    sequence_length: 'inputs' and 'targets' in tokens, end of sequence included;
      one that is missing cuts nothing.

  Yields:
    'inputs' and 'targets' of a row, int32 [number of tokens], ending in the end
    of sequence.

  Raises:
    InputError: if a row cannot be rendered.
  """
  render = _row_renderer(
    condition=condition,
    source=source,
    limit=token_limit(
      vocabulary=vocabulary, max_tokens=sequence_length.get('inputs')
    ),
  )
  tokenize = _batch_tokenizer(vocabulary)

  def tokens_of(texts: Mapping[str, list[str]]) -> list[dict[str, np.ndarray]]:
    columns = [
      _end(tokenize(of_feature), sequence_length.get(name), vocabulary.eos_id)
      for name, of_feature in texts.items()
    ]
    return [
      dict(zip(texts, row, strict=True)) for row in zip(*columns, strict=True)
    ]

  pool = concurrent.futures.ThreadPoolExecutor(1)
  try:
    pending = None
    for fields in _batches(dataset):
      rendered = [render(*row) for row in zip(*fields, strict=True)]
      texts = {
        'inputs': [prompt.text for prompt, *_ in rendered],
        'targets': [target for _, target, *_ in rendered],
      }
      done, pending = pending, pool.submit(tokens_of, texts)
      if done is not None:
        yield from done.result()
    if pending is not None:
      yield from pending.result()
  finally:
    pool.shutdown(cancel_futures=True)


def numpy_rows(dataset: tf.data.Dataset) -> Iterator[dict]:
  """The rows of a task's dataset, as NumPy arrays.

  Raises:
    InputError: what `render_rows` raised, which TensorFlow has wrapped.
  """
  try:
    yield from dataset.as_numpy_iterator()
  except tf.errors.OpError as error:
    raised = re.search('InputError: (.*)', error.message)
    if raised is None:
      raise
    raise InputError(raised[1]) from None


def token_limit(
  *, vocabulary: seqio.Vocabulary, max_tokens: int | None
) -> prompts.TokenLimit | None:
  """The prompt's limit under a vocabulary; None stays without one."""
  if max_tokens is None:
    return None

  def decode(ids: Sequence[int]) -> str:
    # Tk-Instruct leaves special tokens out, the unknown one among them; SeqIO
    # would write a mark of its own.
    return vocabulary.decode([i for i in ids if i != vocabulary.unk_id])

  count, margin = _counter(vocabulary)
  return prompts.TokenLimit(
    encode=vocabulary.encode,
    decode=decode,
    max_tokens=max_tokens,
    count=count,
    margin=margin,
  )


@functools.lru_cache(maxsize=8)
def counts_add_up(model: bytes) -> bool:
  """Whether a prompt has as many tokens as its pieces together.

  A piece ends in ASCII punctuation and line breaks, and the next begins with a
  letter, perhaps after a space. So the numbers add up, save for rounding, if
  white space becomes one mark at the beginning of a word, and no token holds
  that mark after punctuation: then none reaches from piece to piece.

  Args:
    model: of SentencePiece, serialised. T5's own is one for which they do.
  """
  proto = sentencepiece_model_pb2.ModelProto.FromString(model)
  normalizer = proto.normalizer_spec
  if not (
    normalizer.add_dummy_prefix
    and normalizer.remove_extra_whitespaces
    and normalizer.escape_whitespaces
    and normalizer.name in _NORMALIZERS
    and not proto.trainer_spec.treat_whitespace_as_suffix
  ):
    return False
  pieces = {piece.piece for piece in proto.pieces}
  # Were the mark itself unknown, it would be one with an unknown before it.
  return _MARK in pieces and not any(map(_REACHES_OVER.search, pieces))


_RENDERED = ('id', 'task', 'position', 'split', 'input', 'outputs')
_MARK = '\u2581'
_REACHES_OVER = re.compile(rf'[{re.escape(string.punctuation)}]{_MARK}|\s')


def _row_renderer(
  *,
  condition: Condition | TkInstruct,
  source: RowsSource,
  limit: prompts.TokenLimit | None,
) -> Callable[..., tuple[prompts.Prompt, str, natinst.Task, natinst.Instance]]:
  """Renders a stored row, given by its `_RENDERED` features.

  The function returns the prompt, the target, and the task and the instance as
  the condition has them.
  """
  metadata = source.metadata()
  tables = {
    True: metadata['test_table'],
    False: metadata['train_table'],
  }
  # Only what is trained on depends on the seed and the numbers of instances.
  tested = condition.for_test()

  def render(row_id, task_name, position, split, text_input, outputs):
    row_id = row_id.decode()
    shown = condition if split == b'train' else tested
    shown = shown.of_instance(row_id)
    instance = natinst.Instance(
      id=row_id,
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
    target = prompts.choose_target(instance=seen, condition=shown)
    return prompt, target, seen_task, seen

  return render


def _batches(dataset: tf.data.Dataset) -> Iterator[tuple]:
  """Yields the `_RENDERED` features of some rows at a time, as sequences."""
  options = tf.data.Options()
  # Rows are small: handing them from thread to thread costs more than reading.
  options.threading.private_threadpool_size = 1
  dataset = dataset.ragged_batch(_ROWS_AT_ONCE).prefetch(2)
  for batch in numpy_rows(dataset.with_options(options)):
    yield tuple(batch[name] for name in _RENDERED)


def _split(values: np.ndarray, splits: np.ndarray) -> list[np.ndarray]:
  bounds = splits.tolist()
  return [values[start:end] for start, end in itertools.pairwise(bounds)]


def _batch_tokenizer(
  vocabulary: seqio.Vocabulary,
) -> Callable[[list[str]], list[np.ndarray]]:
  """As `vocabulary.encode_tf`, of many texts."""
  if isinstance(vocabulary, seqio.ByteVocabulary):
    (first,) = vocabulary.encode('\0')
    return lambda texts: [
      np.frombuffer(text.encode(), np.uint8).astype(np.int32) + first
      for text in texts
    ]
  if not isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return lambda texts: [vocabulary.encode_tf(text).numpy() for text in texts]
  # The property makes a new one every time.
  tokenizer = vocabulary.tf_tokenizer

  def tokenize(texts: list[str]) -> list[np.ndarray]:
    ragged = tokenizer.tokenize(tf.constant(texts, tf.string))
    return _split(ragged.values.numpy(), ragged.row_splits.numpy())

  return tokenize


def _end(
  sequences: list[np.ndarray], max_tokens: int | None, eos_id: int
) -> list[np.ndarray]:
  """Cuts to the limit and appends the end of sequence, as SeqIO does."""
  cut = None if max_tokens is None else max_tokens - 1
  end = np.array([eos_id], np.int32)
  return [np.concatenate((sequence[:cut], end)) for sequence in sequences]


def _counter(
  vocabulary: seqio.Vocabulary,
) -> tuple[Callable[[str], int] | None, int]:
  """A `TokenLimit`'s `count` and `margin`."""
  if isinstance(vocabulary, seqio.ByteVocabulary):
    return lambda piece: len(piece.encode()), 0
  if not isinstance(vocabulary, seqio.SentencePieceVocabulary):
    return None, 0
  if not counts_add_up(vocabulary.sp_model):
    return None, 0
  encode = vocabulary.tokenizer.encode

  @functools.lru_cache(maxsize=8192)
  def count(piece: str) -> int:
    return len(encode(piece))

  return count, _MARGIN


def _strings(texts: Sequence[str]) -> np.ndarray:
  return np.array([text.encode() for text in texts], object)
