"""Prints the main table, the answer and the controls in a terminal."""

import os
import re
from typing import TYPE_CHECKING

from it_study.errors import visible
from it_study.evaluation.stats.controls import FAILED, UNCLEAR
from it_study.report import sections
from it_study.report.arms import tested_as
from it_study.report.results import Results, score
from it_study.report.tables.score_tables import short_table
from it_study.report.tables.table import Table

if TYPE_CHECKING:
  from rich.console import Console
  from rich.table import Table as RichTable
  from rich.text import Text

_STYLES = {FAILED: 'bold red', UNCLEAR: 'yellow'}


def render_terminal_table(
  study_dir: str | os.PathLike[str],
  *,
  results: Results | None = None,
  console: 'Console | None' = None,
) -> None:
  """Prints the main table, the answer and the controls of a study.

  Args:
    study_dir: Study folder, finished or not.
    results: Results of `score`; None to score the study here.
    console: Console to print to; None for standard output.

  Raises:
    InputError: If the folder has no finished cell or holds an invalid file.
  """
  # Imported here because no other format needs a terminal.
  from rich.console import Console

  console = console or Console(highlight=False)
  results = results or score(study_dir)
  outcome = sections.answer_of(results)
  of_corpus = results.of_corpus()
  if of_corpus.arms:
    place = f'Test split, {tested_as(of_corpus.arms)}'
    console.print(_rich_table(short_table(of_corpus), of_corpus, place))
  for of_test in results.of_own_tasks():
    place = sections.name_of(of_test)
    console.print(_rich_table(short_table(of_test), of_test, place))
  console.print(_text(sections.title(results), 'bold'))
  console.print(_text(f'{outcome.verdict} {outcome.sentence}'))
  for control in outcome.controls:
    style = _STYLES.get(control.status, '')
    console.print(
      _text(f'{control.name}: {control.outcome}. {control.text}', style)
    )
  for note in (*outcome.warnings, *results.notes):
    console.print(_text(note, 'yellow'))


def _rich_table(table: Table, results: Results, place: str) -> 'RichTable':
  from rich import box, table as rich_table, text

  rich = rich_table.Table(
    box=box.SIMPLE_HEAD,
    caption=f'{visible(place)}. Scores from 0 to 100, with 95% intervals over '
    f'{sections.population(results)} in brackets.',
  )
  for index, column in enumerate(table.columns):
    rich.add_column(
      _text('\n'.join(filter(None, (column.above, column.title)))),
      justify='right' if column.is_number else 'left',
      no_wrap=index > 0,
      overflow='fold',
      min_width=0 if index else 24,
    )
  for title, rows in table.rows.items():
    rich.add_row(_text(title, 'italic'))
    for entries in rows:
      rich.add_row(
        *(
          text.Text.assemble(
            visible(entry.text),
            (f'\n{visible(entry.detail)}' if entry.detail else '', 'dim'),
          )
          for entry in entries
        )
      )
    rich.add_section()
  return rich


def _text(string: str, style: str = '') -> 'Text':
  from rich.text import Text

  # A plain string would be parsed for rich's markup, which data may contain.
  return Text(re.sub('\t', ' ', visible(string)), style)
