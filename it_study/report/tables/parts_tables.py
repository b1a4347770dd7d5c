"""Tables of what exact match is made of, and of what changes an answer."""

from collections import Counter

import numpy as np

from it_study.evaluation.decomposition import Decomposition, decompose_scores
from it_study.report.arms import (
  Arm,
  condition_label,
  parse_condition,
  select,
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
  'Exact match is the product of two shares: of answers in format, and of '
  'those in format that are right. Guess is what a uniform guess is expected '
  'to score, and skill what is left of exact match beyond it, (exact match − '
  'guess) / (100 − guess) × 100: 0 for guessing, 100 for all right, below 0 '
  'for worse than guessing. The last two columns look at the answers in format '
  'alone. Their guess is on those same instances, which may be easier or '
  'harder than the rest, and their skill is (right, if in format − guess) / '
  '(100 − guess) × 100.'
)
_MOST_ANSWERS = 3


def decomposition_of(arm: Arm, group: Group) -> Decomposition | None:
  """Exact match of an arm's classification taken apart, over all seeds."""
  if arm.scores is None:
    return None
  scores = arm.scores
  mask = scores.mask(group) & ~np.isnan(scores.values[CHANCE][0])
  names = ('exact_match', 'format_correctness', CHANCE)
  columns = (scores.values[name][:, mask].ravel() / 100.0 for name in names)
  return decompose_scores(*(column.tolist() for column in columns))


def decomposition_table(results: Results) -> Table | None:
  """Each model's exact match on classification: form, knowledge, skill."""
  rows = {}
  for title, arms in (
    (
      'Trained and tested on',
      select(results.arms, split='test', matched=True),
    ),
    ('Not trained', select(results.arms, split='test', untuned=True)),
    ('Baselines', select(results.arms, split='test', baselines=True)),
  ):
    entries = [
      (name_entry(arm.label), *_parts(arm, CLS))
      for arm in arms
      if decomposition_of(arm, CLS) is not None
    ]
    if entries:
      rows[title] = tuple(entries)
  return _parts_table('Model', rows)


def skill_table(results: Results) -> Table | None:
  """Skill beyond a guess by category and task, of the first real training."""
  arms = select(results.arms, split='test', matched=True)
  arms = [arm for arm in arms if arm.has_original_instructions] or arms
  if not arms or arms[0].scores is None:
    return None
  rows = {}
  for kind, title in (('category', 'Categories'), ('task', 'Tasks')):
    entries = [
      (name_entry(group.name), *_parts(arms[0], group))
      for group in results.groups(kind, 'test')
      if decomposition_of(arms[0], group) is not None
    ]
    if entries:
      rows[title] = tuple(entries)
  return _parts_table(arms[0].label, rows)


def matrix_table(results: Results) -> Table | None:
  """Exact match on classification, trained by tested; None if each has one."""
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
          name_entry('Untuned' if name is None else condition_label(name)),
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
  """How many answers change when the instruction alone does, and to what."""
  rows = []
  for original, other in _pairs(results):
    for group, title in ((CLS, 'classification'), (OVERALL, 'all')):
      changes = _changes(original, other, group)
      if changes is not None:
        rows.append(
          (
            name_entry(
              'Untuned' if original.is_untuned else original.label,
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
      Column('Changed', above='Answers, against the real instructions'),
      Column('Wrong to right', above='Answers, against the real instructions'),
      Column('Right to wrong', above='Answers, against the real instructions'),
      Column(
        'Most often they turn to',
        above='Answers, against the real instructions',
        is_number=False,
      ),
    ),
    rows={'': tuple(rows)},
  )


def _pairs(results: Results) -> list[tuple[Arm, Arm]]:
  """Tests of one model under the real instructions and under others."""
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
  """Whether the first has the real instructions that the other alters."""
  real, altered = (
    parse_condition(arm.test_condition) for arm in (original, other)
  )
  if real is None or altered is None:
    return False
  return altered.with_original_instructions() == real


def _changes(
  original: Arm, other: Arm, group: Group
) -> tuple[Entry, ...] | None:
  seeds = [s for s in original.scores.seeds if s in other.scores.seeds]
  mask = original.scores.mask(group)
  if not seeds or not mask.any():
    return None
  original.scores.check_same_instances(other.scores)
  answers, right = [], []
  for scores in (original.scores, other.scores):
    rows = [scores.seeds.index(seed) for seed in seeds]
    answers.append(scores.answers[rows][:, mask])
    right.append(scores.values['exact_match'][rows][:, mask])
  changed = answers[0] != answers[1]
  towards = Counter(
    text for text in answers[1][changed] if isinstance(text, str)
  )
  often = [item for item in towards.items() if item[1] > 1]
  total = changed.size
  listed = ', '.join(
    f'“{shorten(text, 24)}” {100 * number_of / changed.sum():.0f}%'
    for text, number_of in sorted(often, key=lambda item: (-item[1], item[0]))[
      :_MOST_ANSWERS
    ]
  )
  return (
    value_entry(100.0 * changed.sum() / total),
    value_entry(100.0 * (changed & (right[1] > right[0])).sum() / total),
    value_entry(100.0 * (changed & (right[1] < right[0])).sum() / total),
    Entry(listed or MISSING),
  )


def _parts(arm: Arm, group: Group) -> tuple[Entry, ...]:
  parts = decomposition_of(arm, group)
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
    Entry('undefined', tone='muted')
    if value is None
    else Entry(number(100.0 * value))
    for value in values
  )


def _parts_table(title: str, rows: dict) -> Table | None:
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
