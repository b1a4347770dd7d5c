"""Metrics and comparisons as tables for a terminal."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from it_study.corpus.findings import plural
from it_study.errors import visible
from it_study.evaluation import baselines
from it_study.evaluation.metrics import GROUPS
from it_study.evaluation.stats.comparison import Compared, Difference

if TYPE_CHECKING:
  from rich import console as rich_console, table as rich_table

_KINDS = ('classification', 'generation')
_COLUMNS = {
  'exact\nmatch': 'exact_match',
  'ROUGE-1': 'rouge_1',
  'ROUGE-L': 'rouge_l',
  'in\nformat': 'format_correctness',
}
_METRICS = {
  'exact_match': 'Exact match',
  'rouge_1': 'ROUGE-1',
  'rouge_l': 'ROUGE-L',
  'format_correctness': 'In format',
}

NO_VARIATION = (
  'Where no score differs, or all differ alike, there is no variance to judge '
  'by: the interval and p are then exact bounds from the number of tasks (of '
  'instances, if there is one task), which do not speak for other seeds, and '
  'equivalence is not claimed.'
)


def print_comparison(
  compared: Compared,
  *,
  per_category: bool = False,
  console: 'rich_console.Console | None' = None,
) -> None:
  """Prints a table of differences, then how predictions change.

  Names and numbers stay whole: if the table is wider than the console, B moves
  below A and intervals below their differences; if it is still too wide, each
  row becomes a sentence below its name.

  Args:
    compared: Result of `comparison.compare`.
    per_category: Whether to add a row for each category.
    console: Console to print to; None prints to standard output.
  """
  from rich import console as rich_console, text

  console = console or rich_console.Console(highlight=False)
  _print_differences(compared, per_category=per_category, console=console)
  if not compared.answers_generation:
    console.print(
      text.Text(
        'One of the files is a baseline that does not answer generation '
        'tasks: groups with generation tasks, overall included, are omitted, '
        'as in score.'
      )
    )
  estimate = compared.differences[0].estimate
  console.print(
    text.Text(
      f'{plural(estimate.num_instances, "instance")} of '
      f'{plural(estimate.num_tasks, "task")}. A '
      'minus B in points; 95% intervals generalize over '
      f'{"seeds and tasks" if estimate.num_seeds > 1 else "tasks"}'
      f'{"" if estimate.num_seeds > 1 else ", not over training seeds"}. '
      'p is adjusted over the groups of a metric (Holm). Detectable: the true '
      'difference that this design detects with 80% power.'
    )
  )
  constant = [
    f'{title} ({", ".join(visible(d.group) for d in alike)})'
    for title, rows in _by_metric(compared, per_category=per_category)
    if (alike := [d for d, _ in rows if not d.estimate.varies])
  ]
  if constant:
    console.print(
      text.Text(f'{NO_VARIATION} Equal differences: {"; ".join(constant)}.')
    )
  for group, changes in compared.changes.items():
    if group not in GROUPS:
      continue
    line = (
      f'{group}: {changes.share:.1f}% of {changes.num_instances:,} predictions '
      f'differ between A and B; {changes.gained:,} become right, '
      f'{changes.lost:,} wrong'
    )
    if changes.left_format or changes.entered_format:
      line += (
        f', {changes.entered_format:,} enter the format, '
        f'{changes.left_format:,} leave it'
      )
    if changes.towards and group == 'classification':
      towards = ', '.join(
        f'{visible(name)[:40]!r} ({count:,})' for name, count in changes.towards
      )
      line += f'; most frequent new answers: {towards}'
    console.print(text.Text(f'{line}.'))


def _print_differences(
  compared: Compared, *, per_category: bool, console: 'rich_console.Console'
) -> None:
  from rich import text

  for is_narrow in (False, True):
    table = _table(compared, per_category=per_category, is_narrow=is_narrow)
    if _width(table, console) <= console.width:
      console.print(table)
      return
  for title, rows in _by_metric(compared, per_category=per_category):
    console.print(text.Text(title, 'italic'))
    for difference, p_value in rows:
      name, first, second, gap, interval, *rest = _row(
        difference, p_value, compared.margin
      )
      p_text, within, detectable = rest
      # A name that is broken into lines cannot be copied.
      console.print(text.Text(name), soft_wrap=True)
      console.print(
        text.Text(
          f'A {first}, B {second}, A − B {gap} {interval}, p {p_text}, within '
          f'±{compared.margin:g}: {within}, detectable: {detectable}',
          overflow='fold',
        )
      )


def _width(table: 'rich_table.Table', console: 'rich_console.Console') -> int:
  """Returns the width at which a table shows every cell whole."""
  from rich import measure

  # Unbounded: otherwise rich measures what fits the console.
  options = console.options.update(max_width=10_000)
  return measure.Measurement.get(console, options, table).maximum


def _by_metric(
  compared: Compared, *, per_category: bool
) -> Iterator[tuple[str, list[tuple[Difference, float]]]]:
  """Yields the title of each metric, and its differences and p-values."""
  pairs = list(zip(compared.differences, compared.p_values, strict=True))
  for metric, title in _METRICS.items():
    chosen = [
      pair
      for pair in pairs
      if pair[0].metric == metric and (per_category or pair[0].group in GROUPS)
    ]
    if chosen:
      yield title, chosen


def _table(
  compared: Compared, *, per_category: bool, is_narrow: bool
) -> 'rich_table.Table':
  from rich import box, table as rich_table, text

  margin = compared.margin
  table = rich_table.Table(
    box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), show_edge=not is_narrow
  )
  table.add_column('', min_width=14, no_wrap=True)
  pairs = ('A\nB', 'A − B\n95%') if is_narrow else ('A', 'B', 'A − B', '95%')
  for name in (*pairs, 'p', f'within\n±{margin:g}', 'detect-\nable'):
    table.add_column(name, justify='right', no_wrap=True)
  for title, rows in _by_metric(compared, per_category=per_category):
    table.add_row(text.Text(title, 'italic'))
    for difference, p_value in rows:
      name, first, second, gap, interval, *rest = _row(
        difference, p_value, margin
      )
      shown = [first, second, gap, interval]
      if is_narrow:
        shown = [f'{first}\n{second}', f'{gap}\n{interval}']
      # Text, since a name may look like rich's markup.
      table.add_row(*map(text.Text, (name, *shown, *rest)))
    table.add_section()
  return table


def _row(difference: Difference, p_value: float, margin: float) -> list[str]:
  estimate = difference.estimate
  interval = estimate.interval()
  equivalence = estimate.equivalence(margin)
  within = f'p {_p_value(equivalence.p_value)}' if equivalence.varies else '–'
  detectable = estimate.minimum_detectable_effect()
  return [
    visible(difference.group),
    f'{difference.first:.1f}',
    f'{difference.second:.1f}',
    f'{estimate.mean:+.1f}',
    f'[{interval.low:+.1f}, {interval.high:+.1f}]',
    _p_value(p_value),
    'yes' if equivalence.holds else within,
    f'{detectable:.1f}' if detectable <= 100 else '–',
  ]


def _p_value(value: float) -> str:
  return '<0.001' if value < 0.001 else f'{value:.3f}'


def print_metrics(
  metrics: Mapping,
  *,
  per_task: bool = False,
  console: 'rich_console.Console | None' = None,
) -> None:
  """Prints metrics as a table, which keeps names whole on any console.

  Args:
    metrics: Contents of metrics.json.
    per_task: Whether to add a row for each task.
    console: Console to print to; None prints to standard output.
  """
  from rich import console as rich_console

  console = console or rich_console.Console()
  table = metrics_table(metrics, per_task=per_task)
  # A pipe has no width, and a terminal continues a long line on the next.
  console.width = max(console.width, _width(table, console))
  console.print(table)


def metrics_table(
  metrics: Mapping, *, per_task: bool = False
) -> 'rich_table.Table':
  """Returns metrics as a table for a terminal.

  Args:
    metrics: Contents of metrics.json.
    per_task: Whether to add a row for each task.
  """
  from rich import box, table as rich_table, text

  table = rich_table.Table(box=box.SIMPLE, caption=_caption(metrics))
  table.add_column('', min_width=14, no_wrap=True)
  for title in ('tasks', 'instances', *_COLUMNS):
    table.add_column(title, justify='right', no_wrap=True)
  sections = [
    [(name, metrics[name]) for name in ('overall', *_KINDS)],
    [*metrics['by_category'].items()],
    [*metrics['controls'].items()],
    [*metrics['by_task'].items()] if per_task else [],
  ]
  for section in sections:
    for name, group in section:
      # Text, since a name may look like rich's markup.
      table.add_row(text.Text(visible(name)), *_cells(group))
    table.add_section()
  return table


def _cells(group: Mapping | None) -> list[str]:
  if group is None:
    return ['–'] * (2 + len(_COLUMNS))
  counts = [group['num_tasks'], group['num_instances']]
  shares = [group[name] for name in _COLUMNS.values()]
  return [
    *('–' if count is None else f'{count:,}' for count in counts),
    *('–' if share is None else f'{share:.2f}' for share in shares),
  ]


def _strict(group: Mapping) -> str:
  text = f'exact match {group["strict_exact_match"]:.2f}'
  in_format = group['strict_format_correctness']
  return text if in_format is None else f'{text}, in format {in_format:.2f}'


def _caption(metrics: Mapping) -> str | None:
  lines = []
  expected = (metrics['classification'] or {}).get('expected')
  if expected is not None:
    lines.append(
      'classification, expected exact match: '
      f'{expected["exact_match"]:.2f} ± {expected["standard_deviation"]:.2f}'
    )
  strict = [
    f'{kind} {_strict(metrics[kind])}'
    for kind in _KINDS
    if metrics[kind] is not None
  ]
  if strict:
    lines.append(f'strict, without normalising texts: {"; ".join(strict)}')
  if baselines.leaves_out_categories(metrics):
    lines.append(
      'This baseline does not answer generation tasks. Categories with '
      'generation tasks are omitted, but their classification tasks count in '
      'the rows above.'
    )
  return '\n'.join(lines) or None
