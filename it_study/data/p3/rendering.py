"""Renders promptsource's templates in a sandbox."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextvars
import dataclasses
import random
from typing import Any, NamedTuple, TypeVar

import jinja2
from jinja2 import meta, nodes, sandbox, visitor

from it_study.data.p3.templates import Template
from it_study.errors import InputError, nearest, shown
from it_study.seeding import stable_random

# Items that the loops of one rendering may visit together.
MAX_LOOP_ITEMS = 10_000
_SEPARATOR = '|||'
# Stand for the separator in a row's texts, and between parts of an input.
_IN_TEXT, _BETWEEN = '\ue000', '\ue001'
_CHOICES = 'answer_choices'
_REFUSED = (
  nodes.Macro,
  nodes.CallBlock,
  nodes.Include,
  nodes.Import,
  nodes.FromImport,
  nodes.Extends,
)
_Item = TypeVar('_Item')


@dataclasses.dataclass
class _Rendering:
  """State of a rendering: its random numbers, the items its loops visited."""

  random: random.Random
  num_items: int = 0


_rendering: contextvars.ContextVar[_Rendering] = contextvars.ContextVar(
  'rendering'
)


class Prompt(NamedTuple):
  """A row under a template.

  Attributes:
    inputs: Text of the prompt.
    targets: Text of the answer.
    answer_choices: Choices in order; empty if the answer is free.
  """

  inputs: str
  targets: str
  answer_choices: tuple[str, ...]


class Renderer:
  """Renders rows under a template."""

  def __init__(
    self,
    template: Template,
    *,
    fields: Sequence[str],
    is_simplified: bool = False,
  ):
    """Compiles a template.

    Args:
      template: Template to render.
      fields: Names of the fields of a row.
      is_simplified: Whether to leave out the literal text of the template. The
        prompt is then what the template shows of the row's fields, each once
        and in its order, and the answer choices, all on lines of their own.

    Raises:
      InputError: If the template is not Jinja, reads a field that rows do not
        have, or defines macros or includes files.
    """
    self._template = template
    self._is_simplified = is_simplified
    unknown = names_read(template) - {*fields, _CHOICES}
    if unknown:
      name = min(unknown)
      raise InputError(
        f'{template} reads {name!r}; its rows have {", ".join(fields)}.'
        f'{nearest(name, fields)}'
      )
    self._prompt = _compile(template, template.jinja)
    self._choices = _compile(template, template.answer_choices or '')
    if is_simplified:
      tree = _FieldsOnly(fields).visit(_parse(template, template.jinja))
      self._inputs = _ENVIRONMENT.from_string(_CountedLoops().visit(tree))

  def render(self, row: Mapping[str, Any], *, id: str) -> Prompt | None:
    """Renders a row; returns None if the template leaves it out.

    Templates leave rows out by rendering nothing, or no answer, for them.

    Args:
      row: Texts, integers and lists of texts by field.
      id: Id of the row, which seeds what the template draws.

    Raises:
      InputError: If rendering fails, the template's loops visit more than
        `MAX_LOOP_ITEMS` items, or the target is none of the choices.
    """
    row = {name: _protected(value) for name, value in row.items()}
    choices: tuple[str, ...] = ()
    if self._template.answer_choices is not None:
      choices = tuple(self._parts(self._choices, row, id))
    row[_CHOICES] = [_protected(choice) for choice in choices]
    parts = self._parts(self._prompt, row, id)
    if len(parts) > 2 or (len(parts) == 1 and parts[0]):
      raise InputError(
        f'{self._template}, row {id}: {len(parts) - 1} separators '
        f'{_SEPARATOR!r}; expected one, between prompt and target.'
      )
    if len(parts) < 2 or not all(parts):
      return None
    inputs, targets = parts
    if choices and targets not in choices:
      raise InputError(
        f'{self._template}, row {id}: the target is {shown(targets)}, which is '
        f'none of the answer choices {shown(list(choices))}.'
      )
    if self._is_simplified:
      (inputs, *_) = self._parts(self._inputs, row, id)
      texts = [text.strip() for text in inputs.split(_BETWEEN)]
      fields = [text for text in texts if text and text not in choices]
      inputs = '\n'.join(dict.fromkeys((*fields, *choices)))
    return Prompt(inputs, targets, choices)

  def _parts(
    self, template: jinja2.Template, row: Mapping[str, Any], id: str
  ) -> list[str]:
    """Renders a row and returns the texts between the separators."""
    seed = (self._template.data_set, self._template.name, id)
    token = _rendering.set(_Rendering(random=stable_random(*seed)))
    try:
      text = template.render(row)
    # Whatever a template may do wrong.
    except Exception as error:
      raise InputError(
        f'{self._template}, row {id}: {" ".join(str(error).split())}'
      ) from error
    finally:
      _rendering.reset(token)
    parts = text.split(_SEPARATOR)
    return [part.replace(_IN_TEXT, _SEPARATOR).strip() for part in parts]


def names_read(template: Template) -> set[str]:
  """Returns the names of the fields that a template reads.

  Raises:
    InputError: If it is not Jinja, or defines macros or includes files.
  """
  return {
    name
    for source in (template.jinja, template.answer_choices or '')
    for name in meta.find_undeclared_variables(_parse(template, source))
    if name not in _ENVIRONMENT.globals
  }


def _parse(template: Template, source: str) -> nodes.Template:
  """Parses Jinja of a template, and refuses what it must not contain."""
  try:
    tree = _ENVIRONMENT.parse(source)
    # Looks filters up.
    meta.find_undeclared_variables(tree)
  except jinja2.TemplateSyntaxError as error:
    raise InputError(
      f'{template}: line {error.lineno}: {error.message}'
    ) from None
  for node in tree.find_all((*_REFUSED, nodes.For)):
    if not isinstance(node, nodes.For) or node.recursive:
      raise InputError(
        f'{template}: line {node.lineno}: a template must not define macros, '
        'loop recursively or include files.'
      )
  return tree


def _compile(template: Template, source: str) -> jinja2.Template:
  return _ENVIRONMENT.from_string(
    _CountedLoops().visit(_parse(template, source))
  )


class _CountedLoops(visitor.NodeTransformer):
  """Makes every loop count the items that it visits."""

  def visit_For(self, node: nodes.For) -> nodes.Node:
    node.iter = nodes.Filter(node.iter, 'counted', [], [], None, None)
    return self.generic_visit(node)


class _FieldsOnly(visitor.NodeTransformer):
  """Leaves of what a template prints only what it reads from a row's fields."""

  def __init__(self, fields: Sequence[str]):
    self._fields = set(fields)

  def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
    self._follow(node.node, node.target)
    return node

  def visit_For(self, node: nodes.For) -> nodes.Node:
    self._follow(node.iter, node.target)
    return self.generic_visit(node)

  def visit_Output(self, node: nodes.Output) -> nodes.Node:
    kept: list[nodes.Expr] = []
    for child in node.nodes:
      if isinstance(child, nodes.TemplateData):
        is_end = _SEPARATOR in child.data
        child = nodes.TemplateData(_SEPARATOR if is_end else _BETWEEN)
      elif not self._reads_field(child):
        # Evaluated, as it may draw a random number.
        child = nodes.Filter(child, 'hidden', [], [], None, None)
      kept.append(child)
    return nodes.Output(kept)

  def _follow(self, value: nodes.Node, target: nodes.Node) -> None:
    """Counts variables as fields that hold what is read from a field."""
    if self._reads_field(value):
      self._fields |= {name.name for name in _names(target)}

  def _reads_field(self, node: nodes.Node) -> bool:
    return any(name.name in self._fields for name in _names(node))


