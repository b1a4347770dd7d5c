"""One natural-instructions task file, parsed and validated."""

from collections.abc import Collection, Mapping
import dataclasses

from it_study.corpus import task_json, task_kinds
from it_study.corpus.findings import NOTE, WARNING, CorpusFinding
from it_study.corpus.task_json import TaskFileError
from it_study.errors import InputError, nearest, shown

TEST_INSTANCES = 100
NO_CATEGORY = 'Uncategorized'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """A worked example.

  Attributes:
    input: the text, as it is.
    output: the text, as it is, or as an alteration made it.
    explanation: None where the file has none.
    source: 'positive' or 'negatives', or the alteration: 'swap', 'repair'.
  """

  input: str
  output: str
  explanation: str | None = None
  source: str = 'positive'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
  """An input with its accepted outputs, in the order of its file.

  Attributes:
    id: as the file has it, unique in a corpus.
    input: the text, as it is.
    outputs: accepted references, at least one.
    position: index in the file's `Instances`.
  """

  id: str
  input: str
  outputs: tuple[str, ...]
  position: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """What the instances of a task share.

  Attributes:
    name: the file's name without `.json`.
    definition: the first of the definitions.
    categories: at least one; the first counts.
    kind: 'classification' or 'generation'.
    label_space: the outputs of a classification task in first-seen order,
      None for generation.
    negative_examples: wrong outputs, or right ones that are badly explained.
  """

  name: str
  definition: str
  categories: tuple[str, ...]
  kind: str
  label_space: tuple[str, ...] | None
  positive_examples: tuple[Example, ...]
  negative_examples: tuple[Example, ...]

  @property
  def category(self) -> str:
    return self.categories[0]

  def to_json(self) -> dict:
    """A JSON object from which `from_json` makes the same task."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, fields: Mapping) -> 'Task':
    label_space = fields['label_space']
    return cls(
      name=fields['name'],
      definition=fields['definition'],
      categories=tuple(fields['categories']),
      kind=fields['kind'],
      label_space=None if label_space is None else tuple(label_space),
      positive_examples=tuple(
        Example(**example) for example in fields['positive_examples']
      ),
      negative_examples=tuple(
        Example(**example) for example in fields['negative_examples']
      ),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskFile:
  """One parsed file.

  Attributes:
    task: what the instances share.
    instances: those that are not left out.
    warnings: what is odd but harmless.
    sources: names of the data sets that the task was made from, as the file
      has them; none where it does not tell.
  """

  task: Task
  instances: tuple[Instance, ...]
  warnings: tuple[CorpusFinding, ...]
  sources: tuple[str, ...] = ()


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
  raw = task_json.load(text, path=path)
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
    return task_json.refusal(self.path, field, found, allowed)

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
      raise task_json.error(
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
      raise task_json.error(
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
