"""One instance under a condition: what the model sees of it, as data."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Protocol

from it_study import instructions
from it_study.conditions import Condition
from it_study.corpus.instance_search import Found
from it_study.corpus.natinst import Corpus, Example
from it_study.instructions import prompt_spans, prompts
from it_study.instructions.prompt_spans import KeptInput, Span


@dataclasses.dataclass(frozen=True)
class Token:
  """A token as the model gets it.

  Attributes:
    id: in the vocabulary.
    piece: as the vocabulary writes it.
    kind: of the span it stands in, 'end' for end-of-sequence.
  """

  id: int
  piece: str
  kind: str


class Tokenizer(Protocol):
  """A text to the tokens of all of it, without end-of-sequence."""

  def __call__(self, text: str) -> Sequence[tuple[int, str, int]]:
    """Returns id, piece and place in the text of each token."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
  """What the model sees of an instance under a condition.

  Attributes:
    condition: as it shows on the instance's split.
    prompt: within the limit, if there is one.
    spans: of its text.
    kept_input: how much of the instance's text is left.
    kept_definition: characters left of the definition, and those of all of it.
    examples: kind of span and example, of those in the prompt.
    dropped: likewise of those that did not fit.
    references: accepted, as the condition has them.
    label_space: likewise; None for generation.
    max_tokens: the limit, None without one.
    tokens: as the model gets them, None without a vocabulary.
    num_lost_tokens: of the text, which end-of-sequence takes the place of: what
      `tk_truncation` leaves has no room for it.
  """

  condition: Condition
  prompt: prompts.Prompt
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
    """A JSON object; positions count characters, ends are exclusive."""
    kept, length = self.kept_definition
    return {
      'condition': self.condition.name,
      'text': self.prompt.text,
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
  eos: tuple[int, str] = (1, '</s>'),
) -> Explanation:
  """Renders an instance and says what became of its parts.

  Args:
    found: of `instance_search.find_instance`.
    corpus: the instance's.
    condition: as it shows on the instance's split.
    limit: None renders everything.
    tokenizer: None leaves the tokens out.
    eos: id and piece of end-of-sequence.
  """
  fields = {
    'task': found.task,
    'instance': found.instance,
    'condition': condition,
    'tasks': corpus.lazy_tasks(found.split),
  }
  whole = prompts.render(**fields)
  prompt = whole if limit is None else prompts.render(**fields, limit=limit)
  task, instance = instructions.rewrite(
    task=found.task, instance=found.instance, condition=condition
  )
  spans = prompt_spans.spans(prompt, instance=instance)
  kinds = prompt_spans.example_kinds(prompt)
  all_kinds = prompt_spans.example_kinds(whole)
  max_tokens = None if limit is None else limit.max_tokens
  tokens, num_lost = None, 0
  if tokenizer is not None:
    tokens, num_lost = _tokens(prompt.text, spans, tokenizer, max_tokens, eos)
  return Explanation(
    condition=condition,
    prompt=prompt,
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


def sentencepiece_tokenizer(processor) -> Tokenizer:
  """Makes a tokenizer of a `SentencePieceProcessor`."""

  def tokenize(text: str) -> list[tuple[int, str, int]]:
    ids, pieces = processor.EncodeAsIds(text), processor.EncodeAsPieces(text)
    # In what was joined from the pieces, where does each of them end?
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
  """Makes a tokenizer of a vocabulary that has a token a byte."""

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
  eos: tuple[int, str],
) -> tuple[tuple[Token, ...], int]:
  """Tokens, cut as SeqIO cuts them for end-of-sequence, and how many it cut."""
  kinds = [span.kind for span in spans for _ in range(span.start, span.end)]
  tokens = [
    Token(token, piece, kinds[place]) for token, piece, place in tokenizer(text)
  ]
  kept = tokens if max_tokens is None else tokens[: max_tokens - 1]
  return (*kept, Token(*eos, 'end')), len(tokens) - len(kept)


def _example_json(kind: str, example: Example) -> dict[str, object]:
  return {'kind': kind, **dataclasses.asdict(example)}


def _list_or_none(values: Sequence[str] | None) -> list[str] | None:
  return None if values is None else list(values)
