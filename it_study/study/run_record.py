"""Counts that describe a corpus in a record of a study."""

import collections
from collections.abc import Sequence

from it_study.conditions import EXAMPLE_LEVELS, Condition
from it_study.corpus import natinst


def task_counts(corpus: natinst.Corpus) -> dict[str, int]:
  """Counts of tasks by split and kind."""
  stats = {}
  for split, names in (
    ('train', corpus.train_tasks),
    ('test', corpus.test_tasks),
  ):
    kinds = collections.Counter(corpus.load(n).task.kind for n in names)
    stats[f'{split}_tasks'] = len(names)
    stats[f'classification_{split}_tasks'] = kinds['classification']
  return stats


def delusive_sources(
  corpus: natinst.Corpus, conditions: Sequence[Condition]
) -> dict[str, dict[str, int]]:
  """How many delusive examples come from where, by kind, over all tasks."""
  counts: dict[str, collections.Counter] = {}
  for condition in conditions:
    if condition.examples != 'delusive':
      continue
    level = EXAMPLE_LEVELS.get('delusive')
    for name in (*corpus.train_tasks, *corpus.test_tasks):
      file = corpus.load(name)
      for example in level(
        task=file.task, instance=file.instances[0], condition=condition
      ):
        counter = counts.setdefault(file.task.kind, collections.Counter())
        counter[example.source] += 1
  return {kind: dict(sorted(c.items())) for kind, c in sorted(counts.items())}
