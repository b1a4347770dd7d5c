"""Faults planted in the surface of prompts: caught, and named by their code."""

import dataclasses

from certificates_fixture import build_bench
import pytest

from it_study.conditions import NUM_SURFACES
from it_study.instructions import prompts

NAME = 'natinst_def_original_ex_original1_neg1_expl_sep3'


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(tmp_path_factory.mktemp('certificates'))


@pytest.mark.parametrize(
  ('old', 'new', 'place'),
  [
    ('DEFINITION :: ', 'Definition: ', 0),
    ('POSITIVE EXAMPLE', 'Positive Example', 1),
    (' OUTPUT :: ', ' Output: ', 1),
    (' EXPLANATION :: ', ' EXPLANATION: ', 2),
    (':\n', ' -\n', 2),
    ('INPUT :: ', 'Input: ', 3),
    ('\nOUTPUT :: ', '\nOutput: ', 3),
  ],
)
def test_a_fixed_text_of_another_surface_is_caught(
  bench, monkeypatch, old, new, place
):
  render = prompts.render

  def rendered(**arguments):
    prompt = render(**arguments)
    if arguments['instance'].id != 'task5-7':
      return prompt
    pieces = list(prompt.pieces)
    assert old in pieces[place]
    pieces[place] = pieces[place].replace(old, new, 1)
    return dataclasses.replace(
      prompt, text=''.join(pieces), pieces=tuple(pieces)
    )

  monkeypatch.setattr(prompts, 'render', rendered)
  found = bench.certify(NAME).tally
  assert found.failures['surface'] == 1
  assert found.first['surface'][0].instance == 'task5-7'


def test_every_surface_is_certified(bench):
  names = [
    f'natinst_def_renamed_ex_delusive2_neg1_expl_sep{number}'
    for number in range(1, NUM_SURFACES + 1)
  ]
  assert bench.codes(*names) == {}
