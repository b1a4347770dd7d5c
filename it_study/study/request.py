"""What a call of `run_study` asks for: checked, and joined to earlier calls."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import os
from typing import Any

from it_study.conditions import Condition, check_several
from it_study.corpus import natinst
from it_study.errors import InputError
from it_study.evaluation.stats.margins import check_margin
from it_study.study import grid, subjects
from it_study.study.subjects import Corpora, OwnTask, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """The grid that a call of `run_study` asks for; see its arguments."""

  corpus: str | os.PathLike[str] | None
  conditions: Sequence[Subject]
  seeds: Sequence[int]
  splits: Sequence[str]
  test_conditions: Sequence[Subject]
  equivalence_margin: float
  instances_per_test_task: int | None

  def check(self) -> None:
    """Raises `InputError` if it cannot run.

    To be called before the folder is claimed, as a claim is for good.
    """
    check_margin(self.equivalence_margin, setting='EQUIVALENCE_MARGIN')
    _check_seeds(self.seeds)
    check_several(self.splits, setting='run_study.splits')
    for subject in self.test_conditions:
      subject.check_test()
    corpora, _, cells = self.open()
    corpus = corpora.conditions
    if corpus is None:
      return
    trained = [c for c in self.conditions if isinstance(c, Condition)]
    splits = ['train'] if trained else []
    if not all(isinstance(cell.tested, OwnTask) for cell in cells):
      splits += self.splits
    for split in splits:
      corpus.check_has(split)
    for condition in trained:
      natinst.check_num_tasks(
        condition.num_tasks, len(corpus.train_tasks), setting=condition.name
      )

  def continuing(self, before: Mapping[str, Any]) -> 'Request':
    """Returns what earlier runs asked for, and then what this one does.

    Args:
      before: run.json of the earlier runs; empty before the first.
    """
    names = extend(
      before.get('test_conditions'),
      [subject.for_test().name for subject in self.test_conditions],
    )
    return dataclasses.replace(
      self,
      conditions=subjects.find(
        extend(before.get('conditions'), [c.name for c in self.conditions]),
        setting='run.json',
      ),
      seeds=extend(before.get('seeds'), self.seeds),
      test_conditions=subjects.find(names, setting='run.json'),
    )

  def open(self) -> tuple[Corpora, list[grid.Training], list[grid.Cell]]:
    """Returns the instances, trainings and cells of the grid."""
    plan = functools.partial(
      grid.plan,
      conditions=self.conditions,
      seeds=self.seeds,
      splits=self.splits,
      test_conditions=self.test_conditions,
    )
    _, cells = plan()
    corpora = subjects.open_corpora(
      self.corpus,
      trained=self.conditions,
      tested=[cell.tested for cell in cells],
      splits=self.splits,
      instances_per_test_task=self.instances_per_test_task,
    )
    return corpora, *plan(baselines=corpora.baselines)


def extend(before: list | None, now: Sequence) -> list:
  """Returns the earlier values, then the new ones, each once."""
  return list(dict.fromkeys((*(before or ()), *now)))


def _check_seeds(seeds: object) -> None:
  if (
    not isinstance(seeds, list | tuple)
    or not seeds
    or not all(type(seed) is int for seed in seeds)
  ):
    raise InputError(
      f'SEEDS is {seeds!r}; give whole numbers in brackets, such as (0, 1, 2), '
      'or (0,) for one.'
    )
