"""The folder of one prediction, to browse like a study of one cell."""

import dataclasses
import pathlib

from it_study.evaluation import baselines, metrics
from it_study.predictions import Prediction, read_predictions
from it_study.report.load import PREDICTIONS, RESULTS, Cell, Study
from it_study.report.text import join


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionFolder(Study):
  """What `it-study predict` writes, with predictions.jsonl at its top."""

  def predictions_path(self, cell: Cell) -> pathlib.Path:
    """Returns the path of the predictions."""
    del cell
    return self.directory / PREDICTIONS

  def remedy(self, cell: Cell) -> str:
    """Returns advice for damaged predictions."""
    del cell
    return 'Restore it, or predict again.'

  def check_cell(self, cell: Cell) -> None:
    """Raises `InputError` if the predictions of a study's cell have changed."""
    self.check_predictions(cell)


def is_prediction(directory: pathlib.Path) -> bool:
  """Returns whether a folder holds one prediction and no study."""
  return (directory / PREDICTIONS).is_file() and not (
    directory / RESULTS
  ).exists()


def read_prediction(directory: pathlib.Path) -> PredictionFolder:
  """Reads the folder of one prediction.

  Raises:
    InputError: If its predictions are not valid, or there are none.
  """
  rows = read_predictions(directory / PREDICTIONS)
  return PredictionFolder(
    directory=directory,
    cells=(_cell(rows),),
    run={},
    config=None,
    curves={},
    notes=(),
  )


def _cell(rows: list[Prediction]) -> Cell:
  first = rows[0]
  tests = dict.fromkeys(row.test_condition for row in rows)
  tested = join([name for name in tests if name is not None]) or None
  return Cell(
    cell='prediction',
    train_condition=first.train_condition,
    test_condition=tested,
    split=first.split or 'test',
    seed=first.seed,
    engine=first.engine or '',
    baseline=baselines.baseline_of(rows),
    metrics=metrics.compute_metrics(rows),
    # Its split may have any name.
    test_task=tested,
  )
