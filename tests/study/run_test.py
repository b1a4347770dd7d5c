"""Tests of it_study.study.run: what is planned, run once, resumed, refused."""

import collections
import dataclasses
import json
import signal
import subprocess
import sys
import time

import fakes
import pytest

from it_study import predictions
from it_study.conditions import PROMPT_TEMPLATES, Condition, PromptTemplate
from it_study.corpus import natinst
from it_study.corpus.miniature import benchmark as mini
from it_study.errors import InputError
from it_study.study import grid, run as study
from it_study.study.run_record import RunRecord
from it_study.study.worker import Step

CONDITIONS = (
  Condition(definition='original', instances_per_task=5),
  Condition(definition='empty', instances_per_task=5),
)
CONFIG = 'BATCH_SIZE = 8\nSEED = 0\nTRAIN_STEPS = 4\n'
# Baselines on one split, then what the models are tested on.
CELLS = [
  *[f'baseline_{b}_seed0__none__test' for b in grid.BASELINES],
  'untuned_seed0__natinst_def_original_ex_original2__test',
  'natinst_def_original_ex_original2_n5_seed0'
  '__natinst_def_original_ex_original2__test',
  'natinst_def_empty_ex_original2_n5_seed0'
  '__natinst_def_empty_ex_original2__test',
  'natinst_def_empty_ex_original2_n5_seed0'
  '__natinst_def_original_ex_original2__test',
]


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('study') / 'corpus')


def run(
  corpus, study_dir, engine=None, *, config=CONFIG, details=None, **settings
):
  engine = engine or fakes.Engine(corpus)
  defaults = {
    'corpus': corpus,
    'conditions': CONDITIONS,
    'seeds': (0,),
    'study_dir': study_dir,
    'engine': engine,
    'splits': ('test',),
    'record': RunRecord(config=config, details=details or {}),
  }
  return study.run_study(**{**defaults, **settings})


@pytest.fixture(name='finished', scope='module')
def _finished(corpus, tmp_path_factory):
  study_dir = tmp_path_factory.mktemp('finished') / 'study'
  run(corpus, study_dir)
  return study_dir


def test_the_folder_of_a_study(finished, corpus):
  assert sorted(path.name for path in finished.iterdir()) == [
    '.lock',
    'cells',
    'results.jsonl',
    'run.json',
    'study.gin',
    'trainings',
  ]
  assert (finished / 'study.gin').read_text() == CONFIG
  assert {path.name for path in (finished / 'cells').iterdir()} == set(CELLS)
  opened = natinst.open_corpus(corpus)
  for name in CELLS:
    cell = finished / 'cells' / name
    assert (cell / 'DONE').exists()
    rows = predictions.read_predictions(cell / 'predictions.jsonl')
    predictions.check_complete(rows, corpus=opened, split='test')
  training = finished / 'trainings' / 'natinst_def_empty_ex_original2_n5_seed0'
  assert json.loads((training / 'DONE').read_text())['train_steps'] == 4
  assert (training / 'config.gin').read_text() == (
    f'{CONFIG}\n# This training.\n'
    "MIXTURE_OR_TASK_NAME = 'natinst_def_empty_ex_original2_n5'\n"
    f"MODEL_DIR = '{training}'\nSEED = 0\n"
  )


def test_the_record_of_a_run(finished, corpus):
  record = json.loads((finished / 'run.json').read_text())
  assert record['fingerprint'] == natinst.open_corpus(corpus).fingerprint()
  assert record['num_cells'] == len(CELLS)
  assert record['seeds'] == [0]
  assert record['corpus_stats'] == {
    'train_tasks': 3,
    'classification_train_tasks': 1,
    'test_tasks': 2,
    'classification_test_tasks': 1,
  }
  assert record['delusive_sources'] == {}


