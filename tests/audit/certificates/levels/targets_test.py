"""Faults planted in training targets: each is caught, and named by its code."""

import dataclasses

from certificates_fixture import build_bench
import pytest

from it_study.conditions import TARGET_LEVELS
from it_study.instructions import targets

SWAPPED = 'natinst_def_original_ex_original1_tgtswapped'
RANDOM = 'natinst_def_original_ex_original1_tgtrandom'


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(tmp_path_factory.mktemp('certificates'))


def plant(monkeypatch, name, change):
  """Replaces targets of task1_mood by `change(target, instance)`."""
  level = TARGET_LEVELS.get(name)

  def changed(*, task, instance, condition, instances):
    target = level.function(
      task=task, instance=instance, condition=condition, instances=instances
    )
    is_mood = task.name == 'task1_mood'
    return change(target, instance) if is_mood else target

  fake = dataclasses.replace(level, function=changed)
  monkeypatch.setitem(TARGET_LEVELS._levels, name, fake)


@pytest.mark.parametrize(
  ('name', 'change', 'codes'),
  [
    # 30 rows, half of each label; the others stay as they are.
    (SWAPPED, lambda target, i: 'good', {'target-marginals': 2}),
    (SWAPPED, lambda target, i: 'fine', {'target-marginals': 3}),
    (SWAPPED, lambda target, i: i.outputs[0], {'target-right': 2}),
    (RANDOM, lambda target, i: i.outputs[0], {'target-draw': 14}),
    (RANDOM, lambda target, i: target.upper(), {'target-draw': 30}),
  ],
)
def test_a_wrong_target_is_caught(bench, monkeypatch, name, change, codes):
  plant(monkeypatch, name.rpartition('tgt')[2], change)
  found = bench.certify(name, split='train').tally
  assert dict(found.failures) == codes
  assert {f.task for fs in found.first.values() for f in fs} == {'task1_mood'}


def test_a_right_target_that_could_be_exchanged_is_named(bench, monkeypatch):
  plant(monkeypatch, 'swapped', lambda target, instance: instance.outputs[0])
  found = bench.certify(SWAPPED, split='train').tally
  assert found.first['target-right'][0].expected.startswith(
    'a wrong answer, such as that of task1-'
  )


@pytest.mark.parametrize('split', ['validation', 'test'])
def test_altered_references_on_another_split_are_caught(
  bench, monkeypatch, split
):
  assert bench.codes(SWAPPED, split=split) == {}
  monkeypatch.setattr(targets, 'training_target', lambda **_: 'nope')
  number = {'validation': 40, 'test': 142}[split]
  assert bench.codes(SWAPPED, split=split) == {'target': number}


def test_targets_that_no_exchange_makes_wrong_are_counted(bench):
  certificate = bench.certify(SWAPPED, split='train')
  assert certificate.is_clean
  (line,) = [line for line in certificate.lines() if 'right targets' in line]
  assert line.endswith('  4 right targets')
