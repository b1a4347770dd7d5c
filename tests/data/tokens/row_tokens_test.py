"""Tests of it_study.data.tokens.row_tokens."""

import dataclasses
import math
import threading

import fakes
import gguf_files
import numpy as np
import pytest
import seqio
from vocabularies_fixture import vocabulary_of_kind

from it_study import seqio_lib
from it_study.checkpoints.gguf import folder as gguf_folder
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.data import preprocessors, row_source, vocabularies
from it_study.data.seqio_tasks import examples
from it_study.data.tokens import row_tokens
from it_study.data.tokens.tokenizer_vocabulary import TokenizerVocabulary
from it_study.errors import InputError
from it_study.instructions import prompts


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  return tmp_path_factory.mktemp('models')


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('rows') / 'corpus')


def _both(vocabulary, lengths, name=fakes.NAME, first=None):
  """The tokens of `token_rows`, and those of SeqIO's own preprocessors."""
  rows = row_source.SOURCE.get_dataset('train', shuffle=False)
  rows = rows if first is None else rows.take(first)
  fields = {
    'condition': Condition.from_name(name),
    'source': row_source.SOURCE,
  }
  ours = row_tokens.token_rows(
    rows, vocabulary=vocabulary, sequence_length=lengths or {}, **fields
  )
  features = {
    feature: seqio.Feature(vocabulary=vocabulary, add_eos=True)
    for feature in ('inputs', 'targets')
  }
  dataset = preprocessors.render_rows(rows, lengths, features, **fields)
  dataset = seqio.preprocessors.tokenize(dataset, features)
  dataset = seqio.preprocessors.append_eos_after_trim(
    dataset, features, lengths
  )
  return ours, dataset.as_numpy_iterator()


def test_the_space_before_an_answer_is_tokenised_with_it(corpus, tmp_path):
  seqio_lib.use_corpus(corpus)
  vocabulary = TokenizerVocabulary(
    gguf_folder.write_folder(
      gguf_files.write(tmp_path / 'm.gguf'), tmp_path / 'hf'
    )
  )
  rows = row_source.SOURCE.get_dataset('train', shuffle=False).take(4)
  fields = {
    'condition': Condition.from_name(fakes.NAME),
    'source': row_source.SOURCE,
  }
  features = {name: seqio.Feature(vocabulary) for name in ('inputs', 'targets')}
  rendered = list(
    preprocessors.render_rows(rows, {}, features, **fields).as_numpy_iterator()
  )
  tokens = row_tokens.token_rows(
    rows, vocabulary=vocabulary, sequence_length={}, **fields
  )
  for row, of_row in zip(rendered, tokens, strict=True):
    assert row['inputs'].endswith(b'Output:')
    assert row['answer_start'] == b' '
    assert row['targets'] == b' ' + row['references'][0]
    whole = vocabulary.encode((row['inputs'] + row['targets']).decode())
    assert [*of_row['inputs'], *of_row['targets']] == [
      *whole,
      vocabulary.eos_id,
    ]


def test_only_the_drawn_rows_are_rendered(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)
  task = seqio_lib.find_task(fakes.NAME)
  lengths = {'inputs': 64, 'targets': 8}
  rows = list(examples.read(task, lengths=lengths, split='test'))
  rendered = []
  render = prompts.render

  def counted(**arguments):
    rendered.append(arguments['instance'].id)
    return render(**arguments)

  monkeypatch.setattr(prompts, 'render', counted)
  few = list(examples.read(task, lengths=lengths, split='test', number=2))
  drawn = dataclasses.replace(natinst.open_corpus(corpus), test_instances=2)
  ids = [instance.id for _, instance in drawn.rows('test')]
  assert sorted(rendered) == sorted(ids)
  expected = [row for row in rows if row['id'].decode() in ids]
  assert len(expected) == 4 < len(rows)
  for row, same in zip(few, expected, strict=True):
    assert row.keys() == same.keys()
    for name, value in row.items():
      np.testing.assert_array_equal(value, same[name], strict=True)


