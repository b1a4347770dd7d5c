"""Tests for it_study.evaluation.formats.lm_eval: the harness's samples.

The samples are in the format that lm-evaluation-harness 0.4.13 logs.
"""

import dataclasses
import json

import pytest

from it_study.errors import InputError
from it_study.evaluation import formats, score
from it_study.evaluation.formats import lm_eval
from it_study.predictions import Prediction

ROW = Prediction(
  id='a-1',
  task='task1_mood',
  category='Sentiment Analysis',
  kind='classification',
  label_space=('good', 'bad'),
  position=0,
  split='test',
  inputs='Definition: Say\u2028it.\nOutput: ',
  targets=('bad',),
  prediction='',
  test_condition='natinst_def_original_ex_empty0',
  engine='lm_eval',
)
_ELSEWHERE = {
  'doc_id': 0,
  'target': "['bad']",
  'filter': 'none',
  'metrics': ['exact_match'],
  'doc_hash': '8455a79b',
  'prompt_hash': '980368f0',
  'target_hash': 'a314fedb',
  'exact_match': 0.0,
}


def sample(requests, answers, *, row=ROW, prompt_format='plain'):
  """A line of samples_TASK_TIME.jsonl."""
  return {
    **_ELSEWHERE,
    'doc': lm_eval.make_document(row, prompt_format=prompt_format),
    'arguments': {
      f'gen_args_{i}': {'arg_0': prompt, 'arg_1': rest}
      for i, (prompt, rest) in enumerate(requests)
    },
    'resps': [[answer] for answer in answers],
    'filtered_resps': answers,
  }


def generated(answer=' bad ', *, prompt=ROW.inputs, **fields):
  return sample([(prompt, {'until': []})], [answer], **fields)


def ranked(scores=('-3.25', '-1.5'), labels=('good', 'bad'), row=ROW):
  return sample(
    [(row.inputs, label) for label in labels],
    [[score, 'False'] for score in scores],
    row=row,
  )


def read(path, *samples):
  path.write_text(''.join(json.dumps(line) + '\n' for line in samples))
  return formats.read_rows(path)


def refused(path, *samples) -> str:
  with pytest.raises(InputError) as raised:
    read(path, *samples)
  return str(raised.value).removeprefix(f'{path}:')


def test_a_free_answer_keeps_its_instance(tmp_path):
  file = read(tmp_path / 's.jsonl', generated())
  assert file.format == 'lm_eval'
  assert file.rows == (dataclasses.replace(ROW, prediction='bad '),)
  assert not file.are_ranked


def test_ranked_labels_have_their_scores(tmp_path):
  file = read(tmp_path / 's.jsonl', ranked())
  scores = {'good': -3.25, 'bad': -1.5}
  assert file.rows == (
    dataclasses.replace(ROW, prediction='bad', scores=scores),
  )
  assert file.are_ranked


def test_a_space_before_a_label_is_not_the_label_s(tmp_path):
  (row,) = read(tmp_path / 's.jsonl', ranked(labels=(' good', ' bad'))).rows
  assert row.scores == {'good': -3.25, 'bad': -1.5}


def test_of_equal_labels_the_first_is_the_answer(tmp_path):
  (row,) = read(tmp_path / 's.jsonl', ranked(('-1.5', '-1.5'))).rows
  assert row.prediction == 'good'


def test_renamed_labels_keep_their_prior(tmp_path):
  row = dataclasses.replace(
    ROW, label_space=('x', 'y'), targets=('y',), prior_targets=('bad',)
  )
  (found,) = read(tmp_path / 's.jsonl', generated(row=row)).rows
  assert found.prior_targets == ('bad',)
  assert found.targets == ('y',)


@pytest.mark.parametrize(
  ('prompt', 'seen'),
  [('<|user|>it<|end|>', '<|user|>it<|end|>'), (['[{"a": 1}]'], '[{"a": 1}]')],
)
def test_a_chat_prompt_is_as_the_model_saw_it(tmp_path, prompt, seen):
  line = generated(prompt=prompt, prompt_format='chat')
  (row,) = read(tmp_path / 's.jsonl', line).rows
  assert row.inputs == seen


