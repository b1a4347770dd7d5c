"""Tests for it_study.evaluation.label_rules."""

import pytest

from it_study.corpus import natinst
from it_study.corpus.natinst import Task
from it_study.evaluation import label_rules


def _instances(*outputs: list[str] | str) -> list[dict]:
  return [
    {'id': f'{outputs[0]}{i}', 'input': f'text {i}', 'output': output}
    for i, output in enumerate(outputs)
  ]


def _by_rule(directory, **fields) -> dict[str, tuple[int, float | None]]:
  corpus = natinst.open_corpus(directory, **fields)
  return {
    row['rule']: (row['num_tasks'], row['expected_exact_match'])
    for row in label_rules.expectations(corpus)
  }


@pytest.fixture(name='directory')
def _directory(write_corpus, raw_task):
  """Test tasks of 2, 3 and 11 labels, a generation task and a control."""

  def task(outputs, **fields):
    return raw_task(
      **{'Positive_Examples': [], 'Instances': _instances(*outputs), **fields}
    )

  yes_no = ['yes', 'no'] * 15
  return write_corpus(
    train={'task9_train': task(yes_no)},
    test={
      # 'He' and 'he' are one label, so half of the guesses are right.
      'task1_pronoun': task(
        ['He', 'he', 'she'] * 10, Definition='Is it HE or she?'
      ),
      # 10 of 30 instances accept two of the three labels.
      'task2_several': task(
        ['red', 'green', ['blue', 'red']] * 10, Definition='Red or green?'
      ),
      'task3_bard_analogical_reasoning_verbs': task(
        [f'verb {i % 11}' for i in range(33)]
      ),
      'task4_free': task([f'answer {i}' for i in range(30)]),
      'task5_control': task(yes_no, Categories=['Negative Control']),
    },
  )


def test_expectations(directory):
  found = _by_rule(directory)
  assert len(found) == 15
  # 30 instances at 1/2, 20 at 1/3 and 10 at 2/3.
  two = (2, pytest.approx(100 * (15 + 20 / 3 + 20 / 3) / 60))
  # And 33 at 1/11.
  three = (3, pytest.approx(100 * (15 + 20 / 3 + 20 / 3 + 3) / 93))
  for threshold in range(9, 16):
    rule = f'at most {threshold} labels'
    assert found[rule] == (two if threshold < 11 else three)
    assert found[f'{rule}, no open analogies'] == two
  assert found['every label in the definition'] == (1, pytest.approx(50))


def test_overrides_are_kept(directory):
  found = _by_rule(
    directory,
    overrides={
      'task1_pronoun': 'generation',
      'task2_several': 'generation',
      'task4_free': 'classification',
    },
  )
  assert found['at most 9 labels'] == (1, pytest.approx(100 / 30))
  assert found['every label in the definition'] == (0, None)


def test_only_the_first_100_instances_count(write_corpus, raw_task):
  outputs = ['a', 'b'] * 50 + [f'more {i}' for i in range(50)]
  raw = raw_task(Positive_Examples=[], Instances=_instances(*outputs))
  directory = write_corpus(train={'task1_a': raw}, test={'task2_b': raw})
  assert _by_rule(directory)['at most 12 labels'] == (1, pytest.approx(50))


def _task(definition: str, *label_space: str) -> Task:
  return Task(
    name='task1_a',
    definition=definition,
    categories=('Dialogue',),
    kind='classification' if label_space else 'generation',
    label_space=label_space or None,
    positive_examples=(),
    negative_examples=(),
  )


@pytest.mark.parametrize(
  ('definition', 'missing'),
  [
    ('Answer "yes", "no" or "maybe".', ('maybe',)),
    ("Answer 'perhaps'/'Yes.'/'never'.", ('perhaps', 'never')),
    ('Answer `yes`, `no`, and `maybe`.', ('maybe',)),
    ('Answer “yes”, “maybe”, or “no”. Not “maybe”.', ('maybe',)),
    ('Answer "yes" or "no".', ()),
    ('Answer "YES" or "No!".', ()),
    ('Answer yes, no or maybe.', ()),
    # Words that are quoted for another reason.
    ('Say "yes" if it follows by "instinct" or "common sense".', ()),
    ('In the form "A : B. C : ?" either "yes" or "no".', ()),
    ("It's the writer's 'view': 'yes' or 'no'.", ()),
    ('Say "yes". "Maybe" is a month.', ()),
    ('Answer "yes", "no" or "-".', ()),
    ('', ()),
  ],
)
def test_labels_missing_from_data(definition, missing):
  task = _task(definition, 'yes', 'no')
  assert label_rules.labels_missing_from_data(task) == missing


def test_generation_misses_no_labels():
  task = _task('Answer "yes", "no" or "maybe".')
  assert label_rules.labels_missing_from_data(task) == ()


def test_real_files(natinst_dir):
  corpus = natinst.open_corpus(natinst_dir)
  found = _by_rule(natinst_dir)['at most 12 labels']
  assert found == (21, pytest.approx(45.5556, abs=1e-3))
  for name in (*corpus.train_tasks, *corpus.test_tasks):
    task = corpus.load(name).task
    assert label_rules.labels_missing_from_data(task) == ()
