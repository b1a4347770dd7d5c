"""Formatted prompts as people read them, and their tokens."""

from typing import Any

from it_study.conditions import PromptTemplate
from it_study.data.tokens import prompt_formats
from it_study.instructions import explanation

# Of T5's vocabularies: id and piece.
_DEFAULT_EOS = (1, '</s>')


class ShownFormat:
  """A prompt format whose control tokens are shown as their names."""

  def __init__(self, name: str, vocabulary: Any = None):
    """Makes the format for a vocabulary.

    Args:
      name: 'plain', 'alpaca' or 'chat'.
      vocabulary: A `seqio.Vocabulary`; None for prompts of any model.

    Raises:
      InputError: If the vocabulary has no chat template, and one is needed.
    """
    self._vocabulary = vocabulary
    self._tokens = vocabulary if hasattr(vocabulary, 'control') else None
    self._format = prompt_formats.make_format(name, self._tokens)

  def parts(self, text: str) -> tuple[str, str, str]:
    """Returns text before a prompt, the prompt, and text after it."""
    before, kept, after = self._format.parts(text)
    if self._tokens is None:
      return before, kept, after
    return self._tokens.shown(before), kept, self._tokens.shown(after)

  def remove_from(self, text: str, *, template: PromptTemplate) -> str:
    """Returns the prompt in a formatted one; another text as it is.

    Args:
      text: Formatted prompt.
      template: Template of the prompt, which says what white space at its ends
        the format has removed.
    """
    before, _, after = self.parts('')
    if not (text.startswith(before) and text.endswith(after)):
      return text
    text = text.removeprefix(before).removesuffix(after)
    # What the format leaves of the cue; a truncated prompt may have less.
    cue = self._format.parts(f'-{template.cue}')[1][1:]
    if text.endswith(cue):
      text += template.cue[len(cue) :]
    if not self._format.strips_start:
      return text
    return _indent(text, template) + text

  def tokenizer(
    self,
  ) -> tuple[explanation.Tokenizer, tuple[int, str] | None]:
    """Returns a function from a prompt to the tokens of the formatted one.

    Also returns id and piece of the end of sequence; None if prompts have none.
    """
    tokens, apply = self._tokens, self._format.apply
    if tokens is not None:
      return (lambda text: tokens.tokens_of(apply(text))), None
    processor = getattr(self._vocabulary, 'tokenizer', None)
    if processor is None:
      tokenize = explanation.byte_tokenizer(self._vocabulary.encode)
      return (lambda text: tokenize(apply(text))), _DEFAULT_EOS
    tokenize = explanation.sentencepiece_tokenizer(processor)
    eos_id = self._vocabulary.eos_id
    end = eos_id, processor.IdToPiece(eos_id)
    return (lambda text: tokenize(apply(text))), end


def _indent(text: str, template: PromptTemplate) -> str:
  """Returns the white space before the part that a stripped prompt begins with.

  Examples of Tk-Instruct have a space there.
  """
  for name in ('definition', 'example', 'negative_example', 'input'):
    if getattr(template, name) is not None:
      start, _ = template.around(name)
      bare = start.lstrip()
      if bare and text.startswith(bare):
        return start.removesuffix(bare)
  return ''
