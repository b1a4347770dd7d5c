"""Measures error rates of equivalence tests and controls by simulation.

  python benchmarks/equivalence_bench.py [--studies 10000]
    [--power_studies 1000] [--seed 0] [--part equivalence|controls]

Simulates studies of six designs. For each, prints how often a difference
exactly at the margin is called equivalent (the type I error) and how often a
smaller difference is (the power curve). Expect a type I error of 4 to 6% with
ten seeds or more and at most 7.5% with three; the nominal level is 5%.

Then does the same for the positive and the negative control of a study: how
often a difference exactly at the margin passes and fails, and how often a
clear difference passes. Expect at most 5% at the margin; nominal are 2.5%.
"""

import argparse
import collections
from collections.abc import Callable
import dataclasses
import functools

import numpy as np

from it_study.evaluation.stats import controls, intervals, margins

MARGIN = 5.0
MARGINS = margins.ControlMargins()
NUM_RESAMPLES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
  """A design of a study.

  Attributes:
    name: Name in the printed lines.
    num_seeds: Number of training seeds.
    num_tasks: Number of test tasks.
    by_seed: Standard deviation of the difference between seeds, in points.
    by_task: Standard deviation of the difference between tasks, in points.
    by_both: Standard deviation of the interaction of seed and task, in points.
    size: Number of instances of each task.
    differing: Share of instances on which the two models differ.
    tasks_are_fixed: Whether the tasks are no sample, as those of controls.
      Their effects then cancel out; with one seed, all effects do.
  """

  name: str
  num_seeds: int
  num_tasks: int
  by_seed: float
  by_task: float
  by_both: float
  size: int = 20
  differing: float = 0.4
  tasks_are_fixed: bool = False


def simulate(
  generator: np.random.Generator, design: Design, difference: float
) -> np.ndarray:
  """Draws differences in exact match between two models.

  Which of two models that differ is right is drawn so that the expected
  difference of a task and seed is the sum of their effects. Half of the
  instances use the same draw for every seed.

  Returns:
    Differences in points, each -100, 0 or 100; `[seeds, instances]`.
  """
  shape = (design.num_seeds, design.num_tasks, design.size)
  by_seed = generator.normal(0, design.by_seed, (design.num_seeds, 1))
  by_task = generator.normal(0, design.by_task, (1, design.num_tasks))
  by_both = generator.normal(0, design.by_both, shape[:2])
  if design.tasks_are_fixed:
    by_task -= by_task.mean()
    if design.num_seeds == 1:
      by_seed, by_both = 0 * by_seed, by_both - by_both.mean()
  effects = difference + by_seed + by_task + by_both
  shared = generator.random((1, *shape[1:]))
  draws = np.where(
    generator.random((1, *shape[1:])) < 0.5, shared, generator.random(shape)
  )
  half = design.differing / 2
  better = half + np.clip(effects / 200, -half, half)[:, :, None]
  worse = np.where(draws < design.differing, -100.0, 0.0)
  values = np.where(draws < better, 100.0, worse)
  return values.reshape(design.num_seeds, -1)


def rate(
  design: Design, difference: float, *, studies: int, seed: int
) -> tuple[float, float]:
  """Returns the percentages of studies called equivalent by two tests.

  The first is our test. The second averages over seeds before it resamples
  tasks, so that it ignores the variance between seeds.
  """
  generator = np.random.default_rng(
    [seed, design.num_seeds, design.num_tasks, round(100 * difference)]
  )
  tasks = np.repeat(np.arange(design.num_tasks).astype(str), design.size)
  counts = np.zeros(2)
  for _ in range(studies):
    values = simulate(generator, design, difference)
    for test, differences in enumerate((values, values.mean(axis=0))):
      counts[test] += (
        intervals.estimate(differences, tasks, num_resamples=NUM_RESAMPLES)
        .equivalence(MARGIN)
        .holds
      )
  return tuple(100 * counts / studies)


