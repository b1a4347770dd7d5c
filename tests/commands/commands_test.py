"""Tests of it_study.commands: what the commands print and write."""

import csv
import json
import pathlib
import shlex

import fakes
import pytest

from it_study import cli, predictions
from it_study.commands import registry
from it_study.corpus import natinst
from it_study.data import vocabularies

LIGHT = (
  'score',
  'baseline',
  'compare',
  'prompt',
  'explain',
  'mini',
  'check',
  'audit',
  'stats',
  'build',
  'verify',
  'lm_eval',
  'completion',
)
EXAMPLES = {
  command.name: command.example
  for command in (
    *registry.COMMANDS,
    *registry.CORPUS_COMMANDS,
    *registry.EXPORT_COMMANDS,
  )
}


@pytest.fixture(name='corpus', autouse=True)
def _corpus(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  monkeypatch.chdir(tmp_path)
  return fakes.write_small_corpus(tmp_path / 'corpus')


def run(*words) -> int:
  return cli.main(list(words))


def printed(capsys, *words) -> str:
  capsys.readouterr()
  assert run(*words) == 0
  return capsys.readouterr().out


@pytest.mark.parametrize('name', LIGHT)
def test_an_example_runs_as_printed(capsys, tmp_path, name):
  for part in EXAMPLES[name].split('&&'):
    words = shlex.split(part.replace('/tmp/', f'{tmp_path}/'))
    assert words.pop(0) == 'it-study'
    assert run(*words) == 0
  assert capsys.readouterr().out


def test_the_examples_of_the_other_commands_are_known():
  # These need minutes, a network, a browser, a real corpus or a training.
  others = {
    *('study', 'report', 'view', 'train', 'predict', 'plan', 'diagnose'),
    *('fetch', 'controls', 'convert', 'fetch_model', 'doctor'),
  }
  assert set(EXAMPLES) - set(LIGHT) == others


@pytest.mark.parametrize(
  'words',
  [
    ('corpus', 'stats', 'corpus'),
    ('corpus', 'check', 'corpus'),
    ('corpus', 'mini', 'mini'),
    ('corpus', 'build', 'corpus', '--data_dir=rows'),
    ('baseline', 'majority', '--corpus=corpus'),
  ],
)
def test_json_parses_and_quiet_says_nothing(capsys, words):
  assert isinstance(json.loads(printed(capsys, *words, '--json')), dict)
  assert isinstance(json.loads(printed(capsys, '--json', *words)), dict)
  assert printed(capsys, *words, '--quiet') == ''
  assert printed(capsys, *words) != ''


def test_stats(capsys):
  found = json.loads(printed(capsys, 'corpus', 'stats', 'corpus', '--json'))
  assert found['splits'] == {
    'train': {
      'tasks': 3,
      'classification_instances': 30,
      'generation_instances': 6,
    },
    'validation': {
      'tasks': 3,
      'classification_instances': 10,
      'generation_instances': 20,
    },
    'test': {
      'tasks': 2,
      'classification_instances': 100,
      'generation_instances': 6,
    },
  }
  assert found['rules'][0] == {
    'rule': 'at most 9 labels',
    'num_tasks': 1,
    'expected_exact_match': 50.0,
  }
  text = printed(capsys, 'corpus', 'stats', 'corpus')
  assert 'test: 2 tasks, 100 classification and 6 generation instances' in text


def test_prompt_shows_what_the_model_sees(capsys):
  text = printed(
    capsys,
    'prompt',
    '--corpus=corpus',
    '--condition=natinst_def_simplified_ex_empty0',
    '--task=task4_entail',
  )
  assert text.startswith(
    '--- entail-0 (task4_entail)\n'
    'Definition: Possible outputs: yes, no.\n\n'
    'Now complete the following example -\nInput: Is it 0?\nOutput: \n'
    '--- accepted: yes\n\n--- entail-1'
  )


def test_prompt_writes_rows(capsys):
  words = (
    'prompt',
    '--corpus=corpus',
    '--condition=natinst_def_empty_ex_original2',
    '--vocabulary=byte',
    '--max_input_length=130',
    '--out=p.jsonl',
  )
  assert printed(capsys, *words) == ''
  rows = [
    json.loads(line)
    for line in pathlib.Path('p.jsonl').read_text().splitlines()
  ]
  assert len(rows) == 106
  # One of the two examples fits.
  assert rows[-1] == {
    'id': 'title-5',
    'task': 'task5_title',
    'inputs': ' Positive Example 1 -\nInput: a red hat.\n Output: Red Hat.\n\n'
    'Now complete the following example -\nInput: a thing 5.\nOutput: ',
    'targets': ['Thing 5', 'The Thing 5'],
  }
  assert len(printed(capsys, *words[:-1], '--json').splitlines()) == 106


def test_a_prompt_that_is_tested_ignores_the_training_seed(capsys):
  name = '--condition=natinst_def_original_ex_delusive2_srcrepair'
  texts = [
    printed(capsys, 'prompt', '--corpus=corpus', name + suffix)
    for suffix in ('', '_n5_s3')
  ]
  assert texts[0] == texts[1]


def test_a_baseline_is_scored_as_its_file_is(capsys, corpus):
  metrics = json.loads(
    printed(
      capsys,
      'baseline',
      'copy_demo',
      '--corpus=corpus',
      '--out=p.jsonl',
      '--metrics=m.json',
      '--json',
    )
  )
  rows = predictions.read_predictions('p.jsonl')
  predictions.check_complete(
    rows, corpus=natinst.open_corpus(corpus), split='test'
  )
  # Every answer is the first example's, and half of the answers are 'yes'.
  assert metrics['classification']['exact_match'] == 50.0
  assert json.loads(pathlib.Path('m.json').read_text()) == metrics
  scored = json.loads(
    printed(
      capsys, 'score', 'p.jsonl', '--corpus=corpus', '--out=s.json', '--json'
    )
  )
  assert scored == metrics
  assert json.loads(pathlib.Path('s.json').read_text()) == metrics


def test_a_draw_depends_on_its_seed(capsys):
  def draw(seed):
    run('baseline', 'random', '--corpus=corpus', seed, '--out=p.jsonl')
    return [row.prediction for row in predictions.read_predictions('p.jsonl')]

  assert draw('--seed=1') == draw('--seed=1') != draw('--seed=2')


def test_score_without_a_corpus_notes_what_is_unknown(capsys):
  run('baseline', 'copy_demo', '--corpus=corpus', '--out=p.jsonl')
  capsys.readouterr()
  assert run('score', 'p.jsonl', '--per_task') == 0
  captured = capsys.readouterr()
  assert captured.err == (
    'it-study: note: No corpus was named: missing instances cannot be '
    'detected.\n'
  )
  assert 'task4_entail' in captured.out
  assert run('score', 'p.jsonl', '--quiet') == 0
  assert capsys.readouterr() == ('', '')


def test_report_on_a_folder_that_is_no_study(capsys):
  assert run('report', 'corpus') == 2
  assert capsys.readouterr().err.startswith('it-study: corpus')


def test_train_then_predict_then_score(capsys, corpus):
  model = (
    '--gin_file=models/t5_1_1_tiny.gin',
    *(
      f'--gin.T5Config.{name}={size}'
      for name, size in fakes.tiny_model().keywords.items()
    ),
  )
  shared = (
    '--gin.CORPUS=corpus',
    '--gin.IT_STUDY_VOCABULARY=byte',
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 160, 'targets': 4}",
    f'--gin.MIXTURE_OR_TASK_NAME={fakes.NAME}',
  )
  train = (
    *('train', *model, '--gin_file=runs/finetune.gin', *shared),
    *('--gin.MODEL_DIR=model', '--gin.TRAIN_STEPS=2', '--gin.BATCH_SIZE=4'),
    '--gin.LOG_PERIOD=1',
  )
  summary = json.loads(printed(capsys, *train, '--json'))
  assert (summary['train_steps'], summary['num_examples']) == (2, 36)
  assert (summary['model']['emb_dim'], summary['seed']) == (16, 0)
  config = pathlib.Path('model/config.gin').read_text()
  assert 'TRAIN_STEPS = 2\n' in config
  # All steps are done: the same command does nothing.
  assert run(*train) == 0
  captured = capsys.readouterr()
  words = [model[0], '--gin_file=runs/predict.gin', *model[1:], *shared]
  words += ['--gin.CHECKPOINT_PATH=model']
  words += ['--gin.INFER_OUTPUT_DIR=model_predictions']
  command = shlex.join(['it-study', 'predict', *words])
  already = (
    'already trained: step 2 of 2; nothing to do\n'
    "it-study: note: 21 of 36 training targets exceed TASK_FEATURE_LENGTHS['"
    "targets'] and were cut.\n"
  )
  assert captured == ('trained: model\n', f'{already}next: {command}\n')
  # Without its record, the training itself finds out.
  pathlib.Path('model/finished.json').unlink()
  assert run(*train) == 0
  assert capsys.readouterr() == captured
  assert run(*train, '--gin.TRAIN_STEPS=3') == 0
  assert capsys.readouterr().err.startswith(
    'continuing from step 2 of 3\ncompiling the training step\nstep 3/3, loss '
  )
  out = 'model_predictions/predictions.jsonl'
  score_command = (
    'it-study: note: 6 of 106 instances have no reference within '
    "TASK_FEATURE_LENGTHS['targets'], so no answer to them can be right.\n"
    f'next: it-study score {out} --corpus=corpus\n'
  )
  assert run(*shlex.split(command)[1:]) == 0
  assert capsys.readouterr() == (f'wrote {out}\n', score_command)
  assert run(*shlex.split(command)[1:]) == 0
  assert capsys.readouterr() == (
    f'wrote {out}\n',
    f'already answered: all 106 answers were cached\n{score_command}',
  )
  rows = predictions.read_predictions(out)
  predictions.check_complete(
    rows, corpus=natinst.open_corpus(corpus), split='test'
  )
  assert {row.train_condition for row in rows} == {fakes.NAME}
  scores = ('score', out, '--corpus=corpus', '--json')
  metrics = json.loads(printed(capsys, *scores))
  assert metrics['overall']['num_instances'] == 106


