"""Kills a training again and again, and compares it with one left in peace.

python benchmarks/kill_bench.py [--kills 30] [--terms 10] [--steps 600]
  [--eval_period 5]
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

from it_study.checkpoints import manager
from it_study.training.preemption import PREEMPTED_STATUS

_POLL_SECONDS = 0.001
# What a kill waits for, once a life has written a checkpoint or two: any
# moment, Orbax writing to its temporary folder, a checkpoint without manifest.
_MOMENTS = ('any', 'arrays', 'manifest')


def main() -> int:
  """Prints the kills by moment, and whether the results are the same."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--kills', type=int, default=30)
  parser.add_argument('--terms', type=int, default=10)
  parser.add_argument('--steps', type=int, default=600)
  parser.add_argument(
    '--eval_period',
    type=int,
    choices=(1, 5),
    help='also looks at held-out instances so often, and keeps the best',
  )
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--folder', help='kept; a temporary one by default')
  options = parser.parse_args()
  folder = pathlib.Path(options.folder or tempfile.mkdtemp())
  try:
    found = torture(
      folder,
      kills=options.kills,
      terms=options.terms,
      steps=options.steps,
      eval_period=options.eval_period,
      seed=options.seed,
    )
  finally:
    if options.folder is None:
      shutil.rmtree(folder, ignore_errors=True)
  print(json.dumps(found, indent=2))
  return 0 if all(found[key] for key in found if key.endswith('_equal')) else 1


def torture(
  folder: pathlib.Path,
  *,
  kills: int,
  terms: int,
  steps: int,
  eval_period: int | None,
  seed: int,
) -> dict:
  """Trains twice, once in peace; returns what is compared.

  Args:
    folder: gets `calm/` and `torn/`.
    kills: SIGKILLs at random moments, checkpoint writing included.
    terms: SIGTERMs at random moments; each has to end with status 75.
    steps: of both trainings; a checkpoint is written every 5.
    eval_period: steps between two looks at held-out instances, which divides
      that 5; None takes none.
    seed: of the moments.
  """
  calm, torn = folder / 'calm', folder / 'torn'
  command = _command(steps, eval_period)
  _finish(calm, command)
  chance = random.Random(seed)
  fates = ['kill'] * kills + ['term'] * terms
  chance.shuffle(fates)
  counts = collections.Counter()
  for number, fate in enumerate(fates):
    moment = chance.choice(_MOMENTS) if fate == 'kill' else 'any'
    life = _start(torn, command)
    if not _wait(torn, life, moment, chance):
      counts['ended by itself'] += 1
    elif fate == 'kill':
      life.kill()
      counts[f'killed: {moment}'] += 1
    else:
      life.send_signal(signal.SIGTERM)
      status = life.wait()
      if status != PREEMPTED_STATUS:
        raise RuntimeError(f'after SIGTERM status {status}')
      counts[f'terminated: status {status}'] += 1
    life.wait()
    print(number, fate, moment, 'at', _newest(torn), flush=True)
  _finish(torn, command)
  logged = [
    [json.loads(line) for line in _lines(path)] for path in (calm, torn)
  ]
  calm_steps, torn_steps = (
    [line['step'] for line in lines] for lines in logged
  )
  equal = _equal(calm, torn)
  return {
    'moments': dict(sorted(counts.items())),
    'steps': steps,
    'arrays': len(equal),
    'parameters_equal': all(equal),
    # Where a life began it also has lines of its own.
    'lines_equal': set(calm_steps) <= set(torn_steps)
    and torn_steps == sorted(set(torn_steps)),
    **(_validation(calm, torn, *logged) if eval_period else {}),
  }


def _validation(
  calm: pathlib.Path, torn: pathlib.Path, *logged: list[dict]
) -> dict[str, object]:
  """Compares what was seen on held-out instances, and the best checkpoint."""
  losses = [
    {
      line['step']: line['validation_loss']
      for line in lines
      if 'validation_loss' in line
    }
    for lines in logged
  ]
  return {
    'validations': len(losses[0]),
    'validations_equal': losses[0] == losses[1],
    'best_equal': all(_equal(calm / 'best', torn / 'best')),
  }


def _equal(calm: pathlib.Path, torn: pathlib.Path) -> list[bool]:
  """Whether each array of two checkpoints is the same, bit by bit."""
  parameters = [manager.restore_params(path) for path in (calm, torn)]
  return jax.tree.leaves(jax.tree.map(np.array_equal, *parameters))


def _command(steps: int, eval_period: int | None) -> list[str]:
  command = [
    *(sys.executable, '-m', 'it_study.cli', 'train', '--quiet'),
    '--gin_file=models/t5_1_1_tiny.gin',
    '--gin_file=runs/finetune.gin',
    '--gin.CORPUS=miniature',
    '--gin.IT_STUDY_VOCABULARY=miniature',
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 128, 'targets': 16}",
    '--gin.BATCH_SIZE=4',
    '--gin.DROPOUT_RATE=0.1',
    '--gin.CHECKPOINT_PERIOD=5',
    f'--gin.TRAIN_STEPS={steps}',
  ]
  if eval_period:
    command += [f'--gin.EVAL_PERIOD={eval_period}', '--gin.KEEP_BEST=True']
  return command


def _start(model_dir: pathlib.Path, command: list[str]) -> subprocess.Popen:
  return subprocess.Popen(
    [*command, f'--gin.MODEL_DIR={model_dir}'],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    stderr=subprocess.PIPE,
    text=True,
  )


def _finish(model_dir: pathlib.Path, command: list[str]) -> None:
  life = _start(model_dir, command)
  _, errors = life.communicate()
  if life.returncode:
    raise RuntimeError(f'status {life.returncode}: {errors[-2000:]}')


def _wait(
  model_dir: pathlib.Path,
  life: subprocess.Popen,
  moment: str,
  chance: random.Random,
) -> bool:
  """Returns at the moment, or False when the training ends before it."""
  begin = _newest(model_dir)
  ahead = 5 * chance.randint(1, 2)
  delay = chance.uniform(0, 0.5)
  folder = model_dir / 'checkpoints'
  while life.poll() is None:
    if _newest(model_dir) >= begin + ahead:
      names = os.listdir(folder)
      if moment == 'any':
        time.sleep(delay)
        return life.poll() is None
      if moment == 'arrays' and any('tmp' in name for name in names):
        return True
      if moment == 'manifest' and any(
        name.isdecimal() and not (folder / name / manager.MANIFEST).exists()
        for name in names
      ):
        return True
    time.sleep(_POLL_SECONDS)
  return False


def _newest(model_dir: pathlib.Path) -> int:
  """The newest step that has a manifest, 0 without one."""
  paths = (model_dir / 'checkpoints').glob(f'[0-9]*/{manager.MANIFEST}')
  return max(
    (int(path.parent.name) for path in paths if path.parent.name.isdecimal()),
    default=0,
  )


def _lines(model_dir: pathlib.Path) -> list[str]:
  return (model_dir / 'metrics.jsonl').read_text().splitlines()


if __name__ == '__main__':
  sys.exit(main())
