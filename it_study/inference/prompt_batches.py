"""Runs prompts in batches of similar length.

Shape letters, as in `it_study.models`:
  B batch     L prompt length     S decoding steps     E emb_dim
  Y labels of a prompt
"""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import hashlib
import itertools
import logging
from typing import Any

import jax
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int, Shaped, UInt32
import numpy as np
import seqio

from it_study import distributed
from it_study.data import vocabularies
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
from it_study.inference.encoding import Beginning
from it_study.inference.label_spaces import Labels
from it_study.inference.label_trie import power_of_two
from it_study.inference.sampling import Sampling
from it_study.models import Model, partitioning

# Prompt lengths are rounded up to multiples of 1/8 of the maximum, so that few
# shapes are compiled and little padding is computed.
_LENGTH_BUCKETS = 8
# A batch is encoded in this many parts, each padded to its own longest prompt.
_PARTS = 8
# The same for the rests of prompts with a common beginning, which are shorter.
_PARTS_OF_RESTS = 4
# Beginnings and rests are padded to at least this many tokens, and by at most
# about a quarter.
_SHORTEST = 8
# Processes that run out of memory within this time of each other halve the
# batch. One that does so alone fails, as the others wait for its devices.
_SHORTAGE_SECONDS = 60.0

# Indices of prompts, and the result of each.
Batch = tuple[list[int], list[Any]]

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
  """A model on its devices, ready for inference.

  Attributes:
    model: The model.
    params: Parameters of the model, on the mesh.
    mesh: Mesh whose `data` and `fsdp` axes split the prompts of a batch.
    vocabulary: Vocabulary of prompts and answers.
    max_length: Maximum length of a prompt in tokens.
    max_decode_length: Maximum number of tokens to decode.
    batch_size: Number of prompts at once, halved until they fit in memory.
    on_halved: Function called with the new batch size whenever it is halved.
  """

  model: Model
  params: Any
  mesh: jax.sharding.Mesh
  vocabulary: seqio.Vocabulary
  max_length: int
  max_decode_length: int
  batch_size: int
  on_halved: Callable[[int], None] = lambda size: None

  @property
  def pad_id(self) -> int:
    """Id that pads prompts and answers."""
    return self.model.config.pad_id


