"""Prompts decoded in batches of like length, and tokens turned into text."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import hashlib
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np
import seqio

from it_study import distributed
from it_study.errors import InputError
from it_study.inference import (
  beam,
  encoding,
  label_scores,
  label_spaces as label_spaces_lib,
  label_trie,
  token_loop,
)
from it_study.inference.decoding import Decoding
from it_study.inference.label_spaces import Labels
from it_study.inference.label_trie import power_of_two
from it_study.inference.sampling import Sampling
from it_study.models import partitioning
from it_study.models.t5 import T5

# Prompt lengths are rounded up to these shares of the limit, so that few
# shapes are compiled and little padding is computed.
_LENGTH_BUCKETS = 8
# A batch is encoded in so many parts, each padded to its own longest prompt.
_PARTS = 8
# Within so much of each other all processes are short of memory, or this one is
# alone, and the others wait for what its devices would send.
_SHORTAGE_SECONDS = 60.0

# Indices of prompts, and what was made of each.
Batch = tuple[list[int], list[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
  """A model on its devices, ready to answer.

  Attributes:
    model: the model.
    params: its parameters, on the mesh.
    mesh: whose `data` and `fsdp` split the prompts of a batch.
    max_length: tokens of the longest prompts.
    max_decode_length: tokens to decode at most.
    batch_size: prompts at once; fewer where so many do not fit memory.
    on_halved: told the number of prompts at once when that is halved.
  """

  model: T5
  params: Any
  mesh: jax.sharding.Mesh
  max_length: int
  max_decode_length: int
  batch_size: int
  on_halved: Callable[[int], None] = lambda size: None


def decode(
  loaded: LoadedModel,
  *,
  prompts: Sequence[np.ndarray],
  decoding: Decoding,
  method: str,
  label_spaces: Sequence[Labels] | None = None,
) -> Iterator[Batch]:
  """Decodes prompts, in batches of like length.

  Args:
    machine: to decode on.
    prompts: int32, one sequence of tokens each, none above `max_length`.
    decoding: whose settings hold.
    method: 'greedy', 'beam' or 'sample'.
    label_spaces: what each prompt's answer has to be one of; anything where
      that is empty, and for all of them without it.

  Yields:
    Batch by batch, indices of prompts and their int32 `[max_decode_length]`.
  """
  trie, roots = None, None
  if label_spaces is not None:
    spaces = [tuple(labels.values()) for labels in label_spaces]
    unique = list(dict.fromkeys(spaces))
    trie, starts = label_trie.build(unique)
    whole = partitioning.replicated(loaded.mesh)
    trie = jax.tree.map(lambda array: _put(array, whole), trie)
    root_of = dict(zip(unique, starts, strict=True))
    roots = [root_of[space] for space in spaces]

  def run(
    tokens: jax.Array, encoded: jax.Array, indices: list[int]
  ) -> jax.Array:
    settings: dict[str, Any] = {}
    if roots is not None:
      nodes = np.full(tokens.shape[0], label_trie.FREE, np.int32)
      nodes[: len(indices)] = [roots[index] for index in indices]
      settings = {'trie': trie, 'roots': _place(loaded, nodes)}
    if method == 'beam':
      function = beam.beam_decode
      settings['num_beams'] = decoding.num_beams
      settings['style'] = decoding.beam_style
      settings['length_alpha'] = decoding.length_alpha
    else:
      function = token_loop.decode_tokens
    if method == 'sample':
      keys = np.zeros((tokens.shape[0], 2), np.uint32)
      keys[: len(indices)] = [
        _sampling_key(prompts[index], decoding.seed) for index in indices
      ]
      settings['sampling'] = Sampling(
        keys=_place(loaded, keys),
        temperature=decoding.temperature,
        top_k=decoding.top_k,
        top_p=decoding.top_p,
      )
    return function(
      model=loaded.model,
      params=loaded.params,
      encoder_input_tokens=tokens,
      encoded=encoded,
      max_decode_length=loaded.max_decode_length,
      **settings,
    )

  yield from _in_batches(loaded, prompts, run)


def score(
  loaded: LoadedModel,
  *,
  prompts: Sequence[np.ndarray],
  label_spaces: Sequence[Labels],
) -> Iterator[Batch]:
  """Log-likelihood of every label of every prompt, in nats.

  Args:
    machine: to score on.
    prompts: as for `decode`.
    label_spaces: of each prompt, with a label at least.

  Yields:
    Batch by batch, indices of prompts and their labels' scores, as dicts.
  """

  def run(
    tokens: jax.Array, encoded: jax.Array, indices: list[int]
  ) -> jax.Array:
    labels = label_spaces_lib.pad(
      [label_spaces[index] for index in indices], batch_size=tokens.shape[0]
    )
    return label_scores.score_labels(
      model=loaded.model,
      params=loaded.params,
      encoder_input_tokens=tokens,
      encoded=encoded,
      labels=_place(loaded, labels),
    )

  for indices, rows in _in_batches(loaded, prompts, run):
    yield (
      indices,
      [
        {
          label: float(value)
          for label, value in zip(label_spaces[index], row, strict=False)
        }
        for index, row in zip(indices, rows, strict=True)
      ],
    )


def _in_batches(
  loaded: LoadedModel,
  prompts: Sequence[np.ndarray],
  run: Callable[[jax.Array, jax.Array, list[int]], jax.Array],
) -> Iterator[Batch]:
  """Runs prompts a batch at a time, in smaller ones where memory is short.

  The longest come first, so that memory falls short at once if it does, and
  what is left for a batch that is not full is short.
  """
  shards = loaded.mesh.shape['data'] * loaded.mesh.shape['fsdp']
  size = _round_up(loaded.batch_size, shards)
  left = sorted(range(len(prompts)), key=lambda k: (-len(prompts[k]), k))
  while left:
    batch = left[:size]
    length = _padded_length(len(prompts[batch[0]]), loaded.max_length)
    num_rows = min(size, _round_up(power_of_two(len(batch)), shards))
    tokens = np.zeros((num_rows, length), np.int32)
    for row, index in enumerate(batch):
      tokens[row, : len(prompts[index])] = prompts[index]
    try:
      # Has no name here: it would be kept while the next batch is encoded.
      results = _fetch(
        run(_place(loaded, tokens), _encode(loaded, tokens), batch)
      )
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      if num_rows == shards:
        raise InputError(
          f'memory does not hold one prompt of {length} tokens a device: '
          f'{str(error).splitlines()[0]:.200}. Split the model over more '
          "devices (MESH_MODEL), or lower TASK_FEATURE_LENGTHS['inputs']."
        ) from None
      if not distributed.have_all_come(seconds=_SHORTAGE_SECONDS):
        raise InputError(
          f'memory of this process alone does not hold {num_rows} prompts of '
          f'{length} tokens. Set a smaller INFER_BATCH_SIZE.'
        ) from None
      size = _round_up(num_rows // 2, shards)
      loaded.on_halved(size)
      continue
    yield batch, list(results[: len(batch)])
    left = left[size:]


def _encode(loaded: LoadedModel, tokens: np.ndarray) -> jax.Array:
  """`[B, L] -> [B, L, E]`, by parts that are padded no more than they need."""
  num_rows, length = tokens.shape
  shards = loaded.mesh.shape['data'] * loaded.mesh.shape['fsdp']
  size = _round_up(-(-loaded.batch_size // _PARTS), shards)
  parts = []
  for start in range(0, num_rows, size):
    rows = tokens[start : start + size]
    used = np.flatnonzero(rows.any(axis=0))
    longest = 1 + int(used[-1]) if used.size else 0
    rows = rows[:, : _padded_length(longest, loaded.max_length)]
    parts.append(_place(loaded, rows))
  return encoding.encode(
    model=loaded.model, params=loaded.params, parts=parts, length=length
  )


def _padded_length(length: int, longest: int) -> int:
  """The length in tokens that a prompt is padded to."""
  unit = -(-longest // _LENGTH_BUCKETS)
  return min(_round_up(max(length, 1), unit), longest)


def _round_up(number: int, unit: int) -> int:
  return -(-number // unit) * unit


def _place(loaded: LoadedModel, array: np.ndarray) -> jax.Array:
  """An array with its rows split over the devices."""
  return _put(array, partitioning.batch_sharding(loaded.mesh))


def _put(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
  """The same array in every process, on the devices of all."""
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )


def _fetch(array: jax.Array) -> np.ndarray:
  """All rows, in every process."""
  if array.is_fully_addressable:
    return np.asarray(array)
  return multihost_utils.process_allgather(array, tiled=True)


def _sampling_key(prompt: np.ndarray, seed: int) -> np.ndarray:
  """Uint32 `[2]` from the prompt and the seed."""
  content = f'{seed} '.encode() + prompt.astype('<i4').tobytes()
  digest = hashlib.sha256(content).digest()
  return np.frombuffer(digest[:8], '<u4')


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
