"""What is altered: the levels of both axes, conditions, and their names."""

from collections.abc import Callable, Iterator
import dataclasses
import importlib
import itertools
import re

from it_study.errors import InputError, nearest

INSTANCES_PER_TASK = 100
DELUSIVE_SOURCES = ('negatives', 'swap', 'repair')


class LevelRegistry:
  """The levels of one axis: a name of letters `a` to `z`, and a function.

  A function may be given as 'module:function'; it is imported when first used.
  """

  def __init__(self, axis: str):
    self.axis = axis
    self._functions: dict[str, Callable | str] = {}

  def register(self, name: str, function: Callable | str) -> None:
    """Adds a level. Raises `InputError` if the name is taken or malformed."""
    if not re.fullmatch('[a-z]+', name):
      raise InputError(
        f'{self.axis} level {name!r} is not a name: use letters a to z only.'
      )
    if self._functions.get(name, function) != function:
      raise InputError(f'{self.axis} level {name!r} is registered already.')
    self._functions[name] = function

  def unregister(self, name: str) -> None:
    """Removes a level; conditions that name it no longer resolve."""
    self.check(name)
    del self._functions[name]

  def names(self) -> tuple[str, ...]:
    return tuple(self._functions)

  def get(self, name: str) -> Callable:
    """Returns a level's function. Raises `InputError` if there is none."""
    self.check(name)
    function = self._functions[name]
    if isinstance(function, str):
      module, attribute = function.split(':')
      function = getattr(importlib.import_module(module), attribute)
      self._functions[name] = function
    return function

  def check(self, name: str) -> None:
    """Raises `InputError` unless `name` is a registered level."""
    if name not in self._functions:
      raise InputError(
        f'{self.axis} level {name!r} is unknown; registered are '
        f'{", ".join(self._functions)}.{nearest(name, self._functions)}'
      )


# A definition level is called as level(task=, instance=, condition=) and
# returns the text of the definition, None for none. An example level is called
# the same way and returns a list of `natinst.Example`.
DEFINITION_LEVELS = LevelRegistry('definition')
EXAMPLE_LEVELS = LevelRegistry('example')

for _name in ('original', 'simplified', 'empty'):
  DEFINITION_LEVELS.register(_name, f'it_study.perturb.definitions:{_name}')
for _name in ('original', 'delusive', 'empty'):
  EXAMPLE_LEVELS.register(_name, f'it_study.perturb.examples:{_name}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
  """Everything that changes a prompt's bytes or the choice of instances.

  >>> condition = Condition(definition='simplified', instances_per_task=10)
  >>> condition.name
  'natinst_def_simplified_ex_original2_n10'
  >>> Condition.from_name(condition.name) == condition
  True

  Attributes:
    definition: level of the definition.
    examples: level of the positive examples.
    num_examples: positive examples in a prompt; 0 with `empty`, and only then.
    num_negative_examples: negative examples after them.
    explanations: whether an example carries its explanation.
    tk_truncation: cut a prompt that is too long as Tk-Instruct does, from its
      end, cue included.
    matched_budget: shorten every instance as the most demanding registered
      definition level would, so that all conditions show the same instance.
    delusive_source: where delusive examples come from; None goes by rule.
    instances_per_task: training instances of a task, chosen by stable hash.
    num_tasks: training tasks, chosen by stable hash; None takes all.
    seed: of subsampling and alteration, not of training.
  """

  definition: str = 'original'
  examples: str = 'original'
  num_examples: int = 2
  num_negative_examples: int = 0
  explanations: bool = False
  tk_truncation: bool = False
  matched_budget: bool = False
  delusive_source: str | None = None
  instances_per_task: int = INSTANCES_PER_TASK
  num_tasks: int | None = None
  seed: int = 0

  def __post_init__(self):
    DEFINITION_LEVELS.check(self.definition)
    EXAMPLE_LEVELS.check(self.examples)
    self._check_values()
    if (self.num_examples == 0) != (self.examples == 'empty'):
      raise InputError(
        f'ex_{self.examples}{self.num_examples} is no condition: no examples '
        'are written ex_empty0, and every other level needs at least one.'
      )
    if self.delusive_source is not None:
      if self.delusive_source not in DELUSIVE_SOURCES:
        raise InputError(
          f'delusive source {self.delusive_source!r} is unknown; there are '
          f'{", ".join(DELUSIVE_SOURCES)}.'
          f'{nearest(self.delusive_source, DELUSIVE_SOURCES)}'
        )
      if self.examples != 'delusive':
        raise InputError(
          f'_src{self.delusive_source} goes with delusive examples, found '
          f'ex_{self.examples}{self.num_examples}.'
        )
    if self.tk_truncation and self.matched_budget:
      raise InputError(
        '_trunctk and _budget exclude each other: the first cuts whatever '
        'comes last, the second makes all conditions show the same instance.'
      )

  @property
  def name(self) -> str:
    """The name of the SeqIO task, suffixes absent at their default."""
    name = (
      f'natinst_def_{self.definition}_ex_{self.examples}{self.num_examples}'
    )
    for suffix, field in _SUFFIXES.items():
      value = getattr(self, field)
      if value != _DEFAULTS[field]:
        name += f'_{suffix}' if value is True else f'_{suffix}{value}'
    return name

  @classmethod
  def from_name(cls, name: str) -> 'Condition':
    """Parses a name as `name` writes it.

    Raises:
      InputError: for an unknown level, a malformed suffix, one out of order or
        one that states its default.
    """
    match = _NAME.fullmatch(name)
    if match is None:
      raise InputError(_explain(name))
    fields: dict[str, object] = {
      'definition': match['definition'],
      'examples': match['examples'],
      'num_examples': int(match['num_examples']),
    }
    for suffix, field in _SUFFIXES.items():
      text = match[suffix]
      if text is not None:
        fields[field] = _parse_value(field, text)
    try:
      condition = cls(**fields)
    except InputError as error:
      raise InputError(f'condition {name!r}: {error}') from None
    if condition.name != name:
      raise InputError(
        f'condition {name!r} is not written as its name: a suffix at its '
        f'default is left out. Write {condition.name!r}.'
      )
    return condition

  def _check_values(self) -> None:
    # A value of another type would make a name that is no condition's.
    for field in _FLAGS:
      value = getattr(self, field)
      if not isinstance(value, bool):
        raise InputError(f'{field} is {value!r}; allowed are True and False.')
    for field, least in _LEAST.items():
      value = getattr(self, field)
      if value is None and _DEFAULTS[field] is None:
        continue
      if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f'{field} is {value!r}; allowed are whole numbers.')
      if not least <= value <= _MOST:
        raise InputError(f'{field} is {value}; allowed are {least} to {_MOST}.')

  def with_original_instructions(self) -> 'Condition':
    """The same condition with the real definition and real examples.

    Without examples there is no number of them to keep: `num_examples` is
    then 1, as in the example experiments.
    """
    return dataclasses.replace(
      self,
      definition='original',
      examples='original',
      num_examples=self.num_examples or 1,
      delusive_source=None,
    )

  def for_test(self) -> 'Condition':
    """What of it shows on the test split, which ignores n, t and s."""
    return dataclasses.replace(
      self, instances_per_task=INSTANCES_PER_TASK, num_tasks=None, seed=0
    )


