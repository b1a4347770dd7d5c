"""Tests of what a check says about texts that a vocabulary cannot spell."""

from vocabularies_fixture import write_model

from it_study.audit import corpus_check
from it_study.data import vocabularies

CODES = (
  'unknown-characters',
  'normalized-characters',
  'unspellable-label',
  'unspellable-reference',
)


def check(directory, **fields):
  _, findings = corpus_check.check(directory, **fields)
  return [
    (f.severity, f.code, f.where, f.message, f.count)
    for f in findings
    if f.task == 'task2_b' and f.code in CODES
  ]


def test_labels_and_references(tmp_path, monkeypatch, write_corpus, raw_task):
  model = write_model(tmp_path / 'v.model', texts=['1 fff'])
  monkeypatch.setenv(vocabularies.VARIABLE, str(model))
  outputs = [['yes'], ['{no}'], ['no 北'], ['yes', 'yes ①']]
  instances = [
    {'id': f'i-{k}', 'input': 'cup', 'output': outputs[k % 4]}
    for k in range(100)
  ]
  directory = write_corpus(
    train={'task1_a': raw_task(30)},
    test={'task2_b': raw_task(Instances=instances, Positive_Examples=[])},
  )
  assert check(directory) == []
  no_match = 'which is not an exact match'
  assert check(directory, with_vocabulary=True) == [
    (
      'note',
      'unknown-characters',
      'label space',
      "'{no}' is answered as 'no'",
      1,
    ),
    (
      'warning',
      'unspellable-label',
      'label space',
      f"'no 北' is answered as 'no ', {no_match}",
      1,
    ),
    (
      'warning',
      'unspellable-label',
      'label space',
      f"'yes ①' is answered as 'yes 1', {no_match}",
      1,
    ),
    (
      'note',
      'unknown-characters',
      'Instances[1].output',
      'has a reference with characters that the vocabulary lacks',
      50,
    ),
    (
      'warning',
      'unspellable-reference',
      'Instances[2].output',
      "no answer is an exact match, as the vocabulary lacks '北'",
      25,
    ),
    (
      'note',
      'normalized-characters',
      'Instances[3].output',
      'has a reference with characters that the vocabulary normalises (NFKC)',
      25,
    ),
  ]
