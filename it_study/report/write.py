"""Writes the report of a study folder: HTML, Markdown, CSV, LaTeX."""

from collections.abc import Callable
import os
import pathlib

from it_study.errors import InputError
from it_study.report.formats.html_page import render_html
from it_study.report.formats.latex import render_latex
from it_study.report.formats.markdown import render_markdown
from it_study.report.formats.results_csv import render_csv
from it_study.report.results import Results, score
from it_study.report.sections import make_report
from it_study.storage.text_files import write_text


def write_report(
  *,
  study_dir: str | os.PathLike[str],
  results: Results | None = None,
  on_note: Callable[[str], None] | None = None,
) -> tuple[pathlib.Path, ...]:
  """Writes `STUDY/report/{index.html,report.md,results.csv}`.

  Each file is written whole or not at all. An unfinished study is reported as
  far as it goes, and the report says what is missing.

  Args:
    study_dir: a study folder.
    results: of `score`, if they are at hand.
    on_note: called with each thing a reader should know, one sentence each.

  Returns:
    The paths of the four files, the page first.

  Raises:
    InputError: if the folder has no finished cell, holds what cannot be
      understood, or cannot be written to.
  """
  results = results or score(study_dir, on_note=on_note)
  study = results.study
  report = make_report(results)
  directory = study.directory / 'report'
  try:
    directory.mkdir(exist_ok=True)
  except OSError as error:
    raise InputError(
      f'{directory}: cannot be made: {error.strerror or error}. The report '
      'needs a study folder that can be written to.'
    ) from None
  contents = {
    'index.html': render_html(report),
    'report.md': render_markdown(report),
    'results.csv': render_csv(study.cells),
    'tables.tex': render_latex(results),
  }
  for name, content in contents.items():
    write_text(directory / name, content)
  return tuple(directory / name for name in contents)
