"""Word lists for the miniature's sentences."""

WOMEN = (
  'Anna',
  'Clara',
  'Emma',
  'Ida',
  'Julia',
  'Kate',
  'Laura',
  'Mary',
  'Nora',
  'Ruth',
  'Sara',
  'Vera',
)
MEN = (
  'Adam',
  'Ben',
  'David',
  'Henry',
  'Hugo',
  'Jack',
  'Leo',
  'Oscar',
  'Paul',
  'Peter',
  'Sam',
  'Tom',
)
PEOPLE = WOMEN + MEN

ANIMALS = (
  'dog',
  'cat',
  'horse',
  'cow',
  'sheep',
  'goat',
  'hen',
  'duck',
  'goose',
  'rabbit',
  'mouse',
  'pig',
)
FOODS = (
  'soup',
  'bread',
  'cheese',
  'apple',
  'pear',
  'cake',
  'rice',
  'potato',
  'egg',
  'honey',
  'butter',
  'salad',
)
THINGS = (
  'book',
  'lamp',
  'chair',
  'cup',
  'plate',
  'knife',
  'hammer',
  'rope',
  'basket',
  'key',
  'table',
  'mirror',
)
CLOTHES = ('coat', 'hat', 'shirt', 'scarf', 'glove', 'shoe')
VEHICLES = ('car', 'bus', 'train', 'boat', 'bike', 'truck')
COLORS = ('red', 'blue', 'green', 'yellow', 'black', 'white', 'brown', 'grey')

# Nouns for places, and their prepositions.
PLACE_PREPOSITIONS = {
  'kitchen': 'in',
  'cellar': 'in',
  'library': 'in',
  'office': 'in',
  'barn': 'in',
  'bedroom': 'in',
  'garden': 'in',
  'forest': 'in',
  'meadow': 'in',
  'yard': 'in',
  'market': 'at',
  'school': 'at',
  'station': 'at',
  'bakery': 'at',
  'river': 'by',
  'lake': 'by',
}
INDOORS = ('kitchen', 'cellar', 'library', 'office', 'barn', 'bedroom')
OUTDOORS = ('garden', 'forest', 'meadow', 'yard', 'river', 'lake')
PLACES = tuple(PLACE_PREPOSITIONS)

# Base form, third person, past.
ACTIONS = (
  ('sing', 'sings', 'sang'),
  ('sleep', 'sleeps', 'slept'),
  ('work', 'works', 'worked'),
  ('rest', 'rests', 'rested'),
  ('wait', 'waits', 'waited'),
  ('dance', 'dances', 'danced'),
  ('read', 'reads', 'read'),
  ('play', 'plays', 'played'),
)
DEEDS = (
  ('find', 'finds', 'found'),
  ('wash', 'washes', 'washed'),
  ('take', 'takes', 'took'),
  ('sell', 'sells', 'sold'),
  ('buy', 'buys', 'bought'),
  ('bring', 'brings', 'brought'),
  ('hide', 'hides', 'hid'),
  ('paint', 'paints', 'painted'),
)


def place(noun: str) -> str:
  """Returns a noun for a place with its preposition and article.

  >>> place('market')
  'at the market'
  """
  return f'{PLACE_PREPOSITIONS[noun]} the {noun}'
