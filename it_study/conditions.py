"""What is altered: the levels of both axes, conditions, and their names."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import importlib
import itertools
import re

from it_study.errors import InputError, nearest

INSTANCES_PER_TASK = 100
DELUSIVE_SOURCES = ('negatives', 'swap', 'repair')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Level:
  """A registered level; calling it calls its function.

  Attributes:
    title: of the level, for messages.
    function: called as function(task=, instance=, condition=).
    needs_tasks: whether it is also given `tasks`, a mapping of name to task of
      all tasks on the same side of the split as `task`.
    rewrite: None, or called as rewrite(task=, instance=, condition=) before
      anything else; returns the task and the instance that take the place of
      the real ones, for a level that changes outputs and not only wording.
  """

  title: str
  function: Callable | str
  needs_tasks: bool = False
  rewrite: Callable | str | None = None

  def __call__(self, *, task, instance, condition, tasks=None):
    seen = {'task': task, 'instance': instance, 'condition': condition}
    if not self.needs_tasks:
      return self.function(**seen)
    if tasks is None:
      raise InputError(
        f'{self.title} needs the other tasks of the corpus, which were not '
        'given: pass tasks=corpus.lazy_tasks(split).'
      )
    return self.function(**seen, tasks=tasks)


class LevelRegistry:
  """The levels of one axis: a name of letters `a` to `z`, and a function.

  A function may be given as 'module:function'; it is imported when first used.
  """

  def __init__(self, axis: str):
    self.axis = axis
    self._levels: dict[str, Level] = {}

  def register(
    self,
    name: str,
    function: Callable | str,
    *,
    needs_tasks: bool = False,
    rewrite: Callable | str | None = None,
  ) -> None:
    """Adds a level; `Level` tells what the other arguments are.

    Raises:
      InputError: if the name is taken or malformed.
    """
    if not re.fullmatch('[a-z]+', name):
      raise InputError(
        f'{self.axis} level {name!r} is not a name: use letters a to z only.'
      )
    level = Level(
      title=f'{self.axis} level {name!r}',
      function=function,
      needs_tasks=needs_tasks,
      rewrite=rewrite,
    )
    if self._levels.get(name, level) != level:
      raise InputError(f'{self.axis} level {name!r} is registered already.')
    self._levels[name] = level

  def unregister(self, name: str) -> None:
    """Removes a level; conditions that name it no longer resolve."""
    self.check(name)
    del self._levels[name]

  def names(self) -> tuple[str, ...]:
    return tuple(self._levels)

  def get(self, name: str) -> Level:
    """Returns a level. Raises `InputError` if there is none."""
    self.check(name)
    level = self._levels[name]
    if isinstance(level.function, str) or isinstance(level.rewrite, str):
      level = dataclasses.replace(
        level, function=_import(level.function), rewrite=_import(level.rewrite)
      )
      self._levels[name] = level
    return level

  def check(self, name: str) -> None:
    """Raises `InputError` unless `name` is a registered level."""
    if name not in self._levels:
      raise InputError(
        f'{self.axis} level {name!r} is unknown; registered are '
        f'{", ".join(self._levels)}.{nearest(name, self._levels)}'
      )


def _import(function: Callable | str | None) -> Callable | None:
  if not isinstance(function, str):
    return function
  module, attribute = function.split(':')
  return getattr(importlib.import_module(module), attribute)


# A definition level returns the text of the definition, None for none; an
# example level a list of `natinst.Example`.
DEFINITION_LEVELS = LevelRegistry('definition')
EXAMPLE_LEVELS = LevelRegistry('example')

_DEFINITIONS = 'it_study.instructions.definitions'
for _name in ('original', 'simplified', 'empty'):
  DEFINITION_LEVELS.register(_name, f'{_DEFINITIONS}:{_name}')
DEFINITION_LEVELS.register(
  'shuffled', f'{_DEFINITIONS}:shuffled', needs_tasks=True
)
DEFINITION_LEVELS.register(
  'renamed',
  'it_study.instructions.labels:renamed',
  rewrite='it_study.instructions.labels:rename',
)
for _name in ('original', 'delusive', 'empty'):
  EXAMPLE_LEVELS.register(_name, f'it_study.instructions.examples:{_name}')


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

  def of_instance(self, instance_id: str) -> 'Condition':
    """The condition of one instance: itself, the same for all."""
    del instance_id
    return self

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


def sweep(
  *,
  experiments: Sequence[str] = ('definitions', 'examples'),
  instances_per_task: Sequence[int] = (100,),
  num_tasks: Sequence[int | None] = (None,),
  **fields,
) -> tuple[Condition, ...]:
  """Experiments at several amounts of training data, smallest first.

  Args:
    experiments: of 'definitions' (see `definition_experiments`), 'examples'
      (see `example_experiments`) and 'original', the real instructions alone.
    instances_per_task: training instances of each task.
    num_tasks: training tasks; None means all.
    **fields: other attributes of every condition.

  Raises:
    InputError: for an unknown experiment, or none of something.
  """
  for what, several in (
    ('experiments', experiments),
    ('instances_per_task', instances_per_task),
    ('num_tasks', num_tasks),
  ):
    if not several or not isinstance(several, list | tuple):
      raise InputError(
        f'{what} of a sweep: found {several!r}, allowed is a tuple of one or '
        'more.'
      )
  found = []
  for count, instances in itertools.product(num_tasks, instances_per_task):
    for name in experiments:
      if name not in _EXPERIMENTS:
        raise InputError(
          f'experiment {name!r} is unknown; there are '
          f'{", ".join(_EXPERIMENTS)}.{nearest(name, _EXPERIMENTS)}'
        )
      found += _EXPERIMENTS[name](
        num_tasks=count, instances_per_task=instances, **fields
      )
  return tuple(dict.fromkeys(found))


def named_conditions(*, names: Sequence[str]) -> tuple[Condition, ...]:
  """Conditions by name, for a grid of one's own."""
  check_several(names, setting='named_conditions.names')
  return tuple(Condition.from_name(name) for name in names)


def check_several(names: object, *, setting: str) -> None:
  """Raises `InputError` for one name, which is a sequence of letters too."""
  if not isinstance(names, list | tuple):
    raise InputError(
      f"{setting} is {names!r}; give names in brackets, such as ('A', 'B'), "
      "or ('A',) for one."
    )


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


_EXPERIMENTS = {
  'definitions': definition_experiments,
  'examples': example_experiments,
  'original': lambda **fields: (Condition(**fields),),
}
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
