"""Parses and validates a natural-instructions task file."""

from collections.abc import Collection, Iterable
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
    code: Kind of fault, in lower case with hyphens.
    where: Field; empty for the whole file.
    instance: Id of the faulty instance; None if there is none.
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

  Where natural-instructions uses a string or a list of strings, both are
  accepted. Missing examples and categories, empty texts and repeated instances
  are accepted with a warning, missing explanations without one. Anything that
  would make results wrong is refused.

  A file may list its labels under 'Label Space', which natural-instructions
  does not have; the rule for kinds is then not applied.

  Excluded instances are ignored, even if they are broken. The others keep their
  positions, the indices in the file.

  Args:
    text: JSON text.
    name: Name of the task.
    path: Path of the file, for messages.
    is_test: Whether only the first 100 instances determine the task's kind.
    override: Kind to use instead of the rule; None to apply the rule.
    excluded: Ids of instances to leave out.
    faults: List that takes errors about single instances, which are then left
      out; None to raise the first of them.

  Raises:
    TaskFileError: If a field is not as expected.
    InputError: If an excluded instance does not exist.
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
      f'has {len(definitions)} texts; only the first is used',
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
  listed = fields.label_space(raw, positive, instances)
  if listed is not None and override != task_kinds.GENERATION:
    kind, label_space = task_kinds.CLASSIFICATION, listed
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
  ) -> None:
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

  def unexpected(
    self, field: str, value: object, expected: str
  ) -> TaskFileError:
    return _unexpected(self.path, field, value, expected)

  def categories(self, raw: dict) -> tuple[str, ...]:
    if raw.get('Categories', []) in ([], '', ['']):
      self.warn(
        'no-category', 'Categories', f'is empty; counts as {NO_CATEGORY!r}'
      )
      return (NO_CATEGORY,)
    return self.strings(raw, 'Categories')

  def sources(self, raw: dict) -> tuple[str, ...]:
    """Reads sources leniently: only the report of overlap uses them."""
    values = raw.get('Source', [])
    values = values if isinstance(values, list) else [values]
    return tuple(dict.fromkeys(v.strip() for v in values if _is_name(v)))

  def label_space(
    self,
    raw: dict,
    examples: Iterable[Example],
    instances: Iterable[Instance],
  ) -> tuple[str, ...] | None:
    """Returns the labels that a file lists; None if it lists none.

    Every accepted output must be one of them.
    """
    field = 'Label Space'
    if field not in raw:
      return None
    labels = self.text_list(raw[field], field)
    if len(set(labels)) < len(labels) or not all(map(str.strip, labels)):
      raise self.unexpected(field, list(labels), 'distinct labels')
    outputs = [
      *(('a positive example', example.output) for example in examples),
      *((f'instance {i.id!r}', text) for i in instances for text in i.outputs),
    ]
    for where, text in outputs:
      if text not in labels:
        raise task_file_error(
          self.path,
          f'{where} has the output {shown(text)}, which is not in {field}, '
          f'{shown(list(labels))}. Add it, or correct the output.'
          f'{nearest(text, labels)}',
          where=field,
        )
    return labels

  def strings(self, raw: dict, field: str) -> tuple[str, ...]:
    if field not in raw:
      raise task_file_error(
        self.path,
        f'field {field!r} is missing; the file has {shown(list(raw))}.'
        f'{nearest(field, raw)}',
        where=field,
      )
    return self.text_list(raw[field], field)

  def text_list(self, value: object, field: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values:
      raise self.unexpected(field, value, 'a string or a non-empty list')
    return tuple(self.text(item, field) for item in values)

  def text(self, value: object, field: str) -> str:
    if not isinstance(value, str):
      raise self.unexpected(field, value, 'a string')
    try:
      value.encode()
    except UnicodeEncodeError:
      raise self.unexpected(
        field, value, 'text without lone surrogates'
      ) from None
    return value

  def optional_text(self, raw: dict, key: str, where: str) -> str | None:
    value = raw.get(key)
    return None if value is None else self.text(value, f'{where}.{key}')

  def examples(self, raw: dict, field: str) -> tuple[Example, ...]:
    if field not in raw:
      if field == 'Positive Examples':
        self.warn('no-positive-examples', field, 'is missing')
      else:
        self.warn('no-negative-examples', field, 'is missing', severity=NOTE)
      return ()
    if not isinstance(raw[field], list):
      raise self.unexpected(field, raw[field], 'a list of examples')
    examples = []
    for index, example in enumerate(raw[field]):
      where = f'{field}[{index}]'
      if not isinstance(example, dict):
        raise self.unexpected(where, example, 'an object with input and output')
      for key in ('input', 'output'):
        if key not in example:
          raise self.unexpected(where, list(example), f'an object with {key!r}')
      outputs = self.text_list(example['output'], f'{where}.output')
      if len(outputs) > 1:
        self.warn(
          'several-outputs',
          f'{where}.output',
          f'has {len(outputs)} texts; only the first is used',
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
      raise self.unexpected(
        'Instances', found, 'a list of at least one instance'
      )
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
        f'{self.path}: no instance {shown(unknown)}, which the exclusions name.'
        f'{nearest(unknown, seen)}'
      )
    if not seen:
      raise self.unexpected(
        'Instances', [], 'at least one instance that is not excluded'
      )
    return tuple(seen.values())

  def add(
    self, seen: dict[str, Instance], value: object, position: int
  ) -> None:
    where = f'Instances[{position}]'
    if not isinstance(value, dict):
      raise self.unexpected(where, value, 'an object with id, input, output')
    for key in ('id', 'input', 'output'):
      if key not in value:
        raise self.unexpected(where, list(value), f'an object with {key!r}')
    instance = Instance(
      id=self.text(value['id'], f'{where}.id'),
      input=self.text(value['input'], f'{where}.input'),
      outputs=self.text_list(value['output'], f'{where}.output'),
      position=position,
    )
    if not instance.id.strip():
      raise self.unexpected(f'{where}.id', instance.id, 'a non-blank text')
    twin = seen.get(instance.id)
    if twin is None:
      self.warn_of(instance, where)
      seen[instance.id] = instance
      return
    if (twin.input, twin.outputs) != (instance.input, instance.outputs):
      raise task_file_error(
        self.path,
        f'{where}.id: {shown(instance.id)} is also the id of '
        f'Instances[{twin.position}], which differs; ids must be unique.',
        code='conflicting-id',
        where=f'{where}.id',
      )
    self.warn(
      'repeated-instance',
      where,
      f'repeats Instances[{twin.position}]; left out',
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
  """Parses the JSON of a task file.

  Args:
    text: Text of one JSON object.
    path: Path of the file, for messages.

  Raises:
    TaskFileError: If the text is not one JSON object or repeats a field.
  """

  def unique(pairs: list[tuple[str, object]]) -> dict:
    # Python would silently use the last of several.
    fields = dict(pairs)
    if len(fields) < len(pairs):
      names = [name for name, _ in pairs]
      name = next(name for name in fields if names.count(name) > 1)
      raise task_file_error(
        path,
        f'field {shown(name)} appears {names.count(name)} times in one object. '
        'Keep one.',
        code='repeated-field',
        where=shown(name),
      )
    return fields

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
    # Python limits the number of digits of a number.
    raise task_file_error(
      path, f'not a task: {fault}.', code='not-json'
    ) from None
  if not isinstance(raw, dict):
    raise _unexpected(path, 'file', type(raw).__name__, 'one JSON object')
  return raw


def task_file_error(
  path: str, message: str, *, code: str = 'bad-field', where: str = ''
) -> TaskFileError:
  """Returns an error whose message starts with the file's path."""
  error = TaskFileError(f'{path}: {message}')
  error.code, error.where = code, where
  return error


def _unexpected(
  path: str, field: str, value: object, expected: str
) -> TaskFileError:
  return task_file_error(
    path, f'{field}: expected {expected}, got {shown(value)}.', where=field
  )


def _not_json(
  path: str, text: str, fault: json.JSONDecodeError
) -> TaskFileError:
  # In a truncated file, a string may be unterminated.
  truncated = not text[fault.pos :].strip() or 'Unterminated' in fault.msg
  # Some of the decoder's messages end with 'at'.
  reason = fault.msg.removesuffix(' at')
  return task_file_error(
    path,
    f'not JSON{", truncated" if truncated else ""}: {reason} at line '
    f'{fault.lineno}, column {fault.colno}. Fetch the file again or fix it.',
    code='truncated-json' if truncated else 'not-json',
  )
