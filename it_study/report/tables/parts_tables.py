"""Tables that take exact match apart, and of what changes an answer."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from it_study.evaluation.decomposition import Decomposition, decompose_scores
from it_study.report.arms import (
  Arm,
  condition_label,
  parse_condition,
  select,
  trained_heading,
  training_label,
)
from it_study.report.results import Results
from it_study.report.scores import CHANCE, CLS, OVERALL, Group
from it_study.report.tables.score_tables import score_entry
from it_study.report.tables.table import (
  Column,
  Entry,
  Table,
  name_entry,
  value_entry,
)
from it_study.report.text import MISSING, number, shorten

EXPLANATION = (
  'Exact match is the product of two shares: the share of answers in format, '
  'and the share of those that are right. “Guess” is the expected score of a '
  'uniform guess. “Skill” is exact match beyond a guess, (exact match − guess) '
  '/ (100 − guess) × 100: 0 for guessing, 100 if all answers are right, '
  'negative for worse than guessing. The last two columns cover only the '
  'answers in format. Their guess is on the same instances, which may be '
  'easier or harder than the rest, and their skill is (right, if in format − '
  'guess) / (100 − guess) × 100. “Not defined” means that no answer is in '
  'format, or that a guess is always right.'
)
_ANSWERS = 'Answers compared with the real instructions'
_MOST_ANSWERS = 3


def decomposition_of(arm: Arm, group: Group) -> Decomposition | None:
  """Takes apart the exact match of an arm in a group, over all seeds.

  Returns None without predictions or without instances that have a label space.
  """
  if arm.scores is None:
    return None
  scores = arm.scores
  mask = scores.mask(group) & ~np.isnan(scores.values[CHANCE][0])
  names = ('exact_match', 'format_correctness', CHANCE)
  columns = (scores.values[name][:, mask].ravel() / 100.0 for name in names)
  return decompose_scores(*(column.tolist() for column in columns))


def decomposition_table(results: Results) -> Table | None:
  """Makes the table of each model's exact match, taken apart."""
  rows = {}
  for title, arms in (
    (
      trained_heading(results.arms),
      select(results.arms, split='test', matched=True),
    ),
    ('Not trained', select(results.arms, split='test', untuned=True)),
    ('Baselines', select(results.arms, split='test', baselines=True)),
  ):
    entries = [
      (name_entry(arm.label), *_parts(parts))
      for arm in arms
      if (parts := decomposition_of(arm, CLS)) is not None
    ]
    if entries:
      rows[title] = entries
  return _parts_table('Model', rows)


def left_out_table(results: Results) -> Table | None:
  """Makes the table of answers with special or unknown tokens.

  Returns None if there are none on the test split.
  """
  rows = []
  for arm in results.arms:
    counts = [
      sum(cell.metrics.get(name) or 0 for cell in arm.cells)
      for name in ('num_with_special_tokens', 'num_with_unknown_tokens')
    ]
    if arm.split != 'test' or not any(counts):
      continue
    total = sum(cell.metrics['num_instances'] for cell in arm.cells)
    rows.append(
      (
        name_entry(training_label(arm.train_condition)),
        name_entry(condition_label(arm.test_condition)),
        *(value_entry(100 * count / total) for count in counts),
      )
    )
  if not rows:
    return None
  return Table(
    columns=(
      Column('Trained on', is_number=False),
      Column('Tested on', is_number=False),
      Column('special tokens', above='Percentage of answers with'),
      Column('unknown tokens', above='Percentage of answers with'),
    ),
    rows={'': tuple(rows)},
  )


def skill_table(results: Results) -> Table | None:
  """Makes the table of exact match taken apart by category and task.

  It covers the first arm trained and tested on the real instructions.
  """
  arms = select(results.arms, split='test', matched=True)
  arms = [arm for arm in arms if arm.is_original] or arms
  if not arms or arms[0].scores is None:
    return None
  rows = {}
  for kind, title in (('category', 'Categories'), ('task', 'Tasks')):
    entries = [
      (name_entry(group.name), *_parts(parts))
      for group in results.groups(kind, 'test')
      if (parts := decomposition_of(arms[0], group)) is not None
    ]
    if entries:
      rows[title] = entries
  return _parts_table(arms[0].label, rows)


