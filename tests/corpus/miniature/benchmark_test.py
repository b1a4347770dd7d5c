"""Tests for benchmark and recipes."""

import collections
import dataclasses
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from it_study.corpus import natinst
from it_study.corpus.miniature import (
  benchmark as mini,
  labels,
  recipes,
  words,
)
from it_study.errors import InputError
from it_study.storage import text_files


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return natinst.open_corpus(
    mini.write_miniature(tmp_path_factory.mktemp('corpus') / 'mini')
  )


def _files(directory: pathlib.Path) -> dict[str, bytes]:
  return {
    path.relative_to(directory).as_posix(): path.read_bytes()
    for path in sorted(directory.rglob('*'))
    if path.is_file()
  }


def test_layout_is_that_of_natural_instructions(corpus):
  files = _files(corpus.directory)
  assert [name for name in files if not name.startswith('tasks/')] == [
    'miniature.json',
    'splits/default/excluded_tasks.txt',
    'splits/default/test_tasks.txt',
    'splits/default/train_tasks.txt',
  ]
  assert json.loads(files['miniature.json']) == {'miniature': 2, 'seed': 0}
  assert len(corpus.train_tasks) == 467
  assert len(corpus.test_tasks) == 65
  assert len(files) == 4 + 467 + 65
  fields = json.loads(files['tasks/task9201_mini_reverse_words.json'])
  assert {'Definition', 'Categories', 'Positive Examples', 'Instances'} <= set(
    fields
  )
  assert set(fields['Instances'][0]) == {'id', 'input', 'output'}


def test_same_seed_gives_same_bytes_whatever_the_hash_seed(corpus, tmp_path):
  program = (
    'import sys; '
    'from it_study.corpus.miniature.benchmark import write_miniature; '
    'write_miniature(sys.argv[1]); '
    'heavy = {"jax", "tensorflow", "seqio"} & set(sys.modules); '
    'sys.exit(str(heavy) if heavy else 0)'
  )
  subprocess.run(
    [sys.executable, '-c', program, str(tmp_path / 'other')],
    env={**os.environ, 'PYTHONHASHSEED': '4242'},
    check=True,
  )
  assert _files(tmp_path / 'other') == _files(corpus.directory)


def test_another_seed_gives_other_instances_ids_and_labels(corpus, tmp_path):
  other = natinst.open_corpus(mini.write_miniature(tmp_path, seed=1))
  assert len(other.train_tasks) == len(corpus.train_tasks)
  name = 'task10001_mini_training_kind'
  mine, theirs = corpus.load(name), other.load(name)
  assert not {i.id for i in mine.instances} & {i.id for i in theirs.instances}
  assert [i.input for i in mine.instances] != [
    i.input for i in theirs.instances
  ]
  assert mine.task.label_space != theirs.task.label_space


def test_a_small_one_has_every_group_and_category(corpus, tmp_path):
  small = natinst.open_corpus(mini.write_miniature(tmp_path, size=mini.SMALL))
  assert (len(small.train_tasks), len(small.test_tasks)) == (33, 18)
  categories, found = (
    {one.load(name).task.category for name in one.test_tasks}
    for one in (corpus, small)
  )
  assert {c.split(':')[0] for c in categories} == {
    c.split(':')[0] for c in found
  }


def test_writing_again_replaces_seed_and_stale_tasks(corpus, tmp_path):
  mini.write_miniature(tmp_path, seed=1)
  (tmp_path / 'tasks/task9999_old.json').write_text('{}')
  (tmp_path / 'splits/default/train_tasks.txt').unlink()
  mini.write_miniature(tmp_path)
  assert _files(tmp_path) == _files(corpus.directory)


def test_tasks_have_ids_examples_and_distinct_inputs(corpus):
  ids, inputs_of = [], collections.defaultdict(set)
  for name in (*corpus.train_tasks, *corpus.test_tasks):
    file = corpus.load(name)
    assert file.warnings == ()
    assert len(file.instances) in (
      (100,) if name in corpus.test_tasks else (30, 50)
    )
    assert len(file.task.positive_examples) == 4
    assert len(file.task.negative_examples) == 4
    examples = (*file.task.positive_examples, *file.task.negative_examples)
    assert all(example.explanation for example in examples)
    inputs = [i.input for i in file.instances] + [e.input for e in examples]
    assert len(set(inputs)) == len(inputs)
    number = name.split('_')[0]
    for instance in file.instances:
      assert re.fullmatch(f'{number}-[0-9a-f]{{32}}', instance.id)
      ids.append(instance.id)
    # The two tasks of a pair share their inputs.
    pair = re.sub('^task[0-9]+|straight|reversed', '', name)
    key = pair if file.task.category == 'Positive Control' else name
    for text in inputs:
      inputs_of[text].add(key)
  assert len(set(ids)) == len(ids) == 30 * 419 + 50 * 48 + 100 * 65
  assert {len(keys) for keys in inputs_of.values()} == {1}