def decode(
  loaded: LoadedModel,
  *,
  prompts: Sequence[Int[np.ndarray, ' _']],
  decoding: Decoding,
  method: str,
  label_spaces: Sequence[Labels] | None = None,
) -> Iterator[Batch]:
  """Decodes prompts in batches of similar length.

  Args:
    loaded: Model to decode with.
    prompts: Tokens of each prompt, at most `loaded.max_length`.
    decoding: Settings of the method.
    method: 'greedy', 'beam' or 'sample'.
    label_spaces: Label space that restricts each prompt's answer, empty for no
      restriction; None if no prompt has one.

  Yields:
    Batch by batch, indices of prompts and their decoded tokens, int32 [S].

  Raises:
    InputError: If logits are not finite.
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

  def run(batch: _Batch) -> Int[Array, 'B S']:
    indices = batch.indices
    tokens = _place(loaded, batch.tokens)
    settings: dict[str, Any] = {
      'model': loaded.model,
      'params': loaded.params,
      'encoder_input_tokens': tokens,
      'encoded': batch.encode(),
      'max_decode_length': loaded.max_decode_length,
      'eos_id': loaded.vocabulary.eos_id,
      'other_ends': vocabularies.other_ends(loaded.vocabulary),
    }
    if roots is not None:
      nodes = np.full(tokens.shape[0], label_trie.FREE, np.int32)
      nodes[: len(indices)] = [roots[index] for index in indices]
      settings |= {'trie': trie, 'roots': _place(loaded, nodes)}
    if method == 'beam':
      return beam.beam_decode(
        num_beams=decoding.num_beams,
        style=decoding.beam_style,
        length_alpha=decoding.length_alpha,
        **settings,
      )
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
    return token_loop.decode_tokens(**settings)

  for indices, rows in _in_batches(loaded, prompts, run):
    _check_finite(
      [token_loop.NOT_FINITE not in row for row in rows], prompts, indices
    )
    yield indices, rows


def score(
  loaded: LoadedModel,
  *,
  prompts: Sequence[Int[np.ndarray, ' _']],
  label_spaces: Sequence[Labels],
) -> Iterator[Batch]:
  """Scores every label of every prompt by its log-likelihood, in nats.

  Args:
    loaded: Model to score with.
    prompts: Tokens of each prompt, at most `loaded.max_length`.
    label_spaces: Label space of each prompt, with at least one label.

  Yields:
    Batch by batch, indices of prompts and the scores of their labels, by label.

  Raises:
    InputError: If a score is not finite.
  """

  def run(batch: _Batch) -> Float[Array, 'B Y']:
    labels = _place(
      loaded,
      label_spaces_lib.pad(
        [label_spaces[index] for index in batch.indices],
        batch_size=len(batch.tokens),
        pad_id=loaded.pad_id,
      ),
    )
    settings: dict[str, Any] = {
      'model': loaded.model,
      'params': loaded.params,
      'labels': labels,
      'ends': (
        loaded.vocabulary.eos_id,
        *vocabularies.other_ends(loaded.vocabulary),
      ),
    }
    if label_scores.is_one_pass(loaded.model, loaded.mesh, labels):
      return label_scores.score_in_one_pass(parts=batch.parts(), **settings)
    return label_scores.score_labels(
      encoder_input_tokens=_place(loaded, batch.tokens),
      encoded=batch.encode(),
      **settings,
    )

  for indices, rows in _in_batches(loaded, prompts, run):
    _check_finite(
      [bool(np.isfinite(row).all()) for row in rows], prompts, indices
    )
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
  prompts: Sequence[Int[np.ndarray, ' _']],
  run: Callable[['_Batch'], jax.Array],
) -> Iterator[Batch]:
  """Runs prompts batch by batch, with smaller batches if memory runs out.

  The longest prompts come first, with those that share a beginning with them.
  So memory runs out early, if it does, and the last batch, which may not be
  full, has short prompts.
  """
  shards = _num_shards(loaded.mesh)
  size = _round_up(loaded.batch_size, shards)
  begins = [Beginning(k, 0) for k in range(len(prompts))]
  if loaded.model.config.has_causal_prompts:
    begins = encoding.find_beginnings(prompts)
  longest: dict[int, int] = {}
  for prompt, (group, _) in zip(prompts, begins, strict=True):
    longest[group] = max(longest.get(group, 0), len(prompt))
  remaining = sorted(
    range(len(prompts)),
    key=lambda k: (-longest[begins[k].group], begins[k], -len(prompts[k]), k),
  )
  encoder = _Encoder(loaded)
  while remaining:
    batch = encoder.arrange(remaining[:size], prompts, begins)
    length = _padded_length(
      max(len(prompts[k]) for k in batch), loaded.max_length
    )
    num_rows = min(size, _round_up(power_of_two(len(batch)), shards))
    tokens = np.full((num_rows, length), loaded.pad_id, np.int32)
    for row, index in enumerate(batch):
      tokens[row, : len(prompts[index])] = prompts[index]
    try:
      results = _fetch(
        run(_Batch(batch, tokens, [begins[k] for k in batch], encoder))
      )
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      if num_rows == shards:
        raise InputError(
          f'memory does not hold one prompt of {length} tokens per device: '
          f'{str(error).splitlines()[0]:.200}. Split the model over more '
          "devices (MESH_MODEL), or lower TASK_FEATURE_LENGTHS['inputs']."
        ) from None
      if not distributed.have_all_come(seconds=_SHORTAGE_SECONDS):
        raise InputError(
          f'only this process ran out of memory, with {num_rows} prompts of '
          f'{length} tokens. Set a smaller INFER_BATCH_SIZE.'
        ) from None
      size = _round_up(num_rows // 2, shards)
      loaded.on_halved(size)
      continue
    yield batch, list(results[: len(batch)])
    remaining = remaining[size:]


def _check_finite(
  is_finite: Sequence[bool],
  prompts: Sequence[Int[np.ndarray, ' _']],
  indices: Sequence[int],
) -> None:
  bad = [k for k, ok in zip(indices, is_finite, strict=True) if not ok]
  if bad:
    raise InputError(
      f'the logits of {len(bad)} of {len(indices)} prompts are not finite (NaN '
      f'or infinity), the first with {len(prompts[bad[0]])} tokens: its '
      'activations overflow. Set DTYPE to float32, or use other weights.'
    )


class _Encoder:
  """Encodes batches, and what prompts begin with in common only once."""

  def __init__(self, loaded: LoadedModel):
    self._loaded = loaded
    self._model = {'model': loaded.model, 'params': loaded.params}
    # Encoded beginnings of the last batch, by group.
    self._known: dict[int, Any] = {}
    # Numbers of prompts, and the lengths that groups of them are padded to.
    self._shapes: set[tuple[int, tuple[int, ...]]] = set()

  def arrange(
    self,
    batch: Sequence[int],
    prompts: Sequence[Int[np.ndarray, ' _']],
    begins: Sequence[Beginning],
  ) -> list[int]:
    """Sorts the prompts of a batch.

    Rests of similar length come side by side, in one part. Parts with the
    longest prompts come first, so that batches have few shapes.
    """
    rows = sorted(batch, key=lambda k: begins[k].length - len(prompts[k]))
    size = self._part_size(_PARTS_OF_RESTS)
    parts = [rows[k : k + size] for k in range(0, len(rows), size)]
    # One that padding fills up stays last.
    last = parts.pop() if len(parts[-1]) < size else []
    parts.sort(key=lambda part: -max(len(prompts[k]) for k in part))
    return [*itertools.chain(*parts), *last]

  def parts(
    self, tokens: Int[np.ndarray, 'B L'], begins: Sequence[Beginning]
  ) -> list[encoding.Rests]:
    """Divides a batch into parts, each padded to its own longest prompt.

    Encodes what prompts share with others first.

    Args:
      tokens: Prompts, then rows of padding.
      begins: What each prompt shares with others.
    """
    if any(begin.length for begin in begins):
      return self._rests(tokens, begins)
    return [
      encoding.whole(_place(self._loaded, rows[:, : self._padded_prompt(used)]))
      for rows, used in self._split(tokens, _PARTS)
    ]

  def encode(
    self, tokens: Int[np.ndarray, 'B L'], begins: Sequence[Beginning]
  ) -> Any:
    """Encodes a batch in parts; see `parts`."""
    length = tokens.shape[1]
    encoded = encoding.encode(
      **self._model, parts=self.parts(tokens, begins), length=length
    )
    lengths: tuple[int, ...] = (length,)
    if self._loaded.model.config.has_causal_prompts:
      lengths = tuple(group.shape[1] for group in encoded)
    if (len(tokens), lengths) not in self._shapes:
      self._shapes.add((len(tokens), lengths))
      _logger.info(
        'New batch shape, compiled at first use: %d prompts x %s tokens.',
        len(tokens),
        ', '.join(map(str, lengths)),
      )
    return encoded

  def _rests(
    self, tokens: Int[np.ndarray, 'B L'], begins: Sequence[Beginning]
  ) -> list[encoding.Rests]:
    num_rows, length = tokens.shape
    first = {
      begin.group: row for row, begin in enumerate(begins) if begin.length
    }
    known = {key: self._known[key] for key in first if key in self._known}
    self._known = known
    for group, row in first.items():
      if group not in known:
        known[group] = self._beginning(tokens[row, : begins[row].length])
    begins = [*begins, *[Beginning(-1, 0)] * (num_rows - len(begins))]
    lengths = np.array([begin.length for begin in begins], np.int32)
    whole = (tokens != self._loaded.pad_id).sum(axis=1)
    rests = np.full_like(tokens, self._loaded.pad_id)
    for row, begin in enumerate(begins):
      rests[row, : length - begin.length] = tokens[row, begin.length :]
    parts, start = [], 0
    for rows, used in self._split(rests, _PARTS_OF_RESTS):
      part = slice(start, start + len(rows))
      start = part.stop
      groups = [begin.group for begin in begins[part]]
      # A row without a beginning takes another's, and none of its tokens.
      other = next((known[group] for group in groups if group in known), None)
      longest = self._padded_beginning(int(lengths[part].max()))
      padded = self._padded if longest else self._padded_prompt
      parts.append(
        encoding.Rests(
          [known.get(group, other) for group in groups],
          _place(self._loaded, lengths[part]),
          longest,
          _place(self._loaded, rows[:, : padded(used)]),
          self._padded_prompt(int(whole[part].max())),
        )
      )
    return parts

  def _beginning(self, tokens: Int[np.ndarray, ' _']) -> Any:
    """Encodes a beginning, in as many rows as there are devices for rows."""
    shape = _num_shards(self._loaded.mesh), self._padded_beginning(len(tokens))
    rows = np.full(shape, self._loaded.pad_id, np.int32)
    rows[:, : len(tokens)] = tokens
    return encoding.encode(
      **self._model,
      parts=[encoding.whole(_place(self._loaded, rows))],
      length=shape[1],
    )

  def _padded_prompt(self, length: int) -> int:
    return _padded_length(length, self._loaded.max_length)

  def _padded_beginning(self, length: int) -> int:
    """Returns the length that the beginnings of a part are padded to.

    There are few, since rests are compiled for each of them and for each of
    their own lengths.
    """
    return self._padded(length, 4) if length else 0

  def _padded(self, length: int, parts: int = 8) -> int:
    """Returns the length that beginnings and rests of prompts are padded to.

    Args:
      length: Number of tokens.
      parts: Number of lengths up to the next power of two.
    """
    unit = max(_SHORTEST, power_of_two(length) // parts)
    return min(_round_up(max(length, 1), unit), self._padded_prompt(length))

  def _split(
    self, tokens: Int[np.ndarray, 'B L'], num_parts: int
  ) -> Iterator[tuple[Int[np.ndarray, '_ L'], int]]:
    """Yields parts of a batch, and the length of each one's longest prompt."""
    size = self._part_size(num_parts)
    for start in range(0, len(tokens), size):
      rows = tokens[start : start + size]
      used = np.flatnonzero((rows != self._loaded.pad_id).any(axis=0))
      yield rows, 1 + int(used[-1]) if used.size else 0

  def _part_size(self, num_parts: int) -> int:
    return _round_up(
      -(-self._loaded.batch_size // num_parts), _num_shards(self._loaded.mesh)
    )


@dataclasses.dataclass(frozen=True)
class _Batch:
  """Prompts that run at once.

  Attributes:
    indices: Indices of the prompts.
    tokens: The prompts, then rows of padding, [B, L].
    begins: What each prompt shares with others.
    encoder: Encoder of all batches.
  """

  indices: list[int]
  tokens: Int[np.ndarray, 'B L']
  begins: Sequence[Beginning]
  encoder: _Encoder

  def encode(self) -> Any:
    """Returns the encoded prompts.

    The caller must not keep them, which would have them in memory while the
    next batch is encoded.
    """
    return self.encoder.encode(self.tokens, self.begins)

  def parts(self) -> list[encoding.Rests]:
    """Returns the prompts in parts, what they share encoded."""
    return self.encoder.parts(self.tokens, self.begins)


def _num_shards(mesh: jax.sharding.Mesh) -> int:
  """Returns the number of parts that rows are split into among devices."""
  return mesh.shape['data'] * mesh.shape['fsdp']


def _padded_length(length: int, longest: int) -> int:
  """Returns the length in tokens that a prompt is padded to."""
  unit = -(-longest // _LENGTH_BUCKETS)
  return min(_round_up(max(length, 1), unit), longest)


def _round_up(number: int, unit: int) -> int:
  return -(-number // unit) * unit


def _place(
  loaded: LoadedModel, array: Shaped[np.ndarray, ' *shape']
) -> Shaped[Array, ' *shape']:
  """Puts an array on the devices, split by its rows."""
  return _put(array, partitioning.batch_sharding(loaded.mesh))


def _put(
  array: Shaped[np.ndarray, ' *shape'], sharding: jax.sharding.Sharding
) -> Shaped[Array, ' *shape']:
  """Puts an array that every process has on the devices of all processes."""
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )


def _fetch(array: Shaped[Array, ' *shape']) -> Shaped[np.ndarray, ' *shape']:
  """Returns all rows, in every process."""
  if array.is_fully_addressable:
    return np.asarray(array)
  return multihost_utils.process_allgather(array, tiled=True)


def _sampling_key(
  prompt: Int[np.ndarray, ' L'], seed: int
) -> UInt32[np.ndarray, '2']:
  """Derives a key from the prompt and the seed."""
  content = f'{seed} '.encode() + prompt.astype('<i4').tobytes()
  digest = hashlib.sha256(content).digest()
  return np.frombuffer(digest[:8], '<u4')
