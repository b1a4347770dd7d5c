"""Kills a prediction again and again, and compares it with one left in peace.

python benchmarks/predict_kill_bench.py [--kills 20]

Every life has another number of devices than the one before.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

_POLL_SECONDS = 0.0002
_DEVICES = (1, 2, 4)
# What a kill waits for, once a life has added a few batches: any moment, or a
# file that is being written.
_MOMENTS = ('any', 'writing')


def main() -> int:
  """Prints the kills by moment, and whether the results are the same."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--batch_size', type=int, default=8)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    found = torture(
      pathlib.Path(folder),
      kills=options.kills,
      batch_size=options.batch_size,
      seed=options.seed,
    )
  print(json.dumps(found, indent=2))
  return 0 if found['identical'] and not found['doubled'] else 1


def torture(
  folder: pathlib.Path, *, kills: int, batch_size: int, seed: int
) -> dict:
  """Predicts twice, once in peace; returns what is compared."""
  calm, torn = folder / 'calm', folder / 'torn'
  _finish(_start(calm, devices=1, batch_size=batch_size))
  chance = random.Random(seed)
  counts = collections.Counter()
  for number in range(kills):
    moment = chance.choice(_MOMENTS)
    devices = _DEVICES[number % len(_DEVICES)]
    life = _start(torn, devices=devices, batch_size=batch_size)
    if _wait(torn, life, moment, chance):
      life.kill()
      counts[f'killed: {moment}'] += 1
    else:
      counts['ended by itself'] += 1
    life.communicate()
    print(
      f'{number} {moment}, {devices} devices: {_num_answers(torn)} answers',
      flush=True,
    )
  _finish(_start(torn, devices=2, batch_size=batch_size))
  texts = [(path / 'predictions.jsonl').read_bytes() for path in (calm, torn)]
  ids = [json.loads(line)['id'] for line in texts[1].splitlines()]
  kept = json.loads((torn / 'inference.json').read_text())
  shutil.rmtree(calm)
  return {
    'moments': dict(sorted(counts.items())),
    'instances': len(ids),
    'kept_for_the_last_life': kept['num_kept_answers'],
    'doubled': len(ids) - len(set(ids)),
    'sha256': [hashlib.sha256(text).hexdigest() for text in texts],
    'identical': texts[0] == texts[1],
  }


def _start(
  folder: pathlib.Path, *, devices: int, batch_size: int
) -> subprocess.Popen:
  return subprocess.Popen(
    [
      *(sys.executable, '-m', 'it_study.cli', 'predict', '--quiet'),
      '--gin_file=models/t5_1_1_tiny.gin',
      '--gin_file=runs/predict.gin',
      '--gin.CORPUS=miniature',
      '--gin.IT_STUDY_VOCABULARY=miniature',
      '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
      "--gin.TASK_FEATURE_LENGTHS={'inputs': 128, 'targets': 16}",
      '--gin.CHECKPOINT_PATH=None',
      f'--gin.INFER_BATCH_SIZE={batch_size}',
      f'--gin.INFER_OUTPUT_DIR={folder}',
    ],
    env={
      **os.environ,
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    },
    stderr=subprocess.PIPE,
    text=True,
  )


def _finish(life: subprocess.Popen) -> None:
  _, errors = life.communicate()
  if life.returncode:
    raise RuntimeError(f'status {life.returncode}: {errors[-2000:]}')


def _wait(
  folder: pathlib.Path,
  life: subprocess.Popen,
  moment: str,
  chance: random.Random,
) -> bool:
  """Returns at the moment, or False when the prediction ends before it."""
  begin = len(_commits(folder))
  ahead = chance.randint(1, 4)
  delay = chance.uniform(0, 0.2)
  while life.poll() is None:
    if len(_commits(folder)) >= begin + ahead:
      if moment == 'any':
        time.sleep(delay)
        return life.poll() is None
      if any(folder.glob('answers/*/.*.tmp')):
        return True
    time.sleep(_POLL_SECONDS)
  return False


def _commits(folder: pathlib.Path) -> list[pathlib.Path]:
  return list(folder.glob('answers/*/[0-9a-f]*.jsonl'))


def _num_answers(folder: pathlib.Path) -> int:
  return sum(len(path.read_text().splitlines()) for path in _commits(folder))


if __name__ == '__main__':
  sys.exit(main())
