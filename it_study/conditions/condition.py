"""Condition: what determines a prompt, and its name."""

from collections.abc import Iterator
import dataclasses
import itertools
import re
from typing import Any

from it_study.conditions.levels import (
  DEFINITION_LEVELS,
  EXAMPLE_LEVELS,
  TARGET_LEVELS,
  check_known,
)
from it_study.conditions.templates import DEFAULT_PREFIX, PROMPT_TEMPLATES
from it_study.errors import InputError, nearest

INSTANCES_PER_TASK = 100
DELUSIVE_SOURCES = ('negatives', 'swap', 'repair')
PROMPT_FORMATS = ('plain', 'alpaca', 'chat')
# Of `instructions.surfaces.variants`, besides the default.
NUM_SURFACES = 53


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
    targets: Level of the training targets. References stay original.
    input_empty: Whether prompts show no instance, only their instructions.
    surface: Number of the prompt's surface, its separators and the casing of
      its field names; 0 for that of Tk-Instruct.
    prefix: Prefix of the name, which stands for the prompt's template.
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
  targets: str = 'original'
  input_empty: bool = False
  surface: int = 0
  prefix: str = DEFAULT_PREFIX

  def __post_init__(self) -> None:
    self._check_template()
    DEFINITION_LEVELS.check(self.definition)
    EXAMPLE_LEVELS.check(self.examples)
    TARGET_LEVELS.check(self.targets)
    self._check_values()
    if (self.num_examples == 0) != (self.examples == 'empty'):
      raise InputError(
        f'ex_{self.examples}{self.num_examples} is not valid: level empty '
        'takes 0 examples (ex_empty0), every other level at least 1.'
      )
    if self.delusive_source is not None:
      check_known('delusive source', self.delusive_source, DELUSIVE_SOURCES)
      if self.examples != 'delusive':
        raise InputError(
          f'_src{self.delusive_source} requires delusive examples, found '
          f'ex_{self.examples}{self.num_examples}.'
        )
    check_known('prompt format', self.prompt_format, PROMPT_FORMATS)
    if self.tk_truncation and self.prompt_format != 'plain':
      raise InputError(
        f'_trunctk and _fmt{self.prompt_format} cannot be combined: the first '
        'cuts the end of the prompt, which the second adds to.'
      )
    if self.tk_truncation and self.surface:
      raise InputError(
        f'_trunctk and _sep{self.surface} cannot be combined: the first '
        'reproduces the prompts of Tk-Instruct, the second changes them.'
      )
    if self.tk_truncation and self.matched_budget:
      raise InputError(
        '_trunctk and _budget cannot be combined: the first truncates the '
        'instance, the second shows the same instance in all conditions.'
      )

  @property
  def name(self) -> str:
    """The name of the SeqIO task, without suffixes at their default."""
    name = f'{self.prefix}_def_{self.definition}_ex_{self.examples}'
    name += str(self.num_examples)
    for suffix, field in _SUFFIXES.items():
      value = getattr(self, field)
      if value != DEFAULTS[field]:
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
      prefix = name.partition('_')[0]
      if prefix not in PROMPT_TEMPLATES.names():
        prefix = DEFAULT_PREFIX
      raise InputError(
        f'{name!r} is not a condition. A name reads '
        f'{prefix}_def_{{LEVEL}}_ex_{{LEVEL}}{{COUNT}}, followed by suffixes '
        'that are not at their default, in this order: '
        f'_{", _".join(_SUFFIXES)}.'
        f'{nearest(name, [c.name for c in common_grid(prefix=prefix)])}'
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

  def _check_template(self) -> None:
    """Raises `InputError` for what the prefix's template does not show."""
    template = PROMPT_TEMPLATES.get(self.prefix)
    if template is None:
      return
    what = f'the template of {self.prefix!r}'
    if self.num_negative_examples and template.negative_example is None:
      raise InputError(
        f'_neg{self.num_negative_examples}: {what} has no negative_example.'
      )
    if self.explanations and template.explanation is None:
      raise InputError(f'_expl: {what} has no explanation.')
    for suffix, is_set in (
      ('trunctk', self.tk_truncation),
      (f'sep{self.surface}', self.surface),
    ):
      if is_set:
        raise InputError(
          f'_{suffix} is for the template of Tk-Instruct; {what} is another.'
        )

  def _check_values(self) -> None:
    # A value of another type would give a name that cannot be parsed.
    for field in _FLAGS:
      value = getattr(self, field)
      if not isinstance(value, bool):
        raise InputError(f'{field} is {value!r}; expected True or False.')
    for field, least in _LEAST.items():
      value = getattr(self, field)
      if value is None and DEFAULTS[field] is None:
        continue
      if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f'{field} is {value!r}; expected a whole number.')
      most = NUM_SURFACES if field == 'surface' else _MOST
      if not least <= value <= most:
        raise InputError(f'{field} is {value}; expected {least} to {most}.')

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

  def with_original_data(self) -> 'Condition':
    """Returns the condition with the real inputs and targets."""
    return dataclasses.replace(self, targets='original', input_empty=False)

  def for_test(self) -> 'Condition':
    """Returns the condition on the test split.

    It ignores n, t and s, and has the original targets.
    """
    return dataclasses.replace(
      self,
      instances_per_task=INSTANCES_PER_TASK,
      num_tasks=None,
      seed=0,
      targets='original',
    )

  def check_test(self) -> None:
    """Raises `InputError` if the condition can only be trained on."""
    if self.targets != 'original':
      raise InputError(
        f'condition {self.name!r} cannot be tested: _tgt{self.targets} alters '
        'training targets, and test references stay original. Write '
        f'{dataclasses.replace(self, targets="original").name!r}.'
      )


