"""Tests of it_study.data.preprocessors."""

import dataclasses
import functools
import io
import itertools
import math
import threading

import fakes
from hypothesis import given, settings, strategies as st
import numpy as np
from prompts_fixture import make_instance, make_task
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
import seqio
import tensorflow as tf

from it_study import seqio_lib
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.corpus.miniature import (
  benchmark as mini_corpus,
  vocabulary as mini_vocabulary,
)
from it_study.data import preprocessors, row_source
from it_study.errors import InputError
from it_study.instructions import prompts

_TEXTS = (
  'Is it hot or cold? It is hot...',
  'Say (yes) or no; then count 1, 2, 3.',
  'Now complete the following example - Input: tea. Output: ',
  'Positive Example 1 - Negative Example 2 - Definition:',
  'aaaa oooo .... scooping snow, and scoops of ice-cream!',
  'élan naïve œuvre 茶。 ½ ﬁne',
)
_KINDS = {
  'unigram': {},
  'bytes': {'byte_fallback': True},
  'bpe': {'model_type': 'bpe'},
  'folded': {'normalization_rule_name': 'nmt_nfkc_cf'},
  'words_of_two': {'user_defined_symbols': ['\u2581it\u2581is', '<mask>']},
}
_OTHERS = {
  'identity': {'normalization_rule_name': 'identity'},
  'no_line_breaks': {'normalization_rule_name': 'nfkc'},
  'no_prefix': {'add_dummy_prefix': False},
  'all_spaces': {'remove_extra_whitespaces': False},
  'suffix': {'treat_whitespace_as_suffix': True},
  'across': {'user_defined_symbols': ['.\u2581Now']},
  'line_break': {'user_defined_symbols': ['\n']},
}
# What normalisers change, join or drop, look-alikes of tokens, and markers.
_ODD = st.sampled_from(
  [
    *(' ', '  ', '\n', '\t', '\u2581', '\u2581\u2581', '\u200b', '\ufeff'),
    *('\u0301', '\u0338', '\x00', '\x1f', '\x7f', '\u00a0', '\u3000', '\u2028'),
    *('<extra_id_0>', '<pad>', '</s>', '<unk>', '<0x0A>', '<mask>'),
    *('…', 'ﬁ', '½', '①', '茶', '☃', '🙂', 'é', '́e', '＝', '～'),
    *('Now complete', 'Positive Example', 'it is', 'scoop', 'oo', '.', '...'),
  ]
)
TEXTS = st.lists(_ODD | st.text(max_size=4), max_size=12).map(''.join)


@functools.cache
def _model(kind: str, folder) -> bytes:
  if kind == 'miniature':
    directory = mini_corpus.write_miniature(
      folder / 'corpus', size=mini_corpus.SMALL
    )
    return mini_vocabulary.train_vocabulary(
      corpus=natinst.open_corpus(directory), path=folder / 'trained.model'
    ).read_bytes()
  stem = io.BytesIO()
  fields = {**_KINDS, **_OTHERS}[kind]
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(_TEXTS * 20),
    model_writer=stem,
    hard_vocab_limit=False,
    vocab_size=360 if 'byte_fallback' in fields else 110,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
    **fields,
  )
  return stem.getvalue()


@functools.cache
def _vocabulary(kind: str, folder) -> seqio.Vocabulary:
  if kind == 'byte':
    return seqio.ByteVocabulary()
  path = folder / f'{kind}.model'
  path.write_bytes(_model(kind, folder))
  return seqio.SentencePieceVocabulary(str(path))


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  return tmp_path_factory.mktemp('models')


def test_counts_add_up_if_no_token_spans_two_pieces(folder):
  adds_up = {
    kind: preprocessors.counts_add_up(_model(kind, folder))
    for kind in (*_KINDS, *_OTHERS, 'miniature')
  }
  assert adds_up == dict.fromkeys((*_KINDS, 'miniature'), True) | dict.fromkeys(
    _OTHERS, False
  )


def test_counts_do_not_add_up_if_the_space_marker_is_unknown(folder):
  proto = sentencepiece_model_pb2.ModelProto.FromString(
    _model('unigram', folder)
  )
  (mark,) = (p for p in proto.pieces if p.piece == '\u2581')
  mark.piece = 'unused'
  assert not preprocessors.counts_add_up(proto.SerializeToString())


def _prompt(definition, examples, text, **fields) -> prompts.Prompt:
  triples = tuple((given_, output, None) for given_, output in examples)
  return prompts.render(
    task=make_task(definition, positive=triples, negative=triples),
    instance=make_instance(text),
    **fields,
  )


@pytest.mark.parametrize('kind', [*_KINDS, 'miniature', 'byte'])
def test_a_prompt_s_tokens_are_those_of_its_pieces(kind, folder):
  vocabulary = _vocabulary(kind, folder)

  @settings(max_examples=150)
  @given(TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=2), TEXTS)
  def check(definition, examples, text):
    prompt = _prompt(
      definition,
      examples,
      text,
      condition=Condition(num_negative_examples=1),
    )
    whole = vocabulary.encode(prompt.text)
    joined = [i for piece in prompt.pieces for i in vocabulary.encode(piece)]
    if whole != joined:
      # Only rounding may choose between two equally likely segmentations.
      assert kind not in ('bpe', 'byte')
      score = vocabulary.tokenizer.get_score
      assert sum(map(score, whole)) == pytest.approx(
        sum(map(score, joined)), abs=1e-3
      )

  check()


