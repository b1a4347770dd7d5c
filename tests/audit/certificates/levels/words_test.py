"""Faults planted in definitions without some words or with others' order."""

from certificates_fixture import build_bench, of_task, replace_level
import pytest

NAME = 'natinst_def_{}_ex_empty0'
DEFINITION = 'Read it: is it wet? Say yes, or no. Take your time'


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(
    tmp_path_factory.mktemp('certificates'),
    definitions={'task5_wet': DEFINITION},
  )


@pytest.mark.parametrize(
  ('level', 'change', 'code'),
  [
    ('keep50', lambda text: text.partition(' ')[2], 'kept-count'),
    ('keep50', lambda text: f'{text} time', 'kept-count'),
    ('keep25', lambda text: None, 'kept-count'),
    ('keep50', lambda text: ' '.join(text.split()[::-1]), 'kept-order'),
    ('keep75', lambda text: text.replace('Say', 'Tell'), 'kept-order'),
    ('keep25', lambda text: 'it: it time', 'kept-choice'),
    ('wordshuffled', lambda text: DEFINITION, 'wordshuffled-order'),
    (
      'wordshuffled',
      lambda text: text.replace('wet?', 'dry?'),
      'wordshuffled-words',
    ),
    (
      'wordshuffled',
      lambda text: text.partition(' ')[2],
      'wordshuffled-words',
    ),
    ('nolabels', lambda text: DEFINITION, 'nolabels-label'),
    ('nolabels', lambda text: 'Read it: is it wet?', 'nolabels-text'),
    ('nolabels', lambda text: None, 'nolabels-text'),
    ('nolabels', lambda text: text.replace('wet', 'dry'), 'nolabels-text'),
  ],
)
def test_a_wrong_definition_is_caught(bench, monkeypatch, level, change, code):
  changed = of_task('task5_wet', lambda text, _: change(text))
  replace_level(monkeypatch, level, changed)
  found = bench.certify(NAME.format(level)).tally
  assert dict(found.failures) == {code: 100}
