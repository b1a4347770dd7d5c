"""Tests of it_study.report.surfaces."""

from report_fixture import DEFINITIONS, add_cell, make_rows, make_study

from it_study.report import answer
from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.sections import make_report
from it_study.report.surfaces import spreads


def results_of(folder, accuracy, altered):
  """A study of two definitions; the first is also tested on a surface."""
  study = make_study(
    folder, accuracies={DEFINITIONS[0]: 1.0, DEFINITIONS[1]: altered}
  )
  rows = make_rows(
    accuracy=accuracy,
    train_condition=DEFINITIONS[0],
    test_condition=f'{DEFINITIONS[0]}_sep3',
  )
  add_cell(study, rows, training=f'{DEFINITIONS[0]}_seed0')
  return score_study(read_study(study))


def test_an_effect_within_the_spread_is_flagged(tmp_path):
  results = results_of(tmp_path / 'study', accuracy=0.0, altered=0.5)
  (spread,) = spreads(results.arms)
  assert spread.num_surfaces == 2
  assert (spread.lowest, spread.highest, spread.width) == (0, 100, 100)
  (warning,) = answer.answer(results.arms).warnings
  assert warning.startswith('1 effect of altered instructions, at most ')
  assert warning.endswith(
    ' points (Simplified definition, 2 examples), is within the spread over '
    'surfaces of the same prompt (100.0 points over 2): other separators '
    'and casings of field names change as much.'
  )
  (section,) = [s for s in make_report(results).sections if s.name == 'surface']
  (row,) = section.blocks[1].rows['']
  assert [entry.text for entry in row] == [
    'Original definition, 2 examples',
    'Original definition, 2 examples',
    '2',
    '0.0',
    '100.0',
    '100.0',
  ]


def test_no_effect_is_within_no_spread(tmp_path):
  results = results_of(tmp_path / 'study', accuracy=1.0, altered=1.0)
  assert answer.answer(results.arms).warnings == ()


def test_a_larger_effect_is_not_flagged(tmp_path):
  results = results_of(tmp_path / 'study', accuracy=0.9, altered=0.0)
  assert 0 < spreads(results.arms)[0].width < 30
  assert answer.answer(results.arms).warnings == ()


def test_without_variants_there_is_no_spread(tmp_path):
  study = make_study(tmp_path, accuracies={DEFINITIONS[0]: 0.9})
  results = score_study(read_study(study))
  assert spreads(results.arms) == ()
  names = [section.name for section in make_report(results).sections]
  assert 'surface' not in names
