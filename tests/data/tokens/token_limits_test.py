"""Tests of it_study.data.tokens.token_limits."""

import dataclasses
import itertools

from hypothesis import given, settings, strategies as st
from prompts_fixture import make_instance, make_task
import pytest
from sentencepiece import sentencepiece_model_pb2
import seqio
from vocabularies_fixture import (
  KINDS,
  OTHERS,
  model_of_kind,
  vocabulary_of_kind,
)

from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.data.tokens import token_limits
from it_study.errors import InputError
from it_study.instructions import prompts

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


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  return tmp_path_factory.mktemp('models')


def test_counts_add_up_if_no_token_spans_two_pieces(folder):
  adds_up = {
    kind: token_limits.counts_add_up(model_of_kind(kind, folder))
    for kind in (*KINDS, *OTHERS, 'miniature')
  }
  assert adds_up == dict.fromkeys((*KINDS, 'miniature'), True) | dict.fromkeys(
    OTHERS, False
  )


def test_counts_do_not_add_up_if_the_space_marker_is_unknown(folder):
  proto = sentencepiece_model_pb2.ModelProto.FromString(
    model_of_kind('unigram', folder)
  )
  (mark,) = (p for p in proto.pieces if p.piece == '\u2581')
  mark.piece = 'unused'
  assert not token_limits.counts_add_up(proto.SerializeToString())


def _prompt(definition, examples, text, **fields) -> prompts.Prompt:
  triples = tuple((given_, output, None) for given_, output in examples)
  return prompts.render(
    task=make_task(definition, positive=triples, negative=triples),
    instance=make_instance(text),
    **fields,
  )


@pytest.mark.parametrize('kind', [*KINDS, 'miniature', 'byte'])
def test_a_prompt_s_tokens_are_those_of_its_pieces(kind, folder):
  vocabulary = vocabulary_of_kind(kind, folder)

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


@pytest.mark.parametrize('kind', [*KINDS, 'miniature', 'byte', 'identity'])
def test_a_limit_counted_by_pieces_gives_the_same_prompts(kind, folder):
  vocabulary = vocabulary_of_kind(kind, folder)

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
    limit = token_limits.token_limit(
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
  limit = token_limits.token_limit(
    vocabulary=vocabulary_of_kind('bytes', folder), max_tokens=max_tokens
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
    kind: token_limits.token_limit(
      vocabulary=vocabulary_of_kind(kind, folder), max_tokens=9
    ).count
    is not None
    for kind in ('byte', 'unigram', 'identity')
  }
  assert counted == {'byte': True, 'unigram': True, 'identity': False}
  other = seqio.PassThroughVocabulary(size=10)
  limit = token_limits.token_limit(vocabulary=other, max_tokens=9)
  assert limit.count is None


def test_a_piece_is_counted_once(folder, monkeypatch):
  vocabulary = vocabulary_of_kind('unigram', folder)
  limit = token_limits.token_limit(vocabulary=vocabulary, max_tokens=500)
  tokenizer = type(vocabulary.tokenizer)
  calls = []
  encode = tokenizer.encode

  def counted(self, text, *args, **kwargs):
    calls.append(text)
    return encode(self, text, *args, **kwargs)

  monkeypatch.setattr(tokenizer, 'encode', counted)
  limit = token_limits.token_limit(vocabulary=vocabulary, max_tokens=500)
  for text in ('tea', 'milk'):
    prompt = _prompt(
      'Say it', [('a', 'b')], text, condition=Condition(), limit=limit
    )
  # Definition, one example, two queries.
  assert len(calls) == 4
  assert calls[-1] == prompt.pieces[-1]