def test_a_training_needs_steps_or_epochs(capsys, corpus):
  words = (
    *('train', '--gin_file=models/t5_1_1_tiny.gin'),
    *('--gin_file=runs/finetune.gin', '--gin.CORPUS=corpus'),
    *('--gin.IT_STUDY_VOCABULARY=byte', '--gin.MODEL_DIR=model'),
    f'--gin.MIXTURE_OR_TASK_NAME={fakes.NAME}',
  )
  assert run(*words) == 2
  assert capsys.readouterr().err == (
    'it-study: TRAIN_STEPS is None and EPOCHS is None: set one of them, the '
    'other to None.\n'
  )
  assert run(*words, '--gin.TRAIN_STEPS=1', '--gin.EPOCHS=1') == 2
  assert capsys.readouterr().err == (
    'it-study: TRAIN_STEPS is 1 and EPOCHS is 1: set one of them, the other to '
    'None.\n'
  )


def test_compare_prints_and_writes_differences(capsys):
  for name in ('random', 'majority'):
    assert run('baseline', name, '--corpus=corpus', f'--out={name}.jsonl') == 0
  words = ('compare', 'random.jsonl', 'majority.jsonl')
  found = json.loads(printed(capsys, *words, '--json', '--out=all.json'))
  assert found == json.loads(pathlib.Path('all.json').read_text())
  first = found['differences'][0]
  assert (first['group'], first['metric']) == ('classification', 'exact_match')
  # The same as score's, on the same file.
  scored = json.loads(printed(capsys, 'score', 'random.jsonl', '--json'))
  assert scored['overall'] is None
  assert first['first'] == pytest.approx(
    scored['classification']['exact_match']
  )
  assert first['difference'] == pytest.approx(first['first'] - first['second'])
  assert first['num_seeds'] == 1
  assert found['margin'] == 3.0
  text = printed(capsys, *words, '--corpus=corpus', '--per_category')
  assert 'within' in text
  assert 'predictions differ between A and B' in text
  assert printed(capsys, *words, '--quiet') == ''


