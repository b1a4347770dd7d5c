"""The grid of a study: the models to train, and what to test each on."""

from collections.abc import Iterator, Sequence
import dataclasses

from it_study.conditions import Condition
from it_study.evaluation.baselines import BASELINES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
  """One model of a study.

  Attributes:
    condition: Condition to train under; None for the untuned model.
    seed: Seed of the training, or of the untuned model's parameters.
  """

  condition: Condition | None
  seed: int

  @property
  def name(self) -> str:
    name = 'untuned' if self.condition is None else self.condition.name
    return f'{name}_seed{self.seed}'

  @property
  def folder(self) -> str:
    """Folder of the training, relative to that of its study."""
    return f'trainings/{self.name}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """One model or baseline on one split under one condition.

  Attributes:
    training: Model to test; None for a baseline.
    test_condition: Condition to test a model under; None for a baseline.
    split: Split to test on.
    seed: Seed of the model, or of the baseline's draws.
    baseline: Name of the baseline; None for a model.
    matched: Whether the model was trained under the same condition.
    original_instructions: Whether the instructions are the original ones.
  """

  training: Training | None
  test_condition: Condition | None
  split: str
  seed: int
  baseline: str | None = None
  matched: bool = False
  original_instructions: bool = False

  @property
  def name(self) -> str:
    if self.training is None:
      return f'baseline_{self.baseline}_seed{self.seed}__none__{self.split}'
    assert self.test_condition is not None, 'a model is tested on a condition'
    return f'{self.training.name}__{self.test_condition.name}__{self.split}'

  @property
  def folder(self) -> str:
    """Folder of the cell, relative to that of its study."""
    return f'cells/{self.name}'


def plan(
  *,
  conditions: Sequence[Condition],
  seeds: Sequence[int],
  splits: Sequence[str],
  test_conditions: Sequence[Condition] = (),
) -> tuple[list[Training], list[Cell]]:
  """Returns the trainings and cells of a grid, in the order they run.

  Every trained model is tested under its own condition and under the original
  instructions with as many examples; the untuned model under the original
  instructions of each condition. All of them are also tested under
  `test_conditions`.
  """
  trainings: list[Training] = []
  extra = dict.fromkeys(condition.for_test() for condition in test_conditions)
  cells = [
    Cell(training=None, test_condition=None, split=split, seed=seed, baseline=b)
    for seed in seeds
    for b in BASELINES
    for split in splits
  ]
  for seed in seeds:
    untuned = Training(condition=None, seed=seed)
    originals = dict.fromkeys(
      condition.with_original_instructions().for_test()
      for condition in conditions
    )
    for tested in originals | extra:
      is_original = tested == tested.with_original_instructions()
      cells += _cells(untuned, tested, splits, original=is_original)
    for condition in conditions:
      training = Training(condition=condition, seed=seed)
      trainings.append(training)
      matched = condition.for_test()
      original = condition.with_original_instructions().for_test()
      for tested in dict.fromkeys((matched, original)) | extra:
        cells += _cells(
          training,
          tested,
          splits,
          matched=tested == matched,
          original=tested == original,
        )
  return trainings, cells


def _cells(
  training: Training,
  condition: Condition,
  splits: Sequence[str],
  *,
  matched: bool = False,
  original: bool = False,
) -> Iterator[Cell]:
  """Yields the cells of a model under one condition, one per split."""
  for split in splits:
    yield Cell(
      training=training,
      test_condition=condition,
      split=split,
      seed=training.seed,
      matched=matched,
      original_instructions=original,
    )
