"""Tests of splitting prompts by their format."""

import prompts_fixture as fixture

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.originals import RawExample


def test_pieces_follow_the_format():
  assert anatomy.definition_piece(' Say if it is hot ') == fixture.DEFINITION
  assert anatomy.query('tea') == fixture.QUERY
  fire = RawExample('fire', 'yes', 'Fire burns')
  assert anatomy.block('Positive', 1, fire, explained=False) == fixture.FIRST
  assert anatomy.block('Positive', 1, fire, explained=True) == (
    ' Positive Example 1 -\nInput: fire.\n Output: yes.\n'
    ' Explanation: Fire burns.\n\n'
  )
  assert anatomy.query('') == (
    'Now complete the following example -\nInput: .\nOutput: '
  )


def test_blocks_are_split():
  text = fixture.FIRST + fixture.SECOND + fixture.NEGATIVE
  blocks = anatomy.split_blocks(text)
  assert [(b.label, b.number, b.text) for b in blocks] == [
    ('Positive', 1, fixture.FIRST),
    ('Positive', 2, fixture.SECOND),
    ('Negative', 1, fixture.NEGATIVE),
  ]
  assert blocks[0].body == 'Input: fire.\n Output: yes.'


def test_text_that_is_no_list_of_blocks_is_none():
  assert anatomy.split_blocks('') == []
  assert anatomy.split_blocks('NB\n\n' + fixture.FIRST) is None
  assert anatomy.split_blocks(fixture.SECOND) is None
  assert anatomy.split_blocks(fixture.FIRST[:-1]) is None


def test_a_heading_inside_an_example_does_not_count():
  text = ' Positive Example 1 -\nInput: a\n\n Positive Example 9 -\n b.\n\n'
  (block,) = anatomy.split_blocks(text)
  assert block.text == text


def test_a_definition_ends_at_the_first_heading():
  text = fixture.DEFINITION + fixture.FIRST
  assert anatomy.split_definition(text) == [
    (fixture.DEFINITION, fixture.FIRST),
    (text, ''),
  ]
  assert anatomy.split_definition(fixture.FIRST) == [('', fixture.FIRST)]


def test_cut_texts():
  whole = 'one two three'
  for shown in ('one ree.', 'o.', 'o e.', '.', 'one tw three.'):
    assert anatomy.is_cut_text(shown, whole), shown
  for shown in ('one two.', 'three.', 'one ree', 'two three.', f'{whole}.'):
    assert not anatomy.is_cut_text(shown, whole), shown


def test_cut_definitions():
  whole = 'Say it. Now'
  for shown in ('Say it. No.', 'Say it.', 'Say.', 'S.'):
    piece = f'Definition: {shown}\n\n'
    assert anatomy.is_cut_definition(piece, whole), shown
  for shown in ('Say', 'Now.', 'Say it!', 'Say it..'):
    piece = f'Definition: {shown}\n\n'
    assert not anatomy.is_cut_definition(piece, whole), shown
