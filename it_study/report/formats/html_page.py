"""Renders a report as one self-contained HTML file."""

import base64
import functools
import hashlib
import importlib.resources
import json

import jinja2
from markupsafe import Markup

from it_study.errors import visible
from it_study.report.figures.score_figures import Figure
from it_study.report.sections import Code, Report
from it_study.report.tables.table import Table


def render_html(report: Report) -> str:
  """Renders a report as a page with its figures and scripts inside.

  The template escapes all data. As a second barrier, the page's content
  security policy allows only its own scripts, by hash, and no requests.
  """
  figures = {
    block.name: {'data': block.data, 'layout': block.layout}
    for block in (
      report.headline,
      *(block for section in report.sections for block in section.blocks),
    )
    if isinstance(block, Figure)
  }
  scripts = [_plotly(), _resource('page.js')]
  return _template().render(
    title=report.title,
    report=report,
    style=Markup(_resource('page.css')),
    scripts=[Markup(script) for script in scripts],
    hashes=Markup(' '.join(map(_hash, scripts))),
    figures=Markup(_script_json(figures)),
  )


def _script_json(value: object) -> str:
  """Returns JSON that cannot close the script element around it."""
  text = json.dumps(value, ensure_ascii=True, allow_nan=False)
  for character in '<>&':
    text = text.replace(character, f'\\u{ord(character):04x}')
  return text


@functools.cache
def _template() -> jinja2.Template:
  environment = jinja2.Environment(
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.tests |= {
    'table': lambda block: isinstance(block, Table),
    'figure': lambda block: isinstance(block, Figure),
    'code': lambda block: isinstance(block, Code),
  }
  return environment.from_string(_resource('page.html.jinja'))


def _finalize(value: object) -> object:
  """Makes text from data visible; leaves markup of our own alone."""
  if isinstance(value, str) and not isinstance(value, Markup):
    return visible(value)
  return value


@functools.cache
def _plotly() -> str:
  # Imported here because it is slow, and only a page needs it.
  from plotly import offline

  # Browsers normalize line ends before they hash a script.
  return offline.get_plotlyjs().replace('\r\n', '\n').replace('\r', '\n')


@functools.cache
def _resource(name: str) -> str:
  package = importlib.resources.files('it_study.report.formats')
  return (package / name).read_text(encoding='utf-8')


def _hash(script: str) -> str:
  digest = hashlib.sha256(script.encode()).digest()
  return f"'sha256-{base64.b64encode(digest).decode()}'"
