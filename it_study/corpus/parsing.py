"""One natural-instructions task file, parsed and validated."""

from collections.abc import Collection
import json

from it_study.corpus import task_kinds
from it_study.corpus.findings import NOTE, WARNING, CorpusFinding
from it_study.corpus.schema import (
  NO_CATEGORY,
  TEST_INSTANCES,
  Example,
  Instance,
  Task,
  TaskFile,
)
from it_study.errors import InputError, nearest, shown


class TaskFileError(InputError):
  """A task file that cannot be used.

  Attributes:
    code: kind of fault, lower case with hyphens.
    where: the field, empty where it is about the file.
    instance: id of the one instance at fault, if it has one.
  """

  code = 'bad-field'
  where = ''
  instance: str | None = None


def parse_task(
  text: str,
  *,
  name: str,
  path: str,
  is_test: bool = False,
  override: str | None = None,
  excluded: Collection[str] = (),
  faults: list[TaskFileError] | None = None,
) -> TaskFile:
  """Parses the text of a task file.

  A string stands for a list of one wherever natural-instructions has either.
  Missing examples and categories are accepted with a warning, as are empty
  texts and repeated instances; a missing explanation is nothing to warn of.
  What would make a number wrong is refused.

  Excluded instances are left out before anything is judged, were they ever so
  broken, but each of the others keeps its position: its index in the file.

  Args:
    text: JSON.
    name: the task's name.
    path: of the file, for messages.
    is_test: whether its kind is judged by the first 100 instances alone.
    override: a kind that wins over the rule.
    excluded: ids of instances to leave out.
    faults: takes what is wrong with single instances, which are then left out;
      None refuses the file for the first of them.

  Raises:
    TaskFileError: names file, field, what was found and what is allowed.
    InputError: if an excluded instance is not there.
  """
  fields = _Fields(path, name, frozenset(excluded), faults)
  raw = load_json(text, path=path)
  definitions = fields.strings(raw, 'Definition')
  if not definitions[0].strip():
    fields.warn('empty-definition', 'Definition', 'is empty')
  if len(definitions) > 1:
    fields.warn(
      'several-definitions',
      'Definition',
      f'has {len(definitions)} texts, the first counts',
      severity=NOTE,
    )
  categories = fields.categories(raw)
  positive = fields.examples(raw, 'Positive Examples')
  negative = fields.examples(raw, 'Negative Examples')
  instances = fields.instances(raw)
  kind, label_space = task_kinds.judge(
    instance_outputs=[
      instance.outputs
      for instance in instances
      if not is_test or instance.position < TEST_INSTANCES
    ],
    example_outputs=[example.output for example in positive],
    override=override,
  )
  task = Task(
    name=name,
    definition=definitions[0],
    categories=categories,
    kind=kind,
    label_space=label_space,
    positive_examples=positive,
    negative_examples=negative,
  )
  return TaskFile(
    task=task,
    instances=instances,
    warnings=tuple(fields.warnings),
    sources=fields.sources(raw),
  )


