"""Tables of scores and of differences between them."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

from it_study.evaluation.stats import intervals
from it_study.report import surfaces
from it_study.report.arms import (
  ALPHA,
  INSTRUCTIONS,
  Arm,
  Comparison,
  Origin,
  compare,
  condition_label,
  select,
  trained_heading,
  training_label,
)
from it_study.report.results import Results
from it_study.report.scores import CLS, GEN, OVERALL, Group
from it_study.report.tables.table import (
  Column,
  Entry,
  Table,
  name_entry,
  value_entry,
)
from it_study.report.text import count, number, p_value, shorten

METRIC_NAMES = {
  'exact_match': 'Exact match',
  'rouge_l': 'ROUGE-L',
  'format_correctness': 'In format',
}
# Super-NaturalInstructions scores these by exact match, its other test
# categories by ROUGE-L (Wang et al. 2022, section 5.1).
_EXACT_MATCH_CATEGORIES = (
  'Textual Entailment',
  'Cause Effect Classification',
  'Coreference Resolution',
  'Dialogue Act Recognition',
  'Answerability Classification',
  'Word Analogy',
)
_ROUGE_CATEGORIES = (
  'Overlap Extraction',
  'Keyword Tagging',
  'Question Rewriting',
  'Title Generation',
  'Data to Text',
  'Grammar Error Correction',
)
_MAIN_COLUMNS = (
  ('Classification', CLS, 'exact_match'),
  ('Classification', CLS, 'rouge_l'),
  ('Classification', CLS, 'format_correctness'),
  ('Generation', GEN, 'exact_match'),
  ('Generation', GEN, 'rouge_l'),
  ('Overall', OVERALL, 'exact_match'),
  ('Overall', OVERALL, 'rouge_l'),
)
_CONTROL_METRICS = {
  'test': ('exact_match', 'format_correctness'),
  'validation': ('exact_match',),
}


def main_table(results: Results) -> Table:
  """Makes the table of models tested as they were trained, and baselines."""
  return _scores_table(_by_role(results.arms, split='test'), _MAIN_COLUMNS)


def short_table(results: Results) -> Table:
  """Makes the main table with only the columns that fit a terminal."""
  columns = [_MAIN_COLUMNS[index] for index in (0, 2, 4)]
  return _scores_table(_by_role(results.arms, split='test'), columns)


def original_table(results: Results) -> Table:
  """Makes the table of all models tested with the real instructions."""
  return _scores_table(
    {'Trained on': select(results.arms, split='test', original=True)},
    _MAIN_COLUMNS,
  )


def validation_table(results: Results) -> Table:
  """Makes the table of held-out instances of training tasks and controls."""
  return _scores_table(
    _by_role(results.arms, split='validation'),
    _control_columns(results, 'validation') + _MAIN_COLUMNS,
  )


def controls_table(results: Results) -> Table | None:
  """Makes the table of control tasks in the test split; None without any."""
  columns = _control_columns(results, 'test')
  if not columns:
    return None
  return _scores_table(_by_role(results.arms, split='test'), columns)


def _control_columns(
  results: Results, split: str
) -> tuple[tuple[str, Group, str], ...]:
  return tuple(
    (group.name, group, metric)
    for group in results.groups('control', split)
    for metric in _CONTROL_METRICS[split]
  )


def difference_table(
  results: Results,
  *,
  metric: str,
  group: Group,
  origin: Origin = INSTRUCTIONS,
) -> Table | None:
  """Makes the table of real minus altered instructions, or data.

  Returns None if nothing can be compared.
  """
  pairs = compare(
    results.arms,
    split='test',
    metric=metric,
    group=group,
    margin=results.margin,
    origin=origin,
  )
  if not pairs:
    return None
  name = METRIC_NAMES[metric]
  return Table(
    columns=(
      Column(
        f'Altered {"instructions" if origin is INSTRUCTIONS else "data"}',
        is_number=False,
      ),
      Column('Real', above=name),
      Column('Altered', above=name),
      Column('Difference', above='Real − altered, points'),
      Column('p', above='Real − altered, points'),
      Column('Shown?', above='Real − altered, points', is_number=False),
      Column(
        f'Equivalent within {number(results.margin)}?',
        above='Real − altered, points',
        is_number=False,
      ),
      Column('Detectable', above='Real − altered, points'),
    ),
    rows={
      '': tuple(
        (
          name_entry(pair.altered.label, detail=f'vs. {pair.original.label}'),
          score_entry(pair.original, metric, group),
          score_entry(pair.altered, metric, group),
          value_entry(pair.interval.mean, pair.interval, signed=True),
          Entry(p_value(pair.p_value)),
          _shown(pair),
          _equivalent(pair),
          Entry(number(pair.estimate.minimum_detectable_effect())),
        )
        for pair in pairs
      )
    },
  )


def surface_table(results: Results) -> Table | None:
  """Makes the table of scores over surfaces; None with one surface only."""
  rows = tuple(
    (
      name_entry(
        training_label(
          None
          if spread.train_condition is None
          else spread.train_condition.name
        )
      ),
      name_entry(condition_label(spread.test_condition.name)),
      Entry(f'{spread.num_surfaces}'),
      *map(value_entry, (spread.lowest, spread.highest, spread.width)),
    )
    for spread in surfaces.spreads(results.arms)
  )
  if not rows:
    return None
  return Table(
    columns=(
      Column('Trained on', is_number=False),
      Column('Tested on', is_number=False),
      Column('Surfaces'),
      Column('Lowest', above='Exact match'),
      Column('Highest', above='Exact match'),
      Column('Spread', above='Exact match'),
    ),
    rows={'': rows},
  )


def grid_table(results: Results) -> Table | None:
  """Makes the table of real minus altered instructions in each category."""
  cells = []
  for group in results.groups('category', 'test'):
    metric = _category_metric(results.arms, group)
    for pair in compare(
      results.arms,
      split='test',
      metric=metric,
      group=group,
      margin=results.margin,
    ):
      cells.append((group, metric, pair))
  if not cells:
    return None
  p_values = [pair.estimate.p_value() for _, _, pair in cells]
  holm = intervals.adjust(p_values)
  false_discovery = intervals.adjust(p_values, method='benjamini_hochberg')
  rows = tuple(
    (
      name_entry(group.name, detail=METRIC_NAMES[metric]),
      name_entry(pair.altered.label, detail=f'vs. {pair.original.label}'),
      value_entry(pair.interval.mean, pair.interval, signed=True),
      *(
        Entry(p_value(value), tone='good' if value < ALPHA else None)
        for value in (p_values[k], holm[k], false_discovery[k])
      ),
    )
    for k, (group, metric, pair) in enumerate(cells)
  )
  return Table(
    columns=(
      Column('Category', is_number=False),
      Column('Altered instructions', is_number=False),
      Column('Real − altered, points'),
      Column('p', above='p-values'),
      Column('Holm', above='p-values'),
      Column('Benjamini-Hochberg', above='p-values'),
    ),
    rows={'': rows},
  )


def score_entry(
  arm: Arm, metric: str, group: Group, *, with_interval: bool = True
) -> Entry:
  """Returns an entry for an arm's score in a group, linked to predictions."""
  interval = arm.interval(metric, group) if with_interval else None
  value = arm.value(metric, group)
  href = None if value is None else predictions_href(arm, group)
  return value_entry(value, interval, href=href)


