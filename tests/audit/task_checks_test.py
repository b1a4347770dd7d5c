"""Tests of the checks of one task."""

import pytest

from it_study.audit import corpus_check


def _codes(findings) -> list[tuple[str, str, str | None]]:
  return [(f.severity, f.code, f.task) for f in findings]


def _instances(outputs, prefix='t', **fields) -> list[dict]:
  return [
    {'id': f'{prefix}-{i}', 'input': f'text {i}', 'output': output} | fields
    for i, output in enumerate(outputs)
  ]


@pytest.fixture(name='check')
def _check(write_corpus, raw_task):
  """Findings about the test task, or the training task, made of `fields`."""
  sound = {
    'train': raw_task(
      Instances=_instances([f'out {i}' for i in range(30)], 'train')
    ),
    'test': raw_task(
      Instances=_instances([f'out {i}' for i in range(100)], 'test')
    ),
  }

  def check(split='test', **fields):
    tasks = sound | {split: raw_task(**fields)}
    directory = write_corpus(
      train={'task1_a': tasks['train']}, test={'task2_b': tasks['test']}
    )
    _, findings = corpus_check.check(directory)
    return findings

  return check


_PLAIN = _instances([f'out {i}' for i in range(100)])
_YES_NO = _instances(['yes', 'no'] * 50)
_SHOWN = [{'input': 'x', 'output': 'yes'}, {'input': 'y', 'output': 'no'}]


def test_a_sound_corpus_has_no_findings(check):
  assert check(Instances=_PLAIN) == []


@pytest.mark.parametrize(
  ('fields', 'found'),
  [
    ({'Instances': _PLAIN, 'Definition': ''}, 'warning empty-definition'),
    (
      {'Instances': _PLAIN, 'Positive_Examples': _SHOWN[:1]},
      'warning few-positive-examples',
    ),
    (
      {'Instances': _PLAIN, 'Positive_Examples': []},
      'warning no-positive-examples',
    ),
    (
      {'Instances': _PLAIN, 'Negative_Examples': []},
      'note no-negative-examples',
    ),
    ({'Instances': _PLAIN[:99]}, 'warning few-test-instances'),
    (
      {'Instances': [_PLAIN[0] | {'input': 'ONE!'}, *_PLAIN[1:]]},
      'warning example-is-instance',
    ),
    (
      {'Instances': [_PLAIN[0] | {'input': 'x' * 10_001}, *_PLAIN[1:]]},
      'note long-input',
    ),
    (
      {'Instances': [_PLAIN[0] | {'output': '?!'}, *_PLAIN[1:]]},
      'warning reference-normalized-away',
    ),
    (
      {'Instances': [_PLAIN[0] | {'output': ' '}, *_PLAIN[1:]]},
      'warning empty-reference',
    ),
    (
      {'Instances': [_PLAIN[0] | {'input': 'a\x07b'}, *_PLAIN[1:]]},
      'warning control-character',
    ),
    (
      {'Instances': [_PLAIN[0] | {'output': '\ufeffa'}, *_PLAIN[1:]]},
      'warning byte-order-mark',
    ),
    (
      {'Instances': _PLAIN, 'Definition': 'What\ufffds next.'},
      'warning replacement-character',
    ),
    (
      {'Instances': [_PLAIN[0] | {'input': 'itâ€™s'}, *_PLAIN[1:]]},
      'warning mojibake',
    ),
    (
      {
        'Instances': _YES_NO,
        'Positive_Examples': _SHOWN,
        'Definition': 'Answer "yes", "no" or "maybe".',
      },
      'warning label-not-in-data',
    ),
    (
      {
        'Instances': _YES_NO,
        'Positive_Examples': [*_SHOWN, {'input': 'z', 'output': 'maybe'}],
      },
      'warning label-without-reference',
    ),
    (
      {
        'Instances': _instances(['yes', 'Yes', 'no', 'no'] * 25),
        'Positive_Examples': _SHOWN,
      },
      'note labels-alike',
    ),
    (
      {
        'Instances': _instances(['yes'] * 71 + ['no'] * 29),
        'Positive_Examples': _SHOWN,
      },
      'note class-imbalance',
    ),
    (
      {
        'Instances': _instances(['yes'] * 100),
        'Positive_Examples': [_SHOWN[0], _SHOWN[0] | {'input': 'z'}],
      },
      'warning one-label',
    ),
    ({'Instances': [*_PLAIN, _PLAIN[0]]}, 'note repeated-instance'),
    (
      {'Instances': _YES_NO, 'Positive_Examples': [*_SHOWN, _SHOWN[0]]},
      'note repeated-input',
    ),
    (
      {
        'Instances': _YES_NO,
        'Positive_Examples': [*_SHOWN, _SHOWN[0] | {'output': 'no'}],
      },
      'warning contradicting-outputs',
    ),
    (
      {'Instances': [*_PLAIN, {'id': 'x', 'input': 1, 'output': 'a'}]},
      'error bad-instance',
    ),
    (
      {'Instances': [*_PLAIN, _PLAIN[0] | {'input': 'other'}]},
      'error conflicting-id',
    ),
    ({'Instances': 7}, 'error bad-field'),
  ],
)
def test_one_fault_is_one_finding(check, fields, found):
  severity, code = found.split()
  assert _codes(check(**fields)) == [(severity, code, 'task2_b')]


