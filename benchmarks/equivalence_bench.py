"""Type I error and power of the equivalence test over simulated studies.

Prints, for each design, how often a difference is called equivalent that lies
exactly at the margin (it should be 5% of the time), and how often one that
lies inside: the power curve.
"""

import argparse
import dataclasses

import numpy as np

from it_study.evaluation.stats import intervals

MARGIN = 5.0
NUM_RESAMPLES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
  """A kind of study; standard deviations in points.

  Attributes:
    name: shown.
    num_seeds: training seeds.
    num_tasks: test tasks.
    by_seed: of the difference between seeds.
    by_task: of the difference between tasks.
    by_both: of what a seed does to a task.
    size: instances of a task.
  """

  name: str
  num_seeds: int
  num_tasks: int
  by_seed: float
  by_task: float
  by_both: float
  size: int = 20


def simulate(
  generator: np.random.Generator, design: Design, difference: float
) -> np.ndarray:
  """Differences in exact match, each -100, 0 or 100; [seeds, instances].

  On 40% of the instances two models differ; which one is right is drawn so
  that a task's expected difference under a seed is the sum of its effects. Half
  of the instances are decided alike under every seed.
  """
  shape = (design.num_seeds, design.num_tasks, design.size)
  effects = (
    difference
    + generator.normal(0, design.by_seed, (design.num_seeds, 1))
    + generator.normal(0, design.by_task, (1, design.num_tasks))
    + generator.normal(0, design.by_both, shape[:2])
  )
  shared = generator.random((1, *shape[1:]))
  draws = np.where(
    generator.random((1, *shape[1:])) < 0.5, shared, generator.random(shape)
  )
  better = 0.2 + np.clip(effects / 200, -0.2, 0.2)[:, :, None]
  values = np.where(draws < better, 100.0, np.where(draws < 0.4, -100.0, 0.0))
  return values.reshape(design.num_seeds, -1)


def rate(
  design: Design, difference: float, *, studies: int, seed: int
) -> tuple[float, float]:
  """Percent called equivalent, by us and by resampling tasks of seed means.

  The second is what an interval says that averages seeds first, so that it
  does not know of them.
  """
  generator = np.random.default_rng(
    [seed, design.num_seeds, design.num_tasks, round(100 * difference)]
  )
  tasks = np.repeat(np.arange(design.num_tasks).astype(str), design.size)
  found = np.zeros(2)
  for _ in range(studies):
    values = simulate(generator, design, difference)
    for which, some in enumerate((values, values.mean(axis=0))):
      found[which] += (
        intervals.estimate(some, tasks, num_resamples=NUM_RESAMPLES)
        .equivalence(MARGIN)
        .holds
      )
  return tuple(100 * found / studies)


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


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--studies', type=int, default=10_000)
  parser.add_argument('--power_studies', type=int, default=1_000)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  print(f'margin {MARGIN:g} points, {options.studies:,} studies at the margin')
  for design in DESIGNS:
    ours, naive = rate(
      design, MARGIN, studies=options.studies, seed=options.seed
    )
    print(
      f'{design.name}, {design.num_seeds} seeds, {design.num_tasks} tasks: '
      f'type I {ours:.2f}%, seeds averaged first {naive:.2f}%',
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


if __name__ == '__main__':
  main()
