"""Explains what the model sees of one instance under a condition."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, Protocol

from it_study import instructions
from it_study.conditions import Condition
from it_study.corpus.instance_search import Found
from it_study.corpus.natinst import Corpus, Example
from it_study.instructions import prompt_spans, prompts
from it_study.instructions.prompt_spans import KeptInput, Span


@dataclasses.dataclass(frozen=True)
class Token:
  """A token of the model's input.

  Attributes:
    id: Token id.
    piece: Text of the token in the vocabulary.
    kind: Kind of the span that contains it; 'end' for end-of-sequence.
  """

  id: int
  piece: str
  kind: str


# Returns the text before a prompt, the prompt, and the text after it.
Parts = Callable[[str], tuple[str, str, str]]


class Tokenizer(Protocol):
  """A function from text to its tokens, without end-of-sequence."""

  def __call__(self, text: str) -> Sequence[tuple[int, str, int]]:
    """Returns id, piece and position in the text of each token."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
  """What the model sees of an instance under a condition.

  Attributes:
    condition: Condition on the instance's split.
    prompt: Prompt within the limit.
    text: Text of the prompt, and of the template around it.
    spans: Spans of that text.
    kept_input: Amount of the instance's text that is kept.
    kept_definition: Number of characters of the definition that are kept, and
      in total.
    examples: Span kind and example of each example in the prompt.
    dropped: Span kind and example of each example that did not fit.
    references: Accepted outputs under the condition.
    label_space: Label space under the condition; None for generation.
    max_tokens: Maximum prompt length in tokens; None for no limit.
    tokens: Tokens of the model's input; None without a vocabulary.
    num_lost_tokens: Number of tokens replaced by end-of-sequence, for which
      `tk_truncation` leaves no room.
  """

  condition: Condition
  prompt: prompts.Prompt
  text: str
  spans: tuple[Span, ...]
  kept_input: KeptInput
  kept_definition: tuple[int, int]
  examples: tuple[tuple[str, Example], ...]
  dropped: tuple[tuple[str, Example], ...]
  references: tuple[str, ...]
  label_space: tuple[str, ...] | None
  max_tokens: int | None
  tokens: tuple[Token, ...] | None
  num_lost_tokens: int = 0

  def to_json(self) -> dict[str, object]:
    """Returns a JSON object. Positions are in characters, ends exclusive."""
    kept, length = self.kept_definition
    return {
      'condition': self.condition.name,
      'text': self.text,
      'spans': [dataclasses.asdict(span) for span in self.spans],
      'examples': [_example_json(*pair) for pair in self.examples],
      'dropped_examples': [_example_json(*pair) for pair in self.dropped],
      'shortened': self.prompt.shortened,
      'input_kept': {
        **dataclasses.asdict(self.kept_input),
        'share': self.kept_input.share,
      },
      'definition_kept': {'length': length, 'head': kept},
      'references': list(self.references),
      'label_space': _list_or_none(self.label_space),
      'max_tokens': self.max_tokens,
      'num_tokens': None if self.tokens is None else len(self.tokens),
      'num_lost_tokens': self.num_lost_tokens,
      'tokens': None
      if self.tokens is None
      else [dataclasses.asdict(token) for token in self.tokens],
    }


def explain(
  found: Found,
  *,
  corpus: Corpus,
  condition: Condition,
  limit: prompts.TokenLimit | None = None,
  tokenizer: Tokenizer | None = None,
  eos: tuple[int, str] | None = (1, '</s>'),
  around: Parts = lambda text: ('', text, ''),
) -> Explanation:
  """Renders an instance and explains what happened to its parts.

  Args:
    found: Result of `instance_search.find_instance`.
    corpus: Corpus that contains the instance.
    condition: Condition on the instance's split.
    limit: Maximum length; None for no limit.
    tokenizer: Function from the text of a prompt to the tokens of that text and
      of the template around it; None to omit the tokens.
    eos: Id and piece of end-of-sequence; None if prompts do not end in it.
    around: What surrounds prompts.
  """
  render = functools.partial(
    prompts.render,
    task=found.task,
    instance=found.instance,
    condition=condition,
    tasks=corpus.lazy_tasks(found.split),
  )
  whole = render()
  prompt = whole if limit is None else render(limit=limit)
  task, instance = instructions.rewrite(
    task=found.task, instance=found.instance, condition=condition
  )
  parts = around(prompt.text)
  spans = prompt_spans.framed(
    prompt_spans.spans(prompt, instance=instance),
    text=prompt.text,
    parts=parts,
  )
  kinds = prompt_spans.example_kinds(prompt)
  all_kinds = prompt_spans.example_kinds(whole)
  max_tokens = None if limit is None else limit.max_tokens
  tokens, num_lost = None, 0
  if tokenizer is not None:
    tokens, num_lost = _tokens(prompt.text, spans, tokenizer, max_tokens, eos)
  return Explanation(
    condition=condition,
    prompt=prompt,
    text=''.join(parts),
    spans=spans,
    kept_input=prompt_spans.kept_input(prompt, instance=instance),
    kept_definition=prompt_spans.kept_definition(prompt, whole=whole),
    examples=tuple(zip(kinds, prompt.examples, strict=True)),
    dropped=tuple(
      pair
      for pair in zip(all_kinds, whole.examples, strict=True)
      if pair[0] not in kinds
    ),
    references=instance.outputs,
    label_space=task.label_space,
    max_tokens=max_tokens,
    tokens=tokens,
    num_lost_tokens=num_lost,
  )


def sentencepiece_tokenizer(processor: Any) -> Tokenizer:
  """Makes a tokenizer from a `SentencePieceProcessor`."""

  def tokenize(text: str) -> list[tuple[int, str, int]]:
    ids, pieces = processor.EncodeAsIds(text), processor.EncodeAsPieces(text)
    # Each token's position is that of its last character.
    places = prompt_spans.origins(
      ''.join(pieces).replace('▁', ' '), source=text
    )
    end, tokens = 0, []
    for token, piece in zip(ids, pieces, strict=True):
      end += len(piece)
      tokens.append((token, piece, places[end - 1]))
    return tokens

  return tokenize


def byte_tokenizer(encode: Callable[[str], Sequence[int]]) -> Tokenizer:
  """Makes a tokenizer for a vocabulary with one token per byte."""

  def tokenize(text: str) -> list[tuple[int, str, int]]:
    pieces = [
      (chr(byte) if byte < 0x80 else f'<0x{byte:02X}>', place)
      for place, character in enumerate(text)
      for byte in character.encode()
    ]
    return [
      (token, *piece) for token, piece in zip(encode(text), pieces, strict=True)
    ]

  return tokenize


def _tokens(
  text: str,
  spans: Sequence[Span],
  tokenizer: Tokenizer,
  max_tokens: int | None,
  eos: tuple[int, str] | None,
) -> tuple[tuple[Token, ...], int]:
  """Returns tokens, cut like SeqIO for end-of-sequence, and how many it cut."""
  kinds = [span.kind for span in spans for _ in range(span.start, span.end)]
  tokens = [
    Token(token, piece, kinds[place]) for token, piece, place in tokenizer(text)
  ]
  end = [] if eos is None else [Token(*eos, 'end')]
  kept = tokens if max_tokens is None else tokens[: max_tokens - len(end)]
  return (*kept, *end), len(tokens) - len(kept)


def _example_json(kind: str, example: Example) -> dict[str, object]:
  return {'kind': kind, **dataclasses.asdict(example)}


def _list_or_none(values: Sequence[str] | None) -> list[str] | None:
  return None if values is None else list(values)
