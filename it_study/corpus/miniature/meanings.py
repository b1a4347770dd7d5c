"""What the labels of the miniature's classification tasks stand for."""

from collections.abc import Callable, Mapping
import dataclasses
import random

from it_study.corpus.miniature import words
from it_study.corpus.miniature.recipes import Text


@dataclasses.dataclass(frozen=True)
class Family:
  """Meanings of which a task takes some.

  Attributes:
    name: Name for tasks and categories.
    meanings: Meaning, as definitions state it, to the texts that have it.
    templates: Sentences with a place for such a text, `{x}`; a task uses one.
      Other places are for fillers, as in the texts (see `fill`).
  """

  name: str
  meanings: Mapping[str, tuple[str, ...]]
  templates: tuple[str, ...] = ('{x}',)

  def drawing(
    self, meaning_of: Mapping[str, str], random_: random.Random
  ) -> Callable[[random.Random, str], Text]:
    """Returns the function that draws inputs of a task.

    Args:
      meaning_of: Label to meaning.
      random_: Generator that chooses the task's template.
    """
    template = random_.choice(self.templates)

    def draw(random_: random.Random, label: str) -> Text:
      meaning = meaning_of[label]
      text = random_.choice(self.meanings[meaning])
      return Text(
        fill(template.replace('{x}', text), random_),
        (label,),
        random_.choice([other for other in meaning_of if other != label]),
        f'It is {meaning}.',
      )

    return draw


def fill(template: str, random_: random.Random) -> str:
  """Fills the places of a template, each with a word drawn for it."""
  first, second = random_.sample(words.PEOPLE, 2)
  base, does, did = random_.choice(words.DEEDS)
  here, elsewhere = map(words.place, random_.sample(words.PLACES, 2))
  color, other_color = random_.sample(words.COLORS, 2)
  text = template.format(
    person=first,
    other=second,
    woman=random_.choice(words.WOMEN),
    man=random_.choice(words.MEN),
    base=base,
    does=does,
    did=did,
    done=random_.choice(words.PARTICIPLES),
    thing=random_.choice(words.THINGS),
    here=here,
    elsewhere=elsewhere,
    color=color,
    other_color=other_color,
  )
  return text[0].upper() + text[1:]


# Meanings of training tasks and of the transfer group.
_KINDS = Family(
  'kind',
  {
    'an animal': words.ANIMALS,
    'a food': words.FOODS,
    'a piece of clothing': words.CLOTHES,
    'a vehicle': words.VEHICLES,
    'a tool': words.TOOLS,
    'a piece of furniture': words.FURNITURE,
  },
  (
    '{person} {does} the {x} {here}.',
    'The {x} of {person} is {here}.',
    '{person} has a {color} {x} {here}.',
    '{person} and {other} {base} the {x}.',
    'Is the {x} of {person} {here}?',
    '{person} {did} a {color} {x}.',
  ),
)
_COLORS = Family(
  'color',
  {color: (color,) for color in words.COLORS},
  (
    'The {thing} of {person} {here} is {x}.',
    '{person} {does} the {x} {thing} {here}.',
    '{person} has a {x} {thing} {here}.',
    'Did {person} {base} a {x} {thing}?',
  ),
)
_PEOPLE = Family(
  'person',
  {'a woman': words.WOMEN, 'a man': words.MEN},
  (
    '{x} {does} the {thing} {here}.',
    'The {color} {thing} of {x} is {here}.',
    'To {person}, {x} gives a {color} {thing}.',
  ),
)
_PLACES = Family(
  'place',
  {
    'indoors': tuple(map(words.place, words.INDOORS)),
    'outdoors': tuple(map(words.place, words.OUTDOORS)),
  },
  (
    '{person} {does} the {thing} {x}.',
    '{x} is the {color} {thing} of {person}.',
    'The {thing} of {person} was {x}.',
  ),
)
_TIMES = Family(
  'time',
  {
    'the past': ('{did}',),
    'the present': ('{does}',),
    'the future': ('will {base}',),
  },
  (
    '{person} {x} the {thing} {here}.',
    'A friend of {person} {x} a {color} {thing}.',
  ),
)
_NUMBERS = Family(
  'number',
  {
    'one person': ('{person} {does}',),
    'two persons': ('{person} and {other} {base}',),
    'nobody': ('nobody will {base}',),
  },
  ('{x} the {thing} {here}.', '{here} {x} a {color} {thing}.'),
)
SEEN = (
  _KINDS,
  _COLORS,
  _KINDS,
  _PEOPLE,
  _TIMES,
  _KINDS,
  _PLACES,
  _NUMBERS,
)

