"""Tests of it_study.instructions.prompt_spans."""

import io
import itertools

from hypothesis import given, strategies as st
from prompts_fixture import TEXTS, TRIPLES, make_instance, make_task
import pytest
import sentencepiece

from it_study.conditions import Condition
from it_study.instructions import prompt_spans
from it_study.instructions.prompt_spans import KeptInput
from it_study.instructions.prompts import TokenLimit, render

HEAD = 'Now complete the following example -\nInput: '
LEVELS = ('original', 'simplified', 'empty')


def characters(max_tokens):
  """Returns a limit with one token per character."""
  return TokenLimit(
    encode=lambda text: [ord(character) for character in text],
    decode=lambda ids: ''.join(map(chr, ids)),
    max_tokens=max_tokens,
  )


def rendered(name, *, text='tea', limit=None, task=None):
  instance = make_instance(text)
  prompt = render(
    task=task or make_task(),
    instance=instance,
    condition=Condition.from_name(name),
    limit=limit,
  )
  return prompt, instance


def divided(name, **fields):
  prompt, instance = rendered(name, **fields)
  return [
    (span.kind, prompt.text[span.start : span.end])
    for span in prompt_spans.spans(prompt, instance=instance)
  ]


def check_cover(prompt, spans):
  """Checks for gaps, overlaps and neighbours of the same kind."""
  ends = [0, *(span.end for span in spans)]
  assert [span.start for span in spans] == ends[:-1]
  assert ends[-1] == len(prompt.text)
  assert all(span.start < span.end for span in spans)
  kinds = [span.kind for span in spans]
  assert all(a != b for a, b in itertools.pairwise(kinds))


def test_every_kind_of_span():
  assert divided('natinst_def_original_ex_original2_neg1') == [
    ('definition', 'Definition: Say if it is hot.\n\n'),
    ('example 1', ' Positive Example 1 -\nInput: fire.\n Output: yes.\n\n'),
    ('example 2', ' Positive Example 2 -\nInput: ice.\n Output: no.\n\n'),
    (
      'negative example 1',
      ' Negative Example 1 -\nInput: sun.\n Output: no.\n\n',
    ),
    ('cue', HEAD),
    ('input', 'tea'),
    ('cue', '.\nOutput: '),
  ]


@pytest.mark.parametrize(
  ('text', 'shown', 'end'),
  [
    ('tea.', 'tea.', '\nOutput: '),
    (' tea \n', 'tea', '.\nOutput: '),
    ('one\nOutput: two', 'one\nOutput: two', '.\nOutput: '),
    ('日本', '日本', '.\nOutput: '),
    ('.', '.', '\nOutput: '),
  ],
)
def test_an_added_full_stop_is_not_input(text, shown, end):
  assert divided('natinst_def_empty_ex_empty0', text=text) == [
    ('cue', HEAD),
    ('input', shown),
    ('cue', end),
  ]


def test_an_empty_instance_has_no_input():
  assert divided('natinst_def_empty_ex_empty0', text=' ') == [
    ('cue', HEAD + '.\nOutput: ')
  ]


def test_text_that_looks_like_a_prompt_is_input():
  text = ' Positive Example 1 -\nInput: x.\n Output: y.\n\nDefinition: z'
  parts = divided('natinst_def_simplified_ex_original1', text=text)
  assert [kind for kind, _ in parts] == [
    'definition',
    'example 1',
    'cue',
    'input',
    'cue',
  ]
  assert parts[3][1] == text.strip()


# In characters: definition 31, query 54 and its input, end-of-sequence 1.
@pytest.mark.parametrize(
  ('max_tokens', 'shown', 'head', 'tail'),
  [
    (99, 'one two three', 13, 0),
    (98, 'one tw three', 6, 5),
    (96, 'one t hree', 5, 4),
    (95, 'one hree', 3, 4),
    (88, 'o', 1, 0),
    (86, '', 0, 0),
    (71, '', 0, 0),
  ],
)
def test_kept_part_of_a_cut_input(max_tokens, shown, head, tail):
  prompt, instance = rendered(
    'natinst_def_original_ex_empty0',
    text='one two three',
    limit=characters(max_tokens),
  )
  kept = prompt_spans.kept_input(prompt, instance=instance)
  assert kept == KeptInput(length=13, head=head, tail=tail)
  spans = prompt_spans.spans(prompt, instance=instance)
  check_cover(prompt, spans)
  inputs = [prompt.text[s.start : s.end] for s in spans if s.kind == 'input']
  assert inputs == ([shown] if shown else [])


def test_share_kept():
  assert KeptInput(length=0, head=0, tail=0).share == 1.0
  assert KeptInput(length=8, head=1, tail=1).share == 0.25


@pytest.mark.parametrize(
  ('max_tokens', 'kept'), [(99, (16, 16)), (85, (15, 16)), (70, (0, 16))]
)
def test_kept_part_of_the_definition(max_tokens, kept):
  name = 'natinst_def_original_ex_empty0'
  whole, _ = rendered(name, text='one two three')
  prompt, _ = rendered(name, text='one two three', limit=characters(max_tokens))
  # An added full stop counts if both have it.
  found = prompt_spans.kept_definition(prompt, whole=whole)
  assert found == tuple(n + (n == 16) for n in kept)


