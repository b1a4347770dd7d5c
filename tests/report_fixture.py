"""Writes small study folders for the tests of it_study.report."""

import json
import pathlib
import re

from it_study.evaluation.baselines import metrics_of_rows
from it_study.evaluation.metrics import compute_metrics
from it_study.predictions import Prediction, write_predictions
from it_study.seeding import stable_random

DEFINITIONS = tuple(
  f'natinst_def_{level}_ex_original2'
  for level in ('original', 'simplified', 'empty')
)
EXAMPLES = (
  'natinst_def_original_ex_original1',
  'natinst_def_original_ex_delusive1',
  'natinst_def_original_ex_empty0',
)
# Category, kind, labels of the test tasks.
TEST_TASKS = (
  ('Textual Entailment', ('yes', 'no')),
  ('Textual Entailment', ('yes', 'no', 'maybe')),
  ('Word Analogy', ('north', 'south')),
  ('Coreference Resolution', ('first', 'second')),
  ('Title Generation', None),
  ('Data to Text', None),
)
TRAINING_TASKS = (
  ('Sentiment Analysis', ('good', 'bad')),
  ('Program Execution', None),
  *[('Positive Control', ('open', 'shut'))] * 2,
  *[('Negative Control', ('left', 'right'))] * 2,
)
RUN = {
  'corpus': 'mini',
  'fingerprint': 'f1',
  'corpus_stats': {'train_tasks': 6, 'test_tasks': 6},
  'model': {'layers': 2},
  'versions': {'jax': '0.10.2'},
  'git_commit': None,
  'device': 'cpu',
  'delusive_sources': {
    'classification': {'negatives': 1, 'swap': 3},
    'generation': {'negatives': 2, 'repair': 2},
  },
  'seeds': [0],
}


def make_rows(
  *,
  split='test',
  accuracy=0.5,
  controls=None,
  seed=0,
  train_condition=None,
  test_condition=None,
  engine='native',
  tasks=None,
  num_instances=20,
):
  """Makes rows that are right with a probability, else have a wrong label.

  `controls` maps control categories to probabilities that replace `accuracy`.
  """
  if tasks is None:
    tasks = TEST_TASKS if split == 'test' else TRAINING_TASKS
  rows = []
  for number, (category, labels) in enumerate(tasks):
    task = f'task{number:03d}_{split}'
    # Tasks with the same inputs are judged together in a control.
    of_task = f' of {task}' if str(category).endswith('Control') else ''
    for position in range(num_instances):
      name = f'{task}-{position}'
      random = stable_random(name, seed, train_condition, test_condition)
      right = random.random() < (controls or {}).get(category, accuracy)
      truth = (
        labels[position % len(labels)] if labels else f'the cat {position}'
      )
      wrong = labels[(position + 1) % len(labels)] if labels else 'a cat'
      rows.append(
        Prediction(
          id=name,
          task=task,
          category=category,
          kind='classification' if labels else 'generation',
          label_space=labels,
          position=position,
          split=split,
          inputs=f'input {position}{of_task}',
          targets=(truth,),
          prediction=truth if right else wrong,
          train_condition=train_condition,
          test_condition=test_condition,
          seed=seed,
          engine=engine,
        )
      )
  return rows


def add_cell(study, rows, *, training=None, baseline=None, changes=None):
  """Writes a cell's predictions and appends its line, updated by `changes`."""
  first = rows[0]
  parts = (training or baseline or 'untuned', first.test_condition, first.split)
  name = re.sub(r'[^\w.]', '_', '__'.join(map(str, parts)))
  directory = pathlib.Path(study) / 'cells' / name
  directory.mkdir(parents=True, exist_ok=True)
  write_predictions(directory / 'predictions.jsonl', rows)
  if baseline is None:
    metrics = compute_metrics(rows)
  else:
    metrics = metrics_of_rows(baseline, rows, corpus=None, split=first.split)
  if baseline == 'random':
    metrics['classification']['expected'] = {
      'exact_match': 45.83333333333333,
      'standard_deviation': 5.5,
    }
  line = {
    'cell': name,
    'training': training,
    'train_condition': first.train_condition,
    'test_condition': first.test_condition,
    'matched': first.train_condition == first.test_condition
    and training is not None,
    'original_instructions': (first.test_condition or '').startswith(
      'natinst_def_original_ex_original'
    ),
    'split': first.split,
    'seed': first.seed,
    'engine': 'baseline' if baseline else 'native',
    'baseline': baseline,
    'metrics': metrics,
    'num_shortened': 0,
    'num_dropped_examples': 0,
    'train_steps': 10 if training else None,
    'train_seconds': 1.5 if training else None,
    'predict_seconds': 0.5,
  } | (changes or {})
  with open(pathlib.Path(study) / 'results.jsonl', 'a') as file:
    file.write(json.dumps(line) + '\n')


