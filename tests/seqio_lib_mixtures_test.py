"""Tests of it_study.seqio_lib: mixtures, and a SeqIO task per NatInst task."""

import collections
import itertools

import fakes
import pytest
import seqio

from it_study import seqio_lib
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.data import row_source, tfds_builder, vocabularies
from it_study.errors import InputError
import tasks  # noqa: F401  Registers the conditions.

ORIGINAL, EMPTY = (
  f'natinst_def_{level}_ex_original2' for level in ('original', 'empty')
)


@pytest.fixture(autouse=True, scope='module')
def _use(tmp_path_factory):
  folder = tmp_path_factory.mktemp('mixtures')
  registered = {
    registry: set(registry.names())
    for registry in (seqio.TaskRegistry, seqio.MixtureRegistry)
  }
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(vocabularies.VARIABLE, 'byte')
    seqio_lib.use_corpus(fakes.write_small_corpus(folder / 'corpus'))
    yield
  for registry, names in registered.items():
    for name in set(registry.names()) - names:
      registry.remove(name)


def drawn(mixture, number, *, seed):
  """Whether each of the first examples has a definition."""
  dataset = mixture.get_dataset(
    fakes.LENGTHS, 'train', seed=seed, num_epochs=None
  )
  vocabulary = mixture.output_features['inputs'].vocabulary
  return [
    vocabulary.decode(row['inputs'].tolist()).startswith('Definition: ')
    for row in dataset.take(number).as_numpy_iterator()
  ]


def test_examples_are_drawn_in_proportion_to_the_rates():
  mixture = seqio_lib.add_mixture('three_to_one', {ORIGINAL: 3, EMPTY: 1.0})
  assert mixture is seqio.get_mixture_or_task('three_to_one')
  found = drawn(mixture, 1000, seed=1)
  # Four standard deviations of a draw: 4 * sqrt(1000 * 3/4 * 1/4) = 55.
  assert sum(found) == pytest.approx(750, abs=55)
  assert found[:200] == drawn(mixture, 200, seed=1)
  assert found[:200] != drawn(mixture, 200, seed=2)


def test_missing_parts_are_registered():
  condition = Condition(definition='simplified', instances_per_task=17)
  name = 'natinst_def_empty_ex_empty0_n17'
  registered = set(dict.keys(seqio.TaskRegistry._REGISTRY))
  assert not {condition.name, name} & registered
  mixture = seqio_lib.add_mixture(
    'of_all_kinds', {condition: 1, name: 2, 'natinst_all_examples': 3}
  )
  rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
  assert rates == {
    condition.name: 1.0,
    name: 2.0,
    'natinst_def_original_ex_original1': 1.0,
    'natinst_def_original_ex_delusive1': 1.0,
    'natinst_def_original_ex_empty0': 1.0,
  }


@pytest.mark.parametrize(
  ('rates', 'message'),
  [
    ({}, r"mixture 'bad' has no parts; give at least one\."),
    (
      {'natinst_def_orignal_ex_original2': 1},
      r"definition level 'orignal' is unknown; .* Did you mean 'original'\?",
    ),
    (
      {'natints_def_original_ex_original2': 1},
      r"prompt prefix 'natints' is unknown; available: natinst\. Did you mean "
      r"'natinst'\?",
    ),
    (
      {'natinst_all_exmples': 1},
      r"no SeqIO task or mixture 'natinst_all_exmples' is registered\. Did you "
      r"mean 'natinst_all_examples'\?",
    ),
    (
      {'natinst_tk_instruct_n100': 1},
      "'natinst_tk_instruct_n100' is not a mixture of encodings",
    ),
    ({ORIGINAL: 1, Condition(): 1}, f"mixture 'bad' names '{ORIGINAL}' twice"),
    *(
      (
        {ORIGINAL: rate},
        f"'bad': the rate of '{ORIGINAL}' is {rate!r}; give a number above 0",
      )
      for rate in (0, -1, float('nan'), float('inf'), True, '2')
    ),
  ],
)
def test_a_bad_mixture_is_refused(rates, message):
  with pytest.raises(InputError, match=message):
    seqio_lib.add_mixture('bad', rates)
  assert 'bad' not in seqio.MixtureRegistry.names()


def ids_of(task, split):
  dataset = task.get_dataset(fakes.LENGTHS, split, shuffle=False)
  return [row['id'].decode() for row in dataset.as_numpy_iterator()]


