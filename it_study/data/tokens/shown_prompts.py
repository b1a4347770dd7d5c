"""Formatted prompts as people read them, and their tokens."""

from typing import Any

from it_study.data.tokens import prompt_formats
from it_study.instructions import explanation

# Of T5's vocabularies: id and piece.
_DEFAULT_EOS = (1, '</s>')
_EXAMPLES = ('positive example', 'negative example')


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

  def remove_from(self, text: str) -> str:
    """Returns the prompt in a formatted one; another text as it is."""
    before, _, after = self.parts('')
    if not (text.startswith(before) and text.endswith(after)):
      return text
    text = text.removeprefix(before).removesuffix(after)
    # Every prompt ends in a space, and without a definition begins with one.
    if self._format.strips or self._format.moves_space:
      text += ' '
    if self._format.strips and text.lower().startswith(_EXAMPLES):
      text = f' {text}'
    return text

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
