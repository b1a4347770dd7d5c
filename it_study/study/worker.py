"""The work units of a study, done one by one by any number of workers."""

from collections.abc import Callable, Sequence
import dataclasses
import logging
import os
import pathlib
import time
from typing import Any

from it_study import predictions
from it_study.evaluation import baselines, score
from it_study.storage import text_files
from it_study.storage.manifest import DONE, write_done
from it_study.storage.shared_folder import SharedFolder
from it_study.study import finished, grid
from it_study.study.subjects import Corpora

ANSWERS = 'answers'
# Phases of an engine, as a study shows them.
_PHASES = {'tokenising': 'tokenise', 'compiling': 'compile'}
# Pause between checks whether another worker has finished or died.
_WAIT_SECONDS = 2.0
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """Where a study stands, for a progress bar.

  Attributes:
    cell: Name of the current training or cell.
    phase: 'resume' once, before the work of a study that has results;
      'tokenise', 'compile', 'train', 'predict', 'score', 'wait' for other
      workers, or 'done'.
    finished: Number of work units done, trainings and cells; cells alone when
      resuming.
    planned: Number of work units, or cells when resuming, in all.
    done: Steps or instances of this work unit done.
    total: Steps or instances in all; 0 if not known.
    metrics: Last metrics of a training; empty in other phases.
  """

  cell: str
  phase: str
  finished: int
  planned: int
  done: int = 0
  total: int = 0
  metrics: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
  """The two calls of an engine, configured.

  Attributes:
    finetune: Function of task, folder and seed that trains a model.
    predict: Function of task, checkpoint, split and folders that answers it.
    instances_per_test_task: Number of instances that `predict` answers of
      each test task; None for all.
  """

  finetune: Callable[..., dict[str, Any]]
  predict: Callable[..., pathlib.Path]
  instances_per_test_task: int | None = None


