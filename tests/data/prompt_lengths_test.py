"""Tests of it_study.data.prompt_lengths."""

import fakes
import pytest
from vocabularies_fixture import write_model

from it_study import seqio_lib
from it_study.conditions import Condition, definition_experiments
from it_study.corpus import natinst
from it_study.data import prepare, preprocessors, prompt_lengths, vocabularies
from it_study.data.prompt_lengths import Budget, Spelling
from it_study.errors import InputError
from it_study.instructions.tk_instruct import TkInstruct


@pytest.fixture(name='corpus', autouse=True)
def _corpus(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  return natinst.open_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))


def measure(corpus, *names, splits=('test',), **fields):
  return prompt_lengths.measure(
    corpus=corpus,
    conditions=[Condition.from_name(name) for name in names],
    splits=splits,
    **fields,
  )


def test_lengths(corpus):
  # With its frame 'Input: a thing 0.' has 64 characters (6 instances), 'Is it
  # 0?' 62 (10 instances) and 'Is it 10?' 63 (90 instances).
  (found,) = measure(corpus, 'natinst_def_empty_ex_empty0')
  frame = len('Now complete the following example -\nInput: \nOutput: ') + 1
  short, long, title = frame + 8, frame + 9, frame + 10
  assert found == Budget(
    condition='natinst_def_empty_ex_empty0',
    split='test',
    max_tokens=None,
    num_instances=106,
    tokens_mean=pytest.approx((10 * short + 90 * long + 6 * title) / 106),
    tokens_median=long,
    tokens_95=pytest.approx(long + 0.75),
    tokens_max=title,
    at_limit=0.0,
    num_dropped_examples=0,
    num_shortened=0,
    input_kept=1.0,
    max_target_tokens=None,
    # 50 times 'yes', 50 times 'no', and 'Thing 5' or 'The Thing 5' six times.
    target_tokens_mean=pytest.approx(422 / 106),
    target_tokens_median=4.0,
    target_tokens_95=10.0,
    target_tokens_max=12,
    num_cut_targets=0,
    num_unreachable=0,
  )


def test_effects_of_a_target_limit(corpus):
  (found,) = measure(
    corpus, 'natinst_def_empty_ex_empty0', max_target_tokens=11
  )
  # The titles have two references, 'Thing 5' and 'The Thing 5', of 8 and 12
  # tokens with the end of sequence.
  assert (found.num_cut_targets, found.num_unreachable) == (6, 0)
  (found,) = measure(corpus, 'natinst_def_empty_ex_empty0', max_target_tokens=7)
  assert (found.num_cut_targets, found.num_unreachable) == (6, 6)
  (found,) = measure(corpus, 'natinst_def_empty_ex_empty0', max_target_tokens=3)
  assert (found.num_cut_targets, found.num_unreachable) == (56, 56)


def test_real_targets(natinst_dir):
  prepare.set_or_check_vocabulary('miniature')
  found = {
    budget.split: budget
    for budget in prompt_lengths.measure(
      corpus=natinst.open_corpus(natinst_dir),
      conditions=[Condition.from_name('natinst_def_empty_ex_empty0_n1000')],
      max_target_tokens=32,
    )
  }
  # As studies/natinst_tiny.gin cuts them.
  train, held_out = found['train'], found['validation']
  assert train.num_instances + held_out.num_instances == 3678
  assert train.num_cut_targets + held_out.num_cut_targets == 1317
  assert found['test'].num_instances == 4100
  assert found['test'].num_unreachable == 1008


def test_spelling(tmp_path, monkeypatch, raw_task, write_corpus):
  monkeypatch.setenv(
    vocabularies.VARIABLE,
    str(write_model(tmp_path / 'v.model')),
  )
  outputs = ['yes', '{no}', 'no 北', '①']
  instances = [
    {'id': f'i-{k}', 'input': 'cup', 'output': outputs[k % 4]}
    for k in range(100)
  ]
  corpus = write_corpus(
    train={'task1_a': raw_task(12)},
    test={'task2_b': raw_task(Instances=instances, Positive_Examples=[])},
    folder='lacking',
  )
  found = prompt_lengths.measure_spelling(
    corpus=natinst.open_corpus(corpus), splits=('test',)
  )
  assert found == (
    Spelling(
      split='test',
      texts='labels',
      num_texts=4,
      num_unknown=3,
      num_normalized=0,
      num_unmatched=2,
    ),
    Spelling(
      split='test',
      texts='references',
      num_texts=100,
      num_unknown=75,
      num_normalized=0,
      num_unmatched=50,
    ),
  )


def test_effects_of_a_limit(corpus):
  whole = measure(corpus, 'natinst_def_original_ex_original2')[0]
  (found,) = measure(
    corpus, 'natinst_def_original_ex_original2', max_tokens=160
  )
  assert whole.tokens_max > 160 >= found.tokens_max
  assert (whole.num_dropped_examples, whole.at_limit) == (0, 0.0)
  # One of two examples fits everywhere.
  assert (found.num_dropped_examples, found.at_limit) == (106, 1.0)
  assert (found.num_shortened, found.input_kept) == (0, 1.0)
  (found,) = measure(corpus, 'natinst_def_original_ex_empty0', max_tokens=86)
  # The other task's definition is shorter.
  assert found.num_shortened == 100
  assert found.at_limit == 100 / 106
  assert found.tokens_max == 86


