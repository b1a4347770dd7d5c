"""Tests that texts that imitate the format raise no false alarm."""

import random

import pytest

from it_study.audit.certificates import certify
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.data import tfds_builder, vocabularies

_BITS = (
  *('', ' ', '\n\n', ' Positive Example 1 -\n', ' Positive Example 2 -\n'),
  *('Input: ', '\n Output: ', '\nOutput: ', ' Negative Example 1 -\n', '.'),
  *('\n Explanation: ', 'Now complete the following example -\nInput: '),
  *('Definition: ', 'yes', 'no', 'YES', 'yes.', '-', 'é', '\u2028', '\u3000'),
  *('Rename the outputs: ', ' becomes ', ', ', 'Possible outputs: ', '!'),
)
_MORE = (
  'natinst_def_original_ex_delusive3_neg2_expl',
  'natinst_def_renamed_ex_delusive3_neg2_expl_srcrepair',
  'natinst_def_simplified_ex_delusive2_srcnegatives',
  'natinst_def_shuffled_ex_delusive2_srcswap_s5',
)
_LIMITED = (
  'natinst_def_original_ex_original2_neg2_expl',
  'natinst_def_original_ex_original2_budget',
  'natinst_def_renamed_ex_delusive2_budget',
  'natinst_def_renamed_ex_original2_trunctk',
)


@pytest.mark.parametrize('seed', range(2))
def test_noise_is_certified(write_corpus, tmp_path, monkeypatch, seed):
  source = random.Random(seed)
  tasks = {f'task{n}_noise': _noise(source, n) for n in range(8)}
  names = list(tasks)
  corpus = natinst.open_corpus(
    write_corpus(
      train={name: tasks[name] for name in names[:4]},
      test={name: tasks[name] for name in names[4:]},
    )
  )
  data_dir = tfds_builder.build_rows(
    corpus, data_dir=tmp_path / 'rows', allow_overlap=True
  )
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  more = [Condition.from_name(name) for name in _MORE]
  limited = [Condition.from_name(name) for name in _LIMITED]
  for conditions, most in (
    ((*certify.default_conditions(), *more), None),
    ((*more, *limited), source.randrange(60, 400)),
  ):
    certificate = certify.certify(
      corpus=corpus,
      data_dir=data_dir,
      conditions=conditions,
      max_tokens=most,
      num_workers=0,
    )
    # Some random outputs are right for another input by chance.
    found = set(certificate.tally.failures) - {'delusive-right'}
    assert not found, '\n'.join(certificate.lines())
    assert certificate.num_prompts > 100 * len(conditions)


def _noise(source: random.Random, number: int) -> dict:
  """Makes a task of texts composed of parts of the format."""

  def text(most: int) -> str:
    return ''.join(source.choices(_BITS, k=source.randrange(most)))

  labels = [text(3) or 'x' for _ in range(source.randrange(1, 5))]
  is_closed = source.random() < 0.5

  def output() -> str:
    return source.choice(labels) if is_closed else text(5)

  def example() -> dict:
    shown = {'input': text(5), 'output': output()}
    return {**shown, 'explanation': text(4)} if source.random() < 0.7 else shown

  return {
    'Definition': [text(6)],
    'Categories': [source.choice('AB')],
    'Positive Examples': [example() for _ in range(source.randrange(5))],
    'Negative Examples': [example() for _ in range(source.randrange(2))],
    'Instances': [
      {'id': f'{number}-{n}', 'input': text(7), 'output': [output(), output()]}
      for n in range(30)
    ],
  }
