"""Figures of scores, differences and loss, as plotly's JSON."""

from collections.abc import Sequence
import dataclasses
import itertools
import math

from it_study.report import answer
from it_study.report.arms import (
  Arm,
  Comparison,
  are_untuned,
  compare,
  condition_label,
  select,
  tested_as,
)
from it_study.report.figures import plot
from it_study.report.results import Results
from it_study.report.scores import CLS, GEN, Group
from it_study.report.text import limits, number

# Okabe and Ito's palette, which is safe for colour-blind readers.
BLUE, ORANGE, GREEN, GREY = '#0072B2', '#D55E00', '#009E73', '#5F6368'
COLOURS = (
  BLUE,
  ORANGE,
  GREEN,
  '#CC79A7',
  '#56B4E9',
  '#8A6D00',
  GREY,
  '#000000',
)
_DASHES = ('solid', 'dash', 'dot')
_CURVE_POINTS = 300


@dataclasses.dataclass(frozen=True)
class Figure:
  """A figure of the report.

  Attributes:
    name: Name of the figure on the page.
    description: Caption, also the text for screen readers.
    data: Traces, in plotly's JSON.
    layout: Layout, in plotly's JSON.
  """

  name: str
  description: str
  data: list
  layout: dict


def headline_figure(results: Results) -> Figure | None:
  """Makes the figure of exact match on classification beside guessing."""
  arms = _models(results.arms, CLS, 'exact_match')
  if not arms:
    return None
  chance = answer.chance(results.arms, 'test')
  trace = _scores_trace(arms, CLS, 'exact_match')
  shapes: list[dict] = []
  notes: list[dict] = []
  legend = ''
  if chance is not None:
    shapes.append(plot.line(chance.expected))
    legend = ' The dashed line is the expected score of random guessing.'
    if chance.standard_deviation is not None:
      reach = 1.96 * chance.standard_deviation
      shapes.insert(
        0, plot.band(chance.expected - reach, chance.expected + reach)
      )
      legend = (
        ' The dashed line is the expected score of random guessing; the band '
        'holds 95% of single draws.'
      )
    notes.append(
      plot.above(
        chance.expected,
        f'guessing {number(chance.expected)}',
        highest=_highest(trace, shapes),
      )
    )
  return Figure(
    'headline',
    f'Exact match on unseen classification tasks, {tested_as(arms)}, with 95% '
    f'intervals.{legend}',
    [trace],
    plot.rows_layout(
      _labels(arms),
      'Exact match (%)',
      shapes=shapes + _rules(arms),
      annotations=notes + _values(arms, CLS, 'exact_match'),
      highest=_highest(trace, shapes),
    ),
  )


def generation_figure(results: Results) -> Figure | None:
  """Makes the figure of ROUGE-L on generation beside copying."""
  arms = _models(results.arms, GEN, 'rouge_l')
  if not arms:
    return None
  trace = _scores_trace(arms, GEN, 'rouge_l')
  baselines = [
    (_BASELINE_NAMES[arm.baseline], value)
    for arm in select(results.arms, split='test', baselines=True)
    if arm.baseline is not None
    and (value := arm.value('rouge_l', GEN)) is not None
  ]
  shapes = [plot.line(value) for _, value in baselines]
  highest = _highest(trace, shapes)
  notes = [
    plot.above(value, f'{name} {number(value)}', highest=highest, line=index)
    for index, (name, value) in enumerate(baselines)
  ]
  legend = (
    ' Dashed lines: copying the input, or the output of the first example of '
    'the task.'
    if notes
    else ''
  )
  return Figure(
    'generation',
    f'ROUGE-L on unseen generation tasks, {tested_as(arms)}, with 95% '
    f'intervals.{legend}',
    [trace],
    plot.rows_layout(
      _labels(arms),
      'ROUGE-L (0 to 100)',
      shapes=shapes + _rules(arms),
      annotations=notes + _values(arms, GEN, 'rouge_l'),
      highest=highest,
      lines_above=max(1, len(notes)),
    ),
  )