def test_results_have_one_line_per_cell(finished):
  text = (finished / 'results.jsonl').read_text()
  results = [json.loads(line) for line in text.splitlines()]
  assert [result['cell'] for result in results] == CELLS
  metrics = results[-2].pop('metrics')
  assert metrics['overall']['exact_match'] == 50.0
  assert metrics['classification']['num_instances'] == 100
  assert results[-2] == {
    'cell': CELLS[-2],
    'training': 'natinst_def_empty_ex_original2_n5_seed0',
    'train_condition': 'natinst_def_empty_ex_original2_n5',
    'test_condition': 'natinst_def_empty_ex_original2',
    'matched': True,
    'original_instructions': False,
    'split': 'test',
    'seed': 0,
    'engine': 'native',
    'baseline': None,
    'num_shortened': 0,
    'num_dropped_examples': 1,
    'input_kept': 0.75,
    'num_unreachable': 3,
    'num_cut_targets': 2,
    'num_train_examples': 9,
    'train_steps': 4,
    'train_seconds': 1.5,
    'predict_seconds': 2.5,
  }
  untuned = results[5]
  assert (untuned['training'], untuned['train_condition']) == (None, None)
  assert untuned['train_steps'] is None
  random = results[0]
  assert (untuned['input_kept'], random['input_kept']) == (0.75, None)
  assert (random['baseline'], random['engine']) == ('random', 'baseline')
  assert random['test_condition'] is None
  # Two labels, each right half of the time.
  expected = random['metrics']['classification']['expected']
  assert expected['exact_match'] == pytest.approx(50.0)


def test_the_record_has_the_margin(corpus, tmp_path):
  run(corpus, tmp_path, conditions=CONDITIONS[:1], equivalence_margin=2.5)
  record = json.loads((tmp_path / 'run.json').read_text())
  assert record['equivalence_margin'] == 2.5


@pytest.mark.parametrize('is_shared', [False, True])
def test_answers_are_cached_in_the_folder_that_is_named(
  corpus, tmp_path, is_shared
):
  folders = set()

  class Engine(fakes.Engine):
    def predict(self, **arguments):
      folders.add(arguments['answer_dir'])
      return super().predict(**arguments)

  shared = tmp_path / 'shared' / 'answers'
  run(
    corpus,
    tmp_path / 'study',
    Engine(corpus),
    conditions=CONDITIONS[:1],
    answer_dir=shared if is_shared else None,
  )
  assert folders == {shared if is_shared else tmp_path / 'study' / 'answers'}


def test_finished_work_is_not_repeated(finished, corpus):
  before = (finished / 'results.jsonl').read_bytes()
  engine = fakes.Engine(corpus)
  steps = []
  run(corpus, finished, engine, on_step=steps.append)
  assert engine.calls == []
  assert (finished / 'results.jsonl').read_bytes() == before
  num_cells = len(CELLS)
  assert steps[0] == Step(
    cell='', phase='resume', finished=num_cells, planned=num_cells
  )
  assert {step.phase for step in steps[1:]} == {'done'}
  assert steps[-1].finished == steps[-1].planned == len(CELLS) + 2


@pytest.mark.parametrize('dies_at', range(6))
def test_a_study_that_was_killed_ends_the_same(
  dies_at, corpus, tmp_path, finished, caplog
):
  killed = fakes.Engine(corpus, dies_at=dies_at)
  with pytest.raises(KeyboardInterrupt):
    run(corpus, tmp_path / 'study', killed)
  resumed = fakes.Engine(corpus)
  run(corpus, tmp_path / 'study', resumed)
  whole = fakes.Engine(corpus)
  run(corpus, tmp_path / 'whole', whole)
  assert len(whole.calls) == 6
  assert killed.calls + resumed.calls == whole.calls
  # Only a resumed training is logged.
  cut_off = whole.calls[dies_at].split()
  assert caplog.messages == [
    f'trainings/{cut_off[1]}_seed{cut_off[2]}: the worker that started it '
    'is gone; resuming it.'
  ] * (cut_off[0] == 'train')
  assert (tmp_path / 'study/results.jsonl').read_bytes() == (
    finished / 'results.jsonl'
  ).read_bytes()


def test_a_cell_without_its_marker_is_run_again(corpus, tmp_path):
  run(corpus, tmp_path)
  cell = tmp_path / 'cells' / CELLS[-1]
  (cell / 'DONE').unlink()
  (cell / 'predictions.jsonl').write_text('broken')
  engine = fakes.Engine(corpus)
  run(corpus, tmp_path, engine)
  assert engine.calls == [
    'predict natinst_def_empty_ex_original2_n5_seed0 '
    'natinst_def_original_ex_original2 test'
  ]


