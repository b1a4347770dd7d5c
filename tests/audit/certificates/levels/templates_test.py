"""Prompts of a user's template are certified; planted faults are caught."""

import dataclasses

from certificates_fixture import build_bench
from prompts_fixture import faq_and_form  # noqa: F401  A fixture.
import pytest

from it_study import instructions
from it_study.audit.certificates import certify, prompt_file
from it_study.conditions import Condition
from it_study.data import vocabularies
from it_study.instructions import prompts

pytestmark = pytest.mark.usefixtures('faq_and_form')

NAME = 'faq_def_original_ex_delusive2_neg1_expl'


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(tmp_path_factory.mktemp('certificates'))


def _conditions(prefix):
  return [
    dataclasses.replace(condition, prefix=prefix)
    for condition in certify.default_conditions()
    if not condition.surface and (prefix == 'faq' or not condition.explanations)
  ]


@pytest.mark.parametrize('prefix', ['faq', 'form'])
@pytest.mark.parametrize('most', [None, 60, 110])
def test_every_alteration_is_certified(bench, monkeypatch, prefix, most):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  certificate = certify.certify(
    corpus=bench.corpus,
    data_dir=bench.data_dir,
    conditions=_conditions(prefix),
    max_tokens=most,
    num_workers=0,
  )
  assert certificate.tally.first == {}
  assert certificate.num_prompts == len(_conditions(prefix)) * 250
  cut = sum(
    n for key, n in certificate.tally.prompts.items() if key[2] == 'dropped'
  )
  assert (cut > 0) == (most is not None)


@pytest.mark.parametrize(
  ('old', 'new', 'codes'),
  [
    ('Task: ', 'Definition: ', {'definition-text', 'instance-text'}),
    ('\nAnswer: ', '\nAnswer:', {'surface', 'cue-missing'}),
    ('Q1: ', 'Q2: ', {'surface', 'cue-missing'}),
    ('Task: Is it wet?', 'Task: Is it dark?', {'definition-text'}),
    ('Task: Is it wet?', 'Task: Is it wet?.', {'definition-text'}),
    ('Text: Is thing wet 7', 'Text: Is thing wet 7.', {'surface'}),
    ('Text: Is thing wet 7', 'Text: Is thing wet 8', {'instance-text'}),
    ('A: no', 'A: yes', {'delusive-output'}),
    ('A: no', 'A: no.', {'surface'}),
    ('A: no', 'A: perhaps', {'delusive-outside-labels', 'example-record'}),
  ],
)
@pytest.mark.parametrize('with_record', [True, False])
def test_a_planted_fault_is_caught(
  bench, monkeypatch, old, new, codes, with_record
):
  render, rows = prompts.render, []

  def rendered(**arguments):
    prompt = render(**arguments)
    text, pieces = prompt.text, prompt.pieces
    if arguments['instance'].id == 'task5-7':
      assert old in text
      text = text.replace(old, new, 1)
      pieces = [piece.replace(old, new, 1) for piece in pieces]
    rows.append((arguments['instance'], arguments['task'], text))
    return dataclasses.replace(prompt, text=text, pieces=tuple(pieces))

  monkeypatch.setattr(prompts, 'render', rendered)
  tally = bench.certify(NAME).tally
  if not with_record:
    certificate = prompt_file.certify_prompts(
      corpus=bench.corpus,
      rows=[
        prompt_file.PromptRow(
          id=instance.id, task=task.name, inputs=text, targets=instance.outputs
        )
        for instance, task, text in rows
      ],
      condition=Condition.from_name(NAME),
    )
    tally = certificate.tally
    codes = codes - {'example-record'}
  assert codes <= set(tally.failures)
  for code in codes:
    assert tally.first[code][0].instance == 'task5-7'
    assert tally.failures[code] == 1


@pytest.mark.parametrize(
  'suffix',
  [
    'def_original_ex_original2',
    'def_simplified_ex_empty0',
    'def_empty_ex_delusive2',
    'def_renamed_ex_delusive2',
    'def_shuffled_ex_original1',
  ],
)
@pytest.mark.parametrize('prefix', ['faq', 'form'])
def test_texts_alone_are_certified(bench, prefix, suffix):
  condition = Condition.from_name(f'{prefix}_{suffix}')
  rows = []
  for task, instance in bench.corpus.rows('test'):
    arguments = {'task': task, 'instance': instance, 'condition': condition}
    prompt = prompts.render(**arguments, tasks=bench.corpus.lazy_tasks('test'))
    _, seen = instructions.rewrite(**arguments)
    rows.append(
      prompt_file.PromptRow(
        id=instance.id,
        task=task.name,
        inputs=prompt.text,
        targets=seen.outputs,
      )
    )
  certificate = prompt_file.certify_prompts(
    corpus=bench.corpus, rows=rows, condition=condition
  )
  assert certificate.tally.first == {}
  assert certificate.num_prompts == 142
