"""The grid of a study: the models to train, and what to test each on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses

from it_study.conditions import Condition
from it_study.errors import InputError
from it_study.evaluation.baselines import BASELINES
from it_study.study.subjects import OwnTask, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
  """One model of a study.

  Attributes:
    subject: Condition or own task to train on; None for the untuned model.
    seed: Seed of the training, or of the untuned model's parameters.
  """

  subject: Subject | None
  seed: int

  @property
  def name(self) -> str:
    name = 'untuned' if self.subject is None else self.subject.name
    return f'{name}_seed{self.seed}'

  @property
  def folder(self) -> str:
    """Folder of the training, relative to that of its study."""
    return f'trainings/{self.name}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """One model or baseline on one split of a test.

  Attributes:
    training: Model to test; None for a baseline.
    tested: Condition or own task to test on; None for a baseline on the corpus,
      as the condition makes no difference to it.
    split: Split to test on.
    seed: Seed of the model, or of the baseline's draws.
    baseline: Name of the baseline; None for a model.
    matched: Whether the model was trained on the same condition or task.
    original_instructions: Whether the instructions are the original ones.
  """

  training: Training | None
  tested: Subject | None
  split: str
  seed: int
  baseline: str | None = None
  matched: bool = False
  original_instructions: bool = False

  @property
  def name(self) -> str:
    model = f'baseline_{self.baseline}_seed{self.seed}'
    if self.training is not None:
      model = self.training.name
    test = 'none' if self.tested is None else self.tested.name
    return f'{model}__{test}__{self.split}'

  @property
  def folder(self) -> str:
    """Folder of the cell, relative to that of its study."""
    return f'cells/{self.name}'


def plan(
  *,
  conditions: Sequence[Subject],
  seeds: Sequence[int],
  splits: Sequence[str],
  test_conditions: Sequence[Subject] = (),
  baselines: Callable[[Subject | None, str], Sequence[str]] = (
    lambda tested, split: BASELINES
  ),
) -> tuple[list[Training], list[Cell]]:
  """Returns the trainings and cells of a grid, in the order they run.

  Every trained model is tested under its own condition and under the original
  instructions with as many examples; the untuned model under the original
  instructions of each condition. All of them are also tested under
  `test_conditions`. A model that was trained on an own task is tested on that
  task only if there are no `test_conditions`.

  Args:
    conditions: Conditions and own tasks to train on.
    seeds: Seeds of the trainings and of the baselines' draws.
    splits: Splits to test on.
    test_conditions: Conditions and own tasks to test every model on.
    baselines: Function of a test and a split that returns the baselines to
      run; the test is None for all conditions, which baselines do not see.

  Raises:
    InputError: If two cells would have the same name.
  """
  trainings: list[Training] = []
  extra = dict.fromkeys(test.for_test() for test in test_conditions)
  tests = {subject: _tests_of(subject, extra) for subject in conditions}
  originals = (original for _, original in tests.values())
  of_untuned = dict.fromkeys(t for t in originals if t is not None) | extra
  # The function may read all instances of a test.
  of_baselines = _of_baselines(of_untuned)
  answering = {
    (tested, split): baselines(tested, split)
    for tested in of_baselines
    for split in splits
  }
  cells = [
    Cell(training=None, tested=tested, split=split, seed=seed, baseline=name)
    for seed in seeds
    for tested in of_baselines
    for name in BASELINES
    for split in splits
    if name in answering[tested, split]
  ]
  for seed in seeds:
    untuned = Training(subject=None, seed=seed)
    for tested in of_untuned:
      cells += _cells(untuned, tested, splits, original=_is_original(tested))
    for subject, (matched, original) in tests.items():
      training = Training(subject=subject, seed=seed)
      trainings.append(training)
      own = dict.fromkeys(t for t in (matched, original) if t is not None)
      for tested in own | extra:
        cells += _cells(
          training,
          tested,
          splits,
          matched=tested == subject.for_test(),
          original=tested == original
          if isinstance(subject, Condition)
          else _is_original(tested),
        )
  seen: set[str] = set()
  for cell in cells:
    if cell.name in seen:
      raise InputError(
        f'two cells of this study would be named {cell.name}. Rename one of '
        'its tasks.'
      )
    seen.add(cell.name)
  return trainings, cells


def _tests_of(
  subject: Subject, extra: Mapping[Subject, None]
) -> tuple[Subject | None, Subject | None]:
  """Returns the matched test of a training, and that of the original."""
  if isinstance(subject, OwnTask) and extra:
    return None, None
  return (
    subject.for_test(),
    subject.with_original_instructions().for_test(),
  )


def _of_baselines(tests: Mapping[Subject, None]) -> list[Subject | None]:
  """Returns the tests that baselines tell apart; None for all conditions."""
  own: list[Subject | None] = [t for t in tests if isinstance(t, OwnTask)]
  return own if own and len(own) == len(tests) else [None, *own]


def _is_original(tested: Subject) -> bool:
  """Whether a test's instructions are the original ones."""
  return (
    isinstance(tested, Condition)
    and tested == tested.with_original_instructions()
  )


def _cells(
  training: Training,
  tested: Subject,
  splits: Sequence[str],
  *,
  matched: bool = False,
  original: bool = False,
) -> Iterator[Cell]:
  """Yields the cells of a model on one test, one per split."""
  for split in splits:
    yield Cell(
      training=training,
      tested=tested,
      split=split,
      seed=training.seed,
      matched=matched,
      original_instructions=original,
    )
