"""Conditions: the levels of both instruction axes, and names for them."""

from collections.abc import Callable, Collection, Iterator, Sequence
import dataclasses
import itertools
import pkgutil
import re
from typing import Any, NoReturn

from it_study.errors import (
  InputError,
  function_name,
  naming_function,
  nearest,
  shown,
)

INSTANCES_PER_TASK = 100
DELUSIVE_SOURCES = ('negatives', 'swap', 'repair')
PROMPT_FORMATS = ('plain', 'alpaca', 'chat')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Level:
  """A registered level; calling it calls its function.

  Attributes:
    axis: 'definition' or 'example', whose results are checked, or another.
    title: Description of the level for messages.
    function: Function called with `task`, `instance` and `condition`.
    needs_tasks: Whether the function also takes `tasks`, a mapping from name
      to task of all tasks on the same side of the split as `task`.
    rewrite: Function called first, with the same arguments, for a level that
      changes outputs; returns a new task and instance. None for other levels.
  """

  axis: str
  title: str
  function: Callable[..., Any]
  needs_tasks: bool = False
  rewrite: Callable[..., Any] | None = None

  def __call__(self, *, tasks: object = None, **arguments: object) -> Any:
    if self.needs_tasks:
      if tasks is None:
        raise InputError(f'{self.title} needs tasks=corpus.lazy_tasks(split).')
      arguments['tasks'] = tasks
    result = self._call(self.function, **arguments)
    is_right, expected = True, ''
    if self.axis == 'definition':
      is_right, expected = isinstance(result, str | None), 'text or None'
    elif self.axis == 'example':
      is_right = isinstance(result, list | tuple) and all(
        isinstance(getattr(example, name, None), str)
        for example in result
        for name in ('input', 'output')
      )
      expected = 'a list of examples'
    if not is_right:
      self._refuse(self.function, result, expected)
    return result

  def rewritten(self, **arguments: Any) -> tuple[Any, Any]:
    """Returns task and instance as `rewrite`, which must be set, changes them.

    Raises:
      InputError: If the function of a user raises or returns something else.
    """
    assert self.rewrite is not None, self.title
    result = self._call(self.rewrite, **arguments)
    types = [type(arguments[name]) for name in ('task', 'instance')]
    if not isinstance(result, tuple) or list(map(type, result)) != types:
      self._refuse(self.rewrite, result, 'a task and an instance')
    return result

  def _call(self, function: Callable[..., Any], **arguments: Any) -> Any:
    instance = getattr(arguments['instance'], 'id', None)
    task = getattr(arguments['task'], 'name', None)
    with naming_function(
      function, f'{self.title}, instance {instance!r} of task {task!r}'
    ):
      return function(**arguments)

  def _refuse(
    self, function: Callable[..., Any], result: object, expected: str
  ) -> NoReturn:
    raise InputError(
      f'{self.title}: {function_name(function)} returned {shown(result)}; '
      f'expected {expected}.'
    )


class LevelRegistry:
  """Levels of one axis, by name."""

  def __init__(self, axis: str) -> None:
    self.axis = axis
    self._levels: dict[str, Level] = {}

  def register(
    self,
    name: str,
    function: Callable[..., Any] | str,
    *,
    needs_tasks: bool = False,
    rewrite: Callable[..., Any] | str | None = None,
  ) -> None:
    """Adds a level. See `Level` for the arguments.

    A function given as 'module:function' is imported on first use.

    Raises:
      InputError: If the name is taken, or not made of letters a to z, or a
        function is none.
    """
    if not re.fullmatch('[a-z]+', name):
      raise InputError(f'{self.axis} level {name!r}: use letters a to z only.')
    for given in (function, rewrite):
      if not (given is None or callable(given) or isinstance(given, str)):
        raise InputError(
          f'{self.axis} level {name!r} is {shown(given)}; expected a function.'
        )
    level = Level(
      axis=self.axis,
      title=f'{self.axis} level {name!r}',
      function=_Deferred(function) if isinstance(function, str) else function,
      needs_tasks=needs_tasks,
      rewrite=_Deferred(rewrite) if isinstance(rewrite, str) else rewrite,
    )
    if self._levels.setdefault(name, level) != level:
      raise InputError(f'{level.title} is already registered.')

  def unregister(self, name: str) -> None:
    """Removes a level. Conditions that use it become invalid."""
    self.check(name)
    del self._levels[name]

  def names(self) -> tuple[str, ...]:
    """Returns the names of all levels, in the order of registration."""
    return tuple(self._levels)

  def get(self, name: str) -> Level:
    """Returns a level. Raises `InputError` if there is none."""
    self.check(name)
    level = self._levels[name]
    if isinstance(level.function, _Deferred):
      level = dataclasses.replace(level, function=level.function.load())
    if isinstance(level.rewrite, _Deferred):
      level = dataclasses.replace(level, rewrite=level.rewrite.load())
    self._levels[name] = level
    return level

  def check(self, name: str) -> None:
    """Raises `InputError` unless `name` is a registered level."""
    _check_known(f'{self.axis} level', name, self._levels)


