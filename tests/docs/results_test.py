"""Tests of docs/results.md: it lists every file and field of a real study."""

import csv
import json
import pathlib
import re

import fakes
import pytest

from it_study import predictions
from it_study.data import vocabularies
from it_study.report.formats import results_csv

_ROOT = pathlib.Path(__file__).parents[2]
_PAGE = (_ROOT / 'docs/results.md').read_text()
GIN = """
include 'models/t5_1_1_tiny.gin'
include 'runs/study.gin'
CORPUS = 'CORPUS'
IT_STUDY_VOCABULARY = 'byte'
TASK_FEATURE_LENGTHS = {'inputs': 128, 'targets': 4}
TRAIN_STEPS = 2
EVAL_PERIOD = 1
BATCH_SIZE = 4
DECODING = 'ranked'
run_study.splits = ('test',)
run_study.conditions = @named_conditions()
named_conditions.names = ('natinst_def_original_ex_empty0_n2',)
"""


def section(title) -> str:
  (text,) = re.findall(
    rf'^## {re.escape(title)}\n(.*?)(?=^## |\Z)', _PAGE, re.M | re.S
  )
  return text


def listed(title) -> list[str]:
  """Returns the names in the first column of a section's tables."""
  return re.findall(r'^\| `([^`]+)` \|', section(title), re.MULTILINE)


@pytest.fixture(name='study', scope='module')
def _study(tmp_path_factory):
  folder = tmp_path_factory.mktemp('results')
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    patch.setenv(vocabularies.VARIABLE, 'byte')
    fakes.write_small_corpus('CORPUS')
    pathlib.Path('mine.gin').write_text(GIN)
    words = ('study', '--gin_file=mine.gin', '--study_dir=OUT', '--quiet')
    assert fakes.run_command(*words) == 0
  return folder / 'OUT'


def read(path) -> dict:
  return json.loads(path.read_text())


def lines(path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()]


def first_path(study, pattern) -> pathlib.Path:
  return next(iter(sorted(study.glob(pattern))))


def names(folder) -> set[str]:
  """Returns the names in a folder; those of folders end in a slash."""
  return {
    path.name + '/' * path.is_dir()
    for path in folder.iterdir()
    if path.name != '.lock'
  }


def test_fields_and_columns():
  assert listed('`predictions.jsonl`') == list(predictions.FIELDS)
  assert listed('`results.csv`') == list(results_csv.COLUMNS)


@pytest.mark.slow
def test_files_of_a_study(study):
  page = dict(
    re.findall(r'^\| `([^`]+)` \| (.*) \|$', section('Study folder'), re.M)
  )
  top = {path.split('/')[0] + '/' * ('/' in path) for path in page}
  # Only a study in a bucket has leases.
  assert names(study) == top - {'leases/'}

  def described(path):
    return set(re.findall(r'`([\w./]+)`', page[path]))

  for path in (study / 'trainings').iterdir():
    assert names(path) == described('trainings/TRAINING/')
  for path in (study / 'cells').iterdir():
    files = names(path)
    # A baseline makes no predictions by a model.
    if path.name.startswith('baseline_'):
      files.add('inference.json')
    assert files == described('cells/CELL/')
  assert names(study / 'report') == described('report/')


@pytest.mark.slow
def test_metrics_of_cells(study):
  top = listed('`metrics.json`')
  num_top = top.index('num_tasks')
  groups = top[num_top:]
  has_expected = False
  for path in study.glob('cells/*/metrics.json'):
    metrics = read(path)
    # Only a model may answer with tokens that are left out.
    left_out = {'num_with_special_tokens', 'num_with_unknown_tokens'}
    assert [k for k in metrics if k not in left_out] == top[:num_top]
    for name in ('overall', 'classification', 'generation'):
      if metrics[name] is not None:
        fields = list(metrics[name])
        has_expected |= 'expected' in fields
        assert fields in (groups, groups[:-1])
    for group in metrics['by_task'].values():
      assert list(group) == groups[:-1]
  assert has_expected


@pytest.mark.slow
def test_results_and_records(study):
  # Only a study of SeqIO tasks or prompts of a user's own has these.
  of_own = ('test_task', 'task_metrics', 'test_tasks', 'prompt_templates')
  for line in lines(study / 'results.jsonl'):
    assert [*line, *of_own[:2]] == listed('`results.jsonl`')
  with (study / 'report/results.csv').open() as file:
    assert next(csv.reader(file)) == listed('`results.csv`')
  # Only a study resumed elsewhere has earlier runs.
  assert [*read(study / 'run.json'), 'earlier_runs'] == [
    name for name in listed('`run.json`') if name not in of_own
  ]
  training = read(first_path(study, 'trainings/*/training.json'))
  # Only a training with LoRA has its settings.
  assert list(training) == [k for k in listed('`training.json`') if k != 'lora']
  done = read(first_path(study, 'trainings/*/DONE'))
  assert list(done.pop('files')) == ['training.json', 'metrics.jsonl']
  assert done == training
  inference = read(first_path(study, 'cells/untuned*/inference.json'))
  # Only SeqIO tasks of a user's own have metrics of their own.
  assert list(inference) == [
    name
    for name in listed('`inference.json`')
    if not name.startswith('task_metrics')
  ]
  done = read(first_path(study, 'cells/natinst*/DONE'))
  assert list(done) == ['seconds', 'files']
  assert list(done['files']) == [
    'predictions.jsonl',
    'metrics.json',
    'inference.json',
  ]
  manifest = read(first_path(study, 'trainings/*/checkpoints/*/manifest.json'))
  assert list(manifest) == ['format', 'loss', 'files']


@pytest.mark.slow
def test_metrics_of_steps(study):
  fields = set()
  for line in lines(first_path(study, 'trainings/*/metrics.jsonl')):
    fields |= set(line)
  assert fields == set(listed('`metrics.jsonl`'))


@pytest.mark.slow
def test_answers(study):
  answer_types = set()
  for folder in (study / 'answers').iterdir():
    settings = read(folder / 'settings.json')
    assert {'params', 'model', 'vocabulary', 'method'} < set(settings)
    for path in folder.glob('*.jsonl'):
      assert re.fullmatch('[0-9a-f]{32}', path.stem)
      for key, answer in map(json.loads, path.read_text().splitlines()):
        assert re.fullmatch('[0-9a-f]{32}', key)
        answer_types.add(type(answer))
  # This model answers with tokens that are left out.
  assert answer_types == {list, dict}
