"""Tests of vocabularies: answers decoded as transformers does, spelling."""

import random

import pytest
from sentencepiece import sentencepiece_model_pb2
import seqio
from vocabularies_fixture import write_model

from it_study.corpus import natinst
from it_study.data import vocabularies

PIECES = ('▁', '▁yes', 'yes', '▁no', '.', 's', '▁a', 'b', '1', '2', 'é')
# Decoded by transformers 4.46 and 5.24 with `skip_special_tokens=True`, from
# the same pieces and 100 sentinels, 113 to 14. They differ in outer space,
# which no score looks at.
SMALL = (
  ([3, 2, 5, 2, 1], 'yes', '⁇ yes ⁇'),
  ([113, 4, 1], 'yes', '<extra_id_0> yes'),
  ([4, 113, 2, 6, 7, 1, 0, 0], 'yes no.', 'yes <extra_id_0> ⁇ no.'),
  ([2, 10, 2, 8], 'bs', '⁇ b ⁇ s'),
  ([9, 2, 10], 'ab', 'a ⁇ b'),
  ([3, 4], 'yes', None),
  ([113, 112, 2], '', '<extra_id_0> <extra_id_1> ⁇'),
  ([], '', None),
  ([0, 4, 0, 7], 'yes.', None),
  ([14, 4, 7, 2, 4], 'yes. yes', '<extra_id_99> yes. ⁇ yes'),
  ([9, 10, 113, 10, 8], 'abbs', 'ab <extra_id_0> bs'),
)
# By transformers 5.24, from T5's own vocabulary.
REAL = (
  ([32099, 1066, 2, 2163, 1], 'rather Yes'),
  ([32095, 6041, 7, 1, 0, 0], 'Plants'),
  ([2163, 5, 2, 2, 2, 1, 0, 0], 'Yes.'),
  ([5676, 2650, 35, 49, 2, 1], 'weak namedener'),
  ([1465, 2, 1, 0], 'positive'),
  ([2971, 32096, 32043, 2, 1, 0], 'fear'),
  ([4320, 32068, 15748, 499, 32096, 32088, 7703, 1], 'Kidded Myself'),
  ([2, 3, 632, 1, 0, 0], '0'),
  ([3, 35, 32099, 5756, 7, 32095, 1, 0], 'entails'),
  (
    [3125, 9141, 19140, 32071, 2, 1730, 26807, 1, 0],
    'accident Antonym purposeemployeur',
  ),
  # Rows of T5's table that are no tokens.
  ([2163, 32100, 32127, 1], 'Yes'),
)
SPELLED = (
  ('{yes}', 'yes'),
  ('<b>no~', 'b>no'),
  ('~', ''),
  ('½ cup', '12 cup'),
  ('n°5', 'n°5'),
  ('ﬁne', 'fine'),
  ('a\u200bb', 'a b'),
  ('Zürich ≤ 5', 'Zürich  5'),
  ('日本', ''),
)


@pytest.fixture(name='model', scope='module')
def _model(tmp_path_factory):
  path = write_model(tmp_path_factory.mktemp('v') / 'v.model')
  proto = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
  del proto.pieces[3:]
  for rank, piece in enumerate(PIECES):
    proto.pieces.add(piece=piece, score=-float(rank))
  path.write_bytes(proto.SerializeToString())
  return str(path)


@pytest.mark.parametrize(('tokens', 'text', 'raw'), SMALL)
def test_special_and_unknown_tokens_are_left_out(model, tokens, text, raw):
  vocabulary = seqio.SentencePieceVocabulary(model, extra_ids=100)
  assert vocabularies.decode(vocabulary, tokens) == (text, raw)


def test_ids_beyond_the_model_are_left_out(model):
  vocabulary = seqio.SentencePieceVocabulary(model)
  assert vocabulary.vocab_size == 14
  assert vocabularies.decode(vocabulary, [113, 4, 14, 1, 4]) == (
    'yes',
    '<id 113> yes <id 14>',
  )


