"""Renders a report as Markdown, without the figures."""

from collections.abc import Iterable
import re

from it_study.errors import visible
from it_study.evaluation.stats.controls import FAILED
from it_study.report.figures.score_figures import Figure
from it_study.report.sections import (
  Code,
  Report,
  Section,
)
from it_study.report.tables.table import Entry, Table


def render_markdown(report: Report) -> str:
  """Renders a report as GitHub-flavoured Markdown."""
  lines = [f'# {report.title}', '', escape(report.subtitle), '']
  if report.fatal_controls:
    lines += ['> **This study cannot be trusted: a control failed.**', '']
  lines += [f'> **Note.** {escape(note)}\n' for note in report.notes]
  lines += [
    f'**{escape(report.answer.verdict)}** {escape(report.answer.sentence)}',
    '',
  ]
  for warning in report.answer.warnings:
    lines += [f'> **Warning.** {escape(warning)}', '']
  if report.no_controls and not report.answer.controls:
    lines += [report.no_controls, '']
  for control in report.answer.controls:
    outcome = control.outcome
    if control.status == FAILED:
      outcome = outcome.upper()
    lines.append(
      f'- **{escape(control.name)}: {outcome}.** {escape(control.text)}'
    )
  lines += ['', *(f'- {escape(text)}' for text in report.answer.caveats), '']
  lines += ['The figures are in [index.html](index.html).', '']
  for section in report.sections:
    lines += _section(section)
  return '\n'.join(lines).rstrip() + '\n'


def escape(text: str) -> str:
  """Escapes text for Markdown and HTML, and puts it on one line.

  >>> escape('a|b <script>_x_')
  'a\\\\|b &lt;script&gt;\\\\_x\\\\_'
  """
  text = ' '.join(visible(text).split())
  text = text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
  return re.sub(r'([\\`*_\[\]|~#!])', r'\\\1', text)


def _section(section: Section) -> list[str]:
  lines = [f'## {section.title}', '']
  for block in section.blocks:
    if isinstance(block, Table):
      lines += _table(block)
    elif isinstance(block, Code):
      lines += _code(block.text)
    elif isinstance(block, Figure):
      continue
    else:
      lines.append(escape(block))
    lines.append('')
  return lines


def _table(table: Table) -> list[str]:
  titles = [
    ', '.join(filter(None, (column.above, column.title)))
    for column in table.columns
  ]
  lines = [
    _row(map(escape, titles)),
    _row('---:' if column.is_number else ':---' for column in table.columns),
  ]
  width = len(table.columns)
  for title, rows in table.rows.items():
    if title:
      lines.append(_row([f'**{escape(title)}**', *[''] * (width - 1)]))
    lines += [_row(map(_entry, entries)) for entries in rows]
  return lines


def _row(cells: Iterable[str]) -> str:
  return f'| {" | ".join(cells)} |'


def _entry(entry: Entry) -> str:
  text = escape(entry.text)
  if entry.href is not None:
    text = f'[{text}]({entry.href})'
  if entry.detail is None:
    return text
  detail = escape(entry.detail)
  return f'{text} {detail}' if '[' in detail else f'{text} ({detail})'


def _code(text: str) -> list[str]:
  text = visible(text)
  # A fence must be longer than any run of backticks inside.
  longest = max((len(run) for run in re.findall('`+', text)), default=0)
  fence = '`' * max(3, longest + 1)
  return [fence, text, fence]