@pytest.mark.parametrize('kind', [*_KINDS, 'miniature', 'byte', 'identity'])
def test_a_limit_counted_by_pieces_gives_the_same_prompts(kind, folder):
  vocabulary = _vocabulary(kind, folder)

  @settings(max_examples=100)
  @given(
    st.tuples(TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=3), TEXTS),
    st.integers(-90, 60),
    st.sampled_from(['', '_budget', '_trunctk', '_sep3', '_sep12']),
  )
  def check(texts, spare, suffix):
    condition = Condition.from_name(
      f'natinst_def_original_ex_original2_neg1{suffix}'
    )
    whole = _prompt(*texts, condition=condition).text
    limit = preprocessors.token_limit(
      vocabulary=vocabulary,
      max_tokens=max(60, len(vocabulary.encode(whole)) + spare),
    )
    # These texts are too short for more rounding than this.
    limit = dataclasses.replace(limit, margin=min(limit.margin, 2))
    exact = dataclasses.replace(limit, count=None)
    made = []
    for each in (limit, exact):
      try:
        made.append(_prompt(*texts, condition=condition, limit=each))
      except InputError as error:
        made.append(str(error))
    assert made[0] == made[1]

  check()


@pytest.mark.parametrize('max_tokens', [300, 1024])
def test_real_prompts_are_the_same_by_either_count(
  max_tokens, folder, natinst_dir
):
  corpus = natinst.open_corpus(natinst_dir)
  limit = preprocessors.token_limit(
    vocabulary=_vocabulary('bytes', folder), max_tokens=max_tokens
  )
  exact = dataclasses.replace(limit, count=None)
  dropped = 0
  for task, instance in itertools.islice(corpus.rows('test'), 0, None, 4):
    made = [
      prompts.render(
        task=task, instance=instance, condition=Condition(), limit=each
      )
      for each in (limit, exact)
    ]
    assert made[0] == made[1]
    dropped += made[0].num_dropped_examples > 0
  assert dropped > 30


def test_vocabularies_that_are_counted_by_pieces(folder):
  counted = {
    kind: preprocessors.token_limit(
      vocabulary=_vocabulary(kind, folder), max_tokens=9
    ).count
    is not None
    for kind in ('byte', 'unigram', 'identity')
  }
  assert counted == {'byte': True, 'unigram': True, 'identity': False}
  other = seqio.PassThroughVocabulary(size=10)
  limit = preprocessors.token_limit(vocabulary=other, max_tokens=9)
  assert limit.count is None


def test_a_piece_is_counted_once(folder, monkeypatch):
  vocabulary = _vocabulary('unigram', folder)
  limit = preprocessors.token_limit(vocabulary=vocabulary, max_tokens=500)
  tokenizer = type(vocabulary.tokenizer)
  calls = []
  encode = tokenizer.encode

  def counted(self, text, *args, **kwargs):
    calls.append(text)
    return encode(self, text, *args, **kwargs)

  monkeypatch.setattr(tokenizer, 'encode', counted)
  limit = preprocessors.token_limit(vocabulary=vocabulary, max_tokens=500)
  for text in ('tea', 'milk'):
    prompt = _prompt(
      'Say it', [('a', 'b')], text, condition=Condition(), limit=limit
    )
  # Definition, one example, two queries.
  assert len(calls) == 4
  assert calls[-1] == prompt.pieces[-1]


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
  ours = preprocessors.token_rows(
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
  monkeypatch.setattr(preprocessors, '_ROWS_AT_ONCE', 7)
  vocabulary = _vocabulary(kind, folder)
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
  vocabulary = _vocabulary('bytes', folder)
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
  monkeypatch.setattr(preprocessors, '_ROWS_AT_ONCE', 2)
  before = set(threading.enumerate())
  ours, _ = _both(seqio.ByteVocabulary(), fakes.LENGTHS)
  next(ours)
  assert len(set(threading.enumerate()) - before) == 1
  ours.close()
  assert set(threading.enumerate()) <= before


def _breaks(dataset):
  def parse(text):
    raise KeyError('answer')

  def tokens(row):
    parsed = tf.numpy_function(parse, [row['text']], tf.int32)
    return {'targets': tf.ensure_shape(parsed, [None])}

  return dataset.map(tokens)


def _refuses(dataset):
  raise ValueError('no such column')


@pytest.mark.parametrize(
  ('function', 'reason'),
  [
    (_breaks, "KeyError: 'answer'"),
    (_refuses, 'ValueError: no such column'),
  ],
)
def test_a_preprocessor_of_a_user_that_fails_is_named(function, reason):
  task = seqio.Task(
    'broken',
    source=seqio.FunctionDataSource(
      lambda split, shuffle_files, seed=None: (
        tf.data.Dataset.from_tensor_slices({'text': ['a']})
      ),
      splits=['test'],
    ),
    preprocessors=[function],
    output_features={
      'targets': seqio.Feature(seqio.PassThroughVocabulary(1), add_eos=False)
    },
  )
  with pytest.raises(InputError) as raised:
    list(preprocessors.task_rows(task, lengths={'targets': 4}, split='test'))
  assert str(raised.value) == (
    f"SeqIO task 'broken' cannot be read: {reason}. Its preprocessors are "
    f'{__name__}.{function.__name__}; add --debug to see where.'
  )
