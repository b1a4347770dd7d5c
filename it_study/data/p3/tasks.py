"""Registers P3's prompts with SeqIO: one task per data set and template."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Iterable
import functools
import logging
import os
import re
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from it_study.corpus.task_kinds import CLASSIFICATION
from it_study.data.p3.data_sets import HELD_OUT, NO_LABEL, DataSet
from it_study.data.p3.rendering import Renderer, names_read
from it_study.data.p3.templates import Template, read_templates
from it_study.data.seqio_tasks.declarations import declare
from it_study.data.seqio_tasks.features import CurrentFeature
from it_study.errors import InputError, nearest

VARIABLE = 'IT_STUDY_PROMPTSOURCE'
# By the name that begins those of the tasks: whether prompts are simplified.
_DEFINITIONS = {'p3_def_original': False, 'p3_def_simplified': True}


_logger = logging.getLogger(__name__)


class _Inputs(CurrentFeature):
  """Prompts that do not end in end-of-sequence, as T0's do not."""

  add_eos = False


def add_p3_tasks(
  checkout: str | os.PathLike | None = None,
  *,
  data_sets: Iterable[str] = tuple(HELD_OUT),
) -> list[str]:
  """Registers the prompts that T0 is evaluated with, and mixtures of them.

  The tasks are named 'p3_def_original.DATA_SET.TEMPLATE', with '_' for
  characters that SeqIO does not allow, and 'p3_def_simplified.…' without the
  literal text of the template. The mixtures are 'p3_def_original.DATA_SET', of
  all templates of a data set, and 'p3_def_original', of all; and likewise for
  the simplified prompts. Predictions name a task 'DATA_SET.TEMPLATE'.

  A template is left out, with a warning, if it reads a field that TFDS does not
  have. Rows without a label and those that a template renders to nothing are
  left out of a task.

  Args:
    checkout: Folder of a checkout of bigscience-workshop/promptsource; None for
      that in the environment variable IT_STUDY_PROMPTSOURCE.
    data_sets: Names of the data sets, keys of `data_sets.HELD_OUT`.

  Returns:
    The names of the tasks.

  Raises:
    InputError: If the checkout or a data set is not known, or a template is not
      valid.
  """
  checkout = checkout or os.environ.get(VARIABLE)
  if not checkout:
    raise InputError(
      f'{VARIABLE} is not set; set it to the root of a checkout of '
      'bigscience-workshop/promptsource.'
    )
  added = []
  for name in data_sets:
    if name not in HELD_OUT:
      raise InputError(
        f'P3: no data set {name!r}; there are {", ".join(HELD_OUT)}.'
        f'{nearest(name, HELD_OUT)}'
      )
    chosen = _evaluated(checkout, name)
    for prefix, is_simplified in _DEFINITIONS.items():
      tasks = [_add(prefix, name, t, is_simplified) for t in chosen]
      _add_mixture(f'{prefix}.{name}', tasks)
      added += tasks
  for prefix in _DEFINITIONS:
    _add_mixture(prefix, [task for task in added if task.startswith(prefix)])
  return added


def render_rows(
  dataset: tf.data.Dataset, *, renderer: Renderer, data_set: DataSet
) -> tf.data.Dataset:
  """Renders rows of TFDS, but for those that a template or a label leaves out.

  Each row of the result has:
    id: string, 'idx' or 'uid' of the row, else its position in the split.
    inputs, targets: string.
    answer_choices: strings [num_choices].
  """
  names = list(dataset.element_spec)

  def render_row(position: np.int64, *values: Any) -> tuple:
    row = dict(zip(names, map(_to_python, values), strict=True))
    id = str(row.get('idx', row.get('uid', position)))
    prompt = None
    if row['label'] != NO_LABEL:
      prompt = renderer.render(data_set.adapt(row), id=id)
    inputs, targets, choices = prompt or ('', '', ())
    encoded = np.array([choice.encode() for choice in choices], object)
    return id.encode(), inputs.encode(), targets.encode(), encoded

  def map_row(position: tf.Tensor, row: dict[str, tf.Tensor]) -> dict:
    id, inputs, targets, choices = tf.numpy_function(
      render_row,
      [position, *(row[name] for name in names)],
      [tf.string] * 4,
      # T5X saves its position in the data, which TensorFlow refuses for
      # stateful functions.
      stateful=False,
    )
    return {
      'id': tf.ensure_shape(id, []),
      'inputs': tf.ensure_shape(inputs, []),
      'targets': tf.ensure_shape(targets, []),
      'answer_choices': tf.ensure_shape(choices, [None]),
    }

  rendered = dataset.enumerate().map(
    map_row, num_parallel_calls=tf.data.AUTOTUNE
  )
  return rendered.filter(lambda row: row['inputs'] != '')


def _evaluated(checkout: str | os.PathLike, name: str) -> list[Template]:
  """Returns the templates that T0 is evaluated with, if TFDS has their fields.

  Those have answer choices and ask for what the data set was made for.
  """
  data_set = HELD_OUT[name]
  chosen = [
    template
    for template in read_templates(checkout, data_set.templates)
    if template.original_task and template.answer_choices is not None
  ]
  lacking = {t.name: names_read(t) & {*data_set.lacking} for t in chosen}
  for template, names in lacking.items():
    if names:
      _logger.warning(
        '%s: template %r is left out, since TFDS has no %s.',
        name,
        template,
        ', '.join(sorted(names)),
      )
  return [template for template in chosen if not lacking[template.name]]


def _add(
  prefix: str, name: str, template: Template, is_simplified: bool
) -> str:
  """Registers a task; returns its name."""
  data_set = HELD_OUT[name]
  renderer = Renderer(
    template, fields=data_set.fields, is_simplified=is_simplified
  )
  short = re.sub(r'\W+', '_', template.name, flags=re.ASCII).strip('_')
  task = f'{prefix}.{name}.{short}'
  seqio.TaskRegistry.remove(task)
  seqio.TaskRegistry.add(
    task,
    source=seqio.TfdsDataSource(data_set.tfds_name),
    preprocessors=[
      functools.partial(render_rows, renderer=renderer, data_set=data_set),
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos_after_trim,
    ],
    output_features={
      'inputs': _Inputs('inputs'),
      'targets': CurrentFeature('targets'),
    },
  )
  declare(task, kind=CLASSIFICATION, category=name, name=f'{name}.{short}')
  return task


def _add_mixture(name: str, tasks: list[str]) -> None:
  seqio.MixtureRegistry.remove(name)
  if tasks:
    seqio.MixtureRegistry.add(name, tasks, default_rate=1.0)


def _to_python(value: Any) -> Any:
  """Returns a text, an integer or a list of texts of TFDS as Python's."""
  if isinstance(value, np.ndarray) and value.ndim:
    return [item.decode() for item in value]
  return value.decode() if isinstance(value, bytes) else int(value)