@pytest.mark.parametrize('kind', ['byte', 'unigram', 'tokenizer'])
@pytest.mark.parametrize('number', [None, 2])
def test_rows_to_evaluate_are_seqio_s(
  kind, number, folder, corpus, tmp_path, monkeypatch
):
  name = 'byte'
  if kind == 'unigram':
    name = vocabulary_of_kind(kind, folder).sentencepiece_model_file
  if kind == 'tokenizer':
    name = str(
      gguf_folder.write_folder(
        gguf_files.write(tmp_path / 'm.gguf'), tmp_path / 'hf'
      )
    )
  monkeypatch.setenv(vocabularies.VARIABLE, name)
  monkeypatch.setattr(row_tokens, '_ROWS_AT_ONCE', 5)
  seqio_lib.use_corpus(corpus)
  task = seqio_lib.find_task('natinst_def_renamed_ex_original2')
  lengths = {'inputs': 120, 'targets': 3}
  ours = row_tokens.evaluation_rows(
    task.source.get_dataset(split='test', shuffle=False),
    condition=task.source.choice,
    source=row_source.SOURCE,
    vocabulary=vocabularies.current_vocabulary(),
    sequence_length=lengths,
    number=number,
  )
  theirs = examples.read(task, lengths=lengths, split='test', number=number)
  count = 0
  for our, their in zip(ours, theirs, strict=True):
    assert our.keys() == their.keys()
    for feature, value in our.items():
      assert type(value) is type(their[feature]), feature
      np.testing.assert_array_equal(value, their[feature], strict=True)
    count += 1
  assert count == (106 if number is None else 4)


def _assert_same(ours, theirs, vocabulary, lengths) -> int:
  longest = (lengths or {}).get('targets', math.inf)
  number = 0
  for our, their in zip(ours, theirs, strict=True):
    assert set(our) == {'inputs', 'targets', 'is_target_cut'}
    whole = vocabulary.encode(their['targets_pretokenized'].decode())
    assert our.pop('is_target_cut') == (len(whole) + 1 > longest)
    for name, tokens in our.items():
      assert tokens.dtype == their[name].dtype == np.int32
      np.testing.assert_array_equal(tokens, their[name])
    number += 1
  return number


@pytest.mark.parametrize('kind', ['byte', 'unigram', 'identity'])
@pytest.mark.parametrize(
  'lengths',
  [None, {'inputs': 100, 'targets': 3}, {'inputs': 256}, {'targets': 1}],
)
def test_rows_have_seqio_s_tokens(kind, lengths, folder, corpus, monkeypatch):
  seqio_lib.use_corpus(corpus)
  monkeypatch.setattr(row_tokens, '_ROWS_AT_ONCE', 7)
  vocabulary = vocabulary_of_kind(kind, folder)
  ours, theirs = _both(vocabulary, lengths)
  assert _assert_same(ours, theirs, vocabulary, lengths) == 36


@pytest.mark.parametrize(
  'name',
  [
    'natinst_def_original_ex_original2',
    'natinst_def_simplified_ex_delusive1_neg1_expl',
    'natinst_def_renamed_ex_empty0_trunctk_s1',
  ],
)
def test_real_rows_have_seqio_s_tokens(name, folder, natinst_dir):
  seqio_lib.use_corpus(natinst_dir)
  vocabulary = vocabulary_of_kind('bytes', folder)
  lengths = {'inputs': 1024, 'targets': 128}
  ours, theirs = _both(vocabulary, lengths, name, first=1200)
  assert _assert_same(ours, theirs, vocabulary, lengths) == 1200


def test_a_limit_without_room_is_an_input_error(folder, corpus):
  seqio_lib.use_corpus(corpus)
  ours, _ = _both(seqio.ByteVocabulary(), {'inputs': 20, 'targets': 5})
  with pytest.raises(InputError, match='the limit of 20 input tokens has no'):
    next(ours)


def test_stopping_early_leaves_no_thread(corpus, monkeypatch):
  seqio_lib.use_corpus(corpus)
  monkeypatch.setattr(row_tokens, '_ROWS_AT_ONCE', 2)
  before = set(threading.enumerate())
  ours, _ = _both(seqio.ByteVocabulary(), fakes.LENGTHS)
  next(ours)
  assert len(set(threading.enumerate()) - before) == 1
  ours.close()
  assert set(threading.enumerate()) <= before
