"""Tests of score, compare and baseline on SeqIO tasks of the user's own."""

import json
import sys

import fakes
import pytest
import seqio
import seqio_tasks_fixture as fixture

from it_study import predictions, seqio_lib


@pytest.fixture(autouse=True)
def _task(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  fixture.add_task(
    'even', {'train': fixture.questions(5), 'test': fixture.questions(4)}
  )
  seqio_lib.declare('even', label_space=['yes', 'no'], category='Numbers')


def run(capsys, *words):
  assert fakes.run_command(*words) == 0
  return capsys.readouterr()


def test_a_baseline_is_written_scored_and_compared(capsys):
  for name in ('majority', 'random'):
    run(capsys, 'baseline', name, '--task=even', f'--out={name}.jsonl')
  rows = predictions.read_predictions('majority.jsonl')
  assert [row.prediction for row in rows] == ['yes'] * 4
  out = run(capsys, 'score', 'majority.jsonl', '--task=even', '--json').out
  metrics = json.loads(out)
  assert metrics['classification']['exact_match'] == 50
  assert metrics['by_category']['Numbers']['format_correctness'] == 100
  out = run(
    capsys, 'compare', 'majority.jsonl', 'random.jsonl', '--task=even', '--json'
  ).out
  assert json.loads(out)['differences'][0]['num_instances'] == 4


def test_predictions_of_other_systems_are_scored_by_id(capsys, tmp_path):
  run(capsys, 'baseline', 'random', '--task=even', '--out=r.jsonl')
  ids = [row.id for row in predictions.read_predictions('r.jsonl')]
  lines = [json.dumps({'id': key, 'prediction': 'yes'}) for key in ids]
  (tmp_path / 'other.jsonl').write_text('\n'.join(lines))
  out = run(capsys, 'score', 'other.jsonl', '--task=even', '--json').out
  assert json.loads(out)['by_task']['even']['exact_match'] == 50
  (tmp_path / 'other.jsonl').write_text('\n'.join(lines[1:]))
  assert fakes.refusal(capsys, 'score', 'other.jsonl', '--task=even') == (
    "other.jsonl: ids do not match split 'test' of corpus even: 1 of 4 missing "
    f'(first {ids[0]!r}). Each instance must occur exactly once. Predict the '
    'split again, or name the corpus that was predicted.'
  )


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (
      ['baseline', 'random'],
      'nothing to predict. Name a corpus, --corpus=DIR or --corpus=miniature, '
      'or a SeqIO task of your own, --task=NAME.',
    ),
    (
      ['baseline', 'random', '--task=even', '--corpus=miniature'],
      '--corpus and --task both say what was predicted. Leave one out.',
    ),
    (
      ['baseline', 'random', '--task=even', '--split=dev'],
      "even has no split 'dev'; there are train, test.",
    ),
    (
      ['baseline', 'random', '--task=even', '--rule=author'],
      '--rule author counts on a corpus of task files. Leave out --rule, or '
      'name --corpus.',
    ),
    (
      ['score', 'p.jsonl', '--task=even', '--references=r.jsonl'],
      '--task and --references both hold references. Leave out --references: a '
      'task also has kinds and label spaces.',
    ),
    (
      ['score', 'p.jsonl', '--task=evne'],
      "no SeqIO task or mixture 'evne' is registered. Did you mean 'even'? "
      'MIXTURE_OR_TASK_MODULE names the module that registers it.',
    ),
  ],
)
def test_refusals(capsys, words, message):
  sys.stderr.flush()
  assert fakes.refusal(capsys, *words) == message


def test_a_task_without_targets_is_refused(capsys):
  features = {'inputs': seqio_lib.output_features()['inputs']}
  fixture.add_task(
    'asks', {'test': fixture.questions(2)}, output_features=features
  )
  assert fakes.refusal(capsys, 'baseline', 'random', '--task=asks') == (
    "asks has no feature 'targets', only inputs. A model reads 'inputs' and "
    "writes 'targets'."
  )


def test_an_empty_split_is_refused(capsys, tmp_path):
  (tmp_path / 'p.jsonl').write_text('{"id": "a", "prediction": "yes"}\n')
  fixture.add_task(
    'void',
    {'test': fixture.questions(2)},
    preprocessors=[
      lambda dataset: dataset.take(0),
      seqio.preprocessors.tokenize,
    ],
  )
  for words in (['baseline', 'random'], ['score', 'p.jsonl']):
    assert fakes.refusal(capsys, *words, '--task=void') == (
      'void has no instance in test: there is nothing to predict or to score.'
    )
