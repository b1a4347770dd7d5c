"""Tests of it_study.inference.decoding."""

import pytest

from it_study.errors import InputError
from it_study.inference.decoding import METHODS, Decoding


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (
      {'method': 'beem'},
      "DECODING is 'beem'; expected one of greedy, beam, sample, "
      'constrained, constrained_beam, ranked, ranked_normalized, '
      'ranked_conditional. Did '
      "you mean 'beam'?",
    ),
    (
      {'beam_style': 't5'},
      "BEAM_STYLE is 't5'; expected one of t5x, transformers. Did you mean "
      "'t5x'?",
    ),
    (
      {'num_beams': 0},
      'NUM_BEAMS is 0; expected an integer from 1 to 10000.',
    ),
    (
      {'num_beams': 99_999_999_999},
      'NUM_BEAMS is 99999999999; expected an integer from 1 to 10000.',
    ),
    (
      {'temperature': 0},
      'TEMPERATURE is 0; expected a number above 0.',
    ),
    ({'top_p': 1.5}, 'TOP_P is 1.5; expected a number above 0 and at most 1.'),
    (
      {'top_k': True},
      'TOP_K is True; expected an integer of at least 0.',
    ),
    (
      {'length_alpha': 'x'},
      "LENGTH_ALPHA is 'x'; expected a number of at least 0.",
    ),
    (
      {'length_alpha': -0.5},
      'LENGTH_ALPHA is -0.5; expected a number of at least 0.',
    ),
    (
      {'seed': -1},
      'SAMPLING_SEED is -1; expected an integer of at least 0.',
    ),
  ],
)
def test_invalid_settings_are_named(settings, message):
  with pytest.raises(InputError) as caught:
    Decoding(**settings)
  assert str(caught.value) == message


def test_settings_of_a_method_are_those_it_reads():
  decoding = Decoding(num_beams=3, top_k=5)
  assert decoding.settings('greedy') == {}
  assert decoding.settings('beam') == {
    'num_beams': 3,
    'beam_style': 't5x',
    'length_alpha': 0.6,
  }
  assert decoding.settings('sample') == {
    'temperature': 1.0,
    'top_k': 5,
    'top_p': 1.0,
    'seed': 0,
  }


def test_method_for_rows_without_labels():
  free = {name: Decoding(method=name).free_method for name in METHODS}
  assert free == {
    'greedy': 'greedy',
    'beam': 'beam',
    'sample': 'sample',
    'constrained': 'greedy',
    'constrained_beam': 'beam',
    'ranked': 'greedy',
    'ranked_normalized': 'greedy',
    'ranked_conditional': 'greedy',
  }


def test_length_alpha_may_be_zero():
  assert Decoding(length_alpha=0).length_alpha == 0