def test_compare_takes_seeds_in_pairs(capsys):
  for seed in (0, 1):
    for name in ('random', 'prior'):
      out = f'--out={name}{seed}.jsonl'
      assert (
        run('baseline', name, '--corpus=corpus', f'--seed={seed}', out) == 0
      )
  found = json.loads(
    printed(
      capsys,
      'compare',
      'random0.jsonl',
      'prior0.jsonl',
      '--seed_pair',
      'random1.jsonl',
      'prior1.jsonl',
      '--json',
    )
  )
  assert found['differences'][0]['num_seeds'] == 2


def test_compare_refuses_invalid_margins(capsys):
  assert run('baseline', 'random', '--corpus=corpus', '--out=a.jsonl') == 0
  for margin in ('0', '100', '200', 'nan'):
    assert run('compare', 'a.jsonl', 'a.jsonl', f'--margin={margin}') == 2
    assert capsys.readouterr().err == (
      'it-study: --margin: expected a number of points above 0 and below 100, '
      f'such as 3, got {float(margin)!r}.\n'
    )


def test_baseline_prints_the_expected_score(capsys):
  text = printed(
    capsys, 'baseline', 'random', '--corpus=corpus', '--simulate=2000'
  )
  assert 'Expected on classification: ' in text
  assert '2,000 draws: ' in text


