"""Kills a training again and again, and compares it with one left in peace.

python benchmarks/kill_bench.py [--kills 30] [--terms 10] [--steps 600]
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

from it_study import checkpoints
from it_study.preemption import PREEMPTED_STATUS

_POLL_SECONDS = 0.001
# What a kill waits for, once a life has written a checkpoint or two: any
# moment, Orbax writing to its temporary folder, a checkpoint without manifest.
_MOMENTS = ('any', 'arrays', 'manifest')


def main() -> int:
  """Prints the kills by moment, and whether the results are the same."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=30)
  parser.add_argument('--terms', type=int, default=10)
  parser.add_argument('--steps', type=int, default=600)
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
      seed=options.seed,
    )
  finally:
    if options.folder is None:
      shutil.rmtree(folder, ignore_errors=True)
  print(json.dumps(found, indent=2))
  return 0 if found['parameters_equal'] and found['lines_equal'] else 1


def torture(
  folder: pathlib.Path, *, kills: int, terms: int, steps: int, seed: int
) -> dict:
  """Trains twice, once in peace; returns what is compared.

  Args:
    folder: gets `calm/` and `torn/`.
    kills: SIGKILLs at random moments, checkpoint writing included.
    terms: SIGTERMs at random moments; each has to end with status 75.
    steps: of both trainings; a checkpoint is written every 5.
    seed: of the moments.
  """
  calm, torn = folder / 'calm', folder / 'torn'
  _finish(calm, steps)
  chance = random.Random(seed)
  fates = ['kill'] * kills + ['term'] * terms
  chance.shuffle(fates)
  counts = collections.Counter()
  for number, fate in enumerate(fates):
    moment = chance.choice(_MOMENTS) if fate == 'kill' else 'any'
    life = _start(torn, steps)
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
  _finish(torn, steps)
  parameters = [checkpoints.restore_params(path) for path in (calm, torn)]
  equal = jax.tree.map(np.array_equal, *parameters)
  logged = [
    [json.loads(line)['step'] for line in _lines(path)] for path in (calm, torn)
  ]
  return {
    'moments': dict(sorted(counts.items())),
    'steps': steps,
    'arrays': len(jax.tree.leaves(equal)),
    'parameters_equal': all(jax.tree.leaves(equal)),
    # Where a life began it also has lines of its own.
    'lines_equal': set(logged[0]) <= set(logged[1])
    and logged[1] == sorted(set(logged[1])),
  }


def _start(model_dir: pathlib.Path, steps: int) -> subprocess.Popen:
  return subprocess.Popen(
    [
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
      f'--gin.MODEL_DIR={model_dir}',
    ],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    stderr=subprocess.PIPE,
    text=True,
  )


def _finish(model_dir: pathlib.Path, steps: int) -> None:
  life = _start(model_dir, steps)
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
        name.isdecimal() and not (folder / name / checkpoints.MANIFEST).exists()
        for name in names
      ):
        return True
    time.sleep(_POLL_SECONDS)
  return False


def _newest(model_dir: pathlib.Path) -> int:
  """The newest step that has a manifest, 0 without one."""
  paths = (model_dir / 'checkpoints').glob(f'[0-9]*/{checkpoints.MANIFEST}')
  return max(
    (int(path.parent.name) for path in paths if path.parent.name.isdecimal()),
    default=0,
  )


def _lines(model_dir: pathlib.Path) -> list[str]:
  return (model_dir / 'metrics.jsonl').read_text().splitlines()


if __name__ == '__main__':
  sys.exit(main())
