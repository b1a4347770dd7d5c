"""Tests of it_study.data.seqio_tasks.corpus."""

import pytest
import seqio
import seqio_tasks_fixture as fixture

from it_study import seqio_lib
from it_study.data.seqio_tasks import corpus as corpus_lib
from it_study.errors import InputError
from it_study.evaluation import baselines
import tasks  # noqa: F401  Registers the conditions.


@pytest.fixture(name='corpus')
def _corpus():
  """A task with labels of its own for every example, and one without."""
  fixture.add_task(
    'choose',
    {
      'train': [
        {'inputs': f't {n}', 'targets': answer, 'answer_choices': ['A', answer]}
        for n, answer in enumerate(('b', 'c', 'c'))
      ],
      'test': [
        {'inputs': 'q', 'targets': 'A', 'answer_choices': ['A', 'b']},
        {'inputs': 'r', 'targets': 'C', 'answer_choices': ['b', 'C.']},
        {'inputs': 's', 'targets': 'x', 'answer_choices': ['A', 'x']},
      ],
    },
  )
  fixture.add_task('free', {'test': fixture.questions(1, id='own')})
  seqio.MixtureRegistry.remove('several')
  seqio_lib.add_mixture('several', {'choose': 1, 'free': 1})
  return corpus_lib.make(seqio_lib.find_task('several'))


def test_rows_are_those_of_every_task_with_the_split(corpus):
  rows = list(corpus.rows('test'))
  assert [(task.name, i.position) for task, i in rows] == [
    *(('choose', n) for n in range(3)),
    ('free', 0),
  ]
  assert [task.label_space for task, _ in rows] == [
    ('A', 'b'),
    ('b', 'C.'),
    ('A', 'x'),
    None,
  ]
  assert [task.kind for task, _ in rows] == [*['classification'] * 3, None]
  assert corpus.tasks_of('train') == ('choose',)
  assert [i.outputs for i in corpus.load('choose').instances] == [
    ('b',),
    ('c',),
    ('c',),
  ]
  assert corpus.fingerprint() == corpus.fingerprint()


def test_baselines_use_the_labels_of_each_example(corpus):
  rows = baselines.run_baseline('majority', corpus=corpus)
  # Of the training targets, b and c twice: the first label where none occurs.
  assert [row.prediction for row in rows] == ['b', 'C.', 'A', '']
  assert [row.id_source for row in rows] == [*['position'] * 3, None]
  assert rows[0].inputs == 'q'
  for row in baselines.run_baseline('random', corpus=corpus)[:3]:
    assert row.prediction in row.label_space


def test_a_split_that_no_task_has(corpus):
  with pytest.raises(InputError) as raised:
    corpus.check_has('tset')
  assert str(raised.value) == (
    "several has no split 'tset'; there are train, test. Did you mean 'test'?"
  )


def test_a_condition_has_its_own_corpus():
  name = 'natinst_def_original_ex_original2'
  with pytest.raises(InputError) as raised:
    corpus_lib.make(seqio_lib.find_task(name))
  assert str(raised.value) == (
    f'{name} reads a corpus of task files. Name that corpus instead: '
    '--corpus=DIR.'
  )


def test_tasks_have_the_names_that_predictions_have(corpus):
  seqio_lib.declare('choose', name='chosen')
  corpus = corpus_lib.make(seqio_lib.find_task('several'))
  assert corpus.tasks_of('test') == ('chosen', 'free')
  assert {task.name for task, _ in corpus.rows('test')} == {'chosen', 'free'}
  assert len(corpus.load('chosen').instances) == 3
  rows = baselines.run_baseline('majority', corpus=corpus)
  assert [row.prediction for row in rows] == ['b', 'C.', 'A', '']
  seqio_lib.declare('free', name='chosen')
  with pytest.raises(InputError) as raised:
    corpus_lib.make(seqio_lib.find_task('several'))
  assert str(raised.value) == (
    'several: its tasks choose and free are both declared as '
    "'chosen', so predictions could not be told apart. Name its tasks one by "
    'one.'
  )


def test_few_instances_are_the_first_of_each_task(corpus):
  several = seqio_lib.find_task('several')
  few = corpus_lib.make(several, max_instances=2)
  assert [(task.name, i.position) for task, i in few.rows('test')] == [
    ('choose', 0),
    ('choose', 1),
    ('free', 0),
  ]
  # What is not scored counts for the majority, and is not limited.
  assert len(few.load('choose').instances) == 3
  assert few.fingerprint(('test',)) != corpus.fingerprint(('test',))