def test_the_author_s_count_needs_no_predictions(capsys):
  words = ('baseline', 'random', '--corpus=corpus', '--rule=author')
  assert printed(capsys, *words).splitlines() == [
    'random: 50 of 100 right (50.00%) on 1 task',
    'An approximation: a label space is the references of the first 100 '
    "instances. For the author's own, pass the task_metadata.json of "
    'PlusLabNLP/Active-IT with --label_spaces.',
  ]
  names = [p.stem for p in pathlib.Path('corpus/tasks').iterdir()]
  spaces = {
    f'{name}.json': {'DefHasLabel': 'ExactMentioned', 'LabelSpace': [*'abc']}
    for name in names
  }
  pathlib.Path('spaces.json').write_text(json.dumps(spaces))
  words = (*words, '--label_spaces=spaces.json', '--json')
  counts = json.loads(printed(capsys, *words))
  assert (counts['approximation'], counts['random']) == (False, 66)
  words = ('corpus', 'stats', 'corpus', '--label_spaces=spaces.json')
  assert json.loads(printed(capsys, *words, '--json'))['author'] == counts
  assert (
    "\nThe same as the author's notebook counts it:\n"
    '  random: 66 of 200 right (33.00%) on 2 tasks\n'
  ) in printed(capsys, *words)


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (
      ('random', '--label_spaces=F'),
      "--label_spaces is only used by the author's rule. Add --rule author, or "
      'leave it out.',
    ),
    (
      ('prior', '--rule=author'),
      '--rule author counts random and majority, not prior. Leave out --rule, '
      'or name one of these.',
    ),
    (
      ('random', '--rule=author', '--split=train'),
      "--rule author counts on the test split, not on 'train'. Leave out "
      '--split.',
    ),
    (
      ('random', '--rule=author', '--out=p.jsonl'),
      '--rule author counts right answers without predicting any, so --out has '
      'no use. Leave it out; --json prints the counts.',
    ),
    (
      ('random', '--rule=author', '--label_spaces=no.json'),
      'no.json: cannot be read: No such file or directory. Expected {"TASK.json'
      '": {"DefHasLabel": "ExactMentioned", "LabelSpace": ["yes", "no"]}, ...},'
      ' as in task_metadata.json of PlusLabNLP/Active-IT.',
    ),
  ],
)
def test_what_the_author_s_count_cannot_do(capsys, words, message):
  assert run('baseline', *words, '--corpus=corpus') == 2
  assert capsys.readouterr().err == f'it-study: {message}\n'