def predictions_href(arm: Arm, group: Group) -> str:
  """Returns the link to an arm's predictions for a group.

  In `it-study view` the query selects the predictions of the group, of all
  seeds. As a file the link opens all predictions of the first seed, and the
  query has no effect.
  """
  name = group.name
  kind = 'group' if group.kind == 'headline' else group.kind
  if kind == 'control':
    kind = 'category'
  cell = quote(arm.cells[0].cell)
  fields = {kind: name} | ({'seeds': 'all'} if len(arm.cells) > 1 else {})
  return f'../cells/{cell}/predictions.jsonl?{urlencode(fields)}'


def category_table(results: Results) -> Table | None:
  """Makes the table of each test category by its headline metric."""
  groups = results.groups('category', 'test')
  return _groups_table(
    results,
    [(group, _category_metric(results.arms, group)) for group in groups],
  )


def task_table(results: Results) -> Table | None:
  """Makes the table of test tasks: exact match for classification, ROUGE-L."""
  groups = []
  for group in results.groups('task', 'test'):
    is_cls = any(_has_format(arm, group) for arm in results.arms)
    groups.append((group, 'exact_match' if is_cls else 'rouge_l'))
  return _groups_table(results, groups, with_intervals=False)


def _by_role(arms: Sequence[Arm], *, split: str) -> dict[str, list[Arm]]:
  return {
    trained_heading(arms): select(arms, split=split, matched=True),
    'Not trained': select(arms, split=split, untuned=True),
    'Baselines': select(arms, split=split, baselines=True),
  }


