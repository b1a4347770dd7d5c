"""Faults planted in definitions: each is caught, and named by its code."""

import dataclasses
import re

from certificates_fixture import ORIGINAL, build_bench, of_task, replace_level
import pytest

from it_study.conditions import DEFINITION_LEVELS

EMPTY = 'natinst_def_empty_ex_empty0'
SIMPLIFIED = 'natinst_def_simplified_ex_empty0'
SHUFFLED = 'natinst_def_shuffled_ex_empty0'
RENAMED = 'natinst_def_renamed_ex_original1'
FLIPPED = 'natinst_def_flipped_ex_empty0'
LETTERS = 'natinst_def_renamedletters_ex_empty0'


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(tmp_path_factory.mktemp('certificates'))


@pytest.mark.parametrize(
  ('condition', 'change', 'code'),
  [
    (ORIGINAL, lambda text, _: text + ' ?', 'definition-text'),
    (ORIGINAL, lambda text, _: text.replace('wet', 'wen'), 'definition-text'),
    (ORIGINAL, lambda text, _: None, 'definition-text'),
    (EMPTY, lambda text, _: 'Is it wet?', 'definition-not-empty'),
    (SIMPLIFIED, lambda text, _: f'{text}, maybe', 'simplified-extra-text'),
    (SIMPLIFIED, lambda text, _: f'{text} please', 'simplified-extra-text'),
    (
      SIMPLIFIED,
      lambda text, _: text.removesuffix(', No'),
      'simplified-label-missing',
    ),
    (
      SIMPLIFIED,
      lambda text, _: text.replace('yes, Yes', 'Yes, yes'),
      'simplified-label-order',
    ),
    (
      SIMPLIFIED,
      lambda text, _: text.replace('outputs', 'answers'),
      'simplified-wording',
    ),
    (SHUFFLED, lambda text, _: 'Is it wet?', 'shuffled-own'),
    (
      SHUFFLED,
      lambda text, tasks: 'Say good or bad.',
      'shuffled-other-side',
    ),
    (
      SHUFFLED,
      lambda text, tasks: tasks['task7_twice'].definition,
      'shuffled-other-kind',
    ),
    (SHUFFLED, lambda text, _: 'Is it dusk?', 'shuffled-unknown'),
    (RENAMED, lambda text, _: text.replace('wet', 'dry'), 'renamed-definition'),
    (RENAMED, lambda text, _: f'{text} Really.', 'renamed-map'),
    (LETTERS, lambda text, _: text.lower(), 'renamed-definition'),
    (
      LETTERS,
      lambda text, _: re.sub('becomes [A-Z]', 'becomes 7', text),
      'renamed-map',
    ),
    (
      LETTERS,
      lambda text, _: re.sub('becomes [A-Z]', 'becomes Q', text),
      'renamed-map',
    ),
    (
      FLIPPED,
      lambda text, _: re.sub('(yes|no) becomes [a-z]+', r'\1 becomes \1', text),
      'renamed-map',
    ),
    (
      FLIPPED,
      lambda text, _: re.sub(
        'becomes (yes|no)',
        lambda match: f'becomes {"no" if match[1] == "yes" else "yes"}',
        text,
      ),
      'flipped-map',
    ),
    (FLIPPED, lambda text, _: 'Is it wet?', 'renamed-definition'),
    (
      RENAMED,
      lambda text, _: text[: text.rindex(', ')] + '.',
      'renamed-map',
    ),
  ],
)
def test_a_wrong_definition_is_caught(
  bench, monkeypatch, condition, change, code
):
  level = condition.split('_')[2]
  replace_level(monkeypatch, level, of_task('task5_wet', change))
  found = bench.certify(condition).tally
  assert dict(found.failures) == {code: 100}
  assert found.first[code][0].task == 'task5_wet'
  assert found.first[code][0].condition == condition


def test_a_definition_for_a_generation_task_is_caught(bench, monkeypatch):
  change = of_task('task7_twice', lambda text, _: 'Possible outputs: 1, 2')
  replace_level(monkeypatch, 'simplified', change)
  assert bench.codes(SIMPLIFIED) == {'definition-not-empty': 6}


def test_a_renamed_reference_outside_the_map_is_caught(bench, monkeypatch):
  def change(task, instance):
    if instance.id == 'task5-7':
      outputs = ('nope', *instance.outputs[1:])
      instance = dataclasses.replace(instance, outputs=outputs)
    return task, instance

  _replace_rewrite(monkeypatch, change)
  found = bench.certify(RENAMED).tally
  assert found.failures['renamed-reference'] == 1
  assert set(found.failures) <= {'renamed-reference', 'target'}
  failure = found.first['renamed-reference'][0]
  assert (failure.instance, failure.found) == ('task5-7', 'nope')


def test_a_renaming_that_differs_within_a_task_is_caught(bench, monkeypatch):
  def change(task, instance):
    if instance.id == 'task5-7':
      names = {'yes': 'tibor', 'no': 'lumen'}
      old = [task.definition.split(' becomes ')[i][:5] for i in (1, 3)]
      pairs = dict(zip(old, names.values(), strict=True))

      def swap(text):
        for one, other in pairs.items():
          text = text.replace(one, other)
        return text

      task = dataclasses.replace(
        task,
        definition=swap(task.definition),
        label_space=tuple(map(swap, task.label_space)),
        positive_examples=tuple(
          dataclasses.replace(e, output=swap(e.output))
          for e in task.positive_examples
        ),
      )
      instance = dataclasses.replace(
        instance, outputs=tuple(map(swap, instance.outputs))
      )
    return task, instance

  _replace_rewrite(monkeypatch, change)
  assert bench.codes(RENAMED) == {'renamed-inconsistent': 1}


def test_references_that_keep_their_old_names_are_caught(bench, monkeypatch):
  level = DEFINITION_LEVELS.get('renamed')

  def forget(*, task, instance, condition):
    return level.rewrite(task=task, instance=instance, condition=condition)[
      0
    ], instance

  fake = dataclasses.replace(level, rewrite=forget)
  monkeypatch.setitem(DEFINITION_LEVELS._levels, 'renamed', fake)
  assert bench.codes(RENAMED)['renamed-reference'] == 130


def _replace_rewrite(monkeypatch, change):
  level = DEFINITION_LEVELS.get('renamed')

  def rewrite(*, task, instance, condition):
    return change(
      *level.rewrite(task=task, instance=instance, condition=condition)
    )

  fake = dataclasses.replace(level, rewrite=rewrite)
  monkeypatch.setitem(DEFINITION_LEVELS._levels, 'renamed', fake)