class _Fields:
  """Checked access to the fields of one file."""

  def __init__(
    self,
    path: str,
    task: str,
    excluded: frozenset[str],
    faults: list[TaskFileError] | None,
  ):
    self.path = path
    self.task = task
    self.excluded = excluded
    self.faults = faults
    self.warnings: list[CorpusFinding] = []

  def warn(
    self,
    code: str,
    where: str,
    message: str,
    *,
    severity: str = WARNING,
    instance: str | None = None,
  ) -> None:
    self.warnings.append(
      CorpusFinding(
        severity=severity,
        code=code,
        task=self.task,
        where=where,
        message=message,
        instances=() if instance is None else (instance,),
      )
    )

  def refuse(self, field: str, found: object, allowed: str) -> TaskFileError:
    return refusal(self.path, field, found, allowed)

  def categories(self, raw: dict) -> tuple[str, ...]:
    if raw.get('Categories', []) in ([], '', ['']):
      self.warn(
        'no-category', 'Categories', f'none: counted as {NO_CATEGORY!r}'
      )
      return (NO_CATEGORY,)
    return self.strings(raw, 'Categories')

  def sources(self, raw: dict) -> tuple[str, ...]:
    """Data sets, leniently: nothing but a report of overlap rests on them."""
    values = raw.get('Source', [])
    values = values if isinstance(values, list) else [values]
    return tuple(dict.fromkeys(v.strip() for v in values if _is_name(v)))

  def strings(self, raw: dict, field: str) -> tuple[str, ...]:
    if field not in raw:
      raise task_file_error(
        self.path,
        f'field {field!r} is missing; found {shown(list(raw))}, allowed is a '
        f'string or a list of at least one.{nearest(field, raw)}',
        where=field,
      )
    return self.text_list(raw[field], field)

  def text_list(self, value: object, field: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values:
      raise self.refuse(field, value, 'a string or a list of at least one')
    return tuple(self.text(item, field) for item in values)

  def text(self, value: object, field: str) -> str:
    if not isinstance(value, str):
      raise self.refuse(field, value, 'a string')
    try:
      value.encode()
    except UnicodeEncodeError:
      raise self.refuse(field, value, 'text without lone surrogates') from None
    return value

  def optional_text(self, raw: dict, key: str, where: str) -> str | None:
    value = raw.get(key)
    return None if value is None else self.text(value, f'{where}.{key}')

  def examples(self, raw: dict, field: str) -> tuple[Example, ...]:
    if field not in raw:
      if field == 'Positive Examples':
        self.warn('no-positive-examples', field, 'the field is missing')
      else:
        self.warn(
          'no-negative-examples', field, 'the field is missing', severity=NOTE
        )
      return ()
    if not isinstance(raw[field], list):
      raise self.refuse(field, raw[field], 'a list of examples')
    examples = []
    for index, example in enumerate(raw[field]):
      where = f'{field}[{index}]'
      if not isinstance(example, dict):
        raise self.refuse(where, example, 'an object with input and output')
      for key in ('input', 'output'):
        if key not in example:
          raise self.refuse(where, list(example), f'an object with {key!r}')
      outputs = self.text_list(example['output'], f'{where}.output')
      if len(outputs) > 1:
        self.warn(
          'several-outputs',
          f'{where}.output',
          f'has {len(outputs)} texts, the first counts',
          severity=NOTE,
        )
      examples.append(
        Example(
          input=self.text(example['input'], f'{where}.input'),
          output=outputs[0],
          explanation=self.optional_text(example, 'explanation', where),
          source='positive' if field.startswith('P') else 'negatives',
        )
      )
    if not examples and field == 'Positive Examples':
      self.warn('no-positive-examples', field, 'is empty')
    return tuple(examples)

  def instances(self, raw: dict) -> tuple[Instance, ...]:
    values = raw.get('Instances')
    if not isinstance(values, list) or not values:
      found = values if 'Instances' in raw else list(raw)
      raise self.refuse('Instances', found, 'a list of at least one instance')
    seen: dict[str, Instance] = {}
    missing = set(self.excluded)
    for position, value in enumerate(values):
      id_ = value.get('id') if isinstance(value, dict) else None
      if isinstance(id_, str) and id_ in self.excluded:
        missing.discard(id_)
        continue
      try:
        self.add(seen, value, position)
      except TaskFileError as error:
        error.code = 'bad-instance' if error.code == 'bad-field' else error.code
        error.instance = id_ if _is_name(id_) else None
        if self.faults is None:
          raise
        self.faults.append(error)
    if missing:
      unknown = min(missing)
      raise InputError(
        f'{self.path}: no instance {shown(unknown)}, which is to be left out.'
        f'{nearest(unknown, seen)}'
      )
    if not seen:
      raise self.refuse(
        'Instances', [], 'at least one instance that is not left out'
      )
    return tuple(seen.values())

  def add(
    self, seen: dict[str, Instance], value: object, position: int
  ) -> None:
    where = f'Instances[{position}]'
    if not isinstance(value, dict):
      raise self.refuse(where, value, 'an object with id, input, output')
    for key in ('id', 'input', 'output'):
      if key not in value:
        raise self.refuse(where, list(value), f'an object with {key!r}')
    instance = Instance(
      id=self.text(value['id'], f'{where}.id'),
      input=self.text(value['input'], f'{where}.input'),
      outputs=self.text_list(value['output'], f'{where}.output'),
      position=position,
    )
    if not instance.id.strip():
      raise self.refuse(f'{where}.id', instance.id, 'a text to know it by')
    twin = seen.get(instance.id)
    if twin is None:
      self.warn_of(instance, where)
      seen[instance.id] = instance
      return
    if (twin.input, twin.outputs) != (instance.input, instance.outputs):
      raise task_file_error(
        self.path,
        f'{where}.id: {shown(instance.id)} is also the id of '
        f'Instances[{twin.position}], which has another content; ids must '
        'tell instances apart.',
        code='conflicting-id',
        where=f'{where}.id',
      )
    self.warn(
      'repeated-instance',
      where,
      f'repeats Instances[{twin.position}]: left out',
      severity=NOTE,
      instance=instance.id,
    )

  def warn_of(self, instance: Instance, where: str) -> None:
    if not instance.input.strip():
      self.warn(
        'empty-input', f'{where}.input', 'is empty', instance=instance.id
      )
    if not all(output.strip() for output in instance.outputs):
      self.warn(
        'empty-reference',
        f'{where}.output',
        'has an empty reference',
        instance=instance.id,
      )


def _is_name(value: object) -> bool:
  try:
    return isinstance(value, str) and bool(value.strip() and value.encode())
  except UnicodeEncodeError:
    return False


def load_json(text: str, *, path: str) -> dict:
  """Reads the text of a task file.

  Args:
    text: of one JSON object.
    path: of the file, for messages.

  Raises:
    TaskFileError: if it is not JSON, no object, or a field comes twice.
  """

  def unique(pairs: list[tuple[str, object]]) -> dict:
    # Of a field that comes twice neither is the right one.
    found = dict(pairs)
    if len(found) < len(pairs):
      names = [name for name, _ in pairs]
      twice = next(name for name in found if names.count(name) > 1)
      raise task_file_error(
        path,
        f'field {shown(twice)}: found {names.count(twice)} times in one '
        'object, allowed is once.',
        code='repeated-field',
        where=shown(twice),
      )
    return found

  try:
    raw = json.loads(text, object_pairs_hook=unique)
  except json.JSONDecodeError as fault:
    raise _not_json(path, text, fault) from None
  except RecursionError:
    raise task_file_error(
      path, 'not a task: JSON nested too deeply.', code='not-json'
    ) from None
  except InputError:
    raise
  except ValueError as fault:
    # Python reads no number of more than some thousands of digits.
    raise task_file_error(
      path, f'not a task: {fault}.', code='not-json'
    ) from None
  if not isinstance(raw, dict):
    raise refusal(path, 'file', type(raw).__name__, 'one JSON object')
  return raw


def refusal(
  path: str, field: str, found: object, allowed: str
) -> TaskFileError:
  """What to raise for a field of the wrong kind."""
  return task_file_error(
    path,
    f'{field}: found {shown(found)}, allowed is {allowed}.',
    where=field,
  )


def task_file_error(
  path: str, message: str, *, code: str = 'bad-field', where: str = ''
) -> TaskFileError:
  """What to raise, with the file's name before the message."""
  made = TaskFileError(f'{path}: {message}')
  made.code, made.where = code, where
  return made


def _not_json(
  path: str, text: str, fault: json.JSONDecodeError
) -> TaskFileError:
  # A string that never ends swallows what follows it.
  cut = not text[fault.pos :].strip() or 'Unterminated' in fault.msg
  # Some of the decoder's messages end with the word that joins them.
  what = fault.msg.removesuffix(' at')
  return task_file_error(
    path,
    f'not JSON{", cut short" if cut else ""}: {what} at line {fault.lineno}, '
    f'column {fault.colno}. Fetch the file again or mend it there.',
    code='truncated-json' if cut else 'not-json',
  )
