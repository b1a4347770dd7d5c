"""Figures and table of sweeps."""

from collections.abc import Mapping, Sequence

from it_study.report import answer
from it_study.report.arms import Arm
from it_study.report.curves import (
  AMOUNTS,
  Curve,
  crossing_text,
  find_curves,
)
from it_study.report.figures import plot
from it_study.report.figures.score_figures import COLOURS, Figure
from it_study.report.results import Results
from it_study.report.scores import CLS, GEN, Group
from it_study.report.tables.kept_table import arms_by_share
from it_study.report.tables.score_tables import score_entry
from it_study.report.tables.table import Column, Entry, Table
from it_study.report.text import number

_FIGURES = (
  ('exact_match', CLS, 'Exact match (%)', 'classification'),
  ('format_correctness', CLS, 'In format (%)', 'classification'),
  ('rouge_l', GEN, 'ROUGE-L (0 to 100)', 'generation'),
)
_LEGEND = {'orientation': 'h', 'y': 1.02, 'yanchor': 'bottom', 'x': 0}


def curve_figures(results: Results) -> list[Figure]:
  """Makes one figure per metric for each amount that is swept."""
  figures = []
  curves = find_curves(results)
  for field in AMOUNTS:
    of_field = [curve for curve in curves if curve.field == field]
    for metric, group, axis, name in _FIGURES:
      shown = [
        curve
        for curve in of_field
        if all(arm.value(metric, group) is not None for arm in curve.arms)
      ]
      if shown:
        figures.append(
          _figure(results, shown, field, metric, group, axis, name)
        )
  return figures


def crossing_table(results: Results) -> Table | None:
  """Makes the table of where curves beat guessing, and of their scores."""
  curves = find_curves(results)
  if not curves:
    return None
  rows = {}
  for field, title in AMOUNTS.items():
    for curve in curves:
      if curve.field == field:
        rows[f'{curve.label}: {crossing_text(curve)}\n{title}'] = tuple(
          (
            Entry(f'{amount:,}'),
            score_entry(arm, 'exact_match', CLS),
            score_entry(arm, 'format_correctness', CLS),
            score_entry(arm, 'rouge_l', GEN),
          )
          for amount, arm in zip(curve.amounts, curve.arms, strict=True)
        )
  return Table(
    columns=(
      Column('Amount', is_number=False),
      Column('Exact match', above='Classification'),
      Column('In format', above='Classification'),
      Column('ROUGE-L', above='Generation'),
    ),
    rows=rows,
  )


def _figure(
  results: Results,
  curves: Sequence[Curve],
  field: str,
  metric: str,
  group: Group,
  axis: str,
  name: str,
) -> Figure:
  data: list[dict] = []
  shapes: list[dict] = []
  notes: list[dict] = []
  text = ''
  for place, curve in enumerate(curves):
    data += _traces(
      curve.label,
      dict(zip(curve.amounts, curve.arms, strict=True)),
      metric,
      group,
      COLOURS[place % len(COLOURS)],
    )
  if metric == 'exact_match':
    shapes, notes, text = _guessing(results)
    chance = answer.chance(results.arms, 'test')
    marks = [
      mark
      for place, curve in enumerate(curves)
      if chance is not None
      and (
        mark := _crossing(curve, chance.expected, COLOURS[place % len(COLOURS)])
      )
      is not None
    ]
    if marks:
      data += marks
      text += (
        ' A diamond marks where a curve first beats guessing, with its 95% '
        'interval; an interval that reaches the edge extends beyond it.'
      )
  layout = plot.layout(height=420)
  layout |= {
    'xaxis': plot.axis(AMOUNTS[field])
    | {
      'type': 'log',
      'tickvals': sorted({a for curve in curves for a in curve.amounts}),
    },
    'yaxis': plot.axis(axis) | {'rangemode': 'tozero'},
    'shapes': shapes,
    'annotations': notes,
    'legend': _LEGEND,
  }
  layout['xaxis']['ticktext'] = [f'{a:,}' for a in layout['xaxis']['tickvals']]
  return Figure(
    f'curve_{field}_{metric}',
    f'{axis.split(" (")[0]} on unseen {name} tasks by '
    f'{AMOUNTS[field].lower()}, each model tested as it was trained. Bands are '
    f'95% intervals.{text}',
    data,
    layout,
  )


