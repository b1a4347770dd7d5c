"""Registers conditions as SeqIO tasks and mixtures."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

import collections.abc
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import functools
import math
import os
import re
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from it_study.conditions import Condition, is_condition_name
from it_study.data import (
  prepare,
  preprocessors,
  row_source,
  tfds_builder,
  vocabularies,
)

# Exported.
from it_study.data.p3.tasks import add_p3_tasks as add_p3_tasks

# Exported: custom sources for `add_task` are built with it.
from it_study.data.row_source import SOURCE, RowsSource as RowsSource
from it_study.data.seqio_tasks import declarations
from it_study.data.seqio_tasks.features import (
  CurrentFeature,
  check_inputs_and_targets,
)
from it_study.errors import InputError, nearest
from it_study.evaluation import metrics
from it_study.instructions import tk_instruct
from it_study.instructions.tk_instruct import TkInstruct as TkInstruct
from it_study.predictions import without_marks


class ConditionTask(seqio.Task):
  """A SeqIO task that looks the vocabulary up at each use."""

  @property
  def output_features(self) -> Mapping[str, seqio.Feature]:
    return output_features()

  def get_dataset(self, *args: Any, **kwargs: Any) -> tf.data.Dataset:
    """SeqIO's method. Raises `InputError` without rows or vocabulary."""
    vocabularies.checked_vocabulary()
    return super().get_dataset(*args, **kwargs)


def use_corpus(
  directory: str | os.PathLike,
  *,
  data_dir: str | os.PathLike | None = None,
  max_instances_per_task: int = tfds_builder.MAX_INSTANCES_PER_TASK,
  vocabulary: str | None = None,
) -> str:
  """Makes the registered tasks read a corpus; builds its rows on first use.

  Args:
    directory: Directory laid out like a checkout of natural-instructions, or
      'miniature' for the embedded benchmark.
    data_dir: Data dir of the rows; None for the cache folder.
    max_instances_per_task: Maximum number of training instances per task.
    vocabulary: Path of a model file, 'byte' or 'miniature'; None for the
      variable `IT_STUDY_VOCABULARY` or T5's own.

  Returns:
    The data dir.

  Raises:
    InputError: If the corpus or the vocabulary cannot be used, or the rows
      cannot be written.
  """
  rows = prepare.use_corpus(
    directory,
    data_dir=data_dir,
    max_instances_per_task=max_instances_per_task,
  )
  vocabulary = vocabulary or os.environ.get(vocabularies.VARIABLE)
  if vocabulary:
    # A name may stand for a file beside the rows.
    prepare.set_or_check_vocabulary(vocabulary, data_dir=rows)
  return os.fspath(rows)


def output_features() -> dict[str, seqio.Feature]:
  """The features 'inputs' and 'targets', with the vocabulary in use.

  It is looked up at each use, so tasks may be registered before it is set. Both
  features of T5's end in end-of-sequence.
  """
  return {name: CurrentFeature(name) for name in ('inputs', 'targets')}


def add_task(
  condition: Condition | TkInstruct,
  *,
  name: str | None = None,
  source: RowsSource = SOURCE,
) -> seqio.Task:
  """Registers a condition with SeqIO.

  Args:
    condition: Condition that sets the prompts and the training instances.
    name: Name of the SeqIO task; None for the condition's own.
    source: Source of the rows.
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
    name: Name of the mixture.
    rates: Rate of each part, by condition or by name of a task or mixture;
      conditions that are not registered yet are added. In the example above,
      3 of 4 examples come from the first part on average.

  Raises:
    InputError: If a name is unknown, a part is named twice, or a rate is not a
      number above 0.
  """
  if not rates:
    raise InputError(f'mixture {name!r} has no parts; give at least one.')
  parts: dict[str, float] = {}
  for key, rate in rates.items():
    part = key if isinstance(key, str) else key.name
    if part in parts:
      raise InputError(f'mixture {name!r} names {part!r} twice.')
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
  """Registers one SeqIO task per NatInst task, and a mixture of them.

  The tasks are named 'CONDITION.TASK', with '_' for characters that SeqIO does
  not allow, and the mixture 'CONDITION.all_tasks'. Training tasks have the
  splits train and validation, test tasks the split test. The mixture leaves out
  a training task of which the condition takes no instance.

  SeqIO builds one pipeline per task: mixing 230 tasks of 10 instances took 40
  times as long as reading the condition that holds them all, and 1 GB more
  memory. Train on that condition; use these tasks to inspect or to weight
  single NatInst tasks.

  Args:
    condition: Condition that sets the prompts and the training instances.
    names: Names of NatInst tasks; None for all of the corpus in use.
    rates: Mixing rates: 'equal', or 'examples' for rates in proportion to the
      numbers of instances.
    source: Source of the rows.

  Raises:
    InputError: If a name is unknown, `rates` is neither, two tasks would have
      the same SeqIO name, there is no instance to mix, or no corpus is in use.
  """
  if rates not in ('equal', 'examples'):
    raise InputError(
      f'rates is {rates!r}; it must be equal or examples.'
      f'{nearest(rates, ("equal", "examples"))}'
    )
  known = source.metadata()['tasks']
  parts: dict[str, float] = {}
  registered: dict[str, str] = {}
  for task in sorted(known) if names is None else names:
    if task not in known:
      raise InputError(
        f'the corpus in use has no task {task!r}.{nearest(task, known)}'
      )
    name = f'{condition.name}.{re.sub("[^A-Za-z0-9_.]", "_", task)}'
    if name in registered:
      raise InputError(
        f'tasks {registered[name]!r} and {task!r} would both be named '
        f'{name!r}; rename one.'
      )
    registered[name] = task
    if name not in seqio.TaskRegistry.names():
      _add(name, condition, source, task=task)
    added = seqio.TaskRegistry.get(name)
    if added.source.rows is not source:
      raise InputError(
        f'task {name!r} is already registered with another source of rows. '
        'Remove it from seqio.TaskRegistry first.'
      )
    count = added.num_input_examples(added.splits[0])
    if count:
      parts[name] = 1.0 if rates == 'equal' else float(count)
  if not parts:
    raise InputError(
      f'{condition.name} takes no instance of the tasks named; name others.'
    )
  mixture = f'{condition.name}.all_tasks'
  seqio.MixtureRegistry.remove(mixture)
  return seqio.MixtureRegistry.add(mixture, list(parts.items()))