@dataclasses.dataclass(frozen=True)
class _Deferred:
  """A function that is imported when it is needed."""

  path: str

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    return self.load()(*args, **kwargs)

  def load(self) -> Callable[..., Any]:
    return pkgutil.resolve_name(self.path)


# A definition level returns text or None, an example level `Example`s.
DEFINITION_LEVELS = LevelRegistry('definition')
EXAMPLE_LEVELS = LevelRegistry('example')

_PACKAGE = 'it_study.instructions'
for _name in ('original', 'simplified', 'empty', 'shuffled'):
  DEFINITION_LEVELS.register(
    _name, f'{_PACKAGE}.definitions:{_name}', needs_tasks=_name == 'shuffled'
  )
DEFINITION_LEVELS.register(
  'renamed', f'{_PACKAGE}.labels:renamed', rewrite=f'{_PACKAGE}.labels:rename'
)
for _name in ('original', 'delusive', 'empty'):
  EXAMPLE_LEVELS.register(_name, f'{_PACKAGE}.examples:{_name}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
  """All that determines a prompt's bytes and the choice of instances.

  >>> Condition(definition='simplified', instances_per_task=10).name
  'natinst_def_simplified_ex_original2_n10'

  Attributes:
    definition: Level of the definition.
    examples: Level of the positive examples.
    num_examples: Number of positive examples; 0 with level 'empty' only.
    num_negative_examples: Number of negative examples after them.
    explanations: Whether examples include their explanations.
    tk_truncation: Whether to truncate prompts at the end, as Tk-Instruct does.
    matched_budget: Whether to shorten each instance as much as the longest
      definition level requires, so that all conditions show the same instance.
    delusive_source: Source of delusive examples; None for the default rule.
    instances_per_task: Number of training instances per task.
    num_tasks: Number of training tasks; None for all.
    seed: Seed for subsampling and alterations, not for training.
    prompt_format: Text around the prompt: 'plain' for none, 'alpaca' for
      Alpaca's template, or 'chat' for the vocabulary's chat template.
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
  prompt_format: str = 'plain'

  def __post_init__(self) -> None:
    DEFINITION_LEVELS.check(self.definition)
    EXAMPLE_LEVELS.check(self.examples)
    self._check_values()
    if (self.num_examples == 0) != (self.examples == 'empty'):
      raise InputError(
        f'ex_{self.examples}{self.num_examples} is not valid: level empty '
        'takes 0 examples (ex_empty0), every other level at least 1.'
      )
    if self.delusive_source is not None:
      _check_known('delusive source', self.delusive_source, DELUSIVE_SOURCES)
      if self.examples != 'delusive':
        raise InputError(
          f'_src{self.delusive_source} requires delusive examples, found '
          f'ex_{self.examples}{self.num_examples}.'
        )
    _check_known('prompt format', self.prompt_format, PROMPT_FORMATS)
    if self.tk_truncation and self.prompt_format != 'plain':
      raise InputError(
        f'_trunctk and _fmt{self.prompt_format} cannot be combined: the first '
        'cuts the end of the prompt, which the second adds to.'
      )
    if self.tk_truncation and self.matched_budget:
      raise InputError(
        '_trunctk and _budget cannot be combined: the first truncates the '
        'instance, the second shows the same instance in all conditions.'
      )

  @property
  def name(self) -> str:
    """The name of the SeqIO task, without suffixes at their default."""
    name = f'natinst_def_{self.definition}_ex_{self.examples}'
    name += str(self.num_examples)
    for suffix, field in _SUFFIXES.items():
      value = getattr(self, field)
      if value != _DEFAULTS[field]:
        name += f'_{suffix}' if value is True else f'_{suffix}{value}'
    return name

  @classmethod
  def from_name(cls, name: str) -> 'Condition':
    """Parses a name; the inverse of `name`.

    Raises:
      InputError: If the name is malformed or has a suffix at its default.
    """
    match = _NAME.fullmatch(name)
    if match is None:
      raise InputError(
        f'{name!r} is not a condition. A name reads '
        'natinst_def_{LEVEL}_ex_{LEVEL}{COUNT}, followed by suffixes that are '
        f'not at their default, in this order: _{", _".join(_SUFFIXES)}.'
        f'{nearest(name, [condition.name for condition in common_grid()])}'
      )
    fields = {
      field: _parse_value(field, text)
      for field, text in match.groupdict().items()
      if text is not None
    }
    try:
      condition = cls(**fields)
    except InputError as error:
      raise InputError(f'condition {name!r}: {error}') from None
    if condition.name != name:
      raise InputError(
        f'condition {name!r} has a suffix at its default, which must be left '
        f'out. Write {condition.name!r}.'
      )
    return condition

  def _check_values(self) -> None:
    # A value of another type would give a name that cannot be parsed.
    for field in _FLAGS:
      value = getattr(self, field)
      if not isinstance(value, bool):
        raise InputError(f'{field} is {value!r}; expected True or False.')
    for field, least in _LEAST.items():
      value = getattr(self, field)
      if value is None and _DEFAULTS[field] is None:
        continue
      if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f'{field} is {value!r}; expected a whole number.')
      if not least <= value <= _MOST:
        raise InputError(f'{field} is {value}; expected {least} to {_MOST}.')

  def with_original_instructions(self) -> 'Condition':
    """Returns the condition with the real definition and real examples.

    An example count of 0 becomes 1, as in the example experiments.
    """
    return dataclasses.replace(
      self,
      definition='original',
      examples='original',
      num_examples=self.num_examples or 1,
      delusive_source=None,
    )

  def of_instance(self, instance_id: str) -> 'Condition':
    """Returns the condition of one instance, which is this one for all."""
    del instance_id
    return self

  def for_test(self) -> 'Condition':
    """Returns the condition on the test split, which ignores n, t and s."""
    return dataclasses.replace(
      self, instances_per_task=INSTANCES_PER_TASK, num_tasks=None, seed=0
    )


def definition_experiments(**fields: Any) -> tuple[Condition, ...]:
  """Returns definition x {original, simplified, empty}, 2 examples each."""
  return tuple(
    Condition(definition=level, **fields)
    for level in ('original', 'simplified', 'empty')
  )


def example_experiments(**fields: Any) -> tuple[Condition, ...]:
  """Returns examples x {original, delusive, empty}, at most 1 example each."""
  return tuple(
    Condition(examples=level, num_examples=count, **fields)
    for level, count in (('original', 1), ('delusive', 1), ('empty', 0))
  )


def standard_grid(**fields: Any) -> tuple[Condition, ...]:
  """Returns both experiments; `fields` set attributes of every condition.

  Raises:
    InputError: If a field is unknown, or one that the experiments vary.
  """
  _check_fields(fields, grid='standard_grid')
  return definition_experiments(**fields) + example_experiments(**fields)


def sweep(
  *,
  experiments: Sequence[str] = ('definitions', 'examples'),
  instances_per_task: Sequence[int] = (100,),
  num_tasks: Sequence[int | None] = (None,),
  **fields: Any,
) -> tuple[Condition, ...]:
  """Returns experiments at several amounts of training data.

  Args:
    experiments: Names of experiments: 'definitions', 'examples' or 'original',
      the real instructions only.
    instances_per_task: Numbers of training instances per task.
    num_tasks: Numbers of training tasks; None for all.
    **fields: Other attributes of every condition.

  Raises:
    InputError: If an argument is not a non-empty tuple, or a name is unknown,
      also that of a field.
  """
  _check_fields(fields, grid='sweep')
  check_several(experiments, setting='sweep.experiments')
  check_several(instances_per_task, setting='sweep.instances_per_task')
  check_several(num_tasks, setting='sweep.num_tasks')
  if not (experiments and instances_per_task and num_tasks):
    raise InputError('sweep: each setting needs at least one value.')
  grid: list[Condition] = []
  for tasks, instances, name in itertools.product(
    num_tasks, instances_per_task, experiments
  ):
    _check_known('experiment', name, _EXPERIMENTS)
    sizes = {'num_tasks': tasks, 'instances_per_task': instances}
    grid += _EXPERIMENTS[name](**sizes, **fields)
  return tuple(dict.fromkeys(grid))


def named_conditions(*, names: Sequence[str]) -> tuple[Condition, ...]:
  """Returns conditions by name, for a custom grid."""
  check_several(names, setting='named_conditions.names')
  return tuple(Condition.from_name(name) for name in names)


def _check_fields(fields: Collection[str], *, grid: str) -> None:
  """Raises `InputError` for what a grid does not take; gin lets it through."""
  varied = ('definition', 'examples', 'num_examples')
  allowed = [name for name in _DEFAULTS if name not in varied]
  for name in fields:
    if name not in allowed:
      is_varied = name.rstrip('s') in ('definition', 'example')
      hint = '' if is_varied else nearest(name, allowed)
      raise InputError(
        f'{grid} has no parameter {name!r}.{hint} Besides '
        f'its own it takes {", ".join(allowed)}; for other grids, name '
        'conditions with @named_conditions().'
      )


def check_several(values: object, *, setting: str) -> None:
  """Raises `InputError` for a single value; a string is a sequence, too."""
  if not isinstance(values, list | tuple):
    raise InputError(
      f"{setting} is {values!r}; give values in brackets, such as ('A', 'B'), "
      "or ('A',) for one."
    )


def common_grid() -> Iterator[Condition]:
  """Yields the conditions that `tasks` registers with SeqIO."""
  for definition, (level, count), instances_per_task in itertools.product(
    ('original', 'simplified', 'empty'),
    (('empty', 0), *itertools.product(('original', 'delusive'), (1, 2))),
    (1, 2, 5, 10, 20, 50, 100, 200, 800),
  ):
    yield Condition(
      definition=definition,
      examples=level,
      num_examples=count,
      instances_per_task=instances_per_task,
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
  'fmt': 'prompt_format',
}
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Condition)}
_LEAST = {'num_examples': 0, 'num_negative_examples': 0, 'seed': 0}
_LEAST |= {'instances_per_task': 1, 'num_tasks': 1}
_MOST = 2**63 - 1
_FLAGS = ('explanations', 'tk_truncation', 'matched_budget')
_WORDS = ('delusive_source', 'prompt_format')


def _check_known(kind: str, name: str, known: Collection[str]) -> None:
  if name not in known:
    raise InputError(
      f'{kind} {name!r} is unknown; available: {", ".join(known)}.'
      f'{nearest(name, known)}'
    )


def _suffix_pattern(suffix: str, field: str) -> str:
  if field in _FLAGS:
    return f'(?:_(?P<{field}>{suffix}))?'
  value = '[a-z]+' if field in _WORDS else '0|[1-9][0-9]{0,18}'
  return f'(?:_{suffix}(?P<{field}>{value}))?'


_NAME = re.compile(
  'natinst_def_(?P<definition>[a-z]+)'
  '_ex_(?P<examples>[a-z]+)(?P<num_examples>0|[1-9][0-9]{0,18})'
  + ''.join(_suffix_pattern(*item) for item in _SUFFIXES.items())
)


def _parse_value(field: str, text: str) -> Any:
  if field in _FLAGS:
    return True
  return int(text) if text.isdecimal() else text
