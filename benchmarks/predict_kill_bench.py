"""Kills a prediction repeatedly and compares it with an uninterrupted one.

  python benchmarks/predict_kill_bench.py [--kills 20] [--batch_size 8]
    [--llama | --plain] [--processes 2]

Predicts the miniature's test split twice with random weights. The second
prediction is killed and resumed, at random moments and while a file is being
written, on 1, 2 and 4 devices in turn. Prints a line for each kill, then a
summary in JSON. Exits with status 0 if the two files of predictions are
byte-identical, otherwise with 1. With --llama, the model is a tiny Llama in
place of a T5; with --plain, it predicts a mixture of plain SeqIO tasks. With
--processes, several share each prediction but the first and the last; one of
them is killed, then the others. Expect 0.
"""

import argparse
import collections
from collections.abc import Sequence
import hashlib
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time

from killed_runs import KilledRun
import own_tasks
import tiny_llama

_POLL_SECONDS = 0.0002
_DEVICES = (1, 2, 4)
# What a kill waits for, once a run has added a few batches: a random delay, or
# a file being written.
_MOMENTS = ('any', 'writing')


def main() -> int:
  """Prints the kills by moment, and whether the results are identical."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--kills', type=int, default=20, help='SIGKILLs (default: %(default)s)'
  )
  parser.add_argument(
    '--batch_size',
    type=int,
    default=8,
    help='instances per batch (default: %(default)s)',
  )
  parser.add_argument(
    '--llama', action='store_true', help='predict with a tiny Llama'
  )
  parser.add_argument(
    '--plain', action='store_true', help='predict plain SeqIO tasks'
  )
  parser.add_argument(
    '--processes',
    type=int,
    default=1,
    help='processes of each killed prediction (default: %(default)s)',
  )
  parser.add_argument(
    '--seed',
    type=int,
    default=0,
    help='seed for the moments of the kills (default: %(default)s)',
  )
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    summary = torture(
      pathlib.Path(folder),
      kills=options.kills,
      batch_size=options.batch_size,
      llama=options.llama,
      plain=options.plain,
      processes=options.processes,
      seed=options.seed,
    )
  print(json.dumps(summary, indent=2))
  return 0 if summary['identical'] and not summary['repeated'] else 1


def torture(
  folder: pathlib.Path,
  *,
  kills: int,
  batch_size: int,
  llama: bool,
  plain: bool,
  processes: int,
  seed: int,
) -> dict:
  """Predicts twice, once without interruption, and compares the results.

  Args:
    folder: Folder for `uninterrupted/`, deleted at the end, and `interrupted/`.
    kills: Number of SIGKILLs, some of them while a file is written.
    batch_size: Number of instances per batch.
    llama: Whether to predict with a tiny Llama in place of a T5.
    plain: Whether to predict plain SeqIO tasks.
    processes: Number of processes of each prediction that is killed.
    seed: Seed for the moments of the kills.

  Returns:
    A summary; `identical` must be true and `repeated` 0.
  """
  reference, interrupted = folder / 'uninterrupted', folder / 'interrupted'
  model = [*_PLAIN] if plain else [*_TINY_T5]
  if llama:
    model, weights = tiny_llama.settings(folder / 'model')
    model.append(f'--gin.CHECKPOINT_PATH={weights}')
  model.append(f'--gin.INFER_BATCH_SIZE={batch_size}')
  _start(reference, model, devices=1).finish()
  generator = random.Random(seed)
  counts = collections.Counter()
  for number in range(kills):
    moment = generator.choice(_MOMENTS)
    devices = _DEVICES[number % len(_DEVICES)]
    run = _start(interrupted, model, devices=devices, processes=processes)
    if _wait(interrupted, run, moment, generator):
      run.kill(generator)
      counts[f'killed: {moment}'] += 1
    else:
      counts['finished before the signal'] += 1
    run.wait()
    print(
      f'{number} {moment}, {devices} devices: {_num_answers(interrupted)} '
      'answers',
      flush=True,
    )
  _start(interrupted, model, devices=2).finish()
  texts = [
    (path / 'predictions.jsonl').read_bytes()
    for path in (reference, interrupted)
  ]
  ids = [json.loads(line)['id'] for line in texts[1].splitlines()]
  inference = json.loads((interrupted / 'inference.json').read_text())
  shutil.rmtree(reference)
  return {
    'moments': dict(sorted(counts.items())),
    'instances': len(ids),
    'reused_by_the_last_run': inference['num_kept_answers'],
    'repeated': len(ids) - len(set(ids)),
    'sha256': [hashlib.sha256(text).hexdigest() for text in texts],
    'identical': texts[0] == texts[1],
  }


_TINY_T5 = (
  '--gin_file=models/t5_1_1_tiny.gin',
  '--gin.IT_STUDY_VOCABULARY=miniature',
  '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 128, 'targets': 16}",
  '--gin.CHECKPOINT_PATH=None',
)
_PLAIN = (*own_tasks.SETTINGS, '--gin.CHECKPOINT_PATH=None')


def _start(
  folder: pathlib.Path,
  model: Sequence[str],
  *,
  devices: int,
  processes: int = 1,
) -> KilledRun:
  """Starts a prediction on a number of devices of each process."""
  return KilledRun(
    [
      *('predict', '--quiet', '--gin.CORPUS=miniature'),
      *model,
      '--gin_file=runs/predict.gin',
      f'--gin.INFER_OUTPUT_DIR={folder}',
    ],
    processes=processes,
    devices=devices,
  )


def _wait(
  folder: pathlib.Path,
  run: KilledRun,
  moment: str,
  generator: random.Random,
) -> bool:
  """Waits for the moment of a kill.

  Returns:
    Whether it came before the prediction finished.
  """
  start = len(_answer_files(folder))
  num_files = generator.randint(1, 4)
  delay = generator.uniform(0, 0.2)
  while run.is_running():
    if len(_answer_files(folder)) >= start + num_files:
      if moment == 'any':
        time.sleep(delay)
        return run.is_running()
      if any(folder.glob('answers/*/.*.tmp')):
        return True
    time.sleep(_POLL_SECONDS)
  return False


def _answer_files(folder: pathlib.Path) -> list[pathlib.Path]:
  return list(folder.glob('answers/*/[0-9a-f]*.jsonl'))


def _num_answers(folder: pathlib.Path) -> int:
  files = _answer_files(folder)
  return sum(len(path.read_text().splitlines()) for path in files)


if __name__ == '__main__':
  sys.exit(main())