def test_an_answer_ends_at_end_of_sequence():
  a, b, c = (ord(letter) + 3 for letter in 'abc')
  decode = seqio.ByteVocabulary(), [a, 0, b, 1, c]
  assert vocabularies.decode(*decode) == ('ab', None)
  # The table of a model has 384 rows, the vocabulary 259 tokens.
  assert vocabularies.decode(seqio.ByteVocabulary(), [a, 383, 2, b]) == (
    'ab',
    'a <id 383> ⁇ b',
  )


def test_control_tokens_are_left_out(tmp_path):
  path = write_model(tmp_path / 'v.model', bos_id=3)
  vocabulary = seqio.SentencePieceVocabulary(str(path))
  yes = vocabulary.encode('yes')
  assert vocabularies.decode(vocabulary, [3, *yes]) == ('yes', '<id 3> yes')


@pytest.mark.parametrize(('tokens', 'text'), REAL)
def test_t5_s_own_vocabulary(t5_vocabulary, tokens, text):
  with_sentinels = seqio.SentencePieceVocabulary(t5_vocabulary, extra_ids=100)
  assert with_sentinels.vocab_size == 32_100
  for vocabulary in (
    seqio.SentencePieceVocabulary(t5_vocabulary),
    with_sentinels,
  ):
    assert vocabularies.decode(vocabulary, tokens).text == text


@pytest.mark.parametrize(('text', 'expected'), SPELLED)
def test_what_t5_s_own_vocabulary_spells(t5_vocabulary, text, expected):
  vocabulary = seqio.SentencePieceVocabulary(t5_vocabulary)
  assert vocabularies.spell(vocabulary, text).text == expected


def test_real_texts_are_decoded_as_transformers_does(
  t5_vocabulary, natinst_dir, tmp_path
):
  transformers = pytest.importorskip('transformers')
  (tmp_path / 'spiece.model').symlink_to(t5_vocabulary)
  (tmp_path / 'config.json').write_text('{"model_type": "t5"}')
  tokenizer = transformers.T5TokenizerFast.from_pretrained(tmp_path)
  vocabulary = seqio.SentencePieceVocabulary(t5_vocabulary, extra_ids=100)
  draw = random.Random(0)
  corpus = natinst.open_corpus(natinst_dir)
  texts = [
    text
    for name in corpus.test_tasks
    for instance in corpus.instances(name, 'test')[:10]
    for text in (instance.input, *instance.outputs)
  ]
  answers = []
  for text in draw.sample(texts, 500):
    tokens = [int(token) for token in vocabulary.encode(text)]
    for token in draw.choices((2, 32_099, 32_050, 32_000, 0), k=3):
      tokens.insert(draw.randrange(len(tokens) + 1), token)
    answers.append([*tokens, 1, 0])
  theirs = tokenizer.batch_decode(answers, skip_special_tokens=True)
  ours = [vocabularies.decode(vocabulary, tokens).text for tokens in answers]
  assert [text.strip() for text in ours] == [text.strip() for text in theirs]


@pytest.mark.parametrize(
  ('text', 'matches', 'loses', 'changes'),
  [
    ('yes', True, False, False),
    ('yes.', True, False, False),
    ('{yes}', True, True, False),
    ('é b', True, False, False),
    ('e\u0301 b', False, False, True),
    ('yes 北', False, True, False),
    # Nothing is left, which would equal any punctuation.
    ('{', False, True, False),
    ('.', True, False, False),
    ('①', False, False, True),
  ],
)
def test_spelling(model, text, matches, loses, changes):
  vocabulary = seqio.SentencePieceVocabulary(model)
  spelled = vocabularies.spell(vocabulary, text)
  assert vocabularies.is_matched(text, spelled) == matches
  assert vocabularies.loses_characters(spelled) == loses
  assert vocabularies.changes_characters(text, spelled) == changes
