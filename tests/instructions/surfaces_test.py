"""Tests for it_study.instructions.surfaces, and prompts that use them."""

from prompts_fixture import make_instance, render_named
import pytest

from it_study.conditions import NUM_SURFACES
from it_study.instructions import prompt_spans, surfaces

NAME = 'natinst_def_original_ex_original1_neg1_expl'
NUMBERS = range(NUM_SURFACES + 1)


def test_the_first_surface_is_the_default_and_all_differ():
  variants = surfaces.variants()
  assert len(variants) == len(set(variants)) == len(NUMBERS)
  assert variants[0] == surfaces.Surface()
  texts = {render_named(NAME + (f'_sep{n}' if n else '')).text for n in NUMBERS}
  assert len(texts) == len(NUMBERS)


def test_a_variant_changes_fixed_texts_only():
  assert surfaces.variants()[3] == surfaces.Surface('upper', ' :: ', ':\n')
  assert render_named(f'{NAME}_sep3').text == (
    'DEFINITION :: Say if it is hot.\n\n'
    ' POSITIVE EXAMPLE 1:\nINPUT :: fire.\n OUTPUT :: yes.\n'
    ' EXPLANATION :: Fire burns.\n\n'
    ' NEGATIVE EXAMPLE 1:\nINPUT :: sun.\n OUTPUT :: no.\n'
    ' EXPLANATION :: It is.\n\n'
    'Now complete the following example:\nINPUT :: tea.\nOUTPUT :: '
  )


@pytest.mark.parametrize('number', NUMBERS)
def test_every_surface_has_the_same_spans(number):
  prompt = render_named(NAME + (f'_sep{number}' if number else ''))
  spans = prompt_spans.spans(prompt, instance=make_instance())
  assert [span.kind for span in spans] == [
    'definition',
    'example 1',
    'negative example 1',
    'cue',
    'input',
    'cue',
  ]
  (shown,) = [span for span in spans if span.kind == 'input']
  assert prompt.text[shown.start : shown.end] == 'tea'
  # Token counts of pieces add up only if each ends with a line break.
  assert all(piece.endswith('\n\n') for piece in prompt.pieces[:-1])
