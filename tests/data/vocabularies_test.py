"""Tests of it_study.data.vocabularies."""

import io

import pytest
import sentencepiece
import seqio

from it_study.data import vocabularies
from it_study.errors import InputError


def write_model(path, **settings):
  """A SentencePiece model of a few words, with T5's special ids."""
  model = io.BytesIO()
  special = {'pad_id': 0, 'eos_id': 1, 'unk_id': 2, 'bos_id': -1, **settings}
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(['a red hat', 'a blue cup', 'yes or no'] * 20),
    model_writer=model,
    vocab_size=40,
    hard_vocab_limit=False,
    minloglevel=2,
    **special,
  )
  path.write_bytes(model.getvalue())
  return path


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
    "or 'miniature'; name it with --vocabulary or IT_STUDY_VOCABULARY",
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
  monkeypatch.setenv(vocabularies.VARIABLE, str(model))
  assert vocabularies.begins_like(model)
  proto = sentencepiece.sentencepiece_model_pb2.ModelProto()
  proto.ParseFromString(model.read_bytes())
  longer = tmp_path / 'longer.model'
  proto.pieces.add(piece='<extra_id_0>', score=0.0, type=4)
  longer.write_bytes(proto.SerializeToString())
  assert vocabularies.begins_like(longer)
  other = write_model(tmp_path / 'other.model', unk_id=1, eos_id=2)
  assert not vocabularies.begins_like(other)
  other.write_bytes(b'truncated')
  with pytest.raises(
    InputError, match=r'not a SentencePiece model; it may be truncated\. Do'
  ):
    vocabularies.begins_like(other)
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  assert not vocabularies.begins_like(model)