def test_kinds_and_categories(corpus):
  def counts(split):
    tasks = [corpus.load(name).task for name in corpus.tasks_of(split)]
    return collections.Counter(task.kind for task in tasks)

  assert counts('train') == {'classification': 460, 'generation': 7}
  assert counts('test') == {'classification': 58, 'generation': 7}
  categories = collections.Counter(
    corpus.load(name).task.category for name in corpus.test_tasks
  )
  assert {c: n for c, n in categories.items() if ':' in c} == {
    'Transfer: kind': 8,
    'Transfer: color': 3,
    'Transfer: person': 3,
    'Transfer: time': 2,
    'Transfer: place': 2,
    'Transfer: number': 2,
    'Novel: speech act': 3,
    'Novel: entailment': 3,
    'Novel: answerability': 3,
    'Novel: agreement': 3,
    'Novel: pronoun': 2,
    'Novel: sameness': 2,
    'Novel: cause': 2,
    'Novel: order': 2,
  }
  assert {c for c in categories if ':' not in c} == {
    'Positive Control',
    'Negative Control',
    'Coreference Resolution',
    'Overlap Extraction',
    'Keyword Tagging',
    'Question Rewriting',
    'Title Generation',
    'Data to Text',
    'Grammar Error Correction',
  }


def test_labels_of_test_tasks_are_known_and_combined_anew(corpus):
  """A positive control keeps its labels, which say nothing about the task."""

  def label_spaces(split):
    tasks = (corpus.load(name).task for name in corpus.tasks_of(split))
    return [
      task.label_space
      for task in tasks
      if task.label_space and task.category != 'Positive Control'
    ]

  def pairs(spaces):
    return {
      pair
      for space in spaces
      for pair in itertools.combinations(sorted(space), 2)
    }

  trained, unseen = label_spaces('train'), label_spaces('test')
  assert {label for space in unseen for label in space} <= {
    label for space in trained for label in space
  }
  assert not pairs(trained) & pairs(unseen)
  assert {len(space) for space in unseen} == {2, 3, 4}
  sentences = (
    i.input for name in corpus.train_tasks for i in corpus.load(name).instances
  )
  assert not set(words.LABELS) & {
    word for text in sentences for word in re.findall(r'\w+', text)
  }


def test_single_test_instances_have_any_label(corpus):
  few = dataclasses.replace(corpus, test_instances=1)
  places = [
    task.label_space.index(instance.outputs[0])
    for task, instance in few.rows('test')
    if task.label_space is not None
  ]
  assert len(places) == 58
  assert 0.3 < places.count(0) / len(places) < 0.6


def test_first_hundred_test_instances_are_balanced(corpus):
  for name in corpus.test_tasks:
    task = corpus.load(name).task
    if task.label_space is None or task.category == 'Positive Control':
      continue
    labels = collections.Counter(
      instance.outputs[0] for instance in corpus.instances(name, 'test')
    )
    assert sum(labels.values()) == 100
    assert set(labels) == set(task.label_space)
    assert max(labels.values()) - min(labels.values()) <= 1, name


def test_negative_examples_are_wrong_and_in_the_label_space(corpus):
  for name in (*corpus.train_tasks, *corpus.test_tasks):
    task = corpus.load(name).task
    if task.label_space is not None:
      for example in task.negative_examples:
        assert example.output in task.label_space, name
        assert example.explanation.endswith(f'It is not: {example.output}')


def test_a_directory_with_something_else_is_refused(tmp_path):
  (tmp_path / 'thesis.txt').write_text('mine')
  with pytest.raises(InputError) as error:
    mini.write_miniature(tmp_path)
  assert str(error.value) == (
    f"{tmp_path} is not empty and not a miniature: it holds 'thesis.txt', but "
    'no miniature.json. Name a new or empty directory.'
  )
  assert _files(tmp_path) == {'thesis.txt': b'mine'}


def test_a_file_is_refused(tmp_path):
  path = tmp_path / 'corpus'
  path.write_text('mine')
  with pytest.raises(InputError, match=r'is a file\. Name a new or empty'):
    mini.write_miniature(path)


def test_a_path_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(InputError) as error:
    mini.write_miniature(tmp_path / 'file/corpus')
  assert str(error.value) == (
    f'cannot write the miniature to {tmp_path}/file/corpus: Not a directory. '
    'Name a directory that can be written.'
  )


def test_an_interrupted_miniature_is_not_a_corpus_and_is_completed(
  corpus, tmp_path, monkeypatch
):
  written = []

  def interrupted(path, content):
    if len(written) == 20:
      raise KeyboardInterrupt
    written.append(path)
    text_files.write_file(path, content)

  with monkeypatch.context() as patch:
    patch.setattr(mini, 'write_file', interrupted)
    with pytest.raises(KeyboardInterrupt):
      mini.write_miniature(tmp_path)
  assert mini.is_miniature(tmp_path)
  with pytest.raises(InputError):
    natinst.open_corpus(tmp_path)
  mini.write_miniature(tmp_path)
  assert _files(tmp_path) == _files(corpus.directory)


def test_exhausted_templates_are_an_error():
  recipe = recipes.Recipe(
    name='task1_same',
    category='Program Execution',
    definition='Say it again.',
    labels=None,
    draw=lambda random_, label: recipes.Text('a', ('a',), 'b', 'It is a.'),
  )
  with pytest.raises(ValueError, match='its templates give too few new inputs'):
    recipes.TaskBuilder(0).build(recipe, is_test=True)


def test_labels_run_out_with_an_error():
  dealer = labels.LabelDealer(0)
  dealer.deal(60)
  with pytest.raises(ValueError, match='no 60 labels are left'):
    dealer.deal(60)
