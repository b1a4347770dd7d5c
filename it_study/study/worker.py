"""The pieces of a study, done one after the other by any number of workers."""

from collections.abc import Callable, Sequence
import dataclasses
import json
import logging
import os
import pathlib
import time
from typing import Any

from it_study import predictions
from it_study.corpus import natinst
from it_study.evaluation import baselines, score
from it_study.storage import text_files
from it_study.storage.shared_folder import SharedFolder
from it_study.study import grid

DONE = 'DONE'
ANSWERS = 'answers'
# An engine's phases, as they are shown.
_PHASES = {'tokenising': 'tokenise', 'compiling': 'compile'}
# Between two looks at what other workers are doing.
_WAIT_SECONDS = 2.0
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """Where a study stands, for a progress bar.

  Attributes:
    cell: name of the training or cell at work.
    phase: 'tokenise', 'compile', 'train', 'predict', 'score', 'wait' for other
      workers, or 'done'.
    finished: pieces of work done, trainings and cells.
    planned: of all.
    done: steps or instances of this piece done.
    total: of all; 0 if that is not known.
    metrics: of the training step, empty elsewhere.
  """

  cell: str
  phase: str
  finished: int
  planned: int
  done: int = 0
  total: int = 0
  metrics: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Worker:
  """Does the pieces of a study that nobody has done or is doing.

  A piece is worked on by who has claimed its folder; when that process ends,
  however it does, another worker takes the piece over.
  """

  folder: SharedFolder
  corpus: natinst.Corpus
  config: str
  finetune: Callable[..., dict[str, Any]]
  predict: Callable[..., pathlib.Path]
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
      cells: in the order to work on them.
      on_finished: called after every cell.
    """
    left = list(cells)
    while left:
      kept = []
      for cell in left:
        if self._train(cell.training) and self._finish(cell):
          on_finished()
        else:
          kept.append(cell)
      if len(kept) == len(left):
        self._report(kept[0].name, 'wait')
        time.sleep(_WAIT_SECONDS)
      left = kept

  def _train(self, training: grid.Training | None) -> bool:
    """Whether the training is done, by now or after doing it."""
    if training is None or training.condition is None:
      return True
    if training in self.trained:
      return True
    name = training_piece(training)
    done = f'{name}/{DONE}'
    if not self.folder.exists(done):
      with self.folder.claimed(name) as acquired:
        if not acquired:
          return False
        # The worker before may have finished it just now.
        if not self.folder.exists(done):
          if (self.folder.path / name / 'config.gin').exists():
            _logger.warning(
              '%s: who began it is gone; going on from what is there.', name
            )
          self._run_training(training, self.folder.path / name)
    self.folder.fetch(done)
    self.trained.add(training)
    self.finished += 1
    return True

  def _run_training(
    self, training: grid.Training, folder: pathlib.Path
  ) -> None:
    text_files.write_text(
      folder / 'config.gin',
      f'{self.config}\n# This training.\n'
      f'MIXTURE_OR_TASK_NAME = {training.condition.name!r}\n'
      f'MODEL_DIR = {os.fspath(folder)!r}\nSEED = {training.seed}\n',
    )
    self._report(training.name, 'train')
    summary = self.finetune(
      mixture_or_task_name=training.condition.name,
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
    write_json(folder / DONE, summary)

  def _finish(self, cell: grid.Cell) -> bool:
    """Whether the cell is done, by now or after doing it."""
    name = f'cells/{cell.name}'
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
    path = folder / 'predictions.jsonl'
    self._report(cell.name, 'score')
    score.score_file(
      path, corpus=self.corpus, split=cell.split, out=folder / 'metrics.json'
    )
    write_json(folder / DONE, {'seconds': round(time.monotonic() - started, 3)})

  def _run_baseline(self, cell: grid.Cell, folder: pathlib.Path) -> None:
    rows = baselines.run_baseline(
      cell.baseline, corpus=self.corpus, split=cell.split, seed=cell.seed
    )
    predictions.write_predictions(folder / 'predictions.jsonl', rows)

  def _predict(self, cell: grid.Cell, folder: pathlib.Path) -> None:
    training = cell.training
    checkpoint = self.initial_checkpoint_path
    if training.condition is not None:
      checkpoint = self.folder.path / training_piece(training)
      self.folder.fetch(training_piece(training))
    self.predict(
      mixture_or_task_name=cell.test_condition.name,
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


def training_piece(training: grid.Training) -> str:
  """The folder of a training, in that of its study."""
  return f'trainings/{training.name}'


def write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
  """Writes a JSON file all at once."""
  text_files.write_text(path, json.dumps(value, indent=2) + '\n')