def _names(node: nodes.Node) -> Iterator[nodes.Name]:
  if isinstance(node, nodes.Name):
    yield node
  yield from node.find_all(nodes.Name)


def _counted(items: Iterable[_Item]) -> Iterator[_Item]:
  """Yields items, as many as loops may visit."""
  rendering = _rendering.get()
  for item in items:
    rendering.num_items += 1
    if rendering.num_items > MAX_LOOP_ITEMS:
      raise InputError(f'its loops visit more than {MAX_LOOP_ITEMS} items.')
    yield item


def _protected(value: Any) -> Any:
  """Replaces the separator in texts, which are no part of the template."""
  if isinstance(value, str):
    return value.replace(_SEPARATOR, _IN_TEXT)
  return [_protected(v) for v in value] if isinstance(value, list) else value


class _Sandbox(sandbox.SandboxedEnvironment):
  """A sandbox that refuses operators whose results have no bound."""

  intercepted_binops = frozenset({'%', '*', '**'})

  def call_binop(
    self, context: Any, operator: str, left: Any, right: Any
  ) -> Any:
    is_number = isinstance(left, int | float) and isinstance(right, int | float)
    if operator == '**' or not is_number:
      raise InputError(
        f'{operator!r} is refused, as its result may be too large; a template '
        "may use '*' and '%' between numbers."
      )
    return super().call_binop(context, operator, left, right)


def _environment() -> jinja2.Environment:
  environment = _Sandbox(undefined=jinja2.StrictUndefined)
  # Writes as much text as it is asked for.
  del environment.globals['lipsum']
  environment.filters['counted'] = _counted
  environment.filters['hidden'] = lambda value: ''
  # Of promptsource: one item of a list, at random.
  environment.filters['choice'] = lambda items: _rendering.get().random.choice(
    items
  )
  return environment


_ENVIRONMENT = _environment()