def test_one_task_per_natinst_task():
  condition = Condition(instances_per_task=6, seed=2)
  mixture = seqio_lib.add_natinst_tasks(condition)
  name = f'{ORIGINAL}_n6_s2'
  assert mixture.name == f'{name}.all_tasks'
  assert seqio.get_mixture_or_task(mixture.name) is mixture
  assert {task.name: mixture.get_rate(task) for task in mixture.tasks} == (
    dict.fromkeys(
      [
        f'{name}.task1_mood',
        f'{name}.task2_echo',
        f'{name}.task3_few',
        f'{name}.task4_entail',
        f'{name}.task5_title',
      ],
      1.0,
    )
  )
  whole = seqio.get_mixture_or_task(name)
  for split in ('train', 'validation', 'test'):
    parts = [
      ids_of(task, split) for task in mixture.tasks if split in task.splits
    ]
    assert [len(ids) for ids in parts] == {
      'train': [6, 4, 2],
      'validation': [10, 10, 10],
      'test': [100, 6],
    }[split]
    assert sorted(itertools.chain(*parts)) == sorted(ids_of(whole, split))
  # Adding them again is no error.
  assert seqio_lib.add_natinst_tasks(condition).tasks == mixture.tasks


def test_a_mixture_of_natinst_tasks_by_their_examples():
  mixture = seqio_lib.add_natinst_tasks(
    Condition(instances_per_task=8), rates='examples'
  )
  assert sorted(mixture.rate_per_task_name.values()) == [2, 4, 6, 8, 100]
  dataset = mixture.get_dataset(
    fakes.LENGTHS,
    'train',
    seed=0,
    num_epochs=None,
    passthrough_features=['task'],
  )
  counts = collections.Counter(
    row['task'].decode() for row in dataset.take(700).as_numpy_iterator()
  )
  assert counts['task1_mood'] == pytest.approx(400, abs=53)
  assert counts['task3_few'] == pytest.approx(100, abs=38)


def test_a_natinst_task_without_training_instances_is_not_mixed():
  condition = Condition(num_tasks=1)
  mixture = seqio_lib.add_natinst_tasks(
    condition, names=['task1_mood', 'task2_echo', 'task3_few']
  )
  (task,) = mixture.tasks
  assert task.name == f'{ORIGINAL}_t1.task3_few'
  assert f'{ORIGINAL}_t1.task1_mood' in seqio.TaskRegistry.names()


def test_bad_arguments_of_natinst_tasks_are_refused():
  with pytest.raises(
    InputError,
    match=r"the corpus in use has no task 'task1_mod'\. Did you mean "
    "'task1_mood'",
  ):
    seqio_lib.add_natinst_tasks(Condition(), names=['task1_mod'])
  with pytest.raises(
    InputError,
    match=r"rates is 'exmples'; it must be equal or examples\. Did you mean "
    "'examples'",
  ):
    seqio_lib.add_natinst_tasks(Condition(), rates='exmples')
  with pytest.raises(InputError, match='takes no instance of the tasks named'):
    seqio_lib.add_natinst_tasks(Condition(num_tasks=1), names=['task1_mood'])


def test_characters_that_seqio_does_not_allow(write_corpus, raw_task):
  train = {'task1_a-b': raw_task(num_instances=12)}
  instances = [{'id': 'c', 'input': 'other', 'output': ['out']}]
  test = {'task2_c.d': raw_task(Instances=instances)}
  source = _rows(write_corpus(train=train, test=test))
  mixture = seqio_lib.add_natinst_tasks(
    Condition(examples='empty', num_examples=0), source=source
  )
  assert [task.name for task in mixture.tasks] == [
    'natinst_def_original_ex_empty0.task1_a_b',
    'natinst_def_original_ex_empty0.task2_c.d',
  ]
  train['task1_a+b'] = train['task1_a-b']
  with pytest.raises(
    InputError,
    match=r'task1_mood. is already registered with another source of rows\.',
  ):
    seqio_lib.add_natinst_tasks(
      Condition(num_tasks=1),
      names=['task1_mood'],
      source=seqio_lib.RowsSource(row_source.SOURCE.tfds_dataset.data_dir),
    )
  both = _rows(write_corpus(train=train, test=test, folder='both'))
  with pytest.raises(
    InputError,
    match=r"'task1_a\+b' and 'task1_a-b' would both be named '.*a_b'; rena",
  ):
    seqio_lib.add_natinst_tasks(Condition(), source=both)


def _rows(corpus):
  return seqio_lib.RowsSource(
    tfds_builder.build_rows(natinst.open_corpus(corpus))
  )
