"""Tests of the data sets that P3's templates are rendered on."""

import pytest
import tensorflow_datasets as tfds

from it_study.data.p3.data_sets import HELD_OUT


def test_there_are_t0_s_eleven_held_out_sets():
  assert list(HELD_OUT) == [
    'super_glue_cb',
    'super_glue_copa',
    'super_glue_rte',
    'super_glue_wic',
    'super_glue_wsc.fixed',
    'anli_r1',
    'anli_r2',
    'anli_r3',
    'winogrande',
    'hellaswag',
    'story_cloze',
  ]


@pytest.mark.parametrize('name', HELD_OUT)
def test_a_row_of_tfds_has_the_fields(name, tmp_path):
  data_set = HELD_OUT[name]
  builder = tfds.builder(data_set.tfds_name, data_dir=tmp_path)
  example = {'label': 0, 'endings': ['a', 'b'], 'context': 'A. B.'}
  row = {key: example.get(key, key) for key in builder.info.features}
  assert set(data_set.fields) <= set(data_set.adapt(row))
  assert not {*data_set.lacking} & {*data_set.fields, *row}


def test_labels_and_names_are_those_of_the_hub():
  adapted = HELD_OUT['anli_r2'].adapt({'context': 'c', 'label': 2})
  assert adapted == {'context': 'c', 'premise': 'c', 'label': 2}
  adapt = HELD_OUT['winogrande'].adapt
  assert [adapt({'label': n})['answer'] for n in (0, 1)] == ['1', '2']
  adapted = HELD_OUT['hellaswag'].adapt({'context': 'c', 'label': 3})
  assert (adapted['ctx'], adapted['label']) == ('c', '3')


@pytest.mark.parametrize(
  ('context', 'sentences'),
  [
    ('One. "Two!" Three? Four.', ['One.', '"Two!" Three?', 'Four.', '']),
    ('One. Two! Three? Four.', ['One.', 'Two!', 'Three?', 'Four.']),
    # No text is lost.
    ('A. B. C. D. E.', ['A.', 'B.', 'C.', 'D. E.']),
    ('A', ['A', '', '', '']),
  ],
)
def test_a_story_is_split_into_four_sentences(context, sentences):
  row = {'context': context, 'endings': ['x', 'y'], 'label': 2}
  assert HELD_OUT['story_cloze'].adapt(row) == {
    **{f'input_sentence_{n + 1}': s for n, s in enumerate(sentences)},
    'sentence_quiz1': 'x',
    'sentence_quiz2': 'y',
    'answer_right_ending': 2,
  }