def difference_figure(results: Results) -> Figure | None:
  """Makes the figure of real minus altered instructions, on classification."""
  pairs = compare(
    results.arms,
    split='test',
    metric='exact_match',
    group=CLS,
    margin=results.margin,
  )
  if not pairs:
    return None
  return Figure(
    'differences',
    'Exact match with the real instructions minus exact match with altered '
    'ones, on classification. To the right of 0, the real instructions are '
    'better. Thick lines are 95% intervals; thin lines are widened so that all '
    'comparisons hold jointly. The shaded band, '
    f'{number(results.margin)} points either way, counts as no difference.',
    [_whiskers(pairs, 'joint', 1.5), _whiskers(pairs, 'interval', 5)],
    plot.rows_layout(
      [plot.lines(pair.altered.label) for pair in pairs],
      'Real − altered (points)',
      shapes=[
        plot.band(-results.margin, results.margin),
        plot.line(0.0, dash='solid'),
        *_rules([pair.altered for pair in pairs]),
      ],
      annotations=[
        plot.value(
          pair.interval.mean, row, number(pair.interval.mean, signed=True)
        )
        for row, pair in enumerate(pairs)
      ],
    ),
  )


def format_figure(results: Results) -> Figure | None:
  """Makes the figure of answers in format and of right answers."""
  arms = _models(results.arms, CLS, 'format_correctness')
  if not arms:
    return None
  series = []
  for metric, name, symbol, colour, shift in (
    ('format_correctness', 'in format', 'circle-open', ORANGE, -0.14),
    ('exact_match', 'exact match', 'circle', BLUE, 0.14),
  ):
    trace = _scores_trace(arms, CLS, metric)
    trace |= {'name': name, 'showlegend': True}
    # Shift the rows so that neither interval covers the other.
    trace['y'] = [row + shift for row in trace['y']]
    trace['marker'] = {
      'symbol': symbol,
      'color': colour,
      'size': 11,
      'line': {'width': 2, 'color': colour},
    }
    trace['error_x']['color'] = colour
    series.append(trace)
  layout = plot.rows_layout(
    _labels(arms),
    'Share of instances (%)',
    highest=100.0,
  )
  layout['legend'] = {'orientation': 'h', 'y': 1, 'yanchor': 'bottom', 'x': 0}
  return Figure(
    'format',
    'Share of answers that are a label of the task, and share of answers that '
    'are right.',
    series,
    layout,
  )


