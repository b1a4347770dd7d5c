"""What surrounds a prompt: nothing, Alpaca's template, or a chat template."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import json
from typing import Any, Protocol

import jinja2
import jinja2.ext
import jinja2.sandbox

from it_study.errors import InputError

# Taori et al., "Stanford Alpaca" (2023), the template without an input.
_ALPACA = (
  'Below is an instruction that describes a task. Write a response that '
  'appropriately completes the request.\n\n### Instruction:\n',
  '\n\n### Response:',
)
# Stand for the prompt and the answer while a template is rendered.
_PLACE, _ANSWER = '\U000ffffb', '\U000ffffa'
# For a tokenizer that puts a space before every text: a text begins after
# BEGINS, and one that starts with CONTINUES continues another, without a space.
# Private-use characters, as those around control tokens.
BEGINS, CONTINUES = '\U000ffff8', '\U000ffff9'


class Tokens(Protocol):
  """What a format needs from a vocabulary that has control tokens."""

  config: Mapping[str, Any]

  @property
  def chat_template(self) -> str | None:
    """The Jinja template of a conversation; None if there is none."""

  @property
  def bos_token(self) -> str | None:
    """Name of the token that begins every text; None if texts have none."""

  @property
  def pads_texts(self) -> bool:
    """Whether the tokenizer puts a space before every text."""

  def control(self, text: str) -> str:
    """Marks the names of control tokens in a template's text as tokens."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptFormat:
  """Text around a prompt.

  Attributes:
    prefix: Text before the prompt, control tokens marked.
    suffix: Text after it.
    strips_start: Whether white space at the start of the prompt is removed, as
      many chat templates do.
    strips_end: Whether it is removed at the end, which a template may do alone
      if it puts text of its own before the prompt.
    moves_space: Whether a space at the end of the prompt is tokenised with the
      answer. A byte-level tokenizer has one token for a space and the word
      after it, so no text that a model was trained on has the two apart.
    before_answer: Text that is tokenised in front of every answer.
  """

  prefix: str = ''
  suffix: str = ''
  strips_start: bool = False
  strips_end: bool = False
  moves_space: bool = False
  before_answer: str = ''

  def parts(self, text: str) -> tuple[str, str, str]:
    """Returns what is before the prompt, the prompt, and what is after it."""
    if self.strips_start:
      text = text.lstrip()
    if self.strips_end:
      text = text.rstrip()
    if self.moves_space:
      text = text.removesuffix(' ')
    return self.prefix, text, self.suffix

  def apply(self, text: str) -> str:
    """Returns the formatted prompt."""
    return ''.join(self.parts(text))

  def answer_start(self, text: str) -> str:
    """Returns what is tokenised in front of an answer to a prompt."""
    is_moved = self.moves_space and text.endswith(' ')
    return self.before_answer + (' ' if is_moved else '')


def make_format(name: str, tokens: Tokens | None) -> PromptFormat:
  """Returns a format by name, for a vocabulary.

  Args:
    name: 'plain', 'alpaca' or 'chat'.
    tokens: Vocabulary with control tokens; None for one without, as T5's.

  Raises:
    InputError: If the vocabulary has no chat template, or a faulty one.
  """
  if name == 'chat':
    template = None if tokens is None else tokens.chat_template
    if tokens is None or template is None:
      raise InputError(
        'the prompt format chat needs a chat template, which the vocabulary in '
        'use does not have. Use _fmtalpaca or no suffix, or the vocabulary of '
        'an instruction-tuned decoder-only model.'
      )
    return _chat_format(template, tokens)
  if name == 'alpaca':
    prefix, suffix = _ALPACA
    around = PromptFormat(prefix=prefix, suffix=suffix)
  else:
    around = PromptFormat(moves_space=tokens is not None)
  if tokens is None:
    return around
  begin = ''
  if tokens.bos_token is not None:
    begin = tokens.control(tokens.bos_token)
    begin += BEGINS if tokens.pads_texts else ''
  return dataclasses.replace(
    around,
    prefix=begin + around.prefix,
    before_answer=_continues(tokens),
  )


def _chat_format(template: str, tokens: Tokens) -> PromptFormat:
  names = _token_names(tokens.config)
  # Tabs, since a template may have spaces of its own there.
  question = {'role': 'user', 'content': f'\t{_PLACE}\t'}
  rendered = _render(template, [question], names)
  before, place, after = rendered.partition(_PLACE)
  if not place or _PLACE in after:
    raise InputError(
      'the chat template of the vocabulary does not show the message of a user '
      'exactly once. Use _fmtalpaca or no suffix.'
    )
  answer = {'role': 'assistant', 'content': _ANSWER}
  try:
    answered = _render(template, [question, answer], names)
  except InputError:
    answered = ''
  return PromptFormat(
    prefix=tokens.control(before.removesuffix('\t')),
    suffix=tokens.control(after.removeprefix('\t')),
    strips_start=not before.endswith('\t'),
    strips_end=not after.startswith('\t'),
    before_answer=_continues(tokens) + _space_before_answer(rendered, answered),
  )


def _continues(tokens: Tokens) -> str:
  return CONTINUES if tokens.pads_texts else ''


def _space_before_answer(asked: str, answered: str) -> str:
  """Returns the spaces that a template puts before an answer.

  Llama 2's has a space there, which is a part of the answer's first token.
  Other text, such as a thought, is left to the model.

  Args:
    asked: Conversation that an answer follows.
    answered: The same with `_ANSWER`.
  """
  before = answered.partition(_ANSWER)[0]
  space = before.removeprefix(asked)
  is_space = before.startswith(asked) and not space.strip(' ')
  return space if is_space else ''


def _token_names(config: Mapping[str, Any]) -> dict[str, str]:
  """Returns the tokens that a tokenizer_config.json names, by field."""
  names = {}
  for field, value in config.items():
    if isinstance(value, Mapping):
      value = value.get('content')
    if field.endswith('_token') and isinstance(value, str):
      names[field] = value
  return names


def _render(
  template: str,
  messages: Sequence[Mapping[str, str]],
  names: Mapping[str, str],
) -> str:
  """Renders a conversation, as transformers does.

  `strftime_now` is left undefined: templates then state a date of their own,
  and prompts do not change from day to day.
  """

  def refuse(reason: str) -> str:
    raise jinja2.TemplateError(reason)

  try:
    return (
      _environment()
      .from_string(template)
      .render(
        messages=messages,
        tools=None,
        documents=None,
        add_generation_prompt=messages[-1]['role'] == 'user',
        raise_exception=refuse,
        **names,
      )
    )
  # A template's own operations may raise errors of Python, such as TypeError.
  except Exception as error:
    raise InputError(
      f'the chat template of the vocabulary cannot be rendered: {error}. Use '
      '_fmtalpaca or no suffix.'
    ) from None


class _Generation(jinja2.ext.Extension):
  """The tag `generation`, with which templates mark answers for training."""

  tags = {'generation'}  # noqa: RUF012

  def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
    """Returns what is between the tags."""
    next(parser.stream)
    return parser.parse_statements(('name:endgeneration',), drop_needle=True)


def _to_json(value: Any, **settings: Any) -> str:
  """As transformers' filter `tojson`; Jinja's own escapes HTML."""
  return json.dumps(value, **{'ensure_ascii': False, **settings})


@functools.cache
def _environment() -> jinja2.Environment:
  environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=['jinja2.ext.loopcontrols', _Generation],
  )
  environment.filters['tojson'] = _to_json
  return environment
