"""Tests of it_study.commands.prompt_display."""

import io
import re

import fakes
from prompts_fixture import make_instance
import pytest
from rich.console import Console
import seqio

from it_study.commands.prompt_display import Display
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.corpus.instance_search import find_instance
from it_study.data.tokens.token_limits import token_limit
from it_study.instructions import explanation

VOCABULARY = seqio.ByteVocabulary()
NAMES = (
  'natinst_def_original_ex_original2_neg1',
  'natinst_def_empty_ex_delusive1',
  'natinst_def_original_ex_empty0_trunctk',
)


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  path = tmp_path_factory.mktemp('display') / 'corpus'
  return natinst.open_corpus(fakes.write_small_corpus(path))


def drawn(
  corpus,
  *names,
  width=80,
  colour=True,
  terminal=True,
  text=None,
  max_tokens=None,
  with_tokens=False,
):
  found = find_instance(corpus, 'entail-3')
  if text is not None:
    found = type(found)(
      split='test', task=found.task, instance=make_instance(text)
    )
  limit = token_limit(vocabulary=VOCABULARY, max_tokens=max_tokens)
  explanations = [
    explanation.explain(
      found,
      corpus=corpus,
      condition=Condition.from_name(name),
      limit=limit,
      tokenizer=explanation.byte_tokenizer(VOCABULARY.encode),
    )
    for name in names
  ]
  file = io.StringIO()
  console = Console(
    file=file,
    width=width,
    force_terminal=terminal,
    color_system='standard' if terminal else None,
    no_color=not colour,
    highlight=False,
  )
  Display(console).show(found, explanations, with_tokens=with_tokens)
  return file.getvalue()


def plain(text):
  from rich.text import Text

  return [line.rstrip() for line in Text.from_ansi(text).plain.splitlines()]


def test_a_legend_names_the_kinds_that_occur(corpus):
  text = drawn(corpus, NAMES[0])
  assert (
    '\x1b[36m■ definition\x1b[0m  \x1b[32m■ example 1\x1b[0m  '
    '\x1b[94m■ example 2\x1b[0m  \x1b[35m■ negative example 1\x1b[0m  '
    '\x1b[1;33m■ input\x1b[0m  \x1b[2m■ cue\x1b[0m\n'
  ) in text
  assert '\x1b[36mDefinition: Answer yes or no.\x1b[0m' in text
  assert '\x1b[2mInput: \x1b[0m\x1b[1;33mIs it 3?\x1b[0m' in text
  assert '■ example 2' not in drawn(corpus, NAMES[1])


def test_the_exact_text_is_there_line_by_line(corpus):
  lines = plain(drawn(corpus, NAMES[1]))
  start = lines.index(' Positive Example 1 -')
  assert lines[start : start + 7] == [
    ' Positive Example 1 -',
    'Input: Is it wet?',
    ' Output: no.',
    '',
    'Now complete the following example -',
    'Input: Is it 3?',
    'Output:',
  ]
  assert lines[start - 1] == f'{NAMES[1]} {"─" * (79 - len(NAMES[1]))}'
  assert (
    "• source of example 1: the task's negative examples (negatives)" in lines
  )


@pytest.mark.parametrize(
  ('width', 'beside'), [(80, 1), (119, 1), (120, 2), (200, 3)]
)
def test_conditions_stand_side_by_side_where_there_is_room(
  corpus, width, beside
):
  lines = plain(drawn(corpus, *NAMES, width=width))
  assert max(map(len, lines)) <= width
  (heading,) = [line for line in lines if NAMES[0] in line]
  assert [name in heading for name in NAMES] == [
    index < beside for index in range(3)
  ]


def test_a_narrow_terminal_folds_and_loses_nothing(corpus):
  lines = plain(drawn(corpus, NAMES[1], width=30, text='word ' * 40))
  assert max(map(len, lines[4:])) <= 30
  assert ' '.join(lines).count('word') == 40


def test_without_colour_the_margin_says_what_it_is(corpus):
  text = drawn(corpus, *NAMES, colour=False, width=200)
  assert not re.search(r'\x1b\[(\d+;)*[39][0-7]m', text)
  lines = plain(text)
  assert '■' not in text
  (line,) = [line for line in lines if 'definition │ Definition: An' in line]
  assert line.count('definition') == 2
  assert any('cue+input │ Input: Is it 3?' in line for line in lines)


def test_in_a_pipe_long_lines_stay_whole(corpus):
  text = drawn(corpus, NAMES[1], terminal=False, text='word ' * 40, width=30)
  assert f'cue+input | Input: {"word " * 39}word.\n' in text
  assert '\x1b' not in text


def test_a_line_of_many_spans_is_broken_between_them():
  display = Display(Console(file=io.StringIO(), force_terminal=False))
  assert not display.has_colour
  from it_study.commands import prompt_display
  from it_study.instructions.prompt_spans import Span

  spans = (Span(0, 4, 'definition'), Span(4, 8, 'cue'), Span(8, 14, 'input'))
  assert prompt_display._lines('Def Cue: in\nput', spans) == [
    ('definition', 'Def '),
    ('cue', 'Cue:'),
    ('input', ' in'),
    ('', 'put'),
  ]
  assert prompt_display._lines('', ()) == [('', '')]


@pytest.mark.parametrize('terminal', [True, False])
def test_tokens(corpus, terminal):
  text = drawn(
    corpus, NAMES[2], max_tokens=80, with_tokens=True, terminal=terminal
  )
  text = ' '.join(' '.join(plain(text)).split())
  assert 'D/71 e/104 f/105 i/108 n/113' in text
  assert '</s>/1' in text
  assert 'tokens replaced by end of sequence: 1' in text


@pytest.mark.parametrize(
  'text', ['[bold]x[/nope]', '\x1b[31mred\x1b[0m\x07', 'a\rb\tc', '', '日本 é']
)
@pytest.mark.parametrize('terminal', [True, False])
@pytest.mark.parametrize('colour', [True, False])
def test_data_is_never_markup(corpus, text, terminal, colour):
  shown = drawn(
    corpus, *NAMES, text=text, terminal=terminal, colour=colour, width=200
  )
  assert '\x1b[31m' not in shown
  assert not set(shown) & set('\x07\r')
  visible = text.replace('\x1b', '␛').replace('\x07', '␇').replace('\r', '␍')
  lines = plain(shown)
  assert ''.join(lines).count(visible.partition('\t')[0]) >= 3