def is_condition_name(name: str) -> bool:
  """Returns whether a name can only be meant for a condition, valid or not."""
  # Tasks of `seqio_lib.add_natinst_tasks` have a condition's name and a dot.
  if '.' in name:
    return False
  prefixes = tuple(f'{prefix}_def_' for prefix in PROMPT_TEMPLATES.names())
  return name.startswith(prefixes) or bool(
    re.match('[a-z][a-z0-9]*_def_[a-z0-9]+_ex_', name)
  )


def common_grid(*, prefix: str = DEFAULT_PREFIX) -> Iterator[Condition]:
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
      prefix=prefix,
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
  'fmt': 'prompt_format',
  'tgt': 'targets',
  'inputempty': 'input_empty',
  'sep': 'surface',
}
DEFAULTS = {f.name: f.default for f in dataclasses.fields(Condition)}
_LEAST = {'num_examples': 0, 'num_negative_examples': 0}
_LEAST |= {'seed': 0, 'surface': 0}
_LEAST |= {'instances_per_task': 1, 'num_tasks': 1}
_MOST = 2**63 - 1
_FLAGS = ('explanations', 'tk_truncation', 'matched_budget', 'input_empty')
_WORDS = ('delusive_source', 'prompt_format', 'targets')


def _suffix_pattern(suffix: str, field: str) -> str:
  if field in _FLAGS:
    return f'(?:_(?P<{field}>{suffix}))?'
  value = '[a-z]+' if field in _WORDS else '0|[1-9][0-9]{0,18}'
  return f'(?:_{suffix}(?P<{field}>{value}))?'


_NAME = re.compile(
  '(?P<prefix>[a-z][a-z0-9]*)_def_(?P<definition>[a-z][a-z0-9]*)'
  '_ex_(?P<examples>[a-z]+)(?P<num_examples>0|[1-9][0-9]{0,18})'
  + ''.join(_suffix_pattern(*item) for item in _SUFFIXES.items())
)


def _parse_value(field: str, text: str) -> Any:
  if field in _FLAGS:
    return True
  return int(text) if text.isdecimal() else text
