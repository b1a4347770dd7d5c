"""Tests for it_study.corpus.miniature.vocabulary."""

import statistics

import pytest
import seqio

from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.corpus.miniature import benchmark as mini
from it_study.corpus.miniature.vocabulary import PROMPT_PIECES, train_vocabulary
from it_study.errors import InputError
from it_study.instructions import prompts


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return natinst.open_corpus(
    mini.write_miniature(tmp_path_factory.mktemp('corpus'))
  )


@pytest.fixture(name='vocabulary', scope='module')
def _vocabulary(corpus, tmp_path_factory):
  path = train_vocabulary(
    corpus=corpus, path=tmp_path_factory.mktemp('vocabulary') / 'mini.model'
  )
  return seqio.SentencePieceVocabulary(str(path))


def test_the_same_corpus_gives_the_same_bytes(corpus, tmp_path):
  first = train_vocabulary(corpus=corpus, path=tmp_path / 'a' / 'first.model')
  second = train_vocabulary(corpus=corpus, path=tmp_path / 'second.model')
  assert first.read_bytes() == second.read_bytes()
  assert [path.name for path in (tmp_path / 'a').iterdir()] == ['first.model']


def test_special_ids_are_those_of_t5(vocabulary):
  assert vocabulary.pad_id == 0
  assert vocabulary.eos_id == 1
  assert vocabulary.unk_id == 2
  assert vocabulary.tokenizer.bos_id() == -1
  assert 600 < vocabulary.vocab_size <= 1000


@pytest.mark.parametrize(
  'text',
  [
    'The door of Anna is shut.',
    'Ünknown wörds, 日本語 and {braces}.',
    'Qqq 42',
  ],
)
def test_any_text_survives_encoding(vocabulary, text):
  ids = vocabulary.encode(text)
  assert vocabulary.unk_id not in ids
  assert vocabulary.decode(ids) == text


def test_every_label_and_word_of_training_is_one_piece(corpus, vocabulary):
  for name in corpus.train_tasks:
    task = corpus.load(name).task
    for label in task.label_space or ():
      assert len(vocabulary.encode(label)) == 1, label
    text = corpus.instances(name, 'train')[0].input
    for word in text.replace('.', ' ').split():
      if word.isalpha():
        assert len(vocabulary.encode(word)) == 1, word


def test_prompt_texts_are_one_piece_each(corpus, vocabulary):
  name = corpus.train_tasks[0]
  prompt = prompts.render(
    task=corpus.load(name).task,
    instance=corpus.instances(name, 'train')[0],
    condition=Condition(num_negative_examples=2, explanations=True),
  ).text.replace('\n', ' ')
  for piece in PROMPT_PIECES:
    assert len(vocabulary.encode(piece)) == 1, piece
    if piece != 'Possible outputs:':
      assert piece in prompt


def test_prompts_with_two_examples_are_short(corpus, vocabulary):
  lengths = {
    split: [
      len(vocabulary.encode(prompt.text)) + 1
      for prompt in (
        prompts.render(task=task, instance=instance, condition=Condition())
        for task, instance in corpus.rows(split)
      )
    ]
    for split in ('validation', 'test')
  }
  assert statistics.median(lengths['validation']) <= 64
  assert max(lengths['validation']) <= 96
  assert statistics.median(lengths['test']) <= 96
  assert max(lengths['test']) <= 128


def test_it_sees_no_test_tasks_or_held_out_instances(
  corpus, tmp_path, monkeypatch
):
  seen = []

  def recorded(self, name, split):
    seen.append((name, split))
    return original(self, name, split)

  original = natinst.Corpus.instances
  monkeypatch.setattr(natinst.Corpus, 'instances', recorded)
  train_vocabulary(corpus=corpus, path=tmp_path / 'mini.model')
  assert set(seen) == {(name, 'train') for name in corpus.train_tasks}


def test_too_small_a_size_is_one_line(corpus, tmp_path):
  with pytest.raises(InputError) as error:
    train_vocabulary(
      corpus=corpus, path=tmp_path / 'mini.model', vocab_size=100
    )
  message = str(error.value)
  assert message.startswith('cannot train a vocabulary of 100 pieces: ')
  assert message.endswith('The default is 1000.')
  assert '\n' not in message
  assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written_is_one_line(corpus, tmp_path):
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(InputError) as error:
    train_vocabulary(corpus=corpus, path=tmp_path / 'file' / 'mini.model')
  assert str(error.value) == (
    f'cannot write the vocabulary {tmp_path}/file/mini.model: Not a '
    'directory. Name a path that can be written.'
  )