def test_a_chat_without_its_template_is_refused(tmp_path):
  assert refused(tmp_path / 's.jsonl', generated(prompt_format='chat')) == (
    '1: the prompt was not in a chat template, as its condition has it. Run '
    'lm_eval with --apply_chat_template.'
  )


def test_another_prompt_is_refused(tmp_path):
  line = generated(prompt=f'Be brief.\n{ROW.inputs}')
  assert refused(tmp_path / 's.jsonl', generated(), line) == (
    '2: the model saw another prompt than was exported. Run lm_eval without '
    '--apply_chat_template, --num_fewshot and --system_instruction; conditions '
    'with _fmtchat ask for a chat template.'
  )


def test_a_sample_of_another_task_is_refused(tmp_path):
  line = generated() | {'doc': {'query': 'Why?', 'choices': ['a', 'b']}}
  assert refused(tmp_path / 's.jsonl', line) == (
    '1: a sample of another task than `it-study export lm_eval` writes, so its '
    'instance is unknown. Export the condition and run the task that bears its '
    'name.'
  )


@pytest.mark.parametrize(
  'line',
  [
    generated() | {'filtered_resps': ['one', 'two']},
    generated() | {'arguments': {}},
    generated() | {'arguments': None},
    ranked(labels=('bad', 'good')),
    ranked(('-1.5',), labels=('good',)),
    ranked() | {'filtered_resps': [['-1.5', 'False']]},
    ranked(row=dataclasses.replace(ROW, label_space=None)),
  ],
)
def test_other_requests_and_answers_are_refused(tmp_path, line):
  assert refused(tmp_path / 's.jsonl', line) == (
    '1: not a sample as lm-evaluation-harness 0.4.13 logs it for an exported '
    "task: 'arguments' or 'filtered_resps' differ. Run the task as it was "
    'exported, with --log_samples.'
  )


def test_a_likelihood_that_is_not_finite_is_refused(tmp_path):
  assert refused(tmp_path / 's.jsonl', ranked(('-1.5', 'nan'))).startswith(
    '1: scores: expected '
  )


def test_the_samples_of_both_tasks_are_not_one_file(tmp_path):
  path = tmp_path / 's.jsonl'
  read(path, generated(), ranked())
  with pytest.raises(InputError, match="1 duplicate id, the first is 'a-1'"):
    score.load_rows(path)


def test_a_document_holds_only_texts_that_are_no_dates():
  row = dataclasses.replace(ROW, targets=('2012-04-03',))
  document = lm_eval.make_document(row, prompt_format='plain', answer_start=' ')
  assert document['targets'] == '["2012-04-03"]'
  assert (document['choices'], document['correct']) == (
    '[" good", " bad"]',
    '[]',
  )
  assert all(isinstance(value, str) for value in document.values())


def test_tasks_are_yaml():
  assert lm_eval.generation_task('c', data='c.jsonl', max_tokens=8) == (
    'task: "c"\n'
    'dataset_path: "json"\n'
    'dataset_kwargs: {"data_files": {"test": "c.jsonl"}}\n'
    'test_split: "test"\n'
    'doc_to_text: "inputs"\n'
    'num_fewshot: 0\n'
    'metadata: {"version": 1.0}\n'
    'output_type: "generate_until"\n'
    'doc_to_target: "{{targets}}"\n'
    'generation_kwargs: {"until": [], "max_gen_toks": 8, "do_sample": false, '
    '"temperature": 0.0}\n'
    'metric_list: [{"metric": "exact_match", "aggregation": "mean", '
    '"higher_is_better": true, "ignore_case": true, "ignore_punctuation": '
    'true}]\n'
  )
  assert lm_eval.ranking_task('c_ranked', data='c.jsonl').endswith(
    'output_type: "multiple_choice"\n'
    'doc_to_target: "{{correct}}"\n'
    'doc_to_choice: "{{choices}}"\n'
    'target_delimiter: ""\n'
    'metric_list: [{"metric": "acc", "aggregation": "mean", '
    '"higher_is_better": true}]\n'
  )
