"""Encodes the label spaces of rows, and ranks their labels."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Mapping, Sequence
import functools
from typing import Any

from jaxtyping import Int32
import numpy as np
import seqio

from it_study.corpus.normalization import normalize_answer
from it_study.errors import InputError
from it_study.inference.label_trie import power_of_two

_EOS_ID = 1
# The labels of a label space, and their tokens.
Labels = dict[str, tuple[int, ...]]


def encode(
  rows: Sequence[Mapping[str, Any]],
  *,
  vocabulary: seqio.Vocabulary,
  max_length: int,
) -> list[Labels]:
  """Returns each row's labels and their tokens, end of sequence included.

  Args:
    rows: Rows from `prediction_rows.load_instances`.
    vocabulary: Vocabulary of the model.
    max_length: Maximum number of tokens in a label, end of sequence included.

  Returns:
    Tokens by label for each row; empty for rows without a label space.

  Raises:
    InputError: If the vocabulary cannot represent a label, or a label is too
      long.
  """

  @functools.cache
  def tokens_of(label: str, task: str) -> tuple[int, ...]:
    ids = [int(token) for token in vocabulary.encode(label)]
    if normalize_answer(vocabulary.decode(ids)) != normalize_answer(label):
      raise InputError(
        f'label {label!r:.80} of {task} cannot be represented in the '
        f'vocabulary: it decodes to {vocabulary.decode(ids)!r:.80}. Set '
        'DECODING = greedy, or use another vocabulary.'
      )
    if len(ids) + 1 > max_length:
      raise InputError(
        f'label {label!r:.80} of {task} takes {len(ids) + 1} tokens with the '
        f"end of sequence. Raise TASK_FEATURE_LENGTHS['targets'], which is "
        f'{max_length}.'
      )
    return (*ids, _EOS_ID)

  return [
    {
      label.decode(): tokens_of(label.decode(), row['task'].decode())
      for label in row['label_space']
    }
    for row in rows
  ]


def pad(
  label_spaces: Sequence[Labels], *, batch_size: int
) -> Int32[np.ndarray, '{batch_size} Y T']:
  """Returns the labels of a batch as one array, padded with 0.

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
  padded = np.zeros(shape, np.int32)
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
