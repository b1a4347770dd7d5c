"""The miniature's classification tasks, without controls.

A task draws two to four meanings of a family and as many labels from a pool of
words. Its definition, in one of several wordings, states which label stands for
which meaning; so do its examples.
"""

from collections.abc import Mapping, Sequence
import itertools
import random

from it_study.corpus.miniature.labels import LabelDealer
from it_study.corpus.miniature.meanings import NOVEL, SEEN, Family
from it_study.corpus.miniature.recipes import Recipe
from it_study.seeding import stable_random

# Clause for a label, {0}, and its meaning, {1}; text around all clauses.
_WORDINGS = (
  ('{0} for {1}', 'Answer {}.'),
  ('{1} is {0}', 'One word stands for each: {}.'),
  ('{0} if it is {1}', 'Say {}.'),
  ('{0} means {1}', 'Choose a word: {}.'),
  ('for {1}, write {0}', 'Look at the text: {}.'),
)
_MOST_LABELS = 4


def training_classification(
  count: int, *, seed: int, dealer: LabelDealer
) -> list[Recipe]:
  """Returns recipes of training tasks."""
  return _recipes(SEEN, 'Training', 10001, count, seed=seed, dealer=dealer)


def unseen_classification(
  count: int, *, seed: int, dealer: LabelDealer
) -> list[Recipe]:
  """Returns recipes of test tasks, as many of each group.

  The meanings of *transfer* tasks were seen in training, for other labels;
  those of *novel* tasks were not.
  """
  return [
    *_recipes(SEEN, 'Transfer', 11001, count, seed=seed, dealer=dealer),
    *_recipes(NOVEL, 'Novel', 12001, count, seed=seed, dealer=dealer),
  ]


def _recipes(
  families: Sequence[Family],
  group: str,
  first_number: int,
  count: int,
  *,
  seed: int,
  dealer: LabelDealer,
) -> list[Recipe]:
  """Returns recipes that take turns at the families."""
  random_ = stable_random('miniature', seed, group)
  recipes = []
  for number, family in zip(
    range(first_number, first_number + count),
    itertools.cycle(families),
    strict=False,
  ):
    most = min(len(family.meanings), _MOST_LABELS)
    meanings = random_.sample(sorted(family.meanings), random_.randint(2, most))
    labels = dealer.deal(len(meanings))
    slug = family.name.replace(' ', '_')
    meaning_of = dict(zip(labels, meanings, strict=True))
    recipes.append(
      Recipe(
        name=f'task{number}_mini_{group.lower()}_{slug}',
        category=f'{group}: {family.name}',
        definition=_definition(meaning_of, random_),
        labels=labels,
        draw=family.drawing(meaning_of, random_),
      )
    )
  return recipes


def _definition(meaning_of: Mapping[str, str], random_: random.Random) -> str:
  """Returns a definition that states what each label stands for."""
  clause, sentence = random_.choice(_WORDINGS)
  clauses = [clause.format(*pair) for pair in meaning_of.items()]
  return sentence.format(f'{", ".join(clauses[:-1])} and {clauses[-1]}')