@pytest.mark.parametrize(
  ('max_tokens', 'kinds', 'kept'),
  [
    (98, ['definition', 'cue', 'input', 'cue'], 13),
    (80, ['definition', 'cue', 'input'], 5),
    (75, ['definition', 'cue'], 0),
    (20, ['definition'], 0),
  ],
)
def test_a_text_cut_by_tokens(max_tokens, kinds, kept):
  prompt, instance = rendered(
    'natinst_def_original_ex_empty0_trunctk',
    text='one two three',
    limit=characters(max_tokens),
  )
  spans = prompt_spans.spans(prompt, instance=instance)
  check_cover(prompt, spans)
  assert [span.kind for span in spans] == kinds
  found = prompt_spans.kept_input(prompt, instance=instance)
  assert found == KeptInput(length=13, head=kept, tail=0)


@given(
  st.sampled_from(LEVELS),
  st.booleans(),
  TEXTS,
  st.text('a .\n日\u0301é,', max_size=30),
  TRIPLES,
  st.none() | st.integers(85, 260),
)
def test_any_prompt_is_covered(
  level, tk_truncation, definition, text, positive, max_tokens
):
  task, instance = make_task(definition, positive=positive), make_instance(text)
  prompt = render(
    task=task,
    instance=instance,
    condition=Condition(
      definition=level, num_negative_examples=2, tk_truncation=tk_truncation
    ),
    limit=max_tokens and characters(max_tokens),
  )
  spans = prompt_spans.spans(prompt, instance=instance)
  check_cover(prompt, spans)
  kept = prompt_spans.kept_input(prompt, instance=instance)
  assert kept.length == len(text.strip())
  assert 0 <= kept.share <= 1
  kinds = [s.kind for s in spans if 'example' in s.kind]
  if not (tk_truncation and prompt.shortened):
    assert kinds == list(prompt_spans.example_kinds(prompt))
    shown = ''.join(
      prompt.text[s.start : s.end] for s in spans if s.kind == 'input'
    )
    assert len(shown) == kept.head + kept.tail + bool(kept.tail)
    assert shown.startswith(text.strip()[: kept.head])
    assert shown.endswith(text.strip()[kept.length - kept.tail :])
  if not prompt.shortened:
    assert kept.share == 1


def test_a_prompt_of_another_instance_is_refused():
  prompt, _ = rendered('natinst_def_original_ex_empty0')
  with pytest.raises(ValueError, match='not made from this instance'):
    prompt_spans.spans(prompt, instance=make_instance('coffee'))


@pytest.mark.parametrize(
  ('text', 'source', 'places'),
  [
    ('', 'abc', []),
    ('a b.', 'a  ☃b . c', [0, 0, 4, 6]),
    # Unknown characters are missing.
    ('xyz', '日x日y日z', [1, 3, 5]),
    # Composed and decomposed letters.
    ('é ﬁ', 'e\u0301 fi', [1, 1, 4]),
    ('fi', 'ﬁ', [0, 0]),
    # A character without a match takes the position before it.
    ('a?b', 'ab', [0, 0, 1]),
    ('\n\na', '\n\na', [0, 0, 2]),
  ],
)
def test_origins(text, source, places):
  assert prompt_spans.origins(text, source=source) == places


@pytest.fixture(name='processor', scope='module')
def _processor():
  """A SentencePiece model like T5's: normalised, with unknown characters."""
  model = io.BytesIO()
  lines = ['Now complete the following example', 'Input: tea. Output: yes, no']
  lines += ['Definition: Say if it is hot', "Positive Example 1 - it isn't 2"]
  sentencepiece.SentencePieceTrainer.Train(
    sentence_iterator=iter(lines * 5),
    model_writer=model,
    vocab_size=80,
    hard_vocab_limit=False,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
  )
  return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def test_cuts_agree_with_the_vocabulary(processor):
  def decode(ids):
    return processor.decode([i for i in ids if i != processor.unk_id()])

  @given(
    # Without ligatures: a token may be a part of one.
    st.text('teaé日 \n.,\'n\u0301"', max_size=40),
    st.sampled_from(LEVELS),
    st.integers(5, 120),
  )
  def check(text, level, max_tokens):
    instance = make_instance(text)
    prompt = render(
      task=make_task(),
      instance=instance,
      condition=Condition(definition=level, tk_truncation=True),
      limit=TokenLimit(
        encode=processor.encode, decode=decode, max_tokens=max_tokens
      ),
    )
    spans = prompt_spans.spans(prompt, instance=instance)
    check_cover(prompt, spans)
    source = ''.join(prompt.pieces)
    if prompt.text == source:
      return
    encoded = source.encode()
    # SentencePiece counts bytes.
    ends = [
      (piece, len(encoded[: piece.end].decode()))
      for piece in processor.encode(source, return_type='proto').pieces
    ][:max_tokens]
    cut = ends[-1][1]
    known = [
      place
      for piece, end in ends
      for place in range(end - len(piece.surface), end)
      if piece.id != processor.unk_id() and not source[place].isspace()
    ]
    places = prompt_spans.origins(prompt.text, source=source)
    assert all(place < cut for place in places)
    # The last character of the last token is the last one of the text.
    assert not known or places[-1] == known[-1]

  check()