def test_other_formats_score_as_our_own(capsys):
  assert run('baseline', 'copy_demo', '--corpus=corpus', '--out=own.jsonl') == 0
  rows = predictions.read_predictions('own.jsonl')[::-1]
  pathlib.Path('lb.jsonl').write_text(
    ''.join(
      json.dumps({'id': row.id, 'prediction': row.prediction}) + '\n'
      for row in rows
    )
  )
  with open('lb.csv', 'w', newline='') as file:
    csv.writer(file).writerows(
      [('id', 'prediction'), *((row.id, row.prediction) for row in rows)]
    )
  pathlib.Path('references.jsonl').write_text(
    ''.join(
      json.dumps(
        {
          'id': row.id,
          'references': row.targets,
          'task_id': row.task,
          'task_category': row.category,
          'track': 'default',
        }
      )
      + '\n'
      for row in rows
    )
  )

  def score(*words):
    return json.loads(printed(capsys, 'score', *words, '--json'))

  expected = score('own.jsonl', '--corpus=corpus')
  for name in ('lb.jsonl', 'lb.csv'):
    assert score(name, '--corpus=corpus') == expected
    found = score(name, '--references=references.jsonl')
    assert found['classification'] is None
    for metric in ('exact_match', 'rouge_l', 'num_instances', 'num_tasks'):
      assert found['overall'][metric] == expected['overall'][metric]
      for task, scores in expected['by_task'].items():
        assert found['by_task'][task][metric] == scores[metric]
  assert run('score', 'lb.csv', '--references=references.jsonl') == 0
  assert capsys.readouterr().err == (
    'it-study: note: Some rows have no kind: classification and generation are '
    'left out.\n'
  )


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (
      ('--references=r.jsonl', '--corpus=corpus'),
      '--corpus and --references both hold references. Leave out --references: '
      'a corpus also has kinds and label spaces.',
    ),
    (
      ('--references=r.jsonl',),
      'r.jsonl: cannot be read: No such file or directory.',
    ),
    (
      ('--corpus=corpus',),
      "lb.csv: ids do not match split 'test' of corpus corpus: 106 of 106 "
      "missing (first 'entail-0'); 1 unknown (first 'a'). Each instance must "
      'occur exactly once. Predict the split again, or name the corpus that '
      'was predicted.',
    ),
    (
      (),
      "row 'a' has no reference to score against; name the corpus, or a file "
      'of references.',
    ),
  ],
)
def test_what_the_leaderboard_s_rows_need(capsys, words, message):
  pathlib.Path('lb.csv').write_text('id,prediction\na,x\n')
  assert run('score', 'lb.csv', *words) == 2
  assert capsys.readouterr().err == f'it-study: {message}\n'


def test_score_decomposes_exact_match(capsys):
  assert run('baseline', 'random', '--corpus=corpus', '--out=a.jsonl') == 0
  text = printed(capsys, 'score', 'a.jsonl', '--decomposition=parts.json')
  assert '100.0% in format x ' in text
  parts = json.loads(pathlib.Path('parts.json').read_text())
  assert parts[0]['group'] == 'classification'
  assert parts[0]['in_format'] == 1.0


def test_score_writes_the_spread_over_tasks(capsys):
  assert run('baseline', 'majority', '--corpus=corpus', '--out=a.jsonl') == 0
  text = printed(capsys, 'score', 'a.jsonl', '--spread=spread.json')
  spreads = json.loads(pathlib.Path('spread.json').read_text())
  assert [list(spread['by_task']) for spread in spreads] == [
    ['task4_entail'],
    ['task5_title'],
  ]
  for spread in spreads:
    assert f'{spread["category"]}: median {spread["median"]:.1f}, ' in text


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (('--track=xlingual',), "--track xlingual needs GPT-2's tokenizer"),
    (('--tokenizer=F',), 'is only used by the cross-lingual track'),
    (('--track=xlingual', '--tokenizer=F'), 'F: no such file'),
  ],
)
def test_score_asks_for_the_tokenizer_of_its_track(capsys, words, message):
  assert run('baseline', 'random', '--corpus=corpus', '--out=a.jsonl') == 0
  assert run('score', 'a.jsonl', *words) == 2
  assert message in capsys.readouterr().err


def test_the_cross_lingual_track_scores_by_its_tokenizer(capsys, tmp_path):
  tokenizers = pytest.importorskip('tokenizers', reason='needs tokenizers')
  tokenizer = tokenizers.ByteLevelBPETokenizer()
  tokenizer.train_from_iterator(['a'], vocab_size=257)
  tokenizer.save(str(tmp_path / 'tokenizer.json'))
  assert run('baseline', 'copy_input', '--corpus=corpus', '--out=a.jsonl') == 0
  capsys.readouterr()

  def scored(*words):
    assert run('score', 'a.jsonl', '--json', *words) == 0
    return json.loads(capsys.readouterr().out)['overall']['rouge_l']

  english = scored()
  cross_lingual = scored('--track=xlingual', f'--tokenizer={tmp_path}')
  # Single bytes are shared far more often than words.
  assert cross_lingual > 2 * english > 0
