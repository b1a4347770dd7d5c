"""The sections of a report on users' own tasks, in order."""

from collections.abc import Sequence
import dataclasses

from it_study.report import own_answer
from it_study.report.figures import score_figures
from it_study.report.figures.score_figures import Figure
from it_study.report.results import Results
from it_study.report.sections.section import Section, make_section, population
from it_study.report.tables import (
  own_tables,
  parts_tables,
  samples_table,
  score_tables,
)
from it_study.report.text import count


def own_sections(tests: Sequence[Results]) -> list[Section | None]:
  """Returns the sections; None for those without anything to show.

  Args:
    tests: Results on each task and split.
  """
  sections: list[Section | None] = [_outcomes(tests)]
  for number, results in enumerate(tests, start=1):
    sections += [_test(results, number), _answers(results, number)]
  return sections


def name_of(results: Results) -> str:
  """Returns the name of a test, with its split."""
  return results.arms[0].cells[0].test_name


def _outcomes(tests: Sequence[Results]) -> Section | None:
  return make_section(
    'outcomes',
    'Compared with guessing and with the untuned model',
    'Classification is judged by exact match, generation by ROUGE-L, and tasks '
    'whose kind is not declared by exact match. A guess is uniform over the '
    'labels of each instance. p-values are adjusted for the number of '
    'comparisons in their column (Holm). “Not shown” does not mean “no '
    'difference”.',
    own_tables.outcomes_table(own_answer.outcomes(tests)),
  )


def _test(results: Results, number: int) -> Section | None:
  groups = {kind: results.groups(kind, 'test') for kind in ('category', 'task')}
  instances = results.arms[0].cells[0].metrics.get('num_instances')
  return make_section(
    f'test-{number}',
    name_of(results),
    f'{count(len(groups["task"]), "task")}, {instances} instances. Exact match '
    'and format are percentages of instances, ROUGE-L is in points from 0 to '
    f'100; brackets hold 95% intervals over {population(results)}.',
    _figure(results, number),
    score_tables.main_table(results),
    own_tables.own_metrics_table(results),
    parts_tables.decomposition_table(results),
    score_tables.category_table(results)
    if len(groups['category']) > 1
    else None,
    score_tables.task_table(results) if len(groups['task']) > 1 else None,
  )


def _figure(results: Results, number: int) -> Figure | None:
  """Returns the figure of exact match on classification beside guessing."""
  figure = score_figures.headline_figure(results)
  if figure is None:
    return None
  return dataclasses.replace(
    figure,
    name=f'test-{number}',
    description='Exact match on the classification tasks of '
    f'{name_of(results)}, with 95% intervals. The dashed line is the expected '
    'score of random guessing.',
  )


def _answers(results: Results, number: int) -> Section | None:
  return make_section(
    f'answers-{number}',
    f'What the models answer: {name_of(results)}',
    'One instance of each of a few tasks, both chosen by hash.',
    samples_table.samples_table(results),
    is_folded=True,
  )