# Meanings of the novel group. No sentence of a training task is about them.
NOVEL = (
  Family(
    'speech act',
    {
      'a question': ('did you {base}', 'will you {base}', 'can you {base}'),
      'a request': ('please {base}', 'go and {base}', 'now {base}'),
      'a promise': ('I will {base}', 'tomorrow I {base}', 'we will {base}'),
      'a report': ('I {did}', 'yesterday we {did}', 'they {did}'),
    },
    ('{person}, {x} the {thing} {here}', '{x} the {color} {thing}, {person}'),
  ),
  Family(
    'entailment',
    {
      'a fact': (
        'The {thing} of {person} is {color}. It is {color}.',
        '{person} {does} the {thing} {here}. {person} is {here}.',
      ),
      'a lie': (
        'The {thing} of {person} is {color}. It is {other_color}.',
        '{person} {does} the {thing} {here}. {person} is {elsewhere}.',
      ),
      'a guess': (
        'The {thing} of {person} is {color}. It is {here}.',
        '{person} {does} the {thing} {here}. {other} is {elsewhere}.',
      ),
    },
  ),
  Family(
    'answerability',
    {
      'an answered question': (
        'The {thing} of {person} is {color}. What color is the {thing}?',
        'The {thing} of {person} is {here}. Where is the {thing}?',
      ),
      'an open question': (
        'The {thing} of {person} is {color}. Where is the {thing}?',
        'The {thing} of {person} is {here}. What color is the {thing}?',
      ),
    },
  ),
  Family(
    'agreement',
    {
      'an agreement': ('I will.', 'Of course.', 'With pleasure.'),
      'a refusal': ('I will not.', 'I am tired.', 'I have no time.'),
    },
    (
      '{person}, will you {base} the {thing}? {x}',
      '{person}, will you wait {here}? {x}',
    ),
  ),
  Family(
    'pronoun',
    {
      'a right answer': (
        '{woman} saw {man} when she {did} the {thing}. Who {did} it? {woman}.',
        '{woman} saw {man} when he {did} the {thing}. Who {did} it? {man}.',
      ),
      'a wrong answer': (
        '{woman} saw {man} when she {did} the {thing}. Who {did} it? {man}.',
        '{woman} saw {man} when he {did} the {thing}. Who {did} it? {woman}.',
      ),
    },
  ),
  Family(
    'sameness',
    {
      'a match': (
        '{person} {done} the {thing}. The {thing} was {done} by {person}.',
      ),
      'a change': (
        '{person} {done} the {thing}. The {thing} was {done} by {other}.',
      ),
    },
  ),
  Family(
    'cause',
    {
      'a cause first': (
        '{person} fell in the lake {here}. {person} was wet.',
        '{person} worked all day {here}. {person} was tired.',
        '{person} lost the key {here}. {person} was upset.',
        '{person} left too late {here}. {person} missed the train.',
        '{person} found the lost dog {here}. {person} was happy.',
      ),
      'an effect first': (
        '{person} was wet. {person} fell in the lake {here}.',
        '{person} was tired. {person} worked all day {here}.',
        '{person} was upset. {person} lost the key {here}.',
        '{person} missed the train. {person} left too late {here}.',
        '{person} was happy. {person} found the lost dog {here}.',
      ),
    },
  ),
  Family(
    'order',
    {
      'a woman first': ('{woman} and {man}',),
      'a man first': ('{man} and {woman}',),
    },
    ('{x} {base} the {thing} {here}.', '{here} {x} {base} a {color} {thing}.'),
  ),
)
