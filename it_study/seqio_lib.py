"""What the SeqIO tasks of `tasks/` are made of."""

import collections.abc
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import functools
import os
import re

import numpy as np
import seqio
import tensorflow as tf

from it_study import natinst, natinst_tfds, prompts, vocabularies
from it_study.conditions import Condition
from it_study.errors import InputError
from it_study.evaluation import metrics
from it_study.seeding import stable_hash, stable_random


class RowsSource(seqio.TfdsDataSource):
  """The rows of whatever corpus is in use, shared by every condition."""

  def __init__(self):
    super().__init__(
      tfds_name=f'{natinst_tfds.NAME}:{natinst_tfds.VERSION}',
      splits=natinst.SPLITS,
      caching_permitted=False,
      read_only=True,
    )
    self._metadata: dict[str, dict] = {}

  def use(self, data_dir: str | os.PathLike) -> None:
    """Reads from `data_dir` from now on, in this process."""
    self.tfds_dataset.override_data_dir(os.fspath(data_dir))
    self.list_shards.cache_clear()

  def metadata(self) -> dict:
    """Task texts and counts. Raises `InputError` if there are no rows."""
    data_dir = str(self.tfds_dataset.data_dir)
    if data_dir not in self._metadata:
      self._metadata[data_dir] = self._load_metadata(data_dir)
    return self._metadata[data_dir]

  def get_dataset(self, split: str | None = None, *args, **kwargs):
    self.metadata()
    return super().get_dataset(split, *args, **kwargs)

  def _load_metadata(self, data_dir: str) -> dict:
    if not self.tfds_dataset.builder.is_prepared():
      where = '~/tensorflow_datasets' if data_dir == 'None' else data_dir
      raise InputError(
        f'no corpus is in use: no rows of {natinst_tfds.NAME} in {where}. '
        'Call it_study.seqio_lib.use_corpus(DIR), or give T5X '
        "--tfds_data_dir=DIR after 'it-study corpus build'."
      )
    metadata = dict(self.tfds_dataset.info.metadata)
    metadata['tasks'] = {
      name: natinst.Task.from_json(fields)
      for name, fields in metadata['tasks'].items()
    }
    return metadata


SOURCE = RowsSource()


class ConditionTask(seqio.Task):
  """A SeqIO task whose vocabulary is settled when it is looked up."""

  @property
  def output_features(self) -> Mapping[str, seqio.Feature]:
    return output_features()


def use_corpus(
  directory: str | os.PathLike,
  *,
  data_dir: str | os.PathLike | None = None,
  max_instances_per_task: int = natinst_tfds.MAX_INSTANCES_PER_TASK,
) -> str:
  """Makes the registered tasks read a corpus, and returns its data dir.

  Args:
    directory: laid out like a checkout of natural-instructions.
    data_dir: where its rows are or will be; None takes the cache folder.
    max_instances_per_task: cap of training instances.

  Raises:
    InputError: if the corpus cannot be used or its rows not be written.
  """
  data_dir = natinst_tfds.build_corpus(
    natinst.open_corpus(directory),
    data_dir=data_dir,
    max_instances_per_task=max_instances_per_task,
  )
  SOURCE.use(data_dir)
  return os.fspath(data_dir)


def output_features() -> dict[str, seqio.Feature]:
  """Inputs and targets, both ending in end-of-sequence."""
  vocabulary = vocabularies.current_vocabulary()
  return {
    name: seqio.Feature(vocabulary=vocabulary, add_eos=True)
    for name in ('inputs', 'targets')
  }


def add_task(
  condition: Condition,
  *,
  name: str | None = None,
  source: RowsSource = SOURCE,
) -> seqio.Task:
  """Registers a condition with SeqIO.

  Args:
    condition: what the prompts look like and which instances are trained on.
    name: of the SeqIO task; None takes the condition's own.
    source: of the rows.
  """
  name = name or condition.name
  with _adding(name):
    return seqio.TaskRegistry.add(
      name,
      source=source,
      preprocessors=[
        functools.partial(keep_chosen, condition=condition, source=source),
        functools.partial(render_rows, condition=condition, source=source),
        seqio.preprocessors.tokenize,
        seqio.preprocessors.append_eos_after_trim,
      ],
      output_features=output_features(),
      postprocess_fn=postprocess,
      metric_fns=[exact_match_and_rouge],
      task_cls=ConditionTask,
    )


def resolve_on_first_use() -> None:
  """Lets SeqIO find every well-formed condition, registered or not.

  SeqIO 0.0.20 has no hook for this. It looks names up in the registry's
  private dict, which is replaced by one that adds the task when asked.
  """
  registry = seqio.TaskRegistry._REGISTRY
  if not isinstance(registry, _ConditionDict):
    seqio.TaskRegistry._REGISTRY = _ConditionDict(registry)


