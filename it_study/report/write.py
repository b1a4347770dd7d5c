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
  """Writes `STUDY/report/{index.html,report.md,results.csv,tables.tex}`.

  Each file is written atomically. The report of an unfinished study covers the
  finished cells and says what is missing.

  Args:
    study_dir: Study folder.
    results: Results of `score`; None to score the study here.
    on_note: Function called with each note to the reader, one sentence each.

  Returns:
    The paths of the four files, the page first.

  Raises:
    InputError: If the folder has no finished cell, holds an invalid file, or
      cannot be written to.
  """
  results = results or score(study_dir, on_note=on_note)
  study = results.study
  report = make_report(results)
  directory = study.directory / 'report'
  try:
    directory.mkdir(exist_ok=True)
  except OSError as error:
    raise InputError(
      f'{directory}: cannot be created: {error.strerror or error}. The report '
      'is written to the study folder, which must be writable.'
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
