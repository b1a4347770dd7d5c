"""The report of a study: tables, figures, a page, and the answer in words."""

from it_study.report.formats.terminal import render_terminal_table
from it_study.report.results import score
from it_study.report.write import write_report

__all__ = ['render_terminal_table', 'score', 'write_report']
