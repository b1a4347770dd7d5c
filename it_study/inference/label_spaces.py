"""Label spaces of rows as tokens, and how a label is ranked."""

from collections.abc import Mapping, Sequence
import functools
from typing import Any

import numpy as np
import seqio

from it_study.corpus.normalization import normalize_answer
from it_study.errors import InputError
from it_study.inference.label_trie import power_of_two

_EOS_ID = 1
Labels = dict[str, tuple[int, ...]]


def encode(
  rows: Sequence[Mapping[str, Any]],
  *,
  vocabulary: seqio.Vocabulary,
  max_length: int,
) -> list[Labels]:
  """Each row's labels with their tokens, end of sequence included.

  Args:
    rows: from `prediction_rows.load_instances`.
    vocabulary: of the model.
    max_length: tokens that a label may take.

  Returns:
    For each row, label to tokens; empty for a row without a label space.

  Raises:
    InputError: for a label that the vocabulary cannot spell or that is longer
      than a target may be.
  """

  @functools.cache
  def tokens_of(label: str, task: str) -> tuple[int, ...]:
    ids = [int(token) for token in vocabulary.encode(label)]
    if normalize_answer(vocabulary.decode(ids)) != normalize_answer(label):
      raise InputError(
        f'label {label!r:.80} of {task} cannot be spelled in the vocabulary: '
        f'it comes back as {vocabulary.decode(ids)!r:.80}. Decode freely '
        '(DECODING = greedy), or use another vocabulary.'
      )
    if len(ids) + 1 > max_length:
      raise InputError(
        f'label {label!r:.80} of {task} takes {len(ids) + 1} tokens with the '
        f"end, more than TASK_FEATURE_LENGTHS['targets'], {max_length}. Raise "
        'it.'
      )
    return (*ids, _EOS_ID)

  return [
    {
      label.decode(): tokens_of(label.decode(), row['task'].decode())
      for label in row['label_space']
    }
    for row in rows
  ]


def pad(several: Sequence[Labels], *, batch_size: int) -> np.ndarray:
  """Labels of a batch as one array; int32 [batch_size, labels, tokens].

  Both are rounded up to powers of two, so that few shapes are compiled.
  """
  shape = (
    batch_size,
    power_of_two(max(map(len, several))),
    power_of_two(max(len(t) for labels in several for t in labels.values())),
  )
  padded = np.zeros(shape, np.int32)
  for row, labels in enumerate(several):
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
  """The best label, the first of equally good ones.

  Args:
    labels: with their tokens.
    scores: log-likelihood of each, in nats.
    by: 'ranked', by log-likelihood; 'ranked_normalized', by that over the
      number of tokens; 'ranked_conditional', by how much the prompt adds to it
      (domain-conditional PMI; Holtzman et al. 2021).
    prior: log-likelihood of each without a prompt, for the last.
  """

  def value(label: str) -> float:
    if by == 'ranked_normalized':
      return scores[label] / len(labels[label])
    if by == 'ranked_conditional':
      return scores[label] - prior[label]
    return scores[label]

  return max(labels, key=value)