def test_steps_report_progress(corpus, tmp_path):
  steps = []
  run(corpus, tmp_path, on_step=steps.append)
  assert [step.finished for step in steps] == sorted(
    step.finished for step in steps
  )
  assert {step.planned for step in steps} == {len(CELLS) + 2}
  phases = [step.phase for step in steps if step.cell == CELLS[-1]]
  assert phases == ['predict', 'predict', 'score', 'done']


def test_two_seeds_are_two_trainings(corpus, tmp_path):
  engine = fakes.Engine(corpus)
  run(corpus, tmp_path, engine, conditions=CONDITIONS[:1], seeds=(0, 1))
  assert [call for call in engine.calls if call.startswith('train')] == [
    'train natinst_def_original_ex_original2_n5 0',
    'train natinst_def_original_ex_original2_n5 1',
  ]


def test_a_cell_has_its_seed_and_split(corpus, tmp_path):
  run(
    corpus,
    tmp_path,
    conditions=CONDITIONS[:1],
    seeds=(0, 7),
    splits=('test', 'validation'),
  )
  lines = (tmp_path / 'results.jsonl').read_text().splitlines()
  for result in map(json.loads, lines):
    rows = predictions.read_predictions(
      tmp_path / 'cells' / result['cell'] / 'predictions.jsonl'
    )
    assert {row.split for row in rows} == {result['split']}, result['cell']
    assert {row.seed for row in rows} == {result['seed']}, result['cell']
    if result['baseline'] is None:
      assert result['metrics']['overall']['num_instances'] == len(rows)
  # Each seed and split has five baselines, and the untuned model and another.
  counts = collections.Counter(
    (result['seed'], result['split']) for result in map(json.loads, lines)
  )
  assert counts == {
    (seed, split): 7 for seed in (0, 7) for split in ('test', 'validation')
  }


@pytest.mark.parametrize(
  ('config', 'difference'),
  [
    (
      CONFIG.replace('TRAIN_STEPS = 4', 'TRAIN_STEPS = 5'),
      "now 'TRAIN_STEPS = 5', there 'TRAIN_STEPS = 4'",
    ),
    (CONFIG + 'EPOCHS = 1\n', "now 'EPOCHS = 1'"),
    (CONFIG.replace('SEED = 0\n', ''), "there 'SEED = 0'"),
  ],
)
def test_another_configuration_is_refused(finished, corpus, config, difference):
  with pytest.raises(InputError) as caught:
    run(corpus, finished, config=config)
  assert str(caught.value) == (
    f'{finished} holds a study of another configuration ({difference}). Name '
    'another --study_dir, or run it with the settings in its study.gin.'
  )


def test_another_corpus_is_refused(finished, tmp_path):
  other = fakes.write_small_corpus(tmp_path / 'other', mood='Good or bad?')
  before = (finished / 'run.json').read_text()
  with pytest.raises(
    InputError,
    match=r'holds a study of another corpus: fingerprint there .{66}, now '
    r'.{66}\. Name another --study_dir\.',
  ):
    run(other, finished)
  assert (finished / 'run.json').read_text() == before


def test_another_vocabulary_is_refused(corpus, tmp_path):
  study_dir = tmp_path / 'study'
  run(corpus, study_dir, details={'vocabulary': 'byte', 'device': 'one'})
  with pytest.raises(InputError, match=r"vocabulary there 'byte', now 'other'"):
    run(corpus, study_dir, details={'vocabulary': 'other', 'device': 'one'})


def test_another_template_is_refused(corpus, tmp_path, request):
  template = PromptTemplate(
    definition='{definition}',
    example='{input}{output}',
    input='{input}',
    cue='',
  )
  PROMPT_TEMPLATES.register('mine', template)
  request.addfinalizer(lambda: PROMPT_TEMPLATES.unregister('mine'))
  study_dir = tmp_path / 'study'
  settings = {
    'conditions': (),
    'test_conditions': ['mine_def_empty_ex_empty0'],
  }
  run(corpus, study_dir, **settings)
  record = json.loads((study_dir / 'run.json').read_text())
  assert record['prompt_templates'] == {'mine': repr(template)}
  run(corpus, study_dir, **settings)
  PROMPT_TEMPLATES.unregister('mine')
  PROMPT_TEMPLATES.register('mine')
  with pytest.raises(InputError) as raised:
    run(corpus, study_dir, **settings)
  assert str(raised.value) == (
    f'{study_dir} holds a study of another template of mine: there '
    f'{template!r}, now None. Name another --study_dir.'
  )


