"""Tests of it_study.data.vocabularies."""

import os

import pytest
import sentencepiece
import seqio
from vocabularies_fixture import add_pieces, write_model

from it_study.data import vocabularies
from it_study.errors import InputError


@pytest.fixture(name='model', scope='module')
def _model(tmp_path_factory):
  return write_model(tmp_path_factory.mktemp('vocabulary') / 'v.model')


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
  # Set first, so that it is restored after the test.
  monkeypatch.setenv(vocabularies.VARIABLE, '')


def test_the_default_is_t5_s_own():
  # Compared by path and extra ids; nothing is read from the bucket.
  assert vocabularies.current_vocabulary() == seqio.SentencePieceVocabulary(
    'gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model'
  )


def test_a_model_file_in_the_home_folder(model, monkeypatch):
  monkeypatch.setenv('HOME', str(model.parent))
  monkeypatch.setenv(vocabularies.VARIABLE, '~/v.model')
  size = vocabularies.current_vocabulary().vocab_size
  assert vocabularies.describe().startswith(f'v.model, {size} tokens')
  vocabularies.set_vocabulary('~/v.model')
  assert os.environ[vocabularies.VARIABLE] == str(model)


def test_byte(monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  assert vocabularies.current_vocabulary().encode('ab') == [100, 101]
  assert vocabularies.current_vocabulary().vocab_size == 259


def test_a_model_file_is_used_verbatim(model):
  vocabularies.set_vocabulary(str(model))
  vocabulary = vocabularies.current_vocabulary()
  assert vocabulary.decode(vocabulary.encode('a red hat')) == 'a red hat'
  processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
  assert vocabulary.vocab_size == processor.vocab_size()
  assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)


def test_the_fingerprint_depends_on_the_content(model, tmp_path, monkeypatch):
  vocabularies.set_vocabulary(str(model))
  one = vocabularies.fingerprint()
  (tmp_path / 'copy.model').write_bytes(model.read_bytes())
  vocabularies.set_vocabulary(str(tmp_path / 'copy.model'))
  assert vocabularies.fingerprint() == one
  vocabularies.set_vocabulary('byte')
  assert vocabularies.fingerprint() != one
  # The same in every process, as cache keys need.
  assert vocabularies.describe() == 'byte, 259 tokens, SHA-256 0b908701b385'


def test_a_description_names_the_file_without_its_folder(model):
  vocabularies.set_vocabulary(str(model))
  assert vocabularies.describe().startswith('v.model, ')


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(
    InputError,
    match=r"vocabulary .*/none.model: cannot be read .*No such file.* 'byte' "
    "or 'miniature'; name it with --vocabulary, --gin.IT_STUDY_VOCABULARY "
    r'\(study, train, predict\) or the variable IT_STUDY_VOCABULARY\.',
  ):
    vocabularies.set_vocabulary(str(tmp_path / 'none.model'))


@pytest.mark.parametrize('content', [b'', b'these are words\n'])
def test_a_file_that_is_not_a_model_is_named(tmp_path, content):
  path = tmp_path / 'words.model'
  path.write_bytes(content)
  with pytest.raises(
    InputError,
    match=rf'not a SentencePiece model \({len(content)} bytes\). Name a file',
  ):
    vocabularies.set_vocabulary(str(path))


def test_a_model_with_other_special_ids(tmp_path):
  path = write_model(
    tmp_path / 'v.model', pad_id=-1, unk_id=0, bos_id=1, eos_id=2
  )
  with pytest.raises(
    InputError, match=r'padding is -1 and end of sequence 2; T5 needs 0 and 1'
  ):
    vocabularies.set_vocabulary(str(path))


def test_a_refused_vocabulary_is_not_set(tmp_path):
  vocabularies.set_vocabulary('byte')
  with pytest.raises(InputError):
    vocabularies.set_vocabulary(str(tmp_path))
  vocabularies.check_current()
  assert vocabularies.current_vocabulary().vocab_size == 259


def test_the_current_vocabulary_is_checked(monkeypatch, tmp_path):
  monkeypatch.setenv(vocabularies.VARIABLE, str(tmp_path / 'none.model'))
  with pytest.raises(InputError, match='No such file'):
    vocabularies.check_current()


def test_a_vocabulary_that_extends_another_begins_like_it(
  model, monkeypatch, tmp_path
):
  def begins_like(path):
    return vocabularies.begins_like(vocabularies.pieces_of(path))

  monkeypatch.setenv(vocabularies.VARIABLE, str(model))
  assert begins_like(model)
  longer = add_pieces(tmp_path / 'longer.model', model, ['<extra_id_0>'])
  assert begins_like(longer)
  # T5X spells sentinels with a space.
  monkeypatch.setenv(vocabularies.VARIABLE, str(longer))
  spaced = add_pieces(tmp_path / 'spaced.model', model, ['▁<extra_id_0>'])
  assert begins_like(spaced)
  assert not begins_like(add_pieces(tmp_path / 'brace.model', model, ['{']))
  monkeypatch.setenv(vocabularies.VARIABLE, str(model))
  other = write_model(tmp_path / 'other.model', unk_id=1, eos_id=2)
  assert not begins_like(other)
  other.write_bytes(b'truncated')
  with pytest.raises(
    InputError, match=r'not a SentencePiece model; it may be truncated\. Do'
  ):
    begins_like(other)
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  assert not begins_like(model)


def test_sentinels_at_the_end_are_not_a_vocabulary_s_own(
  model, monkeypatch, tmp_path
):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  assert vocabularies.num_own_tokens() == 259
  size = len(vocabularies.pieces_of(model))
  for pieces in ([], ['<extra_id_1>', '<extra_id_0>'], ['▁<extra_id_0>']):
    path = add_pieces(tmp_path / f'{len(pieces)}.model', model, pieces)
    monkeypatch.setenv(vocabularies.VARIABLE, str(path))
    assert vocabularies.current_vocabulary().vocab_size == size + len(pieces)
    assert vocabularies.num_own_tokens() == size


def test_tokens_that_the_vocabulary_lacks_are_listed(
  model, monkeypatch, tmp_path
):
  size = len(vocabularies.pieces_of(model))
  known = {0: '<pad>', 1: '</s>', 2: '<unk>', size: '<extra_id_0>'}
  added = {**known, size + 1: '{', size + 2: '\n'}
  braces = add_pieces(tmp_path / 'b.model', model, ['<extra_id_0>', '{'])
  for name, expected in (
    (str(model), ['{', '\n']),
    (str(braces), ['\n']),
    ('byte', ['{', '\n']),
  ):
    monkeypatch.setenv(vocabularies.VARIABLE, name)
    assert vocabularies.missing_tokens(known) == []
    assert vocabularies.missing_tokens(added) == expected
  # The same token under another id is another token.
  monkeypatch.setenv(vocabularies.VARIABLE, str(braces))
  assert vocabularies.missing_tokens({size + 2: '{'}) == ['{']


def test_an_address_is_refused():
  with pytest.raises(InputError) as raised:
    vocabularies.set_vocabulary('https://host/v.model')
  assert str(raised.value) == (
    'vocabulary https://host/v.model: cannot be read (download it and name the '
    "file). Allowed are the path of a SentencePiece model, 'byte' or "
    "'miniature'; name it with --vocabulary, --gin.IT_STUDY_VOCABULARY (study, "
    'train, predict) or the variable IT_STUDY_VOCABULARY.'
  )
