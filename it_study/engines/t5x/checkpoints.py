"""The checkpoints that T5X keeps in a training's folder, and the best one."""

import os
import pathlib
import shutil

from it_study.training import metrics_log

BEST = 'best'
_PREFIX = 'checkpoint_'


def newest_step(folder: pathlib.Path) -> int:
  """The step of the newest checkpoint that T5X wrote, 0 without one."""
  return max(_steps(folder), default=0)


def newest_before(model_dir: pathlib.Path, step: int) -> pathlib.Path | None:
  """The newest checkpoint of a training, or its best, of a step below one."""
  found = {
    old: folder / f'{_PREFIX}{old}'
    for folder in (model_dir / BEST, model_dir)
    for old in _steps(folder)
    if old < step
  }
  return found[max(found)] if found else None


def keep_best(model_dir: pathlib.Path, *, step: int) -> None:
  """Keeps a checkpoint in `best/` if the one there has no lower loss.

  T5X deletes checkpoints by age alone, so that of lowest loss lies apart, as
  `MODEL_DIR/best/checkpoint_STEP`, without taking room twice. Of equal losses
  the earliest is kept.

  Args:
    model_dir: of the training; its metrics.jsonl has the losses.
    step: just evaluated; nothing is done if it is no checkpoint's.
  """
  name = f'{_PREFIX}{step}'
  if not (model_dir / name).is_dir():
    return
  losses = {
    line['step']: line['validation_loss']
    for line in metrics_log.lines_of(model_dir / 'metrics.jsonl')
    if 'validation_loss' in line
  }
  best = model_dir / BEST
  # One of a step that was taken back has no line any more.
  before = [losses[old] for old in _steps(best) if old in losses and old < step]
  if before and min(before) <= losses[step]:
    return
  partial = model_dir / f'{BEST}.partial'
  shutil.rmtree(partial, ignore_errors=True)
  shutil.copytree(model_dir / name, partial, copy_function=_link)
  best.mkdir(exist_ok=True)
  shutil.rmtree(best / name, ignore_errors=True)
  partial.rename(best / name)
  for old in _steps(best):
    if old != step:
      shutil.rmtree(best / f'{_PREFIX}{old}')


def _link(source: str, target: str) -> None:
  try:
    os.link(source, target)
  except OSError:
    # A file system without hard links.
    shutil.copy2(source, target)


def _steps(folder: pathlib.Path) -> list[int]:
  names = [path.name for path in folder.glob(f'{_PREFIX}*')]
  steps = [name.removeprefix(_PREFIX) for name in names]
  return sorted(int(step) for step in steps if step.isdecimal())
