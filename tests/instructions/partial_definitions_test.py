"""Tests for it_study.instructions.partial_definitions."""

import collections
import dataclasses

from prompts_fixture import make_instance, make_task
import pytest

from it_study.conditions import DEFINITION_LEVELS, Condition

_TEXT = 'Read the  review with care.\nSay yes if it is kind; otherwise, say no.'


def shown(level, definition=_TEXT, *, seed=0, **fields):
  task = dataclasses.replace(make_task(), definition=definition, **fields)
  return DEFINITION_LEVELS.get(level)(
    task=task,
    instance=make_instance(),
    condition=Condition(definition=level, seed=seed),
  )


@pytest.mark.parametrize(
  ('level', 'text'),
  [
    ('keep25', 'Say yes kind; otherwise,'),
    ('keep50', 'care. Say yes if is kind; otherwise,'),
    ('keep75', 'Read the review care. Say yes if is kind; otherwise, say'),
    (
      'wordshuffled',
      'review otherwise, no. it with Read is kind; the if yes Say say care.',
    ),
  ],
)
def test_words_are_drawn_by_seed_and_task(level, text):
  assert shown(level) == text
  assert shown(level, seed=1) != text
  assert shown(level, name='task2_b') != text


@pytest.mark.parametrize('count', range(1, 9))
def test_kept_words_are_a_share_rounded_up_and_nested(count):
  definition = ' '.join(f'w{place}' for place in range(count))
  kept = [shown(f'keep{share}', definition).split() for share in (25, 50, 75)]
  assert [len(words) for words in kept] == [
    -(-count // 4),
    -(-count // 2),
    -(-3 * count // 4),
  ]
  assert set(kept[0]) <= set(kept[1]) <= set(kept[2])
  assert all(words == sorted(words) for words in kept)


def test_words_in_random_order_are_never_in_their_own():
  definitions = {shown('wordshuffled', 'one two', seed=s) for s in range(20)}
  assert definitions == {'two one'}
  assert shown('wordshuffled', 'so so') == 'so so'
  orders = collections.Counter(
    shown('wordshuffled', 'a b c', seed=seed) for seed in range(600)
  )
  # The draw that gives the original order is turned by one.
  assert 'a b c' not in orders
  assert len(orders) == 5


@pytest.mark.parametrize(
  ('labels', 'definition', 'text'),
  [
    (('yes', 'no'), _TEXT, 'Read the  review with care.'),
    (('Yes.', 'NO'), 'Read it. Say yes/no! Then stop.', 'Read it. Then stop.'),
    (('no',), 'See "notes". Nobody asks.', 'See "notes". Nobody asks.'),
    (('no',), 'There is no rule.', None),
    (('not sure',), 'Do not guess. Say "not  sure" if so.', 'Do not guess.'),
    # In its own case only, as a small a is an article.
    (('A', 'B'), 'Read a text. Say A or B.', 'Read a text.'),
    (('?',), 'Read it. Say "?" or so.', 'Read it.'),
    (('yes',), 'Use marks, e.g. Yes. Go on.', 'Go on.'),
    (('yes',), 'Is it? no. Is it?" yes', 'Is it? no.'),
    (None, _TEXT, _TEXT),
  ],
)
def test_sentences_that_name_a_label_go(labels, definition, text):
  found = shown('nolabels', definition, label_space=labels)
  assert found == text
