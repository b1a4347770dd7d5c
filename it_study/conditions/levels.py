"""Registries of the levels of definitions, examples and targets."""

from collections.abc import Callable, Collection
import dataclasses
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Level:
  """A registered level; calling it calls its function.

  Attributes:
    axis: 'definition', 'example' or 'target', whose results are checked, or
      another.
    title: Description of the level for messages.
    function: Function called with `task`, `instance` and `condition`.
    needs_tasks: Whether the function also takes `tasks`, a mapping from name
      to task of all tasks on the same side of the split as `task`.
    needs_instances: Whether the function also takes `instances`, a mapping from
      name of a task to its stored training instances.
    rewrite: Function called first, with the same arguments, for a level that
      changes outputs; returns a new task and instance. None for other levels.
  """

  axis: str
  title: str
  function: Callable[..., Any]
  needs_tasks: bool = False
  needs_instances: bool = False
  rewrite: Callable[..., Any] | None = None

  def __call__(
    self,
    *,
    tasks: object = None,
    instances: object = None,
    **arguments: object,
  ) -> Any:
    if self.needs_tasks:
      if tasks is None:
        raise InputError(f'{self.title} needs tasks=corpus.lazy_tasks(split).')
      arguments['tasks'] = tasks
    if self.needs_instances:
      if instances is None:
        raise InputError(f'{self.title} needs the instances of the task.')
      arguments['instances'] = instances
    result = self._call(self.function, **arguments)
    is_right, expected = True, ''
    if self.axis == 'definition':
      is_right, expected = isinstance(result, str | None), 'text or None'
    elif self.axis == 'target':
      is_right, expected = isinstance(result, str), 'text'
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
  """Levels of one axis, by name.

  Only names of definition levels may hold digits: in a condition's name, a
  count follows that of the example level.
  """

  def __init__(self, axis: str) -> None:
    self.axis = axis
    self._levels: dict[str, Level] = {}

  def register(
    self,
    name: str,
    function: Callable[..., Any] | str,
    *,
    needs_tasks: bool = False,
    needs_instances: bool = False,
    rewrite: Callable[..., Any] | str | None = None,
  ) -> None:
    """Adds a level. See `Level` for the arguments.

    A function given as 'module:function' is imported on first use.

    Raises:
      InputError: If the name is taken or has other characters, or a function
        is not one.
    """
    pattern, allowed = _NAMES.get(self.axis, _LETTERS)
    if not re.fullmatch(pattern, name):
      raise InputError(f'{self.axis} level {name!r}: use {allowed}.')
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
      needs_instances=needs_instances,
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
    check_known(f'{self.axis} level', name, self._levels)


@dataclasses.dataclass(frozen=True)
class _Deferred:
  """A function that is imported when it is needed."""

  path: str

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    return self.load()(*args, **kwargs)

  def load(self) -> Callable[..., Any]:
    return pkgutil.resolve_name(self.path)


_LETTERS = ('[a-z]+', 'letters a to z only')
_NAMES = {
  'definition': ('[a-z][a-z0-9]*', 'letters a to z and digits, a letter first')
}

# A definition level returns text or None, an example level `Example`s, a target
# level text.
DEFINITION_LEVELS = LevelRegistry('definition')
EXAMPLE_LEVELS = LevelRegistry('example')
TARGET_LEVELS = LevelRegistry('target')

_PACKAGE = 'it_study.instructions'
for _name in ('original', 'simplified', 'empty', 'shuffled'):
  DEFINITION_LEVELS.register(
    _name, f'{_PACKAGE}.definitions:{_name}', needs_tasks=_name == 'shuffled'
  )
DEFINITION_LEVELS.register(
  'renamed', f'{_PACKAGE}.labels:renamed', rewrite=f'{_PACKAGE}.labels:rename'
)
for _name, _rewrite in (
  ('renamedletters', 'renamed_letters'),
  ('renameddigits', 'renamed_digits'),
  ('renamedsymbols', 'renamed_symbols'),
  ('flipped', 'flipped'),
):
  DEFINITION_LEVELS.register(
    _name,
    f'{_PACKAGE}.labels:renamed',
    rewrite=f'{_PACKAGE}.labels:{_rewrite}',
  )
for _name in ('nolabels', 'keep25', 'keep50', 'keep75', 'wordshuffled'):
  DEFINITION_LEVELS.register(_name, f'{_PACKAGE}.partial_definitions:{_name}')
for _name in ('original', 'delusive', 'empty'):
  EXAMPLE_LEVELS.register(_name, f'{_PACKAGE}.examples:{_name}')
for _name in ('original', 'swapped', 'random'):
  TARGET_LEVELS.register(
    _name,
    f'{_PACKAGE}.targets:{_name}',
    needs_instances=_name != 'original',
  )


def check_known(kind: str, name: str, known: Collection[str]) -> None:
  if name not in known:
    raise InputError(
      f'{kind} {name!r} is unknown; available: {", ".join(known)}.'
      f'{nearest(name, known)}'
    )
