"""Building blocks of the figures: axes, lines and text in plotly's JSON."""

from collections.abc import Sequence
import html
import re
import textwrap

from it_study.errors import visible
from it_study.report.text import shorten

INK, RULE = '#1F2328', '#E3E6EA'


def safe(text: str) -> str:
  """Escapes text, some of whose HTML plotly would render."""
  return html.escape(visible(shorten(text)), quote=False)


def lines(text: str, *, width: int = 22, most: int = 3) -> str:
  """Breaks a label into short lines, for narrow screens.

  >>> lines('Original definition, 2 examples')
  'Original definition,<br>2 examples'
  """
  broken = []
  for part in re.split('(?<=,) ', visible(shorten(text))):
    broken += textwrap.wrap(part, width) or ['']
  if len(broken) > most:
    broken = [*broken[: most - 1], broken[most - 1][: width - 1] + '…']
  return '<br>'.join(html.escape(part, quote=False) for part in broken)


def line(x: float, *, dash: str = 'dash') -> dict:
  """Returns a vertical line across the figure."""
  return {
    'type': 'line',
    'x0': x,
    'x1': x,
    'y0': 0,
    'y1': 1,
    'yref': 'paper',
    'layer': 'below',
    'line': {'color': INK, 'width': 1.2, 'dash': dash},
  }


def band(low: float, high: float) -> dict:
  """Returns a shaded band between two values of x."""
  return {
    'type': 'rect',
    'x0': low,
    'x1': high,
    'y0': 0,
    'y1': 1,
    'yref': 'paper',
    'layer': 'below',
    'fillcolor': '#DDE1E6',
    'line': {'width': 0},
  }


def level_band(low: float, high: float) -> dict:
  """Returns a shaded band between two values of y."""
  return {
    'type': 'rect',
    'x0': 0,
    'x1': 1,
    'xref': 'paper',
    'y0': low,
    'y1': high,
    'layer': 'below',
    'fillcolor': '#DDE1E6',
    'line': {'width': 0},
  }


def faint(colour: str) -> str:
  """Makes a colour translucent.

  >>> faint('#0072B2')
  'rgba(0, 114, 178, 0.15)'
  """
  parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
  return f'rgba({", ".join(map(str, parts))}, 0.15)'


def above(x: float, text: str, *, highest: float, line: int = 0) -> dict:
  """Returns a label above the figure, for a vertical line.

  Args:
    x: Position of the vertical line.
    text: Label.
    highest: Right end of the axis, near which a centred label would be clipped
      on a narrow screen.
    line: Number of lines of text to leave free below the label.
  """
  return {
    'x': x,
    'xanchor': 'right' if x > 0.6 * highest else 'center',
    'y': 1,
    'yref': 'paper',
    'yanchor': 'bottom',
    'yshift': 2 + 16 * line,
    'text': text,
    'showarrow': False,
    'font': {'size': 12, 'color': INK},
  }


def value(x: float, row: int, text: str) -> dict:
  """Returns a number above a mark, with a background that hides lines."""
  return {
    'x': x,
    'y': row,
    'yanchor': 'bottom',
    'yshift': 7,
    'text': text,
    'showarrow': False,
    'font': {'size': 12, 'color': INK},
    'bgcolor': 'rgba(255, 255, 255, 0.82)',
    'borderpad': 0,
  }


def rule(y: float) -> dict:
  """Returns a thin horizontal line that separates rows."""
  return {
    'type': 'line',
    'x0': 0,
    'x1': 1,
    'xref': 'paper',
    'y0': y,
    'y1': y,
    'layer': 'below',
    'line': {'color': RULE, 'width': 1},
  }


def axis(title: str) -> dict:
  """Returns the style of an axis."""
  return {
    'title': {'text': title, 'standoff': 10, 'font': {'size': 13}},
    'gridcolor': RULE,
    'zeroline': False,
    'linecolor': '#9AA1A9',
    'ticks': 'outside',
    'tickcolor': '#9AA1A9',
    'tickangle': 0,
    'automargin': True,
    'fixedrange': True,
  }


def layout(*, height: int) -> dict:
  """Returns the style of a figure, with its height in pixels."""
  return {
    'height': height,
    'margin': {'l': 10, 'r': 24, 't': 34, 'b': 10},
    'font': {
      'family': 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif',
      'size': 13,
      'color': INK,
    },
    'paper_bgcolor': '#FFFFFF',
    'plot_bgcolor': '#FFFFFF',
    'hoverlabel': {'bgcolor': '#FFFFFF', 'font': {'color': INK}},
  }


def rows_layout(
  labels: Sequence[str],
  title: str,
  *,
  shapes: Sequence[dict] = (),
  annotations: Sequence[dict] = (),
  highest: float | None = None,
  lines_above: int = 1,
) -> dict:
  """Returns the layout of a figure with a labelled row for each model.

  Args:
    labels: Labels of the rows.
    title: Title of the x axis.
    shapes: Lines and bands.
    annotations: Texts.
    highest: Right end of the data on an axis that starts at 0; None to let
      plotly choose the range.
    lines_above: Number of lines of text above the figure.
  """
  figure = layout(height=110 + 54 * len(labels) + 16 * lines_above)
  figure['margin']['t'] = 20 + 16 * lines_above
  figure['shapes'] = list(shapes)
  figure['annotations'] = list(annotations)
  figure['xaxis'] = axis(title)
  if highest is not None:
    # Without room on the left, a mark at 0 would cover the labels.
    figure['xaxis']['range'] = [-0.04 * highest, 1.06 * highest]
  figure['yaxis'] = {
    'tickvals': list(range(len(labels))),
    'ticktext': list(labels),
    'range': [len(labels) - 0.5, -0.6],
    'automargin': True,
    'fixedrange': True,
    'showgrid': False,
    'zeroline': False,
    'ticks': '',
    'ticklabelstandoff': 8,
  }
  return figure