def definition_experiments(**fields) -> tuple[Condition, ...]:
  """Definition x {original, simplified, empty} with 2 original examples."""
  return tuple(
    Condition(definition=level, **fields)
    for level in ('original', 'simplified', 'empty')
  )


def example_experiments(**fields) -> tuple[Condition, ...]:
  """Examples x {original, delusive, empty}, original definition, 1 example."""
  return tuple(
    Condition(examples=level, num_examples=count, **fields)
    for level, count in (('original', 1), ('delusive', 1), ('empty', 0))
  )


def standard_grid(**fields) -> tuple[Condition, ...]:
  """Both experiments; `fields` are the other attributes of each condition."""
  return definition_experiments(**fields) + example_experiments(**fields)


def common_grid() -> Iterator[Condition]:
  """The conditions that are registered with SeqIO by name at import."""
  definitions = ('original', 'simplified', 'empty')
  examples = (
    ('empty', 0),
    *itertools.product(('original', 'delusive'), (1, 2)),
  )
  instances = (1, 2, 5, 10, 20, 50, 100, 200, 800)
  for definition, (level, count), n in itertools.product(
    definitions, examples, instances
  ):
    yield Condition(
      definition=definition,
      examples=level,
      num_examples=count,
      instances_per_task=n,
    )


_SUFFIXES = {
  'neg': 'num_negative_examples',
  'expl': 'explanations',
  'trunctk': 'tk_truncation',
  'budget': 'matched_budget',
  'src': 'delusive_source',
  'n': 'instances_per_task',
  't': 'num_tasks',
  's': 'seed',
}
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Condition)}
_LEAST = {
  'num_examples': 0,
  'num_negative_examples': 0,
  'instances_per_task': 1,
  'num_tasks': 1,
  'seed': 0,
}
_MOST = 2**63 - 1
_FLAGS = ('explanations', 'tk_truncation', 'matched_budget')


def _suffix_pattern(suffix: str, field: str) -> str:
  if field in _FLAGS:
    return f'(?:_(?P<{suffix}>{suffix}))?'
  value = '[a-z]+' if field == 'delusive_source' else '0|[1-9][0-9]{0,18}'
  return f'(?:_{suffix}(?P<{suffix}>{value}))?'


_NAME = re.compile(
  'natinst_def_(?P<definition>[a-z]+)'
  '_ex_(?P<examples>[a-z]+)(?P<num_examples>0|[1-9][0-9]{0,18})'
  + ''.join(_suffix_pattern(*item) for item in _SUFFIXES.items())
)


def _parse_value(field: str, text: str) -> object:
  if field in _FLAGS:
    return True
  return text if field == 'delusive_source' else int(text)


def _explain(name: str) -> str:
  known = [condition.name for condition in common_grid()]
  return (
    f'{name!r} is not a condition. A name reads '
    'natinst_def_{LEVEL}_ex_{LEVEL}{COUNT}, then, in this order and only where '
    f'not at the default, _{", _".join(_SUFFIXES)} with their values.'
    f'{nearest(name, known)}'
  )