def test_machines_of_earlier_runs_are_kept(corpus, tmp_path):
  study_dir = tmp_path / 'study'
  for device in ('one', 'two', 'two', 'three'):
    run(corpus, study_dir, details={'device': device})
  record = json.loads((study_dir / 'run.json').read_text())
  assert record['device'] == 'three'
  assert [earlier['device'] for earlier in record['earlier_runs']] == [
    'one',
    'two',
  ]


def test_a_folder_that_cannot_be_written(corpus, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match=r'cannot write to .*/file/study: Not a'):
    run(corpus, tmp_path / 'file' / 'study')


@pytest.mark.slow
def test_the_miniature_is_killed_and_resumed(tmp_path):
  corpus = mini.write_miniature(tmp_path / 'corpus', size=mini.SMALL)
  study_dir = tmp_path / 'study'
  command = [
    sys.executable,
    *('-m', 'it_study.cli', 'study', f'--study_dir={study_dir}'),
    f'--gin.CORPUS={corpus}',
    *('--gin.TRAIN_STEPS=4', '--gin.BATCH_SIZE=4', '--gin.T5Config.emb_dim=16'),
    *('--gin.T5Config.mlp_dim=16', "--gin.run_study.splits=('validation',)"),
    *('--gin.T5Config.num_heads=1', '--gin.T5Config.head_dim=8'),
    # A schedule would not fit in so few steps.
    '--gin.LEARNING_RATE=0.001',
    '--gin.T5Config.num_encoder_layers=1',
    '--gin.T5Config.num_decoder_layers=1',
  ]
  first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
  # One training and its cell are done, the second training is under way.
  second = study_dir / 'trainings' / 'natinst_def_simplified_ex_original2_seed0'
  for _ in range(1200):
    if second.exists() or first.poll() is not None:
      break
    time.sleep(0.1)
  first.kill()
  assert first.wait() == -signal.SIGKILL, first.stderr.read()
  done = {
    path: path.stat().st_mtime_ns
    for path in study_dir.rglob('*')
    if (path.parent / 'DONE').exists() and path.is_file()
  }
  assert second.exists()
  assert not (second / 'DONE').exists()
  markers = [path for path in done if path.name == 'DONE']
  # Baselines, the untuned model twice, a training and its cell.
  assert len(markers) == 5 + 2 + 1 + 1
  before = (study_dir / 'results.jsonl').read_text()
  resumed = subprocess.run(
    command, capture_output=True, text=True, check=False, cwd=tmp_path
  )
  assert resumed.returncode == 0, resumed.stderr
  assert {path: path.stat().st_mtime_ns for path in done} == done
  after = (study_dir / 'results.jsonl').read_text()
  assert after.startswith(before)
  # Five baselines and 2 + 2 + 4 * 2 cells of models.
  assert len(after.splitlines()) == 17
  for line in after.splitlines():
    result = json.loads(line)
    assert result['metrics']['overall'] is not None or result['baseline']
  assert 'exact match' in resumed.stdout.lower()
  assert (study_dir / 'report' / 'index.html').stat().st_size > 10_000
  record = json.loads((study_dir / 'run.json').read_text())
  assert record['num_cells'] == 17
  assert record['vocabulary'].startswith('vocabulary.model, ')


GROWING = f'{CONFIG}SEEDS = (0,)\nTEST_CONDITIONS = ()\n'
EMPTY = 'natinst_def_empty_ex_empty0'


def test_only_added_cells_are_run(corpus, tmp_path):
  study_dir = tmp_path / 'study'
  run(corpus, study_dir, config=GROWING)
  engine = fakes.Engine(corpus)
  config = GROWING.replace('()', f"(\n    '{EMPTY}',\n)")
  run(corpus, study_dir, engine, config=config, test_conditions=(EMPTY,))
  added = {c for c in map(_name, (study_dir / 'cells').iterdir())} - set(CELLS)
  assert added == {
    f'untuned_seed0__{EMPTY}__test',
    f'natinst_def_original_ex_original2_n5_seed0__{EMPTY}__test',
    f'natinst_def_empty_ex_original2_n5_seed0__{EMPTY}__test',
  }
  assert [call.split()[0] for call in engine.calls] == ['predict'] * 3
  record = json.loads((study_dir / 'run.json').read_text())
  assert record['test_conditions'] == [EMPTY]
  assert f"TEST_CONDITIONS = ('{EMPTY}',)\n" in (
    (study_dir / 'study.gin').read_text()
  )
  # The first command still fits, and drops nothing.
  run(corpus, study_dir, engine, config=GROWING)
  lines = (study_dir / 'results.jsonl').read_text().splitlines()
  assert len(lines) == len(CELLS) + 3
  assert len(engine.calls) == 3


