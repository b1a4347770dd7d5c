"""Encodes the label spaces of rows, and ranks their labels."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Mapping, Sequence
import functools
from typing import Any, NoReturn

from jaxtyping import Int32
import numpy as np
import seqio

from it_study.corpus.findings import plural
from it_study.data import vocabularies
from it_study.data.vocabularies import Decoded
from it_study.errors import InputError
from it_study.inference.label_trie import power_of_two

# The labels of a label space, and their tokens.
Labels = dict[str, tuple[int, ...]]


def encode(
  rows: Sequence[Mapping[str, Any]],
  *,
  vocabulary: seqio.Vocabulary,
  max_length: int,
  on_unspellable: str = 'refuse',
) -> list[Labels]:
  """Returns each row's labels and their tokens, end of sequence included.

  Args:
    rows: Rows from `prediction_rows.load_instances`.
    vocabulary: Vocabulary of the model.
    max_length: Maximum number of tokens in a label, end of sequence included.
    on_unspellable: Treatment of labels that the vocabulary cannot spell, as in
      `Decoding.unspellable_labels`.

  Returns:
    Tokens by label for each row; empty for rows without a label space, and for
    those of a task to be answered freely.

  Raises:
    InputError: If a label cannot be spelled and that is refused, two labels to
      match have the same tokens, or a label is too long.
  """
  lacking = unspellable(rows, vocabulary=vocabulary)
  if lacking and on_unspellable == 'refuse':
    _refuse(lacking, vocabulary)

  @functools.cache
  def tokens_of(label: str, task: str, start: str) -> tuple[int, ...]:
    ids = [int(token) for token in vocabulary.encode(start + label)]
    if len(ids) + 1 > max_length:
      raise InputError(
        f'label {label!r:.80} of {task} takes {len(ids) + 1} tokens with the '
        f"end of sequence. Raise TASK_FEATURE_LENGTHS['targets'], which is "
        f'{max_length}.'
      )
    return (*ids, vocabulary.eos_id)

  spaces: list[Labels] = []
  for row in rows:
    task = row['task'].decode()
    labels = [label.decode() for label in row['label_space']]
    if task in lacking and on_unspellable == 'free':
      labels = []
    # Tasks of a user's own have no start.
    start = row.get('answer_start', b'').decode()
    space = {label: tokens_of(label, task, start) for label in labels}
    if task in lacking:
      _check_distinct(space, task, lacking[task])
    spaces.append(space)
  return spaces


def unspellable(
  rows: Sequence[Mapping[str, Any]], *, vocabulary: seqio.Vocabulary
) -> dict[str, list[str]]:
  """Returns the labels that the vocabulary cannot spell, by task.

  An answer with such a label's tokens does not equal the label for exact match.
  """
  found: dict[str, list[str]] = {}
  pairs = ((row['task'], label) for row in rows for label in row['label_space'])
  for task, label in dict.fromkeys(pairs):
    text = label.decode()
    if not vocabularies.is_matched(text, vocabularies.spell(vocabulary, text)):
      found.setdefault(task.decode(), []).append(text)
  return found


def label_of(
  answer: Decoded, labels: Labels, *, vocabulary: seqio.Vocabulary
) -> str | None:
  """Returns the label that an answer within a label space stands for.

  Returns:
    The label as it is written if the vocabulary cannot spell it, so that it is
    scored as that label; None for other labels, whose text is the answer.
  """
  for label, tokens in labels.items():
    spelled = vocabularies.decode(vocabulary, tokens)
    if spelled == answer and not vocabularies.is_matched(label, spelled):
      return label
  return None


def pad(
  label_spaces: Sequence[Labels], *, batch_size: int, pad_id: int = 0
) -> Int32[np.ndarray, '{batch_size} Y T']:
  """Returns the labels of a batch as one array, padded with `pad_id`.

  Numbers of labels and tokens are rounded up to powers of two, so that few
  shapes are compiled.
  """
  shape = (
    batch_size,
    power_of_two(max(map(len, label_spaces))),
    power_of_two(
      max(len(t) for labels in label_spaces for t in labels.values())
    ),
  )
  padded = np.full(shape, pad_id, np.int32)
  for row, labels in enumerate(label_spaces):
    for place, tokens in enumerate(labels.values()):
      padded[row, place, : len(tokens)] = tokens
  return padded


def rank(
  labels: Labels,
  scores: Mapping[str, float],
  *,
  by: str,
  prior: Mapping[str, float] | None = None,
) -> str:
  """Returns the best label, the first of equally good ones.

  Args:
    labels: Labels and their tokens.
    scores: Log-likelihood of each label, in nats.
    by: 'ranked', by log-likelihood; 'ranked_normalized', by log-likelihood per
      token; or 'ranked_conditional', by how much the prompt adds to the
      log-likelihood (domain-conditional PMI; Holtzman et al. 2021).
    prior: Log-likelihood of each label without a prompt, in nats; only for
      'ranked_conditional'.
  """

  def value(label: str) -> float:
    if by == 'ranked_normalized':
      return scores[label] / len(labels[label])
    if by == 'ranked_conditional':
      assert prior is not None, 'ranked_conditional compares with a prior'
      return scores[label] - prior[label]
    return scores[label]

  return max(labels, key=value)


def _refuse(
  lacking: Mapping[str, Sequence[str]], vocabulary: seqio.Vocabulary
) -> NoReturn:
  task, (label, *_) = next(iter(lacking.items()))
  spelled = vocabularies.spell(vocabulary, label)
  others = sum(map(len, lacking.values())) - 1
  also = f' (and {plural(others, "other")})' if others else ''
  raise InputError(
    f'label {label!r:.80} of {task}{also} cannot be '
    f'spelled in the vocabulary: it decodes to '
    f'{spelled.raw or spelled.text!r:.80}. Set UNSPELLABLE_LABELS to free, '
    'which answers such tasks without restriction, or to match, which takes '
    "a label's tokens for the label; or use another vocabulary."
  )


def _check_distinct(labels: Labels, task: str, lacking: Sequence[str]) -> None:
  """Raises `InputError` if a label that is not spelled has another's tokens."""
  label_with: dict[tuple[int, ...], str] = {}
  for label, tokens in labels.items():
    other = label_with.setdefault(tokens, label)
    if other != label and {label, other} & set(lacking):
      raise InputError(
        f'labels {other!r:.80} and {label!r:.80} of {task} have the same '
        'tokens in the vocabulary, so no answer tells them apart. Set '
        'UNSPELLABLE_LABELS to free, or use another vocabulary.'
      )
