"""Tests of it_study.report.tables.kept_table."""

from report_fixture import DEFINITIONS, make_study

from it_study.report.figures import curve_figures
from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.sections import make_report
from it_study.report.tables.kept_table import kept_table

KEPT = [f'natinst_def_keep{share}_ex_original2' for share in (25, 50)]


def results_of(folder, accuracies):
  return score_study(read_study(make_study(folder, accuracies=accuracies)))


def test_scores_are_shown_by_share(tmp_path):
  accuracies = {DEFINITIONS[0]: 1.0, KEPT[1]: 1.0, KEPT[0]: 0.0}
  results = results_of(tmp_path / 'study', accuracies)
  table = kept_table(results)
  assert [column.title for column in table.columns[1:]] == [
    '0%',
    '25%',
    '50%',
    '75%',
    '100%',
  ]
  (row,) = table.rows['']
  assert [entry.text for entry in row] == [
    'Original definition, 2 examples',
    '–',
    '0.0',
    '100.0',
    '–',
    '100.0',
  ]
  band, line = curve_figures.kept_figure(results).data
  assert (line['x'], line['y']) == ([25, 50, 100], [0, 100, 100])
  assert band['x'] == [25, 50, 100, 100, 50, 25]
  assert 'kept' in [section.name for section in make_report(results).sections]


def test_without_a_kept_part_there_is_no_table(tmp_path):
  accuracies = dict.fromkeys(DEFINITIONS, 0.5)
  results = results_of(tmp_path, accuracies)
  assert kept_table(results) is None
  assert curve_figures.kept_figure(results) is None