def _scores_table(
  sections: Mapping[str, Sequence[Arm]],
  columns: Sequence[tuple[str, Group, str]],
) -> Table:
  rows = {
    title: tuple(
      (
        name_entry(arm.label),
        *(score_entry(arm, metric, group) for _, group, metric in columns),
      )
      for arm in arms
    )
    for title, arms in sections.items()
    if arms
  }
  return Table(
    columns=(
      Column('', is_number=False),
      *(
        Column(METRIC_NAMES[metric], above=shorten(above))
        for above, _, metric in columns
      ),
    ),
    rows=rows,
  )


def _groups_table(
  results: Results,
  groups: Sequence[tuple[Group, str]],
  *,
  with_intervals: bool = True,
) -> Table | None:
  arms = [
    *select(results.arms, split='test', matched=True),
    # There are many columns: one untuned model is enough.
    *select(results.arms, split='test', untuned=True)[:1],
    *(
      arm
      for arm in select(results.arms, split='test', baselines=True)
      if arm.baseline in ('random', 'copy_demo')
    ),
  ]
  if not arms or not groups:
    return None
  sections: dict[str, list] = {}
  for group, metric in groups:
    entries = [
      score_entry(arm, metric, group, with_interval=with_intervals)
      for arm in arms
    ]
    sizes = [arm.group(arm.cells[0], group) for arm in arms]
    size = next((size for size in sizes if size is not None), {})
    sections.setdefault(f'By {METRIC_NAMES[metric]}', []).append(
      (
        name_entry(group.name, detail=_size(size, has_tasks=with_intervals)),
        *entries,
      )
    )
  kind = groups[0][0].kind.capitalize()
  return Table(
    columns=(
      Column(kind, is_number=False),
      *(Column(arm.label, above=_role(arm)) for arm in arms),
    ),
    rows={title: tuple(rows) for title, rows in sorted(sections.items())},
  )


def _size(group: Mapping, *, has_tasks: bool) -> str | None:
  parts = [
    count(group[key], noun)
    for key, noun in (('num_tasks', 'task'), ('num_instances', 'instance'))
    if isinstance(group.get(key), int) and (has_tasks or noun == 'instance')
  ]
  return ', '.join(parts) or None


def _role(arm: Arm) -> str:
  if arm.baseline:
    return 'Baselines'
  return trained_heading([arm]) if arm.is_trained else 'Not trained'


def _shown(pair: Comparison) -> Entry:
  if pair.helps:
    return Entry('yes, real is better', tone='good')
  if pair.harms:
    return Entry('yes, real is worse', tone='bad')
  possible = f'up to {number(pair.largest)} possible'
  if not pair.estimate.varies:
    possible = f'no variation, {possible}'
  return Entry('not shown', possible)


def _equivalent(pair: Comparison) -> Entry:
  detail = f'p {p_value(pair.equivalence_p_value)}'
  if pair.is_equivalent:
    return Entry('yes', detail, tone='good')
  return Entry('not shown', detail if pair.estimate.varies else 'no variation')


def _category_metric(arms: Sequence[Arm], group: Group) -> str:
  if group.name in _EXACT_MATCH_CATEGORIES:
    return 'exact_match'
  if group.name in _ROUGE_CATEGORIES:
    return 'rouge_l'
  is_cls = any(_has_format(arm, group) for arm in arms)
  return 'exact_match' if is_cls else 'rouge_l'


def _has_format(arm: Arm, group: Group) -> bool:
  metrics = arm.group(arm.cells[0], group) if arm.split == 'test' else None
  return metrics is not None and metrics.get('format_correctness') is not None