def test_seeds_may_be_added(corpus, tmp_path):
  study_dir = tmp_path / 'study'
  run(corpus, study_dir, config=GROWING)
  config = GROWING.replace('(0,)', '(1,)')
  run(corpus, study_dir, config=config, seeds=(1,))
  lines = (study_dir / 'results.jsonl').read_text().splitlines()
  assert len(lines) == 2 * len(CELLS)
  assert 'SEEDS = (0, 1)\n' in (study_dir / 'study.gin').read_text()
  with pytest.raises(InputError, match='of another configuration'):
    run(corpus, study_dir, config=config.replace('= 8', '= 16'), seeds=(1,))


def named(*names):
  """A configuration as gin prints it."""
  listed = ', '.join(map(repr, names)) + ','
  return (
    'BATCH_SIZE = 8\nSEED = 0\n\n'
    '# Parameters for named_conditions:\n'
    f'named_conditions.names = \\\n    ({listed})\n\n'
    '# Parameters for run_study:\n'
    'run_study.conditions = @named_conditions()\n'
  )


def test_conditions_may_be_added(corpus, tmp_path):
  study_dir = tmp_path / 'study'
  original, empty = (condition.name for condition in CONDITIONS)

  def cells():
    lines = (study_dir / 'results.jsonl').read_text().splitlines()
    return [json.loads(line)['cell'] for line in lines]

  def configured():
    return (study_dir / 'study.gin').read_text()

  run(corpus, study_dir, config=named(empty), conditions=CONDITIONS[1:])
  assert len(cells()) == len(CELLS) - 1
  engine = fakes.Engine(corpus)
  run(
    corpus, study_dir, engine, config=named(original), conditions=CONDITIONS[:1]
  )
  assert engine.calls == [
    f'train {original} 0',
    f'predict {original}_seed0 natinst_def_original_ex_original2 test',
  ]
  assert sorted(cells()) == sorted(CELLS)
  assert configured() == (
    'BATCH_SIZE = 8\nSEED = 0\n\n'
    '# Parameters for named_conditions:\n\n'
    '# Parameters for run_study:\n\n'
    '# Conditions, some of which were added later.\n'
    'run_study.conditions = @named_conditions()\n'
    f"named_conditions.names = (\n    '{empty}',\n    '{original}',\n)\n"
  )
  record = json.loads((study_dir / 'run.json').read_text())
  assert record['conditions'] == [empty, original]
  assert record['num_cells'] == len(CELLS)
  # Neither its own configuration nor an earlier one changes it.
  before = configured()
  run(corpus, study_dir, config=named(empty), conditions=CONDITIONS[1:])
  assert configured() == before
  run(corpus, study_dir, config=before, conditions=CONDITIONS[::-1])
  assert configured() == before
  # One that names all replaces it.
  run(corpus, study_dir, config=named(empty, original), conditions=CONDITIONS)
  assert sorted(cells()) == sorted(CELLS)
  with pytest.raises(
    InputError,
    match=r"of another configuration \(now 'BATCH_SIZE = 16', there "
    r"'BATCH_SIZE = 8'\)",
  ):
    run(corpus, study_dir, config=named(original).replace('= 8', '= 16'))


def test_conditions_that_were_not_recorded_may_not_change(corpus, tmp_path):
  study_dir = tmp_path / 'study'
  original, empty = (condition.name for condition in CONDITIONS)
  run(corpus, study_dir, config=named(empty), conditions=CONDITIONS[1:])
  path = study_dir / 'run.json'
  record = json.loads(path.read_text())
  del record['conditions'], record['sha256']
  path.write_text(json.dumps(record))
  with pytest.raises(InputError, match='of another configuration'):
    run(corpus, study_dir, config=named(original), conditions=CONDITIONS[:1])
  run(corpus, study_dir, config=named(empty), conditions=CONDITIONS[1:])
  assert json.loads(path.read_text())['conditions'] == [empty]