def matrix_table(results: Results) -> Table | None:
  """Makes the table of exact match by train and test condition.

  Returns None if there is only one test condition.
  """
  arms = [
    arm for arm in results.arms if arm.split == 'test' and not arm.baseline
  ]
  tested = list(dict.fromkeys(arm.test_condition for arm in arms))
  trained = list(dict.fromkeys(arm.train_condition for arm in arms))
  by_cell = {(arm.train_condition, arm.test_condition): arm for arm in arms}
  if len(tested) < 2:
    return None
  return Table(
    columns=(
      Column('Trained on', is_number=False),
      *(Column(condition_label(name), above='Tested on') for name in tested),
    ),
    rows={
      '': tuple(
        (
          name_entry(training_label(name)),
          *(
            score_entry(by_cell[name, test], 'exact_match', CLS)
            if (name, test) in by_cell
            else Entry(MISSING, tone='muted')
            for test in tested
          ),
        )
        for name in trained
      )
    },
  )


def sensitivity_table(results: Results) -> Table | None:
  """Makes the table of answers that change when only the instructions do."""
  rows = []
  for original, other in _pairs(results):
    for group, title in ((CLS, 'classification'), (OVERALL, 'all')):
      changes = _changes(original, other, group)
      if changes is not None:
        rows.append(
          (
            name_entry(
              training_label(original.train_condition),
              detail=f'tested on: {condition_label(other.test_condition)}',
            ),
            Entry(title),
            *changes,
          )
        )
  if not rows:
    return None
  return Table(
    columns=(
      Column('Trained on', is_number=False),
      Column('Tasks', is_number=False),
      Column('Changed', above=_ANSWERS),
      Column('Wrong to right', above=_ANSWERS),
      Column('Right to wrong', above=_ANSWERS),
      Column('Most frequent new answers', above=_ANSWERS, is_number=False),
    ),
    rows={'': tuple(rows)},
  )


def _pairs(results: Results) -> list[tuple[Arm, Arm]]:
  """Returns pairs of tests of one model: real instructions, others."""
  by_model: dict[str | None, list[Arm]] = {}
  for arm in results.arms:
    if arm.split == 'test' and not arm.baseline and arm.scores is not None:
      by_model.setdefault(arm.train_condition, []).append(arm)
  return [
    (original, other)
    for arms in by_model.values()
    for original in arms
    if original.has_original_instructions
    for other in arms
    if other is not original and _is_its_original(original, other)
  ]


def _is_its_original(original: Arm, other: Arm) -> bool:
  """Whether the first arm was tested on what the other arm's test alters."""
  real, altered = (
    parse_condition(arm.test_condition) for arm in (original, other)
  )
  if real is None or altered is None:
    return False
  return altered.with_original_instructions() == real


def _changes(
  original: Arm, other: Arm, group: Group
) -> tuple[Entry, ...] | None:
  """Compares the answers of two arms; None without a common seed."""
  before, after = original.require_scores(), other.require_scores()
  seeds = [seed for seed in before.seeds if seed in after.seeds]
  mask = before.mask(group)
  if not seeds or not mask.any():
    return None
  before.check_same_instances(after)
  answers, right = [], []
  for scores in (before, after):
    rows = [scores.seeds.index(seed) for seed in seeds]
    answers.append(scores.answers[rows][:, mask])
    right.append(scores.values['exact_match'][rows][:, mask])
  changed = answers[0] != answers[1]
  new_answers = Counter(
    text for text in answers[1][changed] if isinstance(text, str)
  )
  repeated = [item for item in new_answers.items() if item[1] > 1]
  repeated.sort(key=lambda item: (-item[1], item[0]))
  total = changed.size
  listed = ', '.join(
    f'“{shorten(text, 24)}” {100 * occurrences / changed.sum():.0f}%'
    for text, occurrences in repeated[:_MOST_ANSWERS]
  )
  return (
    value_entry(100.0 * changed.sum() / total),
    value_entry(100.0 * (changed & (right[1] > right[0])).sum() / total),
    value_entry(100.0 * (changed & (right[1] < right[0])).sum() / total),
    Entry(listed or MISSING),
  )


def _parts(parts: Decomposition) -> tuple[Entry, ...]:
  values = (
    parts.exact_match,
    parts.in_format,
    parts.right_in_format,
    parts.guess,
    parts.skill,
    parts.guess_in_format,
    parts.skill_in_format,
  )
  return tuple(
    Entry('not defined', tone='muted')
    if value is None
    else Entry(number(100.0 * value))
    for value in values
  )


def _parts_table(
  title: str, rows: Mapping[str, Sequence[tuple[Entry, ...]]]
) -> Table | None:
  if not rows:
    return None
  return Table(
    columns=(
      Column(title, is_number=False),
      Column('Exact match', above='Exact match = form × knowledge'),
      Column('In format', above='Exact match = form × knowledge'),
      Column('Right, if in format', above='Exact match = form × knowledge'),
      Column('Guess', above='Beyond a guess'),
      Column('Skill', above='Beyond a guess'),
      Column('Guess', above='Beyond a guess, if in format'),
      Column('Skill', above='Beyond a guess, if in format'),
    ),
    rows=rows,
  )
