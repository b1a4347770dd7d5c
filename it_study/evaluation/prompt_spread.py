"""Exact match of each task, and its spread over the tasks of a category."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from it_study.corpus.findings import plural
from it_study.evaluation import metrics
from it_study.predictions import Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
  """How exact match varies over the tasks of a category, in percent.

  Where the tasks are prompts of one data set, as P3's are, this is what T0
  reports (Sanh et al. 2022, section 6): the median over its prompts, and the
  interquartile range, q3 - q1.

  Attributes:
    category: Name of the category.
    median: Median over its tasks.
    q1: First quartile, by linear interpolation.
    q3: Third quartile.
    by_task: Exact match by task.
  """

  category: str
  median: float
  q1: float
  q3: float
  by_task: dict[str, float]

  def __str__(self) -> str:
    return (
      f'{self.category}: median {self.median:.1f}, quartiles {self.q1:.1f} to '
      f'{self.q3:.1f}, over {plural(len(self.by_task), "task")}'
    )


def spreads(rows: Sequence[Prediction]) -> list[Spread]:
  """Returns the spread of each category by name; needs task and category."""
  tasks: dict[str, dict[str, list[Prediction]]] = {}
  for row in rows:
    if row.category is not None and row.task is not None:
      tasks.setdefault(row.category, {}).setdefault(row.task, []).append(row)
  found = []
  for category, groups in sorted(tasks.items()):
    by_task = {
      task: 100 * float(np.mean([_is_right(row) for row in group]))
      for task, group in sorted(groups.items())
    }
    q1, median, q3 = np.quantile([*by_task.values()], (0.25, 0.5, 0.75))
    found.append(
      Spread(
        category=category,
        median=float(median),
        q1=float(q1),
        q3=float(q3),
        by_task=by_task,
      )
    )
  return found


def _is_right(row: Prediction) -> bool:
  return metrics.exact_match(row.prediction, row.targets)