def loss_figure(results: Results) -> Figure | None:
  """Makes the figure of training loss by step, one line per training."""
  curves = results.study.curves
  if not curves:
    return None
  labels = {
    cell.training: (arm.label, cell.seed)
    for arm in results.arms
    for cell in arm.cells
    if cell.training
  }
  many_seeds = len({seed for _, seed in labels.values()}) > 1
  data = []
  # The order is that of the tables, then trainings without a finished cell.
  names = [name for name in labels if name in curves]
  names += [name for name in curves if name not in labels]
  for index, name in enumerate(names):
    points = curves[name]
    label, seed = labels.get(name, (name, None))
    stride = math.ceil(len(points) / _CURVE_POINTS)
    # Strides are counted from the end, to keep the last point.
    points = points[::-1][::stride][::-1]
    data.append(
      {
        'type': 'scatter',
        'mode': 'lines',
        'x': [step for step, _ in points],
        'y': [loss for _, loss in points],
        'name': plot.safe(f'{label}, seed {seed}' if many_seeds else label),
        'line': {
          'color': COLOURS[index % len(COLOURS)],
          'width': 1.8,
          'dash': _DASHES[index // len(COLOURS) % len(_DASHES)],
        },
      }
    )
  layout = plot.layout(height=420 + 18 * len(data))
  layout['xaxis'] = plot.axis('Training step') | {'rangemode': 'tozero'}
  layout['yaxis'] = plot.axis('Loss (nats per target token)') | {
    'rangemode': 'tozero'
  }
  layout['showlegend'] = True
  layout['legend'] = {'orientation': 'h', 'y': -0.2, 'yanchor': 'top', 'x': 0}
  return Figure('loss', 'Training loss, z-loss included.', data, layout)


_BASELINE_NAMES = {
  'copy_input': 'copy input',
  'copy_demo': 'copy example',
  'random': 'random',
  'majority': 'majority',
  'prior': 'prior',
}
_SYMBOLS = {'simplified': 'diamond', 'delusive': 'x', 'empty': 'circle-open'}


def _labels(arms: Sequence[Arm]) -> list[str]:
  """Returns the labels of arms, without "Untuned" if that goes for all."""
  if are_untuned(arms):
    return [plot.lines(condition_label(arm.test_condition)) for arm in arms]
  return [plot.lines(arm.label) for arm in arms]


def _models(arms: Sequence[Arm], group: Group, metric: str) -> list[Arm]:
  chosen = select(arms, split='test', matched=True, untuned=True)
  return [arm for arm in chosen if arm.value(metric, group) is not None]


def _scores_trace(arms: Sequence[Arm], group: Group, metric: str) -> dict:
  """Returns a row of mark and interval for each arm; all have a value."""
  values, above, below, hover = [], [], [], []
  for arm in arms:
    value, interval = arm.value(metric, group), arm.interval(metric, group)
    if value is None:
      raise ValueError(f'{arm.label} has no {metric}')
    low = value if interval is None else interval.low
    high = value if interval is None else interval.high
    values.append(value)
    above.append(high - value)
    below.append(value - low)
    hover.append(
      f'{plot.safe(arm.label)}<br>{number(value)} '
      f'[{number(low)}, {number(high)}]'
    )
  return {
    'type': 'scatter',
    'mode': 'markers',
    'x': values,
    'y': list(range(len(arms))),
    'hovertext': hover,
    'hoverinfo': 'text',
    'showlegend': False,
    'cliponaxis': False,
    'error_x': {
      'type': 'data',
      'symmetric': False,
      'array': above,
      'arrayminus': below,
      'thickness': 2,
      'width': 0,
      'color': '#7A828C',
    },
    'marker': {
      'size': 11,
      'symbol': [_symbol(arm) for arm in arms],
      'color': [_colour(arm) for arm in arms],
      'line': {
        'width': [_outline(arm) for arm in arms],
        'color': [_colour(arm) for arm in arms],
      },
    },
  }


def _whiskers(
  pairs: Sequence[Comparison], which: str, thickness: float
) -> dict:
  intervals = [getattr(pair, which) for pair in pairs]
  is_main = which == 'interval'
  colours = [_colour(pair.altered) for pair in pairs]
  return {
    'type': 'scatter',
    'mode': 'markers',
    'x': [pair.interval.mean for pair in pairs],
    'y': list(range(len(pairs))),
    'hoverinfo': 'text',
    'hovertext': [
      f'{plot.safe(pair.altered.label)}<br>'
      f'{number(interval.mean, signed=True)} {limits(interval, signed=True)}'
      for pair, interval in zip(pairs, intervals, strict=True)
    ],
    'showlegend': False,
    'cliponaxis': False,
    'error_x': {
      'type': 'data',
      'symmetric': False,
      'array': [i.high - i.mean for i in intervals],
      'arrayminus': [i.mean - i.low for i in intervals],
      'thickness': thickness,
      'width': 0,
      'color': '#9AA1A9',
    },
    'marker': {
      'size': 11 if is_main else 1,
      'symbol': [_symbol(pair.altered) for pair in pairs],
      'color': colours,
      'line': {
        'width': [_outline(pair.altered) for pair in pairs],
        'color': colours,
      },
    },
  }


def _values(arms: Sequence[Arm], group: Group, metric: str) -> list[dict]:
  """Returns each arm's number, above its mark."""
  points = [arm.value(metric, group) for arm in arms]
  return [
    plot.value(x, row, number(x))
    for row, x in enumerate(points)
    if x is not None
  ]


def _highest(trace: dict, shapes: Sequence[dict]) -> float:
  """Returns the right end of marks, intervals and shapes, at least 1."""
  pairs = zip(trace['x'], trace['error_x']['array'], strict=True)
  ends = [x + reach for x, reach in pairs]
  return max(1.0, *ends, *(shape['x1'] for shape in shapes))


def _rules(arms: Sequence[Arm]) -> list[dict]:
  """Returns a line between arms that are compared with different originals."""
  originals = [
    arm.condition and arm.condition.with_original_instructions() for arm in arms
  ]
  return [
    plot.rule(row + 0.5)
    for row, (one, other) in enumerate(itertools.pairwise(originals))
    if one != other
  ]


def _symbol(arm: Arm) -> str:
  if not arm.is_trained:
    return 'square'
  return _SYMBOLS.get(_alteration(arm), 'circle')


def _outline(arm: Arm) -> int:
  """Returns the width of a mark's outline; a cross would become a blob."""
  return 0 if _symbol(arm) == 'x' else 2


def _colour(arm: Arm) -> str:
  if not arm.is_trained:
    return GREY
  return BLUE if _alteration(arm) == 'original' else ORANGE


def _alteration(arm: Arm) -> str:
  condition = arm.condition
  if condition is None:
    return 'unknown' if arm.test_task is None else 'original'
  levels = (condition.definition, condition.examples)
  return next((level for level in levels if level != 'original'), 'original')
