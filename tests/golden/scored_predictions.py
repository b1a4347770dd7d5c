"""Synthetic predictions of several kinds for a corpus's test instances."""

from collections.abc import Iterator
import dataclasses

from it_study.corpus.natinst import Corpus
from it_study.evaluation import baselines
from it_study.predictions import Prediction
from it_study.seeding import stable_random

# Letters with and without an ASCII form, a script without spaces, ligatures and
# combining marks.
_UNICODE = ('café', 'İSTANBUL', 'naïve', '東京', 'ß', 'ﬁn', 'e\u0301', '“ok”')


def kinds_of_predictions(
  corpus: Corpus,
) -> Iterator[tuple[str, list[Prediction]]]:
  """Yields the name and the rows of each kind, in the order of the test split.

  The corpus alone determines them: all shuffling is seeded by names.
  """
  rows = baselines.run_baseline('copy_input', corpus=corpus)
  yield 'inputs copied', rows
  yield (
    'first examples copied',
    baselines.run_baseline('copy_demo', corpus=corpus),
  )

  def with_predictions(predict) -> list[Prediction]:
    return [dataclasses.replace(row, prediction=predict(row)) for row in rows]

  by_task: dict[str, list[str]] = {}
  for row in rows:
    by_task.setdefault(row.task, []).append(row.targets[0])
  for name, targets in by_task.items():
    stable_random('golden', name).shuffle(targets)
  remaining = {name: iter(targets) for name, targets in by_task.items()}
  yield (
    'references shuffled',
    with_predictions(lambda row: next(remaining[row.task])),
  )
  yield (
    'words shuffled',
    with_predictions(
      lambda row: ' '.join(_shuffled(row.targets[0].split(), row.id))
    ),
  )
  yield (
    'Unicode',
    with_predictions(
      lambda row: ' '.join(
        _shuffled([*_UNICODE, *row.targets[0].split()], row.id)
      )
    ),
  )
  yield 'empty', with_predictions(lambda row: '')
  yield (
    'punctuation and case',
    with_predictions(lambda row: f' «{row.targets[0].upper()}»?!\n'),
  )
  yield (
    'very long',
    with_predictions(lambda row: f'{row.inputs} {row.targets[0]} ' * 3),
  )


def _shuffled(words: list[str], name: str) -> list[str]:
  stable_random('golden', name).shuffle(words)
  return words
