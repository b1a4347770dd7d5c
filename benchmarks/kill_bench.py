"""Kills a training repeatedly and compares it with an uninterrupted one.

  python benchmarks/kill_bench.py [--kills 30] [--terms 10] [--steps 600]
    [--eval_period 5] [--lora | --plain] [--processes 2]

Trains a tiny model on the miniature twice. The second training is stopped by
SIGKILL or SIGTERM and resumed, at random moments and while a checkpoint is
being written. Prints a line for each stop, then a summary in JSON. Exits with
status 0 if the parameters are bit-identical and no step is missing from or
repeated in `metrics.jsonl`, otherwise with 1; with --eval_period, validation
losses and the best checkpoint must be identical too. With --lora, it trains
LoRA on a tiny Llama in place of a T5; with --plain, a mixture of plain SeqIO
tasks in place of the miniature. With --processes 2, both trainings run in two
processes of four virtual devices; a signal reaches one of them, and after
SIGKILL the other is killed within a second. Expect 0.
"""

import argparse
import collections
from collections.abc import Sequence
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

import jax
from killed_runs import KilledRun
import numpy as np
import own_tasks
import tiny_llama

from it_study.checkpoints import manager
from it_study.training.preemption import PREEMPTED_STATUS

_POLL_SECONDS = 0.001
# What a kill waits for, once a run has written one or two checkpoints: a random
# delay, Orbax writing to its temporary folder, a checkpoint without manifest.
_MOMENTS = ('any', 'arrays', 'manifest')


