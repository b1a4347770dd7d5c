"""One natural-instructions task file, parsed and validated."""

from collections.abc import Mapping
import dataclasses
import json

from it_study import task_kinds
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
  """One parsed file: the task, its instances, and what is odd but harmless."""

  task: Task
  instances: tuple[Instance, ...]
  warnings: tuple[str, ...]


def parse_task(
  text: str,
  *,
  name: str,
  path: str,
  is_test: bool = False,
  override: str | None = None,
) -> TaskFile:
  """Parses the text of a task file.

  A string stands for a list of one wherever natural-instructions has either.
  Missing examples and categories are accepted with a warning, as are empty
  texts and repeated instances; a missing explanation is nothing to warn of.
  What would make a number wrong is refused.

  Args:
    text: JSON.
    name: the task's name.
    path: of the file, for messages.
    is_test: whether its kind is judged by the first 100 instances alone.
    override: a kind that wins over the rule.

  Raises:
    InputError: names file, field, what was found and what is allowed.
  """
  fields = _Fields(path)
  raw = fields.parse(text)
  definitions = fields.strings(raw, 'Definition')
  if not definitions[0].strip():
    fields.warn('Definition is empty')
  if len(definitions) > 1:
    fields.warn(f'Definition has {len(definitions)} texts, the first counts')
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
    task=task, instances=instances, warnings=tuple(fields.warnings)
  )


class _Fields:
  """Checked access to the fields of one file."""

  def __init__(self, path: str):
    self.path = path
    self.warnings: list[str] = []

  def warn(self, what: str) -> None:
    self.warnings.append(f'{self.path}: {what}')

  def refuse(self, field: str, found: object, allowed: str) -> InputError:
    return InputError(
      f'{self.path}: {field}: found {shown(found)}, allowed is {allowed}.'
    )

  def parse(self, text: str) -> dict:
    try:
      raw = json.loads(text, object_pairs_hook=self.unique)
    except json.JSONDecodeError as error:
      raise InputError(
        f'{self.path}: not JSON: {error.msg} at line {error.lineno}, column '
        f'{error.colno}. Fetch the file again or mend it there.'
      ) from None
    except RecursionError:
      raise InputError(
        f'{self.path}: not a task: JSON nested too deeply.'
      ) from None
    except InputError:
      raise
    except ValueError as error:
      # Python reads no number of more than some thousands of digits.
      raise InputError(f'{self.path}: not a task: {error}.') from None
    if not isinstance(raw, dict):
      raise self.refuse('file', type(raw).__name__, 'one JSON object')
    return raw

  def unique(self, pairs: list[tuple[str, object]]) -> dict:
    """A JSON object; of a field that comes twice neither is the right one."""
    found = dict(pairs)
    if len(found) < len(pairs):
      names = [name for name, _ in pairs]
      twice = next(name for name in found if names.count(name) > 1)
      raise InputError(
        f'{self.path}: field {twice!r}: found {names.count(twice)} times in '
        'one object, allowed is once.'
      )
    return found

  def categories(self, raw: dict) -> tuple[str, ...]:
    if raw.get('Categories', []) in ([], '', ['']):
      self.warn(f'no Categories: counted as {NO_CATEGORY!r}')
      return (NO_CATEGORY,)
    return self.strings(raw, 'Categories')

  def strings(self, raw: dict, field: str) -> tuple[str, ...]:
    if field not in raw:
      raise InputError(
        f'{self.path}: field {field!r} is missing; found '
        f'{shown(list(raw))}, allowed is a string or a list of at least '
        f'one.{nearest(field, raw)}'
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
      self.warn(f'no {field}')
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
        self.warn(f'{where}.output has {len(outputs)} texts, the first counts')
      examples.append(
        Example(
          input=self.text(example['input'], f'{where}.input'),
          output=outputs[0],
          explanation=self.optional_text(example, 'explanation', where),
          source='positive' if field.startswith('P') else 'negatives',
        )
      )
    if not examples and field == 'Positive Examples':
      self.warn(f'{field} is empty')
    return tuple(examples)

  def instances(self, raw: dict) -> tuple[Instance, ...]:
    values = raw.get('Instances')
    if not isinstance(values, list) or not values:
      found = values if 'Instances' in raw else list(raw)
      raise self.refuse('Instances', found, 'a list of at least one instance')
    seen: dict[str, Instance] = {}
    for position, value in enumerate(values):
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
      self._add(seen, instance, where)
    return tuple(seen.values())

  def _add(self, seen: dict, instance: Instance, where: str) -> None:
    twin = seen.get(instance.id)
    if twin is not None:
      if (twin.input, twin.outputs) != (instance.input, instance.outputs):
        raise InputError(
          f'{self.path}: {where}.id: {instance.id!r} is also the id of '
          f'Instances[{twin.position}], which has another content; ids must '
          'tell instances apart.'
        )
      self.warn(f'{where} repeats Instances[{twin.position}]: left out')
      return
    if not instance.input.strip():
      self.warn(f'{where}.input is empty')
    if not all(output.strip() for output in instance.outputs):
      self.warn(f'{where}.output has an empty reference')
    seen[instance.id] = instance
