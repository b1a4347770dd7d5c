"""Prompt formats: plain, Alpaca's and chat templates."""

import dataclasses

import pytest

from it_study.data.tokens import prompt_formats
from it_study.errors import InputError


@dataclasses.dataclass
class Tokens:
  """A vocabulary whose control tokens are in angle brackets."""

  chat_template: str | None = None
  bos_token: str | None = None
  config: dict = dataclasses.field(default_factory=dict)
  pads_texts: bool = False

  def control(self, text: str) -> str:
    return text.replace('<', '[').replace('>', ']')


_CHAT = (
  "{% for message in messages %}{{ '<' + message['role'] + '>' }}"
  "{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
  "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def test_a_plain_prompt_is_left_as_it_is():
  prompt = prompt_formats.make_format('plain', None)
  assert prompt.apply(' a <b> ') == ' a <b> '
  begun = prompt_formats.make_format('plain', Tokens(bos_token='<s>'))
  assert begun.apply('a <b>') == '[s]a <b>'


def test_a_space_at_the_end_of_a_plain_prompt_moves_to_the_answer():
  plain = prompt_formats.make_format('plain', Tokens(bos_token=None))
  assert plain.apply('Output: ') == 'Output:'
  assert plain.answer_start('Output: ') == ' '
  assert plain.answer_start('Output:') == ''
  for other in (
    prompt_formats.make_format('plain', None),
    prompt_formats.make_format('alpaca', Tokens(bos_token=None)),
  ):
    assert 'Output: ' in other.apply('Output: ')
    assert other.answer_start('Output: ') == ''


def test_alpacas_template_surrounds_the_prompt():
  prompt = prompt_formats.make_format('alpaca', Tokens(bos_token='<s>'))
  assert prompt.apply('Say <b>.') == (
    '[s]Below is an instruction that describes a task. Write a response that '
    'appropriately completes the request.\n\n### Instruction:\nSay <b>.\n\n'
    '### Response:'
  )


def test_a_chat_template_is_rendered_around_the_prompt():
  tokens = Tokens(chat_template=_CHAT, config={'eos_token': '<end>'})
  prompt = prompt_formats.make_format('chat', tokens)
  # Only the template's names are control tokens; white space is kept.
  assert prompt.apply(' a <user> ') == '[user] a <user> [end]\n[assistant]'


def test_a_template_that_strips_messages_is_followed():
  template = _CHAT.replace("message['content']", "message['content'] | trim")
  tokens = Tokens(
    chat_template=template, config={'eos_token': {'content': '<end>'}}
  )
  prompt = prompt_formats.make_format('chat', tokens)
  assert prompt.apply(' a ') == '[user]a[end]\n[assistant]'


def test_a_template_may_strip_only_the_end_of_a_message():
  # As Llama 2's does after a system prompt.
  content = "('Be brief. ' + message['content']) | trim"
  tokens = Tokens(chat_template=_CHAT.replace("message['content']", content))
  prompt = prompt_formats.make_format('chat', tokens)
  assert prompt.apply(' a ') == '[user]Be brief.  a\n[assistant]'


def test_spaces_of_a_template_stay_around_a_message_and_an_answer():
  template = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    'Q {{ message.content | trim }} A{% else %} {{ message.content | trim }}'
    '{% endif %}{% endfor %}'
  )
  prompt = prompt_formats.make_format('chat', Tokens(chat_template=template))
  assert prompt.apply(' a ') == 'Q a A'
  assert prompt.answer_start(' a ') == ' '


@pytest.mark.parametrize(
  ('template', 'text'),
  [
    # transformers passes the tools of a conversation, of which there are none.
    ('{% if tools is not none %}[TOOLS]{% endif %}', ''),
    ('{% if tools is defined %}[{{ tools }}]{% endif %}', '[None]'),
    ('{% generation %}answer{% endgeneration %}', 'answer'),
    ("{{ {'é': '<a>'} | tojson }}", '{"é": "[a]"}'),
  ],
)
def test_templates_are_rendered_as_by_transformers(template, text):
  tokens = Tokens(chat_template=f"{template}{{{{ messages[0]['content'] }}}}")
  assert prompt_formats.make_format('chat', tokens).apply('a') == f'{text}a'


def test_dates_are_not_those_of_the_day():
  template = (
    "{% if strftime_now is defined %}{{ strftime_now('%d') }}{% else %}26 Jul"
    "{% endif %}{{ messages[0]['content'] }}"
  )
  prompt = prompt_formats.make_format('chat', Tokens(chat_template=template))
  assert prompt.apply('a') == '26 Jula'


@pytest.mark.parametrize(
  ('template', 'message'),
  [
    (
      None,
      'the prompt format chat needs a chat template, which the vocabulary in '
      'use does not have. Use _fmtalpaca or no suffix, or the vocabulary of an '
      'instruction-tuned decoder-only model.',
    ),
    (
      'no message',
      'the chat template of the vocabulary does not show the message of a user '
      'exactly once. Use _fmtalpaca or no suffix.',
    ),
    (
      "{{ raise_exception('No system role') }}",
      'the chat template of the vocabulary cannot be rendered: No system role. '
      'Use _fmtalpaca or no suffix.',
    ),
    (
      '{{ messages + 1 }}',
      'the chat template of the vocabulary cannot be rendered: can only '
      'concatenate list (not "int") to list. Use _fmtalpaca or no suffix.',
    ),
    (
      "{{ ''.__class__.__mro__ }}{{ messages[0]['content'] }}",
      'the chat template of the vocabulary cannot be rendered: access to '
      "attribute '__class__' of 'str' object is unsafe.. Use _fmtalpaca or "
      'no suffix.',
    ),
  ],
)
def test_a_template_that_cannot_be_used_is_refused(template, message):
  with pytest.raises(InputError) as error:
    prompt_formats.make_format('chat', Tokens(chat_template=template))
  assert str(error.value) == message