def control_rates(
  design: Design,
  difference: float,
  decide: Callable[[intervals.Estimate], controls.Decision],
  *,
  studies: int,
  seed: int,
) -> tuple[float, float]:
  """Returns the percentages of studies in which a control passes and fails."""
  generator = np.random.default_rng(
    [seed, design.num_seeds, design.size, round(100 * difference)]
  )
  tasks = np.repeat(np.arange(design.num_tasks).astype(str), design.size)
  outcomes: collections.Counter[str] = collections.Counter()
  for _ in range(studies):
    found = intervals.estimate(
      simulate(generator, design, difference),
      tasks,
      bounds=(-100.0, 100.0),
      tasks_are_fixed=True,
      num_resamples=NUM_RESAMPLES,
    )
    outcomes[decide(found).outcome] += 1
  passed, failed = outcomes[controls.PASSED], outcomes[controls.FAILED]
  return 100 * passed / studies, 100 * failed / studies


DESIGNS = tuple(
  Design(
    name=name,
    num_seeds=num_seeds,
    num_tasks=num_tasks,
    by_seed=by_seed,
    by_task=by_task,
    by_both=by_both,
  )
  for num_seeds in (3, 10, 20)
  for num_tasks in (58,)
  for name, by_seed, by_task, by_both in (
    ('tasks differ', 1.0, 8.0, 2.0),
    ('seeds differ', 3.0, 3.0, 2.0),
  )
)


def _control_designs(name: str, differing: float) -> tuple[Design, ...]:
  """Returns designs of a control with 12 tasks of 10 or 50 instances."""
  return tuple(
    Design(
      name=f'{name}, models differ on {differing:.0%}',
      num_seeds=num_seeds,
      num_tasks=12,
      by_seed=2.0,
      by_task=5.0 if differing > 0.3 else 1.0,
      by_both=3.0 if differing > 0.3 else 1.0,
      size=size,
      differing=differing,
      tasks_are_fixed=True,
    )
    for num_seeds in (1, 3, 10)
    for size in (10, 50)
  )


POSITIVE = (
  *_control_designs('positive', 0.7),
  *_control_designs('positive', 0.5),
)
NEGATIVE = (
  *_control_designs('negative', 0.4),
  *_control_designs('negative', 0.15),
)


def _print_equivalence(options: argparse.Namespace) -> None:
  print(
    f'margin of {MARGIN:g} points, {options.studies:,} studies for each type I '
    'error'
  )
  for design in DESIGNS:
    ours, naive = rate(
      design, MARGIN, studies=options.studies, seed=options.seed
    )
    print(
      f'{design.name}, {design.num_seeds} seeds, {design.num_tasks} tasks: '
      f'type I error {ours:.2f}%, with seeds averaged first {naive:.2f}%',
      flush=True,
    )
    curve = {
      difference: rate(
        design, difference, studies=options.power_studies, seed=options.seed
      )[0]
      for difference in (0.0, 1.0, 2.0, 3.0, 4.0)
    }
    print(
      '  power: '
      + ', '.join(f'{power:.1f}% at {x:g}' for x, power in curve.items()),
      flush=True,
    )


def _print_controls(options: argparse.Namespace) -> None:
  for designs, test, margin, clear in (
    (POSITIVE, controls.above, MARGINS.positive, 48.0),
    (NEGATIVE, controls.within, MARGINS.negative, 0.0),
  ):
    decide = functools.partial(test, margin=margin)
    for design in designs:
      at_margin, is_clear = (
        control_rates(
          design,
          difference,
          decide,
          studies=options.power_studies,
          seed=options.seed,
        )
        for difference in (margin, clear)
      )
      print(
        f'{design.name}, {design.num_seeds} seeds, {design.num_tasks} tasks of '
        f'{design.size}: at {margin:g} passed {at_margin[0]:.1f}%, failed '
        f'{at_margin[1]:.1f}%; at {clear:g} passed {is_clear[0]:.1f}%',
        flush=True,
      )


def main() -> None:
  """Prints the error rates and the power of each design."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--studies',
    type=int,
    default=10_000,
    help='simulated studies for a type I error (default: %(default)s)',
  )
  parser.add_argument(
    '--power_studies',
    type=int,
    default=1_000,
    help='simulated studies for each point of a power curve and each control '
    '(default: %(default)s)',
  )
  parser.add_argument(
    '--seed',
    type=int,
    default=0,
    help='seed for the simulation (default: %(default)s)',
  )
  parser.add_argument(
    '--part',
    choices=('equivalence', 'controls'),
    help='what to simulate (default: both)',
  )
  options = parser.parse_args()
  if options.part != 'controls':
    _print_equivalence(options)
  if options.part != 'equivalence':
    _print_controls(options)


if __name__ == '__main__':
  main()