def main() -> int:
  """Prints the kills by moment, and whether the results are identical."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--kills', type=int, default=30, help='SIGKILLs (default: %(default)s)'
  )
  parser.add_argument(
    '--terms', type=int, default=10, help='SIGTERMs (default: %(default)s)'
  )
  parser.add_argument(
    '--steps',
    type=int,
    default=600,
    help='steps of each training (default: %(default)s)',
  )
  parser.add_argument(
    '--eval_period',
    type=int,
    choices=(1, 5),
    help='steps between evaluations on held-out instances, with the best '
    'checkpoint kept (default: no evaluation)',
  )
  parser.add_argument(
    '--lora', action='store_true', help='train LoRA on a tiny Llama'
  )
  parser.add_argument(
    '--plain', action='store_true', help='train on plain SeqIO tasks'
  )
  parser.add_argument(
    '--processes',
    type=int,
    default=1,
    help='processes of each training (default: %(default)s)',
  )
  parser.add_argument(
    '--seed',
    type=int,
    default=0,
    help='seed for the moments of the kills (default: %(default)s)',
  )
  parser.add_argument(
    '--folder',
    help='where to keep both trainings (default: a temporary folder)',
  )
  options = parser.parse_args()
  folder = pathlib.Path(options.folder or tempfile.mkdtemp())
  try:
    summary = torture(
      folder,
      kills=options.kills,
      terms=options.terms,
      steps=options.steps,
      eval_period=options.eval_period,
      lora=options.lora,
      plain=options.plain,
      processes=options.processes,
      seed=options.seed,
    )
  finally:
    if options.folder is None:
      shutil.rmtree(folder, ignore_errors=True)
  print(json.dumps(summary, indent=2))
  checks = [value for key, value in summary.items() if key.endswith('_equal')]
  return 0 if all(checks) else 1


def torture(
  folder: pathlib.Path,
  *,
  kills: int,
  terms: int,
  steps: int,
  eval_period: int | None,
  lora: bool,
  plain: bool,
  processes: int,
  seed: int,
) -> dict:
  """Trains twice, once without interruption, and compares the results.

  Args:
    folder: Folder for `uninterrupted/` and `interrupted/`.
    kills: Number of SIGKILLs, some of them while a checkpoint is written.
    terms: Number of SIGTERMs, after each of which the training must exit with
      status 75.
    steps: Number of steps of each training; a checkpoint is written every 5.
    eval_period: Steps between evaluations on held-out instances, a divisor of
      5; None for no evaluation.
    lora: Whether to train LoRA on a tiny Llama in place of a T5.
    plain: Whether to train on plain SeqIO tasks.
    processes: Number of processes of each training.
    seed: Seed for the moments of the kills.

  Returns:
    A summary; the fields whose names end in `_equal` must all be true.
  """
  reference, interrupted = folder / 'uninterrupted', folder / 'interrupted'
  model = _tiny_llama(folder / 'model') if lora else _TINY_T5
  if plain:
    model = _PLAIN
  start = functools.partial(
    _start, words=_command(model, steps, eval_period), processes=processes
  )
  start(reference).finish()
  generator = random.Random(seed)
  signals = ['kill'] * kills + ['term'] * terms
  generator.shuffle(signals)
  counts = collections.Counter()
  for number, name in enumerate(signals):
    moment = generator.choice(_MOMENTS) if name == 'kill' else 'any'
    run = start(interrupted)
    if not _wait(interrupted, run, moment, generator):
      counts['finished before the signal'] += 1
    elif name == 'kill':
      run.kill(generator)
      counts[f'killed: {moment}'] += 1
    else:
      generator.choice(run.processes).send_signal(signal.SIGTERM)
      statuses = run.wait()
      if {*statuses} != {PREEMPTED_STATUS}:
        raise RuntimeError(
          f'Expected exit status {PREEMPTED_STATUS} after SIGTERM, '
          f'got {statuses}.'
        )
      counts[f'terminated: status {PREEMPTED_STATUS}'] += 1
    run.wait()
    print(number, name, moment, 'at step', _newest(interrupted), flush=True)
  start(interrupted).finish()
  logs = [
    [json.loads(line) for line in _lines(path)]
    for path in (reference, interrupted)
  ]
  reference_steps, interrupted_steps = (
    [line['step'] for line in lines] for lines in logs
  )
  equal = _equal(reference, interrupted)
  return {
    'moments': dict(sorted(counts.items())),
    'steps': steps,
    'arrays': len(equal),
    'parameters_equal': all(equal),
    # A resumed training also logs its first step.
    'lines_equal': set(reference_steps) <= set(interrupted_steps)
    and interrupted_steps == sorted(set(interrupted_steps)),
    **(_validation(reference, interrupted, *logs) if eval_period else {}),
  }


def _validation(
  reference: pathlib.Path, interrupted: pathlib.Path, *logs: list[dict]
) -> dict[str, object]:
  """Compares the losses on held-out instances and the best checkpoints."""
  losses = [
    {
      line['step']: line['validation_loss']
      for line in lines
      if 'validation_loss' in line
    }
    for lines in logs
  ]
  return {
    'validations': len(losses[0]),
    'validations_equal': losses[0] == losses[1],
    'best_equal': all(_equal(reference / 'best', interrupted / 'best')),
  }


def _equal(first: pathlib.Path, second: pathlib.Path) -> list[bool]:
  """Returns whether each array is bit-identical in two checkpoints."""
  parameters = [manager.restore_params(path) for path in (first, second)]
  return jax.tree.leaves(jax.tree.map(np.array_equal, *parameters))


_TINY_T5 = (
  '--gin_file=models/t5_1_1_tiny.gin',
  '--gin_file=runs/finetune.gin',
  '--gin.IT_STUDY_VOCABULARY=miniature',
  '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 128, 'targets': 16}",
  '--gin.DROPOUT_RATE=0.1',
)
_PLAIN = (*own_tasks.SETTINGS, '--gin_file=runs/finetune.gin')


def _tiny_llama(folder: pathlib.Path) -> tuple[str, ...]:
  words, weights = tiny_llama.settings(folder)
  return (
    *words,
    '--gin_file=runs/finetune.gin',
    '--gin_file=runs/lora.gin',
    f'--gin.INITIAL_CHECKPOINT_PATH={weights}',
  )


def _command(
  model: Sequence[str], steps: int, eval_period: int | None
) -> list[str]:
  words = [
    *('train', '--quiet'),
    '--gin.CORPUS=miniature',
    *model,
    '--gin.CHECKPOINT_PERIOD=5',
    f'--gin.TRAIN_STEPS={steps}',
  ]
  if eval_period:
    words += [f'--gin.EVAL_PERIOD={eval_period}', '--gin.KEEP_BEST=True']
  return words


def _start(
  model_dir: pathlib.Path, *, words: list[str], processes: int
) -> KilledRun:
  """Starts a training with a row for each of the devices; at least 4."""
  devices = 1 if processes == 1 else 4
  rows = max(4, processes * devices)
  return KilledRun(
    [*words, f'--gin.BATCH_SIZE={rows}', f'--gin.MODEL_DIR={model_dir}'],
    processes=processes,
    devices=devices,
  )


def _wait(
  model_dir: pathlib.Path,
  run: KilledRun,
  moment: str,
  generator: random.Random,
) -> bool:
  """Waits for the moment of a kill.

  Returns:
    Whether it came before the training finished.
  """
  start = _newest(model_dir)
  num_steps = 5 * generator.randint(1, 2)
  delay = generator.uniform(0, 0.5)
  folder = model_dir / 'checkpoints'
  while run.is_running():
    if _newest(model_dir) >= start + num_steps:
      names = os.listdir(folder)
      if moment == 'any':
        time.sleep(delay)
        return run.is_running()
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
  """Returns the newest step with a manifest, or 0 if there is none."""
  paths = (model_dir / 'checkpoints').glob(f'[0-9]*/{manager.MANIFEST}')
  return max(
    (int(path.parent.name) for path in paths if path.parent.name.isdecimal()),
    default=0,
  )


def _lines(model_dir: pathlib.Path) -> list[str]:
  return (model_dir / 'metrics.jsonl').read_text().splitlines()


if __name__ == '__main__':
  sys.exit(main())
