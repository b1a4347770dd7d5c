"""What the SeqIO tasks of `tasks/` are made of."""

import collections.abc
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import functools
import math
import os
import re

import numpy as np
import seqio
import tensorflow as tf

from it_study.conditions import Condition
from it_study.corpus import locate, natinst
from it_study.data import preprocessors, row_source, tfds_builder, vocabularies
from it_study.data.row_source import SOURCE, RowsSource
from it_study.errors import InputError, nearest
from it_study.evaluation import metrics
from it_study.instructions import tk_instruct
from it_study.instructions.tk_instruct import TkInstruct

# Offered here, though they have a module of their own.
numpy_rows = preprocessors.numpy_rows
render_rows = preprocessors.render_rows
token_limit = preprocessors.token_limit


class ConditionTask(seqio.Task):
  """A SeqIO task whose vocabulary is settled when it is looked up."""

  @property
  def output_features(self) -> Mapping[str, seqio.Feature]:
    return output_features()

  def get_dataset(self, *args, **kwargs) -> tf.data.Dataset:
    """As SeqIO has it. Raises `InputError` without rows or vocabulary."""
    vocabularies.checked_vocabulary()
    return super().get_dataset(*args, **kwargs)


def use_corpus(
  directory: str | os.PathLike,
  *,
  data_dir: str | os.PathLike | None = None,
  max_instances_per_task: int = tfds_builder.MAX_INSTANCES_PER_TASK,
) -> str:
  """Makes the registered tasks read a corpus, and returns its data dir.

  Args:
    directory: laid out like a checkout of natural-instructions, or
      'miniature' for the embedded benchmark.
    data_dir: where its rows are or will be; None takes the cache folder.
    max_instances_per_task: cap of training instances.

  Raises:
    InputError: if the corpus cannot be used or its rows not be written.
  """
  data_dir = tfds_builder.build_corpus(
    natinst.open_corpus(locate.find(directory)),
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
  condition: Condition | TkInstruct,
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
  return _add(name or condition.name, condition, source)


def add_mixture(
  name: str, rates: Mapping[Condition | TkInstruct | str, float]
) -> seqio.Mixture:
  """Registers a mixture of conditions, tasks or mixtures with SeqIO.

      add_mixture('mostly_original', {
        'natinst_def_original_ex_original2': 3,
        'natinst_def_empty_ex_original2': 1,
      })

  Args:
    name: of the mixture.
    rates: of each part, by itself or its name; registered where it is not. Of
      4 examples above, 3 are of the first part on average.

  Raises:
    InputError: for an unknown name, a part named twice, or a rate that is not
      a number above 0.
  """
  if not rates:
    raise InputError(f'mixture {name!r} has no parts; give one at least.')
  parts: dict[str, float] = {}
  for key, rate in rates.items():
    part = key if isinstance(key, str) else key.name
    if part in parts:
      raise InputError(f'mixture {name!r}: {part!r} is in it twice.')
    if (
      isinstance(rate, bool)
      or not isinstance(rate, (int, float))
      or not 0 < rate < math.inf
    ):
      raise InputError(
        f'mixture {name!r}: the rate of {part!r} is {rate!r}; give a number '
        'above 0.'
      )
    find_task(part)
    parts[part] = float(rate)
  return seqio.MixtureRegistry.add(name, list(parts.items()))


def add_natinst_tasks(
  condition: Condition | TkInstruct,
  *,
  names: Sequence[str] | None = None,
  rates: str = 'equal',
  source: RowsSource = SOURCE,
) -> seqio.Mixture:
  """Registers a SeqIO task a NatInst task, and a mixture of them.

  The tasks are named 'CONDITION.TASK', where characters that SeqIO does not
  allow are replaced by '_', the mixture 'CONDITION.all_tasks'. Training tasks
  have the splits train and validation, test tasks the split test. A training
  task of which the condition takes no instance is not in the mixture.

  SeqIO makes a pipeline of every task: to mix 230 tasks of 10 instances took 40
  times as long as to read the condition that holds them all, and 1 GB more of
  memory. That condition is what to train on; these are to look at, or to weigh,
  single tasks.

  Args:
    condition: what the prompts look like and which instances are trained on.
    names: of NatInst tasks; None takes all of the corpus in use.
    rates: 'equal', or 'examples' for rates in proportion to the numbers of
      instances.
    source: of the rows.

  Raises:
    InputError: for an unknown name, rates that are neither, two tasks that
      SeqIO could not tell apart, no instance to mix, or no corpus in use.
  """
  if rates not in ('equal', 'examples'):
    raise InputError(
      f'rates are {rates!r}; there are equal, examples.'
      f'{nearest(rates, ("equal", "examples"))}'
    )
  known = source.metadata()['tasks']
  parts: dict[str, float] = {}
  registered: dict[str, str] = {}
  for task in sorted(known) if names is None else names:
    if task not in known:
      raise InputError(
        f'no task {task!r} in the corpus in use.{nearest(task, known)}'
      )
    name = f'{condition.name}.{re.sub("[^A-Za-z0-9_.]", "_", task)}'
    if name in registered:
      raise InputError(
        f'tasks {registered[name]!r} and {task!r} would both be {name!r}; '
        'rename one.'
      )
    registered[name] = task
    if name not in seqio.TaskRegistry.names():
      _add(name, condition, source, task=task)
    added = seqio.TaskRegistry.get(name)
    if added.source.rows is not source:
      raise InputError(f'task {name!r} is registered already, of other rows.')
    count = added.num_input_examples(added.splits[0])
    if count:
      parts[name] = 1.0 if rates == 'equal' else float(count)
  if not parts:
    raise InputError(
      f'{condition.name} takes no instance of any task named; name others.'
    )
  mixture = f'{condition.name}.all_tasks'
  seqio.MixtureRegistry.remove(mixture)
  return seqio.MixtureRegistry.add(mixture, list(parts.items()))


def find_task(name: str) -> seqio.Task | seqio.Mixture:
  """A registered task or mixture. Raises `InputError` with the nearest name."""
  resolve_on_first_use()
  if name in seqio.MixtureRegistry.names():
    return seqio.MixtureRegistry.get(name)
  if name in seqio.TaskRegistry.names():
    return seqio.TaskRegistry.get(name)
  names = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
  if name.startswith(('natinst_def_', 'natinst_tk_instruct')):
    tk_instruct.from_name(name)
  raise InputError(
    f'no SeqIO task or mixture {name!r} is registered.{nearest(name, names)} '
    'MIXTURE_OR_TASK_MODULE names the module that registers it.'
  )


def resolve_on_first_use() -> None:
  """Lets SeqIO find every well-formed condition, registered or not.

  SeqIO 0.0.20 has no hook for this. It looks names up in the registry's
  private dict, which is replaced by one that adds the task when asked.
  """
  registry = seqio.TaskRegistry._REGISTRY
  if not isinstance(registry, _ConditionDict):
    seqio.TaskRegistry._REGISTRY = _ConditionDict(registry)


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
      condition = tk_instruct.from_name(str(name))
    except InputError:
      return False
    add_task(condition)
    return True


def _add(
  name: str,
  condition: Condition | TkInstruct,
  source: RowsSource,
  *,
  task: str | None = None,
) -> seqio.Task:
  with _adding(name):
    return seqio.TaskRegistry.add(
      name,
      source=row_source.ChosenRows(choice=condition, rows=source, task=task),
      preprocessors=[
        functools.partial(render_rows, condition=condition, source=source),
        seqio.preprocessors.tokenize,
        seqio.preprocessors.append_eos_after_trim,
      ],
      output_features=output_features(),
      postprocess_fn=postprocess,
      metric_fns=[exact_match_and_rouge],
      task_cls=ConditionTask,
    )