def keep_chosen(
  dataset: tf.data.Dataset, *, condition: Condition, source: RowsSource
) -> tf.data.Dataset:
  """Keeps the training instances of a condition; other splits stay whole.

  Both choices are nested: the 10-instance set is inside the 20-instance set.
  """
  chosen = _chosen_ranks(condition, source.metadata())

  def is_chosen(split: bytes, task: bytes, rank: np.int64) -> np.bool_:
    if split != b'train':
      return np.True_
    return np.bool_(int(rank) in chosen[task.decode()])

  return dataset.filter(
    lambda row: tf.ensure_shape(
      tf.numpy_function(
        is_chosen, [row['split'], row['task'], row['rank']], tf.bool
      ),
      [],
    )
  )


def render_rows(
  dataset: tf.data.Dataset,
  sequence_length: Mapping[str, int] | None,
  output_features: Mapping[str, seqio.Feature],
  *,
  condition: Condition,
  source: RowsSource,
) -> tf.data.Dataset:
  """Turns rows into prompts and targets; ids and references stay beside them.

  Adds to each row, all but the first two for evaluation only:
    inputs, targets: string. id, task: string. position: int64.
    references: strings [num_references].
    num_dropped_examples: int64. shortened: bool.
  """
  tasks = source.metadata()['tasks']
  # Only what is trained on depends on the seed and the numbers of instances.
  tested = condition.for_test()
  limit = token_limit(
    vocabulary=output_features['inputs'].vocabulary,
    max_tokens=(sequence_length or {}).get('inputs'),
  )

  def render(row_id, task_name, position, split, text_input, outputs):
    shown = condition if split == b'train' else tested
    instance = natinst.Instance(
      id=row_id.decode(),
      input=text_input.decode(),
      outputs=tuple(output.decode() for output in outputs),
      position=int(position),
    )
    prompt = prompts.render(
      task=tasks[task_name.decode()],
      instance=instance,
      condition=shown,
      limit=limit,
    )
    target = prompts.choose_target(instance=instance, condition=shown)
    return (
      prompt.text.encode(),
      target.encode(),
      np.int64(prompt.num_dropped_examples),
      np.bool_(prompt.shortened),
    )

  def map_row(row):
    inputs, targets, num_dropped, shortened = tf.numpy_function(
      render,
      [
        row[name]
        for name in ('id', 'task', 'position', 'split', 'input', 'outputs')
      ],
      [tf.string, tf.string, tf.int64, tf.bool],
    )
    return {
      'inputs': tf.ensure_shape(inputs, []),
      'targets': tf.ensure_shape(targets, []),
      'id': row['id'],
      'task': row['task'],
      'position': row['position'],
      'references': row['outputs'],
      'num_dropped_examples': tf.ensure_shape(num_dropped, []),
      'shortened': tf.ensure_shape(shortened, []),
    }

  return dataset.map(map_row, num_parallel_calls=tf.data.AUTOTUNE)


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

  return prompts.TokenLimit(
    encode=vocabulary.encode, decode=decode, max_tokens=max_tokens
  )


def postprocess(
  decoded: str, example: Mapping | None = None, is_target: bool = False
) -> str | list[str]:
  """A prediction as it is; for a target all its references."""
  if is_target:
    return [reference.decode() for reference in example['references']]
  return decoded


def exact_match_and_rouge(
  targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> dict[str, float]:
  """Percentages over a split, for SeqIO's evaluator; see `evaluation`."""
  scores = [
    metrics.score_instance(prediction, references)
    for prediction, references in zip(predictions, targets, strict=True)
  ]
  return {
    name: 100 * float(np.mean([getattr(score, name) for score in scores]))
    for name in ('exact_match', 'rouge_l')
  }


# Names that are not registered yet and are just being so: SeqIO asks first
# whether a name is taken, and that question must not register it.
_being_added: set[str] = set()


@contextlib.contextmanager
def _adding(name: str) -> Iterator[None]:
  _being_added.add(name)
  try:
    yield
  finally:
    _being_added.discard(name)


class _ConditionDict(dict):
  """A registry that adds a condition's task when its name is looked for."""

  def keys(self) -> collections.abc.KeysView:
    # SeqIO asks the view; dict's own would not come back to __contains__.
    return collections.abc.KeysView(self)

  def __contains__(self, name: object) -> bool:
    if super().__contains__(name):
      return True
    if name in _being_added:
      return False
    try:
      condition = Condition.from_name(str(name))
    except InputError:
      return False
    add_task(condition)
    return True


def _chosen_ranks(
  condition: Condition, metadata: Mapping
) -> dict[str, set[int]]:
  """Task name to the ranks of its chosen training instances."""
  names = sorted(
    metadata['train_tasks'],
    key=lambda name: (stable_hash(condition.seed, name, 'tasks'), name),
  )
  chosen_tasks = set(names[: condition.num_tasks])
  chosen: dict[str, set[int]] = {}
  for name, count in metadata['num_train_instances'].items():
    order = list(range(count))
    # Seed 0 is the stored order, which is a stable hash already.
    if condition.seed:
      stable_random(condition.seed, name, 'instances').shuffle(order)
    number = condition.instances_per_task if name in chosen_tasks else 0
    chosen[name] = set(order[:number])
  return chosen
