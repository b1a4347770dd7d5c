"""Prompts decoded in batches of like length, and tokens turned into text."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import seqio

from it_study import partitioning
from it_study.decode import greedy, label_scores, label_trie
from it_study.engines import label_spaces as label_spaces_lib
from it_study.engines.label_spaces import Labels
from it_study.models.t5 import T5

# Prompt lengths are rounded up to these shares of the limit, so that few
# shapes are compiled and little padding is computed.
_LENGTH_BUCKETS = 4


def decode(
  *,
  model: T5,
  params: Any,
  mesh: jax.sharding.Mesh,
  prompts: Sequence[np.ndarray],
  max_length: int,
  max_decode_length: int,
  batch_size: int,
  label_spaces: Sequence[Labels] | None = None,
  on_progress: Callable[[int, int], None] | None,
) -> list[np.ndarray]:
  """Decodes prompts greedily, in batches of like length.

  Args:
    model: the model.
    params: its parameters, on the mesh.
    mesh: whose `data` and `fsdp` split the prompts of a batch.
    prompts: int32, one sequence of tokens each, none above `max_length`.
    max_length: tokens of the longest prompts.
    max_decode_length: tokens to decode at most.
    batch_size: prompts decoded at once.
    label_spaces: what each prompt's answer has to be one of; anything where
      that is empty, and for all of them without it.
    on_progress: called with the number of prompts done and of all.

  Returns:
    int32 `[max_decode_length]` for each prompt, in their order.
  """
  shards = mesh.shape['data'] * mesh.shape['fsdp']
  batch_size = -(-batch_size // shards) * shards
  sharding = partitioning.batch_sharding(mesh)
  results: list[np.ndarray | None] = [None] * len(prompts)
  trie = roots = None
  if label_spaces is not None:
    spaces = [tuple(labels.values()) for labels in label_spaces]
    unique = list(dict.fromkeys(spaces))
    trie, starts = label_trie.build(unique)
    trie = jax.device_put(trie, partitioning.whole_sharding(mesh))
    root_of = dict(zip(unique, starts, strict=True))
    roots = [root_of[space] for space in spaces]
  done = 0
  for length, indices in _batches(prompts, max_length, batch_size):
    batch = _fill(prompts, indices, (batch_size, length))
    nodes = None
    if roots is not None:
      nodes = np.full(batch_size, label_trie.FREE, np.int32)
      nodes[: len(indices)] = [roots[index] for index in indices]
      nodes = jax.device_put(nodes, sharding)
    decoded = greedy.greedy_decode(
      model=model,
      params=params,
      encoder_input_tokens=jax.device_put(batch, sharding),
      max_decode_length=max_decode_length,
      trie=trie,
      roots=nodes,
    )
    for row, index in zip(np.asarray(decoded), indices, strict=False):
      results[index] = row
    done += len(indices)
    if on_progress is not None:
      on_progress(done, len(prompts))
  return results


def score(
  *,
  model: T5,
  params: Any,
  mesh: jax.sharding.Mesh,
  prompts: Sequence[np.ndarray],
  label_spaces: Sequence[Labels],
  max_length: int,
  batch_size: int,
  on_progress: Callable[[int, int], None] | None,
) -> list[dict[str, float]]:
  """Log-likelihood of every label of every prompt, in nats.

  Arguments are those of `decode`; each label space holds a label.
  """
  shards = mesh.shape['data'] * mesh.shape['fsdp']
  batch_size = -(-batch_size // shards) * shards
  sharding = partitioning.batch_sharding(mesh)
  results: list[dict[str, float]] = [{} for _ in prompts]
  done = 0
  for length, indices in _batches(prompts, max_length, batch_size):
    batch = _fill(prompts, indices, (batch_size, length))
    several = [label_spaces[index] for index in indices]
    labels = label_spaces_lib.pad(several, batch_size=batch_size)
    scores = label_scores.score_labels(
      model=model,
      params=params,
      encoder_input_tokens=jax.device_put(batch, sharding),
      labels=jax.device_put(labels, sharding),
    )
    for row, index in zip(np.asarray(scores), indices, strict=False):
      results[index] = {
        label: float(value)
        for label, value in zip(label_spaces[index], row, strict=False)
      }
    done += len(indices)
    if on_progress is not None:
      on_progress(done, len(prompts))
  return results


def _fill(
  prompts: Sequence[np.ndarray], indices: Sequence[int], shape: tuple[int, int]
) -> np.ndarray:
  """Some of the prompts, padded with 0; int32 of the shape."""
  batch = np.zeros(shape, np.int32)
  for row, index in enumerate(indices):
    batch[row, : len(prompts[index])] = prompts[index]
  return batch


def _batches(
  prompts: Sequence[np.ndarray], max_length: int, batch_size: int
) -> Iterator[tuple[int, list[int]]]:
  """Yields a padded length and the prompts to decode at it."""
  unit = -(-max_length // _LENGTH_BUCKETS)
  buckets: dict[int, list[int]] = {}
  for index, prompt in enumerate(prompts):
    length = min(max(-(-len(prompt) // unit), 1) * unit, max_length)
    buckets.setdefault(length, []).append(index)
  for length in sorted(buckets):
    indices = buckets[length]
    for start in range(0, len(indices), batch_size):
      yield length, indices[start : start + batch_size]


def to_text(vocabulary: seqio.Vocabulary, tokens: np.ndarray) -> str:
  """The text up to end-of-sequence."""
  ids = [int(token) for token in tokens]
  if 1 in ids:
    ids = ids[: ids.index(1)]
  # The table of a rounded-up vocabulary has rows that stand for nothing.
  unknown = vocabulary.unk_id
  size = vocabulary.vocab_size
  return vocabulary.decode(
    [token if token < size else unknown for token in ids if token]
  )
