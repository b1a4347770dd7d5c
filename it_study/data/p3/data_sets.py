"""The data sets that T0 is evaluated on: TFDS's rows as templates read them."""

from collections.abc import Callable, Mapping
import dataclasses
import re
from typing import Any

Row = dict[str, Any]
# Of a row without a label, such as those of SuperGLUE's test sets.
NO_LABEL = -1


def _same(row: Row) -> Row:
  return row


def _anli(row: Row) -> Row:
  return {**row, 'premise': row['context']}


def _winogrande(row: Row) -> Row:
  return {**row, 'answer': str(row['label'] + 1)}


def _hellaswag(row: Row) -> Row:
  return {**row, 'ctx': row['context'], 'label': str(row['label'])}


def _story_cloze(row: Row) -> Row:
  # TFDS joins the four sentences. What is more than three ends of sentences
  # stays in the fourth.
  sentences = re.split(r'(?<=[.!?])\s+', row['context'], maxsplit=3)
  sentences += [''] * (4 - len(sentences))
  first, second = row['endings']
  return {
    **{f'input_sentence_{n}': text for n, text in enumerate(sentences, 1)},
    'sentence_quiz1': first,
    'sentence_quiz2': second,
    'answer_right_ending': row['label'],
  }


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
  """A data set of TFDS with the templates that promptsource has for it.

  Attributes:
    tfds_name: Name and version in TFDS.
    templates: Folder of its templates in promptsource.
    fields: Names of the fields that templates may read: those of the Hugging
      Face hub, which promptsource was written for.
    lacking: Names of fields of the hub that TFDS does not have.
    adapt: Function that returns those fields of a row of TFDS.
  """

  tfds_name: str
  templates: str
  fields: tuple[str, ...]
  lacking: tuple[str, ...] = ()
  adapt: Callable[[Row], Row] = _same


def _super_glue(name: str, *fields: str) -> DataSet:
  return DataSet(
    tfds_name=f'super_glue/{name}:1.0.2',
    templates=f'super_glue/{name}',
    fields=(*fields, 'label', 'idx'),
  )


def _anli_round(name: str) -> DataSet:
  return DataSet(
    tfds_name=f'anli/{name}:0.1.0',
    templates='anli',
    fields=('premise', 'hypothesis', 'label', 'uid'),
    lacking=('reason',),
    adapt=_anli,
  )


# T0's eleven held-out sets (Sanh et al. 2022, section 5), by the name that
# stands in those of the tasks.
HELD_OUT: Mapping[str, DataSet] = {
  'super_glue_cb': _super_glue('cb', 'premise', 'hypothesis'),
  'super_glue_copa': _super_glue(
    'copa', 'premise', 'choice1', 'choice2', 'question'
  ),
  'super_glue_rte': _super_glue('rte', 'premise', 'hypothesis'),
  'super_glue_wic': _super_glue(
    'wic',
    *('word', 'sentence1', 'sentence2', 'start1', 'start2', 'end1', 'end2'),
  ),
  'super_glue_wsc.fixed': _super_glue(
    'wsc.fixed',
    *('text', 'span1_index', 'span2_index', 'span1_text', 'span2_text'),
  ),
  'anli_r1': _anli_round('r1'),
  'anli_r2': _anli_round('r2'),
  'anli_r3': _anli_round('r3'),
  'winogrande': DataSet(
    tfds_name='winogrande:1.2.0',
    templates='winogrande/winogrande_xl',
    fields=('sentence', 'option1', 'option2', 'answer'),
    adapt=_winogrande,
  ),
  'hellaswag': DataSet(
    tfds_name='hellaswag:1.1.0',
    templates='hellaswag',
    fields=(
      *('ctx', 'endings', 'activity_label', 'label'),
      *('split_type', 'source_id'),
    ),
    lacking=('ind', 'ctx_a', 'ctx_b', 'split'),
    adapt=_hellaswag,
  ),
  'story_cloze': DataSet(
    tfds_name='story_cloze/2016:1.0.0',
    templates='story_cloze/2016',
    fields=(
      *(f'input_sentence_{n}' for n in range(1, 5)),
      *('sentence_quiz1', 'sentence_quiz2', 'answer_right_ending'),
    ),
    lacking=('story_id',),
    adapt=_story_cloze,
  ),
}