def declare(
  task: str,
  *,
  kind: str | None = None,
  label_space: Sequence[str] | str | None = None,
  references: str | None = None,
  category: str | None = None,
  name: str | None = None,
) -> None:
  """Declares what SeqIO does not know of a task, for predictions and scores.

      declare('my_nli', label_space=['yes', 'no', 'maybe'], category='NLI')

  What is left out has a default. A later declaration replaces an earlier one.

  Args:
    task: Name of a registered SeqIO task that `add_task` did not make.
    kind: 'classification' or 'generation'; None for classification if examples
      have labels, else for unknown.
    label_space: Labels of every example, or the name of the feature that holds
      an example's labels. None for the feature `answer_choices` or
      `label_space` of an example that has one.
    references: Name of the feature that holds an example's accepted answers, a
      text or a list of texts; None for `references` of an example that has it,
      else its targets.
    category: Category to report the task under; None for none.
    name: Name of the task in predictions; None for its own. `compare` pairs
      predictions by it and the ids of examples, so tasks that prompt the same
      examples in other ways have the same.

  Raises:
    InputError: If there is no such task, it is a condition or a mixture, or a
      value is not valid.
  """
  found = find_task(task)
  if isinstance(found, seqio.Mixture):
    raise InputError(
      f'{task!r} is a mixture; declare its tasks one by one: '
      f'{", ".join(part.name for part in found.tasks)}.'
    )
  if row_source.source_of(found) is not None:
    raise InputError(
      f'{task!r} reads a corpus, whose task files hold kind, label space, '
      'references and category; there is nothing to declare.'
    )
  declarations.declare(
    task,
    kind=kind,
    label_space=label_space,
    references=references,
    category=category,
    name=name,
  )


def find_task(name: str) -> seqio.Task | seqio.Mixture:
  """A registered task or mixture. Raises `InputError` with the nearest name."""
  resolve_on_first_use()
  if name in seqio.MixtureRegistry.names():
    return seqio.MixtureRegistry.get(name)
  if name in seqio.TaskRegistry.names():
    return seqio.TaskRegistry.get(name)
  names = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
  if is_condition_name(name) or name.startswith('natinst_tk_instruct'):
    tk_instruct.from_name(name)
  raise InputError(
    f'no SeqIO task or mixture {name!r} is registered.{nearest(name, names)} '
    'MIXTURE_OR_TASK_MODULE names the module that registers it.'
  )


def vocabulary_of(name: str) -> seqio.Vocabulary:
  """Returns the vocabulary of a task or mixture, which its features decide.

  A condition's is the current one, `vocabularies.current_vocabulary`.

  Raises:
    InputError: If there is no such task, its vocabulary cannot be read, or
      'inputs' and 'targets' have different ones.
  """
  task = find_task(name)
  check_inputs_and_targets(task)
  features = task.output_features
  vocabulary = features['targets'].vocabulary
  if features['inputs'].vocabulary != vocabulary:
    raise InputError(
      f'{name}: inputs and targets have different vocabularies. A model has '
      'one table of tokens: give both features the same vocabulary.'
    )
  if features['inputs'].add_eos and not vocabularies.ends_inputs(vocabulary):
    raise InputError(
      f'{name}: its inputs end in the end of sequence, after which a '
      'decoder-only model writes nothing. Register the task with '
      'output_features=it_study.seqio_lib.output_features().'
    )
  return vocabularies.checked(vocabulary)


def resolve_on_first_use() -> None:
  """Lets SeqIO find every well-formed condition, registered or not.

  SeqIO 0.0.20 has no hook for this. It looks names up in the registry's
  private dict, so this replaces that dict with one that adds missing tasks.
  """
  registry = seqio.TaskRegistry._REGISTRY
  if not isinstance(registry, _ConditionDict):
    seqio.TaskRegistry._REGISTRY = _ConditionDict(registry)


def postprocess(
  decoded: str, example: Mapping | None = None, is_target: bool = False
) -> str | list[str]:
  """The prediction as it is scored; for a target, all its references."""
  if is_target:
    assert example is not None, 'SeqIO passes the example with a target'
    return [reference.decode() for reference in example['references']]
  return without_marks(decoded)[0]


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


# Names being registered: SeqIO first asks whether a name is taken, and that
# question must not register it.
_being_added: set[str] = set()


@contextlib.contextmanager
def _adding(name: str) -> Iterator[None]:
  _being_added.add(name)
  try:
    yield
  finally:
    _being_added.discard(name)


class _ConditionDict(dict):
  """A registry that adds a condition's task when its name is looked up."""

  # SeqIO queries the view, and dict's own view would bypass `__contains__`.
  def keys(self) -> collections.abc.KeysView:  # type: ignore[override]
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
        functools.partial(
          preprocessors.render_rows, condition=condition, source=source
        ),
        seqio.preprocessors.tokenize,
        seqio.preprocessors.append_eos_after_trim,
      ],
      output_features=output_features(),
      postprocess_fn=postprocess,
      metric_fns=[exact_match_and_rouge],
      task_cls=ConditionTask,
    )
