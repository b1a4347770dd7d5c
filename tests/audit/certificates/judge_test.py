"""Faults planted in prompts: each is caught, and named by its code."""

import dataclasses

from certificates_fixture import ORIGINAL, build_bench
import pytest

from it_study.data import vocabularies
from it_study.instructions import prompts


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(tmp_path_factory.mktemp('certificates'))


def _replace_render(monkeypatch, change):
  render = prompts.render

  def rendered(**arguments):
    prompt = render(**arguments)
    if arguments['instance'].id != 'task5-7':
      return prompt
    return change(prompt, arguments)

  monkeypatch.setattr(prompts, 'render', rendered)


def _edit_last(old, new):
  """A change of a prompt's query."""

  def change(prompt, _):
    pieces = (*prompt.pieces[:-1], prompt.pieces[-1].replace(old, new))
    return dataclasses.replace(prompt, text=''.join(pieces), pieces=pieces)

  return change


@pytest.mark.parametrize(
  ('change', 'code'),
  [
    (_edit_last('\nOutput: ', ''), 'cue-missing'),
    (_edit_last('\nOutput: ', '\nOutput:'), 'cue-missing'),
    (_edit_last('wet 7', 'wet 8'), 'instance-text'),
    (_edit_last('wet 7.', 'wet 7'), 'instance-text'),
    (_edit_last('Now complete', 'Now, complete'), 'prompt-malformed'),
    (
      lambda prompt, _: dataclasses.replace(
        prompt, text=prompt.text[:-1] + '\n'
      ),
      'cue-missing',
    ),
    (
      lambda prompt, _: dataclasses.replace(prompt, num_dropped_examples=1),
      'cut-record',
    ),
    (
      lambda prompt, _: dataclasses.replace(prompt, shortened=True),
      'cut-record',
    ),
    (
      lambda prompt, _: dataclasses.replace(
        prompt, examples=prompt.examples[::-1]
      ),
      'example-record',
    ),
  ],
)
def test_a_wrong_prompt_is_caught(bench, monkeypatch, change, code):
  _replace_render(monkeypatch, change)
  found = bench.certify(ORIGINAL).tally
  assert set(found.failures) - {'prompt-malformed'} == (
    {code} - {'prompt-malformed'}
  )
  assert found.first[code][0].instance == 'task5-7'
  assert found.first[code][0].condition == ORIGINAL


def test_text_between_the_pieces_is_caught(bench, monkeypatch):
  _replace_render(
    monkeypatch,
    lambda prompt, _: dataclasses.replace(
      prompt, text=prompt.text.replace('\n\nNow', '\n\nNB\n\nNow')
    ),
  )
  assert set(bench.codes(ORIGINAL)) == {
    'prompt-malformed',
    'example-text',
    'example-record',
  }


def test_a_target_that_is_no_reference_is_caught(bench, monkeypatch):
  monkeypatch.setattr(
    prompts, 'choose_target', lambda instance, condition: 'yes'
  )
  codes = bench.codes(ORIGINAL, split='train')
  # The moods and the numbers; of task2 the odd ones.
  assert set(codes) == {'target'}
  assert codes['target'] == 30 + 4 + 4 + sum(
    instance.outputs[0] == 'no'
    for instance in bench.corpus.instances('task2_hot', 'train')
  )


@pytest.fixture(name='byte_vocabulary')
def _byte_vocabulary(monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')


def _lengthen(prompt, arguments):
  """The whole prompt, whatever the limit."""
  del prompt
  return _real_render(**{**arguments, 'limit': None})


_real_render = prompts.render


def test_a_prompt_over_the_limit_is_caught(bench, monkeypatch, byte_vocabulary):
  _replace_render(monkeypatch, _lengthen)
  found = bench.certify(ORIGINAL, max_tokens=160).tally
  assert dict(found.failures) == {'limit-exceeded': 1}
  assert found.first['limit-exceeded'][0].expected == 'at most 160 tokens'


@pytest.mark.parametrize(
  ('most', 'change', 'codes'),
  [
    # Fits whole, yet the middle of its input is cut.
    (400, _edit_last('thing wet 7', 't 7'), {'cut-needlessly', 'cut-record'}),
    # A cut text gets a full stop too.
    (90, _edit_last('7.', '7'), {'cut-instance'}),
    # The end of the input is cut, not its middle.
    (90, _edit_last(' 7.', '.'), {'cut-instance'}),
  ],
)
def test_a_wrong_cut_is_caught(
  bench, monkeypatch, byte_vocabulary, most, change, codes
):
  _replace_render(monkeypatch, change)
  assert set(bench.codes(ORIGINAL, max_tokens=most)) == codes


def test_a_needlessly_dropped_example_is_caught(
  bench, monkeypatch, byte_vocabulary
):
  def drop(prompt, _):
    pieces = (*prompt.pieces[:-2], prompt.pieces[-1])
    return dataclasses.replace(
      prompt,
      text=''.join(pieces),
      pieces=pieces,
      examples=prompt.examples[:-1],
      num_dropped_examples=1,
    )

  _replace_render(monkeypatch, drop)
  assert bench.codes(ORIGINAL, max_tokens=400) == {'dropped-needlessly': 1}


def test_a_budget_that_conditions_do_not_share_is_caught(
  bench, monkeypatch, byte_vocabulary
):
  def unmatched(prompt, arguments):
    condition = arguments['condition']
    if condition.definition != 'empty':
      return prompt
    plain = dataclasses.replace(condition, matched_budget=False)
    return _real_render(**{**arguments, 'condition': plain})

  _replace_render(monkeypatch, unmatched)
  names = [f'natinst_def_{d}_ex_empty0_budget' for d in ('original', 'empty')]
  assert bench.codes(*names, max_tokens=90) == {'budget-instance': 1}


def test_a_text_cut_at_its_end_is_compared(bench, monkeypatch, byte_vocabulary):
  _replace_render(
    monkeypatch,
    lambda prompt, _: dataclasses.replace(
      prompt, text=prompt.text.replace('wet', 'wer')
    ),
  )
  name = 'natinst_def_original_ex_empty0_trunctk'
  assert bench.codes(name, max_tokens=60) == {'cut-end': 1}


def test_an_instance_that_should_be_hidden_is_caught(bench, monkeypatch):
  name = f'{ORIGINAL}_inputempty'
  assert bench.codes(name) == {}
  render = prompts.render
  _replace_render(
    monkeypatch,
    lambda _, arguments: render(
      **{
        **arguments,
        'condition': dataclasses.replace(
          arguments['condition'], input_empty=False
        ),
      }
    ),
  )
  found = bench.certify(name).tally
  assert dict(found.failures) == {'input-not-empty': 1}
  assert found.first['input-not-empty'][0].instance == 'task5-7'
