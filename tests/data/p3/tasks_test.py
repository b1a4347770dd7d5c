"""Tests of the SeqIO tasks of P3's prompts."""

import promptsource_fixture as fixture
from promptsource_fixture import p3_data, p3_folder  # noqa: F401  Fixtures.
import pytest
import seqio

from it_study import seqio_lib
from it_study.data.p3.tasks import VARIABLE
from it_study.data.seqio_tasks.declarations import declaration_of
from it_study.errors import InputError

DATA_SETS = ('super_glue_cb', 'super_glue_copa')
LENGTHS = {'inputs': 128, 'targets': 32}


pytestmark = pytest.mark.usefixtures('p3_data')


def rows_of(name, split='validation'):
  dataset = seqio.get_mixture_or_task(name).get_dataset(
    LENGTHS, split, shuffle=False, num_epochs=1
  )
  return list(dataset.as_numpy_iterator())


def texts(rows, *names):
  return [tuple(row[name].decode() for name in names) for row in rows]


def test_there_is_a_task_for_each_data_set_and_template(folder):
  original, simplified = (
    [
      f'p3_def_{definition}.super_glue_cb.can_we_infer',
      f'p3_def_{definition}.super_glue_cb.guess_it',
      f'p3_def_{definition}.super_glue_copa.why',
    ]
    for definition in ('original', 'simplified')
  )
  added = seqio_lib.add_p3_tasks(folder / 'checkout', data_sets=DATA_SETS)
  assert sorted(added) == [*original, *simplified]
  mixtures = {
    'p3_def_original': original,
    'p3_def_simplified': simplified,
    'p3_def_original.super_glue_cb': original[:2],
    'p3_def_simplified.super_glue_copa': simplified[2:],
  }
  for name, tasks in mixtures.items():
    mixture = seqio.get_mixture_or_task(name)
    assert sorted(task.name for task in mixture.tasks) == tasks
  declared = declaration_of(simplified[1])
  assert (declared.kind, declared.category, declared.name) == (
    'classification',
    'super_glue_cb',
    'super_glue_cb.guess_it',
  )


def test_rows_are_rendered(folder):
  seqio_lib.add_p3_tasks(folder / 'checkout', data_sets=DATA_SETS)
  rows = rows_of('p3_def_original.super_glue_cb.can_we_infer')
  # The row without a label is left out.
  assert texts(rows, 'id', 'inputs_pretokenized', 'targets_pretokenized') == [
    ('0', 'It rained. So It was wet. True?', 'Yes'),
    ('1', 'The sun shone. So It rained. True?', 'No'),
    ('2', 'It is late. So He sleeps. True?', 'Maybe'),
  ]
  assert rows[0]['answer_choices'].tolist() == [b'Yes', b'No', b'Maybe']
  vocabulary = seqio.ByteVocabulary()
  # As T0's, prompts do not end in end-of-sequence, and targets do.
  assert rows[0]['inputs'].tolist() == vocabulary.encode(
    'It rained. So It was wet. True?'
  )
  assert rows[0]['targets'].tolist() == [*vocabulary.encode('Yes'), 1]
  rows = rows_of('p3_def_simplified.super_glue_cb.guess_it')
  assert texts(rows[1:2], 'id', 'inputs_pretokenized') == [
    ('1', 'It rained.\nThe sun shone.\nYes\nNo\nMaybe')
  ]


def test_a_template_s_condition_leaves_rows_out(folder):
  seqio_lib.add_p3_tasks(folder / 'checkout', data_sets=DATA_SETS)
  (row,) = rows_of('p3_def_original.super_glue_copa.why')
  assert row['id'] == b'1'
  assert row['inputs_pretokenized'] == b'The glass fell. Why?'
  assert row['targets_pretokenized'] == b'It was pushed.'


def test_a_template_whose_fields_tfds_lacks_is_left_out(tmp_path, caplog):
  choices = {'answer_choices': '{{endings | join("|||")}}'}
  fixture.write_templates(
    tmp_path,
    'hellaswag',
    {
      'kept': {'jinja': '{{ctx}} ||| {{answer_choices[label|int]}}', **choices},
      'first part': {
        'jinja': '{{ctx_a}}, {{ind}} ||| {{answer_choices[label|int]}}',
        **choices,
      },
    },
  )
  added = seqio_lib.add_p3_tasks(tmp_path, data_sets=['hellaswag'])
  assert added == [
    'p3_def_original.hellaswag.kept',
    'p3_def_simplified.hellaswag.kept',
  ]
  assert caplog.messages == [
    "hellaswag: template 'first part' is left out, since TFDS has no ctx_a, "
    'ind.'
  ]


def test_bad_input_is_refused(tmp_path, monkeypatch):
  monkeypatch.delenv(VARIABLE, raising=False)
  with pytest.raises(InputError) as raised:
    seqio_lib.add_p3_tasks()
  assert str(raised.value) == (
    'IT_STUDY_PROMPTSOURCE is not set; set it to the root of a checkout of '
    'bigscience-workshop/promptsource.'
  )
  with pytest.raises(InputError, match=r"no data set 'anli_r4'; .*'anli_r"):
    seqio_lib.add_p3_tasks(tmp_path, data_sets=['anli_r4'])
  fixture.write_templates(
    tmp_path,
    'anli',
    {'bad': {'jinja': '{{premis}} ||| x', 'answer_choices': 'x ||| y'}},
  )
  with pytest.raises(InputError) as raised:
    seqio_lib.add_p3_tasks(tmp_path, data_sets=['anli_r1'])
  assert str(raised.value) == (
    "template 'bad' of anli reads 'premis'; its rows have premise, hypothesis, "
    "label, uid. Did you mean 'premise'?"
  )
