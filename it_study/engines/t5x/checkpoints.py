"""T5X's checkpoints in a training's folder, and the best of them."""

import os
import pathlib
import shutil

from it_study.training import metrics_log

BEST = 'best'
_PREFIX = 'checkpoint_'


def newest_step(folder: pathlib.Path) -> int:
  """Returns the step of T5X's newest checkpoint, 0 without one."""
  return max(_steps(folder), default=0)


def newest_before(model_dir: pathlib.Path, step: int) -> pathlib.Path | None:
  """Returns the newest checkpoint of an earlier step, also the best one's."""
  earlier = {
    old: folder / f'{_PREFIX}{old}'
    for folder in (model_dir / BEST, model_dir)
    for old in _steps(folder)
    if old < step
  }
  return earlier[max(earlier)] if earlier else None


def keep_best(model_dir: pathlib.Path, *, step: int) -> None:
  """Links a checkpoint into `best/` if it has the lowest validation loss.

  T5X deletes checkpoints by age alone, so the best one is kept separately, as
  `MODEL_DIR/best/checkpoint_STEP`. Hard links take no extra space. Of equal
  losses the earliest is kept.

  Args:
    model_dir: Folder of the training; its metrics.jsonl holds the losses.
    step: Step just evaluated; ignored if it has no checkpoint.
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
  # A checkpoint from before a restart at an earlier step has no line any more.
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
    # The file system has no hard links.
    shutil.copy2(source, target)


def _steps(folder: pathlib.Path) -> list[int]:
  """Returns the steps of a folder's checkpoints, ascending."""
  names = [path.name for path in folder.glob(f'{_PREFIX}*')]
  steps = [name.removeprefix(_PREFIX) for name in names]
  return sorted(int(step) for step in steps if step.isdecimal())
