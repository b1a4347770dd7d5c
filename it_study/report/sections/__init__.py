"""The contents of a report: its title, answer and sections, as data."""

from it_study.report.sections.contents import (
  Report,
  answer_of,
  make_report,
  title,
)
from it_study.report.sections.own_tasks import name_of
from it_study.report.sections.section import Code, Section, population

__all__ = [
  'Code',
  'Report',
  'Section',
  'answer_of',
  'make_report',
  'name_of',
  'population',
  'title',
]