def kept_figure(results: Results) -> Figure | None:
  """Makes the figure of exact match by the share of the definition kept."""
  series = arms_by_share(results)
  if not series:
    return None
  shapes, notes, text = _guessing(results)
  layout = plot.layout(height=420)
  layout |= {
    'xaxis': plot.axis('Words of the definition that are kept (%)')
    | {
      'tickvals': sorted({share for arms in series.values() for share in arms})
    },
    'yaxis': plot.axis('Exact match (%)') | {'rangemode': 'tozero'},
    'shapes': shapes,
    'annotations': notes,
    'legend': _LEGEND,
  }
  return Figure(
    'kept',
    'Exact match on unseen classification tasks by the share of the '
    "definition's words, each model tested as it was trained. Bands are 95% "
    f'intervals.{text}',
    [
      trace
      for place, (label, arms) in enumerate(series.items())
      for trace in _traces(
        label, arms, 'exact_match', CLS, COLOURS[place % len(COLOURS)]
      )
    ],
    layout,
  )


def _crossing(curve: Curve, level: float, colour: str) -> dict | None:
  """Returns a mark where a curve first beats guessing, with its interval."""
  crossing = curve.crossing
  if crossing is None or crossing.amount is None:
    return None
  low = crossing.low or curve.amounts[0]
  high = crossing.high or curve.amounts[-1]
  return {
    'type': 'scatter',
    'mode': 'markers',
    'x': [crossing.amount],
    'y': [level],
    'error_x': {
      'type': 'data',
      'symmetric': False,
      'array': [high - crossing.amount],
      'arrayminus': [crossing.amount - low],
      'color': colour,
      'thickness': 3,
      'width': 7,
    },
    'hovertext': [f'{plot.safe(curve.label)}<br>{crossing_text(curve)}'],
    'hoverinfo': 'text',
    'showlegend': False,
    'marker': {
      'color': '#FFFFFF',
      'size': 12,
      'symbol': 'diamond',
      'line': {'color': colour, 'width': 2.5},
    },
  }


def _guessing(results: Results) -> tuple[list[dict], list[dict], str]:
  """Returns the line of random guessing, its band, label and caption."""
  chance = answer.chance(results.arms, 'test')
  if chance is None:
    return [], [], ''
  shapes = [_level(chance.expected)]
  text = ' The dashed line is the expected score of random guessing'
  if chance.standard_deviation is not None:
    reach = 1.96 * chance.standard_deviation
    shapes.insert(
      0, plot.level_band(chance.expected - reach, chance.expected + reach)
    )
    text += '; the band holds 95% of single draws'
  label = f'guessing {number(chance.expected)}'
  return shapes, [_note(chance.expected, label)], f'{text}.'


def _level(y: float) -> dict:
  return {
    'type': 'line',
    'x0': 0,
    'x1': 1,
    'xref': 'paper',
    'y0': y,
    'y1': y,
    'layer': 'below',
    'line': {'color': plot.INK, 'width': 1.2, 'dash': 'dash'},
  }


def _note(y: float, text: str) -> dict:
  """Returns a label above a horizontal line, at its right end."""
  return {
    'x': 1,
    'xref': 'paper',
    'xanchor': 'right',
    'y': y,
    'yanchor': 'bottom',
    'text': text,
    'showarrow': False,
    'font': {'size': 12, 'color': plot.INK},
    'bgcolor': 'rgba(255, 255, 255, 0.7)',
  }


def _traces(
  label: str, arms: Mapping[int, Arm], metric: str, group: Group, colour: str
) -> list[dict]:
  """Returns a line through the scores of arms by amount, and its band."""
  amounts = list(arms)
  values = [arm.value(metric, group) for arm in arms.values()]
  traces = []
  intervals = [
    interval
    for arm in arms.values()
    if (interval := arm.interval(metric, group)) is not None
  ]
  if len(intervals) == len(amounts):
    traces.append(
      {
        'type': 'scatter',
        'mode': 'lines',
        'x': [*amounts, *reversed(amounts)],
        'y': [
          *(i.high for i in intervals),
          *(i.low for i in reversed(intervals)),
        ],
        'fill': 'toself',
        'fillcolor': plot.faint(colour),
        'line': {'width': 0},
        'hoverinfo': 'skip',
        'showlegend': False,
      }
    )
  traces.append(
    {
      'type': 'scatter',
      'mode': 'lines+markers',
      'x': amounts,
      'y': values,
      'name': plot.safe(label),
      'hovertext': [
        f'{plot.safe(label)}<br>{amount:,}: {number(value)}'
        for amount, value in zip(amounts, values, strict=True)
      ],
      'hoverinfo': 'text',
      'showlegend': True,
      'line': {'color': colour, 'width': 2},
      'marker': {'color': colour, 'size': 8},
    }
  )
  return traces
