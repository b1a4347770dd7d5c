"""Tests of it_study.corpus.instance_search."""

import json

import fakes
import pytest

from it_study.corpus import exclusions, natinst
from it_study.corpus.instance_search import find_instance
from it_study.errors import InputError


@pytest.fixture(name='directory')
def _directory(tmp_path):
  return fakes.write_small_corpus(tmp_path / 'corpus')


@pytest.fixture(name='corpus')
def _corpus(directory):
  return natinst.open_corpus(directory)


def loads(monkeypatch):
  """The names of the task files that are parsed."""
  names, load = [], natinst.Corpus.load
  monkeypatch.setattr(
    natinst.Corpus,
    'load',
    lambda corpus, name: names.append(name) or load(corpus, name),
  )
  return names


@pytest.mark.parametrize('split', natinst.SPLITS)
def test_every_instance_is_found_in_its_split(corpus, split):
  for task, instance in list(corpus.rows(split))[::9]:
    found = find_instance(corpus, instance.id)
    assert (found.split, found.task.name) == (split, task.name)
    assert found.instance == instance
    assert find_instance(corpus, instance.id, split=split) == found


def test_at_most_one_file_is_parsed(corpus, monkeypatch):
  names, done = loads(monkeypatch), []
  find_instance(
    corpus, 'title-3', on_progress=lambda *counts: done.append(counts)
  )
  assert set(names) == {'task5_title'}
  # The four files before it were searched.
  assert done == [(n, 5) for n in (1, 2, 3, 4)]
  names.clear()
  with pytest.raises(InputError):
    find_instance(corpus, 'nothing')
  assert names == []


def test_tasks_that_match_the_id_come_first(raw_task, write_corpus):
  tasks = {
    name: raw_task() for name in ('task1_a', 'task12_b', 'task2_c', 'task3_d')
  }
  for name, raw in tasks.items():
    for instance in raw['Instances']:
      number = instance['id'].removeprefix('t-')
      instance['id'] = f'{name.split("_")[0]}-{number}'
  directory = write_corpus(
    train=dict(list(tasks.items())[:3]), test={'task3_d': tasks['task3_d']}
  )
  (directory / 'tasks/task12_b.json').write_text('{')
  corpus, done = natinst.open_corpus(directory), []
  found = find_instance(
    corpus, 'task3-2', on_progress=lambda *counts: done.append(counts)
  )
  assert (found.task.name, done) == ('task3_d', [])
  # A broken file without the id does not matter.
  assert find_instance(corpus, 'task2-0').task.name == 'task2_c'
  with pytest.raises(InputError) as error:
    find_instance(corpus, 'task3-7')
  assert str(error.value) == (
    f"corpus {directory}: no instance 'task3-7' in its splits; the nearest are "
    "'task3-2', 'task3-1', 'task3-0'."
  )


def test_an_unknown_id_is_refused_with_the_nearest(corpus, directory):
  with pytest.raises(InputError) as error:
    find_instance(corpus, 'titel-3')
  assert str(error.value) == (
    f"corpus {directory}: no instance 'titel-3' in its splits; the nearest are "
    "'title-3', 'title-5', 'title-4'."
  )
  with pytest.raises(InputError, match="no instance '' in its splits"):
    find_instance(corpus, '')


def test_an_instance_of_another_split(corpus):
  train, test = (next(corpus.rows(split))[1].id for split in ('train', 'test'))
  with pytest.raises(InputError) as error:
    find_instance(corpus, train, split='validation')
  assert str(error.value) == (
    f"instance '{train}' of task1_mood is in train, not in validation. Drop "
    '--split, or give train.'
  )
  with pytest.raises(InputError, match="no instance 'entail-0' in train; the"):
    find_instance(corpus, test, split='train')


def test_an_instance_of_no_split(corpus):
  # Test has 100 of the 105 instances.
  with pytest.raises(InputError) as error:
    find_instance(corpus, 'entail-104')
  assert str(error.value) == (
    "instance 'entail-104' of task4_entail is in no split: test has only the "
    'first 100 instances of a task. Name another.'
  )


def test_an_excluded_instance(directory):
  left_out = exclusions.make([('task5_title', 'title-3')], path='list.txt')
  corpus = natinst.open_corpus(directory, exclusions=left_out)
  with pytest.raises(InputError) as error:
    find_instance(corpus, 'title-3')
  assert str(error.value) == (
    "instance 'title-3' of task5_title is left out by list.txt. Name another, "
    'or drop --exclude.'
  )


@pytest.mark.parametrize('name', ['a"b\\', 'é日', 'x\ny', '[bold]', "a'b/"])
@pytest.mark.parametrize('ensure_ascii', [True, False])
def test_ids_with_any_characters(raw_task, write_corpus, name, ensure_ascii):
  directory = write_corpus(
    train={'task1_a': raw_task(12)}, test={'task2_b': raw_task()}
  )
  raw = raw_task()
  raw['Instances'][1]['id'] = name
  path = directory / 'tasks/task2_b.json'
  path.write_text(json.dumps(raw, ensure_ascii=ensure_ascii), encoding='utf-8')
  corpus = natinst.open_corpus(directory)
  assert find_instance(corpus, name).instance.position == 1