def make_study(
  study,
  *,
  accuracies=None,
  positive=(1.0, 0.0),
  negative=(1.0, 1.0),
  seeds=(0,),
  run=RUN,
  num_instances=20,
  tasks=None,
):
  """Writes a finished study.

  Args:
    study: Study folder, created if missing.
    accuracies: Probability of a right answer on the test split, by train
      condition.
    positive: Probability of a right answer on the positive control with the
      original definition, and with none.
    negative: The same two probabilities on the negative control.
    seeds: Seeds of the trainings.
    run: Contents of run.json.
    num_instances: Number of instances of each task.
    tasks: Tasks of the test split.
  """
  study = pathlib.Path(study)
  study.mkdir(parents=True, exist_ok=True)
  accuracies = accuracies or dict.fromkeys((*DEFINITIONS, *EXAMPLES), 0.5)
  for condition, accuracy in accuracies.items():
    original = (
      f'natinst_def_original_ex_original{"2" if "2" in condition else "1"}'
    )
    is_empty = 'def_empty' in condition
    controls = {
      'Positive Control': positive[is_empty],
      'Negative Control': negative[is_empty],
    }
    for seed in seeds:
      training = f'{condition}_seed{seed}'
      for test_condition in dict.fromkeys((condition, original)):
        for split in ('test', 'validation'):
          rows = make_rows(
            split=split,
            accuracy=accuracy,
            controls=controls,
            seed=seed,
            train_condition=condition,
            test_condition=test_condition,
            num_instances=num_instances,
            tasks=tasks if split == 'test' else None,
          )
          add_cell(study, rows, training=training)
      folder = study / 'trainings' / training
      folder.mkdir(parents=True)
      (folder / 'metrics.jsonl').write_text(
        ''.join(
          json.dumps({'step': step, 'loss': 4.0 / step**0.5}) + '\n'
          for step in range(1, 11)
        )
      )
  for split in ('test', 'validation'):
    shared = {
      'split': split,
      'num_instances': num_instances,
      'tasks': tasks if split == 'test' else None,
    }
    add_cell(
      study,
      make_rows(accuracy=0.1, test_condition=DEFINITIONS[0], **shared),
    )
    for baseline in ('random', 'majority', 'copy_demo'):
      rows = make_rows(engine=f'baseline:{baseline}', **shared)
      add_cell(study, rows, baseline=baseline)
  (study / 'run.json').write_text(json.dumps(run))
  (study / 'study.gin').write_text('SEED = 0\n')
  return study


def make_untuned_study(study, accuracies, *, controls=None, tasks=None):
  """Writes a study of an untuned model alone.

  Args:
    study: Study folder, created if missing.
    accuracies: Probability of a right answer by test condition.
    controls: Probabilities of a right answer by control category, by test
      condition.
    tasks: Tasks of the test split.
  """
  study = pathlib.Path(study)
  study.mkdir(parents=True, exist_ok=True)
  for condition, accuracy in accuracies.items():
    rows = make_rows(
      accuracy=accuracy,
      controls=(controls or {}).get(condition),
      test_condition=condition,
      tasks=tasks,
    )
    add_cell(study, rows)
  rows = make_rows(engine='baseline:random', tasks=tasks)
  add_cell(study, rows, baseline='random')
  (study / 'run.json').write_text(json.dumps(RUN))
  (study / 'study.gin').write_text('SEED = 0\n')
  return study