def test_an_invalid_margin_is_refused(corpus, tmp_path):
  for margin in (0, -1.0, 'wide', None, True):
    with pytest.raises(
      InputError,
      match='EQUIVALENCE_MARGIN: expected a number of points above 0',
    ):
      run(corpus, tmp_path / 'study', equivalence_margin=margin)
  assert not (tmp_path / 'study').exists()


def test_an_invalid_test_condition_is_refused(corpus, tmp_path):
  with pytest.raises(InputError, match='is not a condition'):
    run(corpus, tmp_path / 'study', test_conditions=('natinst_def_empy',))
  with pytest.raises(InputError, match='_tgtswapped alters training targets'):
    run(corpus, tmp_path / 'study', test_conditions=(f'{EMPTY}_tgtswapped',))
  with pytest.raises(InputError, match=r'TEST_TASKS is .* in brackets'):
    run(corpus, tmp_path / 'study', test_conditions='natinst_def_empty')
  assert not (tmp_path / 'study').exists()


def test_an_invalid_split_is_refused(corpus, tmp_path):
  with pytest.raises(InputError, match="split 'tset' is unknown"):
    run(corpus, tmp_path / 'study', splits=('tset',))
  with pytest.raises(InputError, match="splits is 'test'; give values in br"):
    run(corpus, tmp_path / 'study', splits='test')
  # Otherwise the right configuration could not use the folder.
  assert not (tmp_path / 'study').exists()


def test_the_untuned_model_has_the_initial_weights(corpus, tmp_path):
  engine = fakes.Engine(corpus)
  run(
    corpus,
    tmp_path / 'study',
    engine,
    initial_checkpoint_path=tmp_path / 'released_seed0',
  )
  assert [c for c in engine.calls if 'released' in c] == [
    'predict released_seed0 natinst_def_original_ex_original2 test'
  ]
  assert not [c for c in engine.calls if 'untuned' in c]


def test_a_study_may_train_nothing_and_test_few_instances(corpus, tmp_path):
  engine = fakes.Engine(corpus)
  engine.corpus = dataclasses.replace(engine.corpus, test_instances=3)
  engine.instances_per_test_task = 3
  run(
    corpus,
    tmp_path / 'study',
    engine,
    conditions=(),
    test_conditions=(
      'natinst_def_original_ex_original2',
      'natinst_def_empty_ex_original2',
    ),
  )
  assert engine.calls == [
    'predict untuned natinst_def_original_ex_original2 test',
    'predict untuned natinst_def_empty_ex_original2 test',
  ]
  lines = (tmp_path / 'study/results.jsonl').read_text().splitlines()
  results = [json.loads(line) for line in lines]
  # Of two test tasks; of the baselines too.
  assert {line['metrics']['num_instances'] for line in results} == {6}
  assert [line['original_instructions'] for line in results[-2:]] == [
    True,
    False,
  ]
  assert not (tmp_path / 'study/trainings').exists()


@pytest.mark.parametrize('number', [0, 101, 2.0, True])
def test_an_invalid_number_of_instances_is_refused(number, corpus, tmp_path):
  engine = fakes.Engine(corpus)
  engine.instances_per_test_task = number
  with pytest.raises(InputError) as caught:
    run(corpus, tmp_path / 'study', engine)
  assert str(caught.value) == (
    f'INSTANCES_PER_TEST_TASK is {number!r}: give a whole number from 1 to '
    '100, or None for all.'
  )
  assert not (tmp_path / 'study').exists()


def _name(path):
  return path.name


def test_more_training_tasks_than_there_are_are_refused(corpus, tmp_path):
  conditions = (Condition(num_tasks=1), Condition(num_tasks=99))
  with pytest.raises(
    InputError,
    match=r'^natinst_def_original_ex_original2_t99: 99 training tasks '
    r'requested, but the corpus has \d\. Use fewer \(NUM_TASKS of a sweep\), '
    r'None for all, or a larger corpus\.$',
  ):
    run(corpus, tmp_path / 'study', conditions=conditions)
  assert not (tmp_path / 'study').exists()
