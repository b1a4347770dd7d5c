"""Word lists for the miniature's sentences and labels."""


def _words(text: str) -> tuple[str, ...]:
  return tuple(text.split())


# Labels of all tasks; no sentence has them.
LABELS = _words(
  """
  sun moon star cloud rain snow wind storm fire ice sand rock hill valley
  island ocean wave stream bridge tower castle wall village leaf root seed
  flower grass tree branch thorn music song drum bell flute piano ball card
  dice prize medal crown ring jewel pearl coin gold silver iron copper glass
  paper ink letter stamp map flag sign clock candle brush pencil needle button
  ribbon pillow blanket towel soap sponge nail hook chain wheel engine rocket
  anchor sail oar planet summer winter spring autumn north south east west
  circle square point story dream hope king queen knight giant dragon
  """
)

WOMEN = _words('Anna Clara Emma Ida Julia Kate Laura Mary Nora Ruth Sara Vera')
MEN = _words('Adam Ben David Henry Hugo Jack Leo Oscar Paul Peter Sam Tom')
PEOPLE = WOMEN + MEN

ANIMALS = _words('dog cat horse cow sheep goat hen duck goose rabbit mouse pig')
FOODS = _words(
  """
  soup bread cheese apple pear cake rice potato egg honey butter salad
  """
)
THINGS = _words(
  """
  book lamp chair cup plate knife hammer rope basket key table mirror
  """
)
CLOTHES = _words('coat hat shirt scarf glove shoe dress sock belt boot')
VEHICLES = _words('car bus train boat bike truck tram ship plane van')
TOOLS = _words('hammer saw axe spade rake drill knife chisel')
FURNITURE = _words('chair table bed sofa shelf bench desk stool')
COLORS = _words('red blue green yellow black white brown grey')

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
INDOORS = _words('kitchen cellar library office barn bedroom')
OUTDOORS = _words('garden forest meadow yard river lake')
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

# Verbs whose past is also their participle.
PARTICIPLES = _words('found washed sold bought painted')


def place(noun: str) -> str:
  """Returns a noun for a place with its preposition and article.

  >>> place('market')
  'at the market'
  """
  return f'{PLACE_PREPOSITIONS[noun]} the {noun}'
