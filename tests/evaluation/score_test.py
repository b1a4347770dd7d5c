"""Tests of scoring files with and without a corpus, and of the table."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from it_study import instructions, predictions
from it_study.commands import score_tables
from it_study.conditions import Condition
from it_study.corpus.natinst import open_corpus
from it_study.errors import InputError
from it_study.evaluation import baselines, formats, rouge, score
from it_study.instructions import prompts
from it_study.predictions import Prediction
from it_study.storage import manifest, text_files


@pytest.fixture
def corpus(tmp_path):
  """A classification and a generation task, 30 test instances each."""
  contents = {
    'cls': [[['Yes.', 'No.'][k % 2]] for k in range(30)],
    'gen': [[f'title {k}', f'name {k}'] for k in range(30)],
    'train': [[str(k)] for k in range(12)],
  }
  (tmp_path / 'tasks').mkdir()
  for name, outputs in contents.items():
    content = {
      'Definition': ['d'],
      'Categories': ['Textual Entailment' if name == 'cls' else 'Data to Text'],
      'Positive Examples': [{'input': 'i', 'output': 'No.'}],
      'Negative Examples': [],
      'Instances': [
        {'id': f'{name}-{k:02}', 'input': f'{name} {k}', 'output': texts}
        for k, texts in enumerate(outputs)
      ],
    }
    (tmp_path / 'tasks' / f'{name}.json').write_text(json.dumps(content))
  splits = tmp_path / 'splits' / 'default'
  splits.mkdir(parents=True)
  (splits / 'train_tasks.txt').write_text('train')
  (splits / 'test_tasks.txt').write_text('gen\ncls')
  return open_corpus(tmp_path, overrides={})


def predict_all(corpus, split='test'):
  """Every instance of a split, its first reference without a full stop."""
  return [
    Prediction.of_instance(
      task,
      instance,
      split=split,
      inputs=instance.input,
      prediction=instance.outputs[0].rstrip('.'),
      engine='native',
    )
    for task, instance in corpus.rows(split)
  ]


PERFECT = {
  'num_tasks': 1,
  'num_instances': 30,
  'exact_match': 100.0,
  'rouge_1': 100.0,
  'rouge_l': 100.0,
  'format_correctness': 100.0,
  'strict_exact_match': 100.0,
  'strict_format_correctness': 100.0,
}
# Normalising forgives the missing full stop.
FORGIVEN = PERFECT | {
  'strict_exact_match': 0.0,
  'strict_format_correctness': 0.0,
}
FREE = PERFECT | {
  'format_correctness': None,
  'strict_format_correctness': None,
}


def test_a_complete_file_is_scored_and_saved(tmp_path, corpus):
  path, out = tmp_path / 'p.jsonl', tmp_path / 'metrics.json'
  predictions.write_predictions(path, predict_all(corpus))
  metrics, notes = score.score_file(path, corpus=corpus, out=out)
  assert notes == ()
  assert metrics['num_instances'] == 60
  assert metrics['classification'] == FORGIVEN
  assert metrics['generation'] == FREE
  assert metrics['overall'] == FORGIVEN | {
    'num_tasks': 2,
    'num_instances': 60,
    'strict_exact_match': 50.0,
  }
  assert json.loads(out.read_text()) == metrics


def test_without_a_corpus_kinds_come_from_the_rows_and_it_says_so(
  tmp_path, corpus
):
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(path, predict_all(corpus)[:-5])
  metrics, notes = score.score_file(path)
  assert notes == (
    'No corpus was named: missing instances cannot be detected.',
  )
  assert metrics['classification'] == FORGIVEN
  assert metrics['generation']['num_instances'] == 25


def test_the_corpus_wins_over_the_rows(tmp_path, corpus):
  path = tmp_path / 'p.jsonl'
  rows = [
    dataclasses.replace(
      row, kind='generation', label_space=None, category='x', targets=('z',)
    )
    for row in predict_all(corpus)
  ]
  predictions.write_predictions(path, rows)
  metrics, notes = score.score_file(path, corpus=corpus)
  assert metrics['classification'] == FORGIVEN
  assert list(metrics['by_category']) == ['Data to Text', 'Textual Entailment']
  assert notes == (
    '60 rows have references that are not in the corpus, the first is '
    "'cls-00'; scored against those of the corpus.",
  )


def test_rows_are_loaded_in_order_and_filled(tmp_path, corpus):
  rows = predict_all(corpus)
  path = tmp_path / 'p.jsonl'
  path.write_text(
    ''.join(text_files.json_line(r.to_json()) for r in rows[::-1])
  )
  loaded = score.load_rows(path, corpus=corpus)
  assert loaded.rows == tuple(rows)
  assert loaded.split == 'test'


@pytest.mark.parametrize('suffix', ['', '_n8', '_s5'])
def test_renamed_rows_are_scored_against_renamed_references(
  tmp_path, corpus, suffix
):
  rows = []
  for task, instance in corpus.rows('test'):
    task, instance = instructions.rewrite(
      task=task, instance=instance, condition=Condition(definition='renamed')
    )
    rows.append(
      Prediction.of_instance(
        task,
        instance,
        split='test',
        inputs='',
        prediction=instance.outputs[0],
        test_condition=f'natinst_def_renamed_ex_original2{suffix}',
        engine='native',
      )
    )
  classification = [row for row in rows if row.task == 'cls']
  assert {row.targets for row in classification}.isdisjoint(
    {('Yes.',), ('No.',)}
  )
  path = tmp_path / 'p.jsonl'
  # The file's own references are wrong: the corpus and the condition decide.
  predictions.write_predictions(
    path,
    [dataclasses.replace(r, targets=('z',), label_space=None) for r in rows],
  )
  assert score.load_rows(path, corpus=corpus).rows == tuple(
    sorted(rows, key=lambda row: (row.task, row.position))
  )
  metrics, _ = score.score_file(path, corpus=corpus)
  assert metrics['classification'] == PERFECT
  original = [
    dataclasses.replace(
      row,
      test_condition='natinst_def_renamed_ex_original2',
      engine='native',
    )
    for row in predict_all(corpus)
  ]
  predictions.write_predictions(path, original)
  metrics, _ = score.score_file(path, corpus=corpus)
  assert metrics['classification']['exact_match'] == 0.0
  assert metrics['classification']['format_correctness'] == 0.0


@pytest.mark.parametrize('name', [None, 'a_condition_of_another_system'])
def test_rows_without_a_known_condition_are_not_altered(tmp_path, corpus, name):
  path = tmp_path / 'p.jsonl'
  rows = [
    dataclasses.replace(row, test_condition=name) for row in predict_all(corpus)
  ]
  predictions.write_predictions(path, rows)
  assert score.load_rows(path, corpus=corpus).rows == tuple(rows)


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    (
      'mine_def_flipped_ex_empty0',
      "prompt prefix 'mine' is unknown; available: natinst. Name the module "
      'that registers it: --module or MIXTURE_OR_TASK_MODULE.',
    ),
    ('natinst_def_mine_ex_empty0', "definition level 'mine' is unknown; "),
  ],
)
def test_altered_references_need_their_condition(
  tmp_path, corpus, name, message
):
  path = tmp_path / 'p.jsonl'
  rows = [
    dataclasses.replace(row, test_condition=name) for row in predict_all(corpus)
  ]
  predictions.write_predictions(path, rows)
  assert score.load_rows(path, corpus=corpus).rows == tuple(rows)
  rows[0] = dataclasses.replace(rows[0], targets=('z',))
  predictions.write_predictions(path, rows)
  with pytest.raises(InputError) as error:
    score.load_rows(path, corpus=corpus)
  assert str(error.value).startswith(f'condition {name!r}: {message}')


@pytest.mark.parametrize('engine', ['native', 'baseline:copy_input'])
def test_the_scorer_decides_what_a_word_is(tmp_path, corpus, engine):
  rows = [
    dataclasses.replace(
      row, engine=engine, prediction=row.prediction.replace('title', 'titles')
    )
    for row in predict_all(corpus)
  ]
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(path, rows)
  stemmed, _ = score.score_file(path, corpus=corpus)
  assert stemmed['generation']['rouge_1'] == 100.0
  whole = rouge.Rouge(str.split)
  for options in ({}, {'corpus': corpus}):
    metrics, _ = score.score_file(path, scorer=whole, **options)
    # 'titles 3' and 'title 3' share one of two words, 'No' and 'No.' none.
    assert metrics['generation']['rouge_1'] == 50.0
    assert metrics['generation']['rouge_l'] == 50.0
    assert metrics['classification']['rouge_1'] == 0.0


def test_the_traps_of_the_rows_are_noted(tmp_path, corpus):
  rows = predict_all(corpus)
  rows[0] = dataclasses.replace(rows[0], targets=('!',))
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(path, rows)
  _, notes = score.score_file(path)
  assert notes[0].startswith('No corpus was named')
  assert notes[1].startswith(
    '1 row has a reference that exact match normalises to nothing (cls-00 of'
  )
  assert len(notes) == 3


def test_predictions_that_changed_after_their_cell_was_done_are_noted(
  tmp_path, corpus
):
  path = tmp_path / 'predictions.jsonl'
  rows = predict_all(corpus)
  predictions.write_predictions(path, rows)
  manifest.write_done(tmp_path, {}, names=[path.name])
  assert score.score_file(path, corpus=corpus).notes == ()
  rows[0] = dataclasses.replace(rows[0], prediction='another')
  size = path.stat().st_size
  predictions.write_predictions(path, rows)
  assert score.score_file(path, corpus=corpus).notes == (
    f'predictions.jsonl has {path.stat().st_size} bytes, not {size}: it is not '
    'what its study predicted.',
  )
  (tmp_path / 'DONE').write_text('')
  assert score.score_file(path, corpus=corpus).notes == ()


def test_duplicate_missing_and_foreign_ids_are_refused(tmp_path, corpus):
  rows = predict_all(corpus)
  lines = [text_files.json_line(row.to_json()) for row in rows]
  path = tmp_path / 'p.jsonl'
  foreign = dataclasses.replace(rows[1], id='cls-99')
  path.write_text(
    ''.join(
      [lines[0], *lines[3:], lines[4], text_files.json_line(foreign.to_json())]
    )
  )
  with pytest.raises(InputError) as error:
    score.score_file(path, corpus=corpus)
  assert str(error.value) == (
    f"{path}: ids do not match split 'test' of corpus {tmp_path}: 1 duplicate "
    "(first 'cls-04'); 2 of 60 missing (first 'cls-01'); 1 unknown (first "
    "'cls-99' of task 'cls'). Each instance must occur exactly once. Predict "
    'the split again, or name the corpus that was predicted. Did you mean '
    "'cls-29'?"
  )
  with pytest.raises(InputError, match="1 duplicate id, the first is 'cls-04'"):
    score.score_file(path)


def test_several_splits_in_a_file_are_refused(tmp_path, corpus):
  rows = predict_all(corpus) + predict_all(corpus, 'validation')
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(path, rows)
  with pytest.raises(
    InputError,
    match=r'rows of several splits: test, validation\. Only one split can be',
  ):
    score.score_file(path, corpus=corpus)


def test_the_split_of_the_rows_is_the_one_that_is_checked(tmp_path, corpus):
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(path, predict_all(corpus, 'validation'))
  metrics, _ = score.score_file(path, corpus=corpus)
  assert metrics['num_instances'] == 10
  assert metrics['classification'] is None
  with pytest.raises(
    InputError, match="expected rows of split 'test', got 'validation'"
  ):
    score.score_file(path, corpus=corpus, split='test')


@pytest.mark.parametrize('name', baselines.BASELINES)
def test_a_baseline_s_file_scores_as_the_baseline(tmp_path, corpus, name):
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(
    path, baselines.run_baseline(name, corpus=corpus)
  )
  metrics, _ = score.score_file(path, corpus=corpus)
  assert metrics == baselines.baseline_metrics(name, corpus=corpus)
  alone, _ = score.score_file(path)
  assert 'expected' not in alone['classification']
  assert (alone['overall'] is None) == (not name.startswith('copy'))


def test_a_baseline_s_file_of_another_split_has_the_chance_of_that_split(
  tmp_path, write_corpus, raw_task
):
  def task(outputs, name):
    return raw_task(
      Instances=[
        {'id': f'{name}{k}', 'input': f'{name} {k}', 'output': output}
        for k, output in enumerate(outputs)
      ],
      Positive_Examples=[],
    )

  corpus = open_corpus(
    write_corpus(
      train={'task1_a': task(['x', 'y', 'z'] * 10, 'a')},
      test={'task2_b': task(['yes', 'no'] * 15, 'b')},
    )
  )
  path = tmp_path / 'p.jsonl'
  for split, expected in (('validation', 100 / 3), ('test', 50.0)):
    rows = baselines.run_baseline('random', corpus=corpus, split=split)
    predictions.write_predictions(path, rows)
    metrics, _ = score.score_file(path, corpus=corpus)
    assert metrics['classification']['expected'][
      'exact_match'
    ] == pytest.approx(expected)
    again = baselines.baseline_metrics('random', corpus=corpus, split=split)
    assert again == metrics


def write_tk_instruct(path, corpus):
  with open(path, 'w') as file:
    for task, instance in corpus.rows('test'):
      line = {
        'Task': task.name,
        'Categories': list(task.categories),
        'id': instance.id,
        'Instance': {
          'id': instance.id,
          'input': instance.input,
          'output': list(instance.outputs),
        },
        'prediction': instance.outputs[-1],
      }
      file.write(json.dumps(line) + '\n')
  return path


def test_tk_instruct_with_and_without_a_corpus(tmp_path, corpus):
  path = write_tk_instruct(tmp_path / 'predicted_examples.jsonl', corpus)
  metrics, notes = score.score_file(path, corpus=corpus)
  assert notes == ()
  assert metrics['classification'] == PERFECT
  assert {r.split for r in score.load_rows(path, corpus=corpus).rows} == {
    'test'
  }
  alone, notes = score.score_file(path)
  assert notes == (
    'No corpus was named: missing instances cannot be detected.',
    'Some rows have no kind: classification and generation are left out.',
  )
  assert alone['classification'] is None
  assert alone['generation'] is None
  assert alone['overall'] == {
    **FREE,
    'num_tasks': 2,
    'num_instances': 60,
  }
  assert list(alone['by_category']) == ['Data to Text', 'Textual Entailment']


def write_t5x(path, corpus):
  with open(path, 'w') as file:
    for task, instance in corpus.rows('test'):
      prompt = prompts.render(
        task=task, instance=instance, condition=Condition()
      ).text
      line = {
        'inputs': {
          'inputs_pretokenized': prompt,
          'targets_pretokenized': instance.outputs[-1],
        },
        'prediction': instance.outputs[0],
      }
      file.write(json.dumps(line) + '\n')
  return path


def test_t5x_is_matched_to_the_corpus(tmp_path, corpus):
  path = write_t5x(tmp_path / 'x-predict.jsonl-00000-of-00001', corpus)
  metrics, notes = score.score_file(path, corpus=corpus)
  assert notes == ()
  # The prediction is the reference that the file does not show.
  assert metrics['generation'] == FREE
  alone, notes = score.score_file(path)
  assert notes == (
    'No corpus was named: missing instances cannot be detected.',
    'Some rows have no kind: classification and generation are left out.',
    'Some rows have no category: their control tasks count in the headline.',
    'Some rows have no id: duplicates cannot be detected.',
    'The rows have one reference each; others may be missing.',
  )
  assert alone['overall']['exact_match'] == 50.0
  assert alone['overall']['num_tasks'] is None
  assert alone['by_task'] == {}
  # A row with two references shows that the file holds all of them.
  line = json.loads(path.read_text().splitlines()[0])
  line['inputs']['references'] = ['a', 'b']
  path.write_text(path.read_text() + json.dumps(line) + '\n')
  assert len(score.score_file(path).notes) == 4


def test_rows_without_references_need_a_corpus(tmp_path):
  path = tmp_path / 'p.jsonl'
  path.write_text('{"inputs": {"id": "a"}, "prediction": "x"}\n')
  with pytest.raises(
    InputError, match="row 'a' has no reference to score against; name the"
  ):
    score.score_file(path)


def test_metrics_that_cannot_be_written_are_an_error(tmp_path, corpus):
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(path, predict_all(corpus))
  with pytest.raises(
    InputError, match=r'none/m\.json: cannot be written: No such file'
  ):
    score.score_file(path, out=tmp_path / 'none' / 'm.json')


def show(metrics, *, width=100, **options) -> str:
  from rich.console import Console

  console = Console(width=width, color_system=None)
  with console.capture() as capture:
    score_tables.print_metrics(metrics, console=console, **options)
  return capture.get()


def test_the_table(corpus):
  result = baselines.baseline_metrics('prior', corpus=corpus)
  lines = [
    ' '.join(line.split()) for line in show(result, per_task=True).split('\n')
  ]
  lines = [line for line in lines if line]
  assert lines[:2] == [
    'exact in',
    'tasks instances match ROUGE-1 ROUGE-L format',
  ]
  assert lines[3:8] == [
    'overall – – – – – –',
    'classification 1 30 50.00 50.00 50.00 100.00',
    'generation – – – – – –',
    'Textual Entailment 1 30 50.00 50.00 50.00 100.00',
    'cls 1 30 50.00 50.00 50.00 100.00',
  ]
  assert ' '.join(lines[8:]) == (
    'classification, expected exact match: 50.00 ± 0.00 strict, without '
    'normalising texts: classification exact match 50.00, in format 100.00'
  )


def test_the_table_shows_what_normalising_forgives(corpus):
  rows = predict_all(corpus)
  metrics = score.score_rows(rows)
  assert metrics['classification']['exact_match'] == 100.0
  # A full stop is missing from each label; titles are complete.
  assert (
    'strict, without normalising texts: classification exact match 0.00, '
    'in format 0.00; generation exact match 100.00'
    in ' '.join(show(metrics).split())
  )


def test_a_narrow_table_keeps_names_whole(corpus):
  metrics = baselines.baseline_metrics('prior', corpus=corpus)
  name = 'task1344_glue_entailment_classification_of_pairs_of_sentences'
  metrics['by_task'] = {name: metrics['classification']}
  lines = show(metrics, width=40, per_task=True).split('\n')
  assert f'{name} 1 30 50.00 50.00 50.00 100.00' in [
    ' '.join(line.split()) for line in lines
  ]


def test_the_table_explains_why_categories_do_not_add_up(corpus):
  metrics = baselines.baseline_metrics('random', corpus=corpus)
  assert 'do not add up' not in ' '.join(show(metrics).split())
  # As where a category holds generation beside classification.
  metrics['by_category'] = {}
  text = ' '.join(show(metrics).split())
  assert 'their classification tasks count in the rows above' in text
  assert 'expected exact match: 50.00' in text


def test_the_table_prints_names_verbatim(corpus):
  metrics, _ = score.Score(
    baselines.baseline_metrics('copy_demo', corpus=corpus), ()
  )
  metrics['by_category'] = {'[bold]x[/b]\x1b': metrics['overall']}
  assert '[bold]x[/b]' in show(metrics)


def test_importing_the_scorer_is_light():
  code = (
    'import sys; import it_study.evaluation.score; '
    "print([m for m in ('nltk', 'rouge_score', 'rich', 'scipy', 'jax', "
    "'tensorflow', 'numpy') if m in sys.modules])"
  )
  result = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert result.stdout == '[]\n'


@pytest.mark.skipif('NATINST_DIR' not in os.environ, reason='needs NATINST_DIR')
def test_real_corpus_in_every_format(tmp_path):
  corpus = open_corpus(os.environ['NATINST_DIR'])
  path = write_tk_instruct(tmp_path / 'tk.jsonl', corpus)
  metrics, _ = score.score_file(path, corpus=corpus)
  assert metrics['overall']['exact_match'] == 100.0
  assert metrics['classification']['format_correctness'] == 100.0
  path = write_t5x(tmp_path / 't5x.jsonl', corpus)
  rows = formats.identify(formats.read_rows(path), corpus=corpus, split='test')
  assert [(row.task, row.id) for row in rows] == [
    (task.name, instance.id) for task, instance in corpus.rows('test')
  ]


def test_left_out_tokens_are_counted(corpus, tmp_path):
  rows = predict_all(corpus)
  rows[0] = dataclasses.replace(rows[0], raw_prediction='<extra_id_0> Yes ⁇')
  rows[1] = dataclasses.replace(rows[1], raw_prediction='⁇ No')
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(path, rows)
  result = score.score_file(path, corpus=corpus)
  assert result.metrics['num_with_special_tokens'] == 1
  assert result.metrics['num_with_unknown_tokens'] == 2
  assert result.metrics['overall']['exact_match'] == 100.0
  assert result.notes == (
    'Of 60 answers, 1 had special tokens and 2 had unknown tokens. Scores '
    'leave these tokens out, as Tk-Instruct does; raw_prediction shows them.',
  )
  rows[0] = dataclasses.replace(rows[0], raw_prediction='⁇ Yes')
  predictions.write_predictions(path, rows)
  result = score.score_file(path, corpus=corpus)
  assert list(result.metrics)[:3] == [
    'num_instances',
    'num_with_unknown_tokens',
    'overall',
  ]
  assert result.notes[0].startswith('Of 60 answers, 2 had unknown tokens. ')