def test_instances_that_are_never_scored_are_not_checked(check):
  more = {'id': 'more', 'input': 'a\x07b', 'output': '?'}
  assert check(Instances=[*_PLAIN, more]) == []


def test_faults_of_training_tasks(check):
  ten = _instances([f'out {i}' for i in range(10)])
  assert _codes(check('train', Instances=ten)) == [
    ('warning', 'nothing-to-train-on', 'task1_a')
  ]


def test_too_few_instances_to_judge_a_kind_by(check):
  few = _instances(['yes', 'no'] * 12)
  assert _codes(check('train', Instances=few, Positive_Examples=_SHOWN)) == [
    ('warning', 'too-few-to-judge', 'task1_a')
  ]


def test_balanced_labels_are_not_noted(check):
  even = _instances(['yes'] * 70 + ['no'] * 30)
  assert check(Instances=even, Positive_Examples=_SHOWN) == []


def test_findings_about_instances_are_counted(check):
  blank = [instance | {'input': ' '} for instance in _PLAIN[:3]]
  (finding,) = check(Instances=blank + _PLAIN[3:])
  assert finding.code == 'empty-input'
  assert finding.where == 'Instances[0].input'
  assert finding.instances == ('t-0', 't-1', 't-2')
  assert finding.count == 3


@pytest.mark.parametrize(
  ('outputs', 'found'),
  [
    (
      ['yes', 'No.', 'no'],
      (
        'warning',
        'contradicting-outputs',
        'is repeated in Instances[1] and 1 other, with no common output: no '
        'answer is always right',
      ),
    ),
    # Two of them have a common output, all three have none.
    (
      [['yes', 'no'], ['no', 'maybe'], ['yes', 'maybe']],
      (
        'warning',
        'contradicting-outputs',
        'is repeated in Instances[1] and 1 other, with no common output: no '
        'answer is always right',
      ),
    ),
    (
      ['yes', 'Yes!', ['no', 'yes']],
      (
        'note',
        'repeated-input',
        'is repeated in Instances[1] and 1 other, with a common output',
      ),
    ),
  ],
)
@pytest.mark.parametrize('split', ['train', 'test'])
def test_an_input_that_comes_again(check, split, outputs, found):
  same = [
    instance | {'input': f'{" " * number}the same', 'output': output}
    for number, (instance, output) in enumerate(
      zip(_PLAIN, outputs, strict=False)
    )
  ]
  rest = [i | {'output': ['yes', 'no'][k % 2]} for k, i in enumerate(_PLAIN)]
  findings = check(split, Instances=same + rest[3:], Positive_Examples=_SHOWN)
  (repeated,) = [f for f in findings if 'is repeated' in f.message]
  assert (repeated.severity, repeated.code, repeated.message) == found
  assert repeated.where == 'Instances[0].input'
  assert repeated.instances == ('t-0', 't-1', 't-2')


def test_inputs_that_come_again_are_one_finding_for_a_task(check):
  twice = [i | {'input': f'{k // 2}'} for k, i in enumerate(_YES_NO)]
  (repeated,) = check(Instances=twice, Positive_Examples=_SHOWN)
  assert repeated.message == (
    'is repeated in Instances[1], with no common output: no answer is always '
    'right'
  )
  assert repeated.count == 50
  assert len(repeated.instances) == 100


def test_generation_may_have_several_good_answers(check):
  again = [_PLAIN[0], _PLAIN[1] | {'input': 'text 0'}, *_PLAIN[2:]]
  assert _codes(check(Instances=again)) == [
    ('note', 'other-output-for-input', 'task2_b')
  ]