@dataclasses.dataclass
class Worker:
  """Does the work units of a study that no worker has done or is doing.

  A work unit belongs to the worker that holds its folder's lock. When that
  process ends, for whatever reason, another worker takes the unit over.

  Attributes:
    folder: Folder of the study.
    corpora: Instances to score against.
    config: Configuration as text, written beside every training.
    engine: Engine to train and predict with.
    initial_checkpoint_path: Weights of the untuned model; None for random ones.
    answer_dir: Folder that caches answers.
    planned: Number of work units in all.
    on_step: Callback, called with every step.
    finished: Number of work units done so far.
    trained: Trainings known to be done.
  """

  folder: SharedFolder
  corpora: Corpora
  config: str
  engine: Engine
  initial_checkpoint_path: str | os.PathLike | None
  answer_dir: str | os.PathLike
  planned: int
  on_step: Callable[[Step], None]
  finished: int = 0
  trained: set[grid.Training] = dataclasses.field(default_factory=set)

  def run(
    self, cells: Sequence[grid.Cell], *, on_finished: Callable[[], None]
  ) -> None:
    """Returns when all cells are done, by this worker or by others.

    Args:
      cells: Cells in the order to work on them.
      on_finished: Callback, called after every cell.

    Raises:
      InputError: If a file of finished work has changed; see `repair`.
    """
    finished.repair(self.folder, cells, corpora=self.corpora)
    remaining = list(cells)
    while remaining:
      skipped = []
      for cell in remaining:
        if self._train(cell.training) and self._finish(cell):
          on_finished()
        else:
          skipped.append(cell)
      if len(skipped) == len(remaining):
        self._report(skipped[0].name, 'wait')
        time.sleep(_WAIT_SECONDS)
      remaining = skipped

  def _train(self, training: grid.Training | None) -> bool:
    """Trains unless that is done. Returns False if another worker is at it."""
    if training is None or training.subject is None:
      return True
    if training in self.trained:
      return True
    name = training.folder
    done = f'{name}/{DONE}'
    if not self.folder.exists(done):
      with self.folder.claimed(name) as acquired:
        if not acquired:
          return False
        # Another worker may have finished it just now.
        if not self.folder.exists(done):
          if (self.folder.path / name / 'config.gin').exists():
            _logger.warning(
              '%s: the worker that started it is gone; resuming it.', name
            )
          self._run_training(training, self.folder.path / name)
    self.folder.fetch(done)
    self.trained.add(training)
    self.finished += 1
    return True

  def _run_training(
    self, training: grid.Training, folder: pathlib.Path
  ) -> None:
    assert training.subject is not None, 'an untuned model is not trained'
    text_files.write_text(
      folder / 'config.gin',
      f'{self.config}\n# This training.\n'
      f'MIXTURE_OR_TASK_NAME = {training.subject.name!r}\n'
      f'MODEL_DIR = {os.fspath(folder)!r}\nSEED = {training.seed}\n',
    )
    self._report(training.name, 'train')
    summary = self.engine.finetune(
      mixture_or_task_name=training.subject.name,
      model_dir=folder,
      seed=training.seed,
      on_progress=lambda progress: self._report(
        training.name,
        _PHASES.get(progress.phase, 'train'),
        progress.step,
        progress.train_steps,
        dict(progress.metrics),
      ),
    )
    write_done(folder, summary, names=finished.TRAINING_FILES)

  def _finish(self, cell: grid.Cell) -> bool:
    """Runs a cell unless done. Returns False if another worker is at it."""
    name = cell.folder
    done = f'{name}/{DONE}'
    if not self.folder.exists(done):
      with self.folder.claimed(name, adds_to=(ANSWERS,)) as acquired:
        if not acquired:
          return False
        if not self.folder.exists(done):
          self._run_cell(cell, self.folder.path / name)
    self.folder.fetch(name)
    self.finished += 1
    self._report(cell.name, 'done')
    return True

  def _run_cell(self, cell: grid.Cell, folder: pathlib.Path) -> None:
    started = time.monotonic()
    self._report(cell.name, 'predict')
    if cell.training is None:
      self._run_baseline(cell, folder)
    else:
      self._predict(cell, folder)
    path = folder / finished.PREDICTIONS
    self._report(cell.name, 'score')
    score.score_file(
      path,
      corpus=self.corpora.of(cell.tested),
      split=cell.split,
      out=folder / finished.METRICS,
    )
    write_done(
      folder,
      {'seconds': round(time.monotonic() - started, 3)},
      names=finished.CELL_FILES,
    )

  def _run_baseline(self, cell: grid.Cell, folder: pathlib.Path) -> None:
    assert cell.baseline is not None, 'a cell has a training or a baseline'
    rows = baselines.run_baseline(
      cell.baseline,
      corpus=self.corpora.of(cell.tested),
      split=cell.split,
      seed=cell.seed,
    )
    predictions.write_predictions(folder / finished.PREDICTIONS, rows)

  def _predict(self, cell: grid.Cell, folder: pathlib.Path) -> None:
    training = cell.training
    assert training is not None
    assert cell.tested is not None, 'a model is tested on something'
    checkpoint = self.initial_checkpoint_path
    if training.subject is not None:
      checkpoint = self.folder.path / training.folder
      self.folder.fetch(training.folder)
    self.engine.predict(
      mixture_or_task_name=cell.tested.name,
      checkpoint_path=checkpoint,
      infer_output_dir=folder,
      answer_dir=self.answer_dir,
      split=cell.split,
      seed=training.seed,
      on_progress=lambda done, total: self._report(
        cell.name, 'predict', done, total
      ),
    )

  def _report(
    self,
    cell: str,
    phase: str,
    done: int = 0,
    total: int = 0,
    metrics: dict[str, float] | None = None,
  ) -> None:
    self.on_step(
      Step(
        cell=cell,
        phase=phase,
        finished=self.finished,
        planned=self.planned,
        done=done,
        total=total,
        metrics=metrics or {},
      )
    )