@pytest.fixture(name='twins')
def _twins(raw_task, write_corpus):
  """Two tasks per side of the split, as def_shuffled needs another one."""

  def task(number):
    return raw_task(
      12 + number,
      Definition=f'Say what comes next, or {"perhaps " * number}before.',
      Instances=[
        {
          'id': f'{number}-{i}',
          'input': f'text {number} {"long " * i}',
          'output': f'{i}',
        }
        for i in range(12)
      ],
    )

  names = ('task1_a', 'task2_b', 'task3_c', 'task4_d')
  tasks = {name: task(number) for number, name in enumerate(names)}
  directory = write_corpus(
    train={name: tasks[name] for name in names[:2]},
    test={name: tasks[name] for name in names[2:]},
    folder='twins',
  )
  return natinst.open_corpus(directory)


def test_a_matched_budget_keeps_the_same_of_every_instance(twins):
  corpus, limit = twins, 130
  plain = prompt_lengths.measure(
    corpus=corpus,
    conditions=definition_experiments(),
    max_tokens=limit,
  )
  matched = prompt_lengths.measure(
    corpus=corpus,
    conditions=definition_experiments(matched_budget=True),
    max_tokens=limit,
  )
  for split in natinst.SPLITS:
    kept, same = (
      {b.input_kept for b in found if b.split == split}
      for found in (plain, matched)
    )
    assert len(same) == 1
    assert same <= {min(kept | same)}
    assert min(same) < 1


def test_the_engines_rows_keep_the_same_under_a_matched_budget(twins):
  seqio_lib.use_corpus(twins.directory)
  kept = {}
  for condition in definition_experiments(matched_budget=True):
    dataset = seqio_lib.find_task(condition.name).get_dataset(
      sequence_length={'inputs': 130, 'targets': 9},
      split='test',
      shuffle=False,
    )
    kept[condition.name] = [
      (row['id'], float(row['input_kept']))
      for row in preprocessors.numpy_rows(dataset)
    ]
  first, *others = kept.values()
  assert len(others) == 2
  assert all(other == first for other in others)
  assert 0 < min(share for _, share in first) < 1


def test_train_is_what_a_condition_takes(corpus):
  names = ('natinst_def_empty_ex_empty0', 'natinst_def_empty_ex_empty0_n3_s1')
  found = measure(corpus, *names, splits=natinst.SPLITS)
  assert [(b.condition, b.split, b.num_instances) for b in found] == [
    (names[0], 'train', 36),
    (names[0], 'validation', 30),
    (names[0], 'test', 106),
    # Three instances of each of two tasks, and the two that the third has.
    (names[1], 'train', 8),
    ('natinst_def_empty_ex_empty0_n3_s1', 'validation', 30),
    ('natinst_def_empty_ex_empty0_n3_s1', 'test', 106),
  ]


@pytest.mark.parametrize(
  'condition',
  [
    Condition(instances_per_task=2, num_tasks=2),
    Condition(instances_per_task=2, seed=5),
    Condition(num_tasks=1, seed=3),
    Condition(),
    TkInstruct(instances_per_task=4, seed=2),
  ],
)
def test_the_choice_is_that_of_seqio(corpus, condition):
  seqio_lib.use_corpus(corpus.directory)
  task = seqio_lib.find_task(condition.name)
  dataset = task.get_dataset(
    sequence_length={'inputs': 90, 'targets': 9}, split='train', shuffle=False
  )
  rows = list(preprocessors.numpy_rows(dataset))
  found = prompt_lengths.measure(
    corpus=corpus, conditions=[condition], splits=['train'], max_tokens=90
  )[0]
  assert found.num_instances == len(rows)
  assert found.tokens_mean == pytest.approx(
    sum(len(row['inputs']) for row in rows) / len(rows)
  )
  assert found.num_shortened == sum(row['shortened'] for row in rows)
  assert found.input_kept == pytest.approx(
    sum(row['input_kept'] for row in rows) / len(rows), abs=1e-6
  )


def test_more_training_tasks_than_there_are_are_refused(corpus):
  with pytest.raises(InputError, match='num_tasks: 9 training tasks requested'):
    measure(corpus, 'natinst_def_empty_ex_empty0_t9', splits=('train',))


def test_worker_processes_give_the_same(twins):
  corpus = twins
  names = ('natinst_def_shuffled_ex_original1_budget',)
  counts = []
  found = [
    measure(
      corpus,
      *names,
      max_tokens=130,
      num_workers=workers,
      on_progress=lambda *count: counts.append(count),
    )
    for workers in (0, 1)
  ]
  assert found[0] == found[1]
  assert counts == [(1, 2), (2, 2)] * 2


def test_a_limit_without_room(corpus):
  with pytest.raises(InputError, match='no room for the cue'):
    measure(corpus, 'natinst_def_original_ex_empty0', max_tokens=20)
  with pytest.raises(InputError, match="split 'tset' is unknown"):
    measure(corpus, 'natinst_def_original_ex_empty0', splits=['tset'])
