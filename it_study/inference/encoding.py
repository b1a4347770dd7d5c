"""Encodes prompts before decoding, what many begin with only once.

Shape letters, as in `it_study.models`:
  B batch     L prompt length     Q length of a rest     E emb_dim
  Y targets of a prompt           T target length
"""

from collections.abc import Callable, Sequence
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int
import numpy as np

from it_study.models import AnyArray, Model, partitioning
from it_study.processes import host_memory

# Smallest share of a group's tokens that a common beginning is worth encoding
# apart for. What follows it attends to a padded beginning, which costs more
# than a few tokens save.
_LEAST_SHARE = 1 / 8
# Prompts' keys and values are kept in at most this many groups, each padded to
# its longest prompt. More groups take longer to compile.
_MAX_GROUPS = 4


class Beginning(NamedTuple):
  """What a prompt shares with others.

  Attributes:
    group: Number of the group of prompts that share it.
    length: Number of its tokens; 0 if the prompt shares nothing.
  """

  group: int
  length: int


def find_beginnings(
  prompts: Sequence[Int[np.ndarray, ' _']],
) -> list[Beginning]:
  """Groups prompts by their beginnings so that the most tokens are saved.

  A group of n prompts saves n - 1 times their common beginning. At least one
  token of every prompt is left. Beginnings that are short beside the prompts
  are not shared.

  >>> find_beginnings([np.array(p) for p in ([5, 6, 1], [7, 8], [5, 6, 2])])
  [Beginning(group=0, length=2), Beginning(group=1, length=0), \
Beginning(group=0, length=2)]
  """
  order = sorted(
    range(len(prompts)), key=lambda k: prompts[k].astype('>i4').tobytes()
  )
  ordered = [prompts[k] for k in order]
  sums = [0, *itertools.accumulate(map(len, ordered))]
  common = [
    *(_common(a, b) for a, b in itertools.pairwise(ordered)),
    -1,
  ]
  # Ranges that share more and more tokens, each within the one below it:
  # [tokens shared, start, tokens saved by its parts, its parts].
  open_ranges: list[tuple[int, int, int, list[tuple[int, int, int]]]] = []
  for index, shared in enumerate(common):
    start, saved, parts = index, 0, [(index, index + 1, 0)]
    while open_ranges and open_ranges[-1][0] >= shared:
      depth, start, saved_before, parts_before = open_ranges.pop()
      saved, parts = saved_before + saved, parts_before + parts
      own = (index - start) * depth
      tokens = sums[index + 1] - sums[start]
      is_long = (index + 1 - start) * depth >= _LEAST_SHARE * tokens
      if depth > shared and own > saved and is_long:
        saved, parts = own, [(start, index + 1, depth)]
    open_ranges.append((shared, start, saved, parts))
  found: list[Beginning] = [Beginning(k, 0) for k in range(len(prompts))]
  for start, end, length in open_ranges[0][3] if open_ranges else ():
    if length:
      members = order[start:end]
      for k in members:
        found[k] = Beginning(min(members), length)
  return found


def _common(a: Int[np.ndarray, ' _'], b: Int[np.ndarray, ' _']) -> int:
  """Returns how many tokens two prompts share before the last of either."""
  length = max(min(len(a), len(b)) - 1, 0)
  differences = np.flatnonzero(a[:length] != b[:length])
  return int(differences[0]) if differences.size else length


class Rests(NamedTuple):
  """What follows the encoded beginnings of some prompts.

  Attributes:
    beginnings: Result of `encode` for each prompt's beginning, in its first
      row.
    lengths: Number of tokens of each beginning.
    longest: Number of tokens that the beginnings are padded to; 0 if no prompt
      has one.
    tokens: Tokens after the beginnings, padded with `config.pad_id`.
    length: Number of tokens that the whole prompts are padded to.
  """

  beginnings: Sequence[Any]
  lengths: Int[AnyArray, ' B']
  longest: int
  tokens: Int[AnyArray, 'B Q']
  length: int


def whole(prompts: Int[AnyArray, 'B L']) -> Rests:
  """Returns prompts of which no beginning is encoded."""
  rows, length = prompts.shape
  return Rests((), np.zeros(rows, np.int32), 0, prompts, length)


def encode(
  *, model: Model, params: Any, parts: Sequence[Rests], length: int
) -> Any:
  """Encodes a batch whose parts are padded to several lengths.

  Compiled once per shape of a part. That saves compiling, too: many
  combinations of parts have few shapes.

  Args:
    model: Model to encode with; only its configuration is used.
    params: Parameters of the model, without the outer 'params' key.
    parts: Consecutive rows of the batch, whose beginnings are encoded.
    length: Length of the batch, at least that of every part.

  Returns:
    The result of the model's `encode` for the whole prompts; for a causal model
    on one device, in groups of neighbouring parts.
  """
  mesh = partitioning.mesh_of(params)
  encoded = [
    (_wait(_encode_rests(part, params, model, mesh), model, mesh), part.length)
    for part in parts
  ]
  return _gather(encoded, model=model, length=length, mesh=mesh)


def read_with_targets(
  part: Rests,
  targets: Int[AnyArray, 'B Y T'],
  *,
  model: Model,
  params: Any,
) -> Float[Array, 'B Y T E']:
  """Reads the rests of a part, and targets after them, in one pass.

  Args:
    part: Rests, whose beginnings are encoded.
    targets: Targets of each prompt.
    model: Model to read with; only its configuration is used.
    params: Parameters of the model, without the outer 'params' key.

  Returns:
    Hidden states from which each token of the targets is predicted.
  """
  mesh = partitioning.mesh_of(params)
  beginnings: Any = ()
  if part.longest:
    beginnings = _padded_beginnings(part, model, mesh)
    beginnings = jax.tree.map(_concatenate, *beginnings)
  apply: Callable[..., Any] = model.apply
  with partitioning.activation_sharding(mesh):
    hidden = apply(
      {'params': params},
      beginnings,
      part.lengths,
      part.tokens,
      targets,
      method='read_prompts_and_targets',
    )
  return _wait(hidden, model, mesh)


def _encode_rests(
  part: Rests, params: Any, model: Model, mesh: Mesh | None
) -> Any:
  """Returns a part's whole prompts."""
  if not part.longest:
    return _encode(params, part.tokens, model=model, mesh=mesh)
  joined, lengths, rests = _extend(
    params,
    _padded_beginnings(part, model, mesh),
    part.lengths,
    part.tokens,
    model=model,
    mesh=mesh,
  )
  return _append(
    joined, lengths, rests, model=model, length=part.length, mesh=mesh
  )


def _padded_beginnings(
  part: Rests, model: Model, mesh: Mesh | None
) -> tuple[Any, ...]:
  """Returns the beginnings of a part's prompts, or the one they all share."""
  # Padded one by one, since padding many takes much memory.
  padded = {
    id(beginning): beginning
    if beginning[0].shape[1] == part.longest
    else _join((beginning,), model=model, length=part.longest, mesh=mesh)
    for beginning in part.beginnings
  }
  if len(padded) == 1 and _is_one_device(mesh):
    return (*padded.values(),)
  return tuple(padded[id(beginning)] for beginning in part.beginnings)


def _wait(encoded: Any, model: Model, mesh: Mesh | None) -> Any:
  """Waits on a CPU, where parts that run at once all take memory."""
  if jax.default_backend() == 'cpu':
    jax.block_until_ready(encoded)
  if is_by_layer(model, mesh):
    # Compiling, and parts of other lengths, leave what no later part fits.
    host_memory.give_back_unused()
  return encoded


def _gather(
  parts: list[tuple[Any, int]],
  *,
  model: Model,
  length: int,
  mesh: Mesh | None,
) -> Any:
  """Joins encoded parts and their lengths to a batch; may empty the list."""
  if not (model.config.has_causal_prompts and _is_one_device(mesh)):
    # The rows of a part are split among all devices, unlike those of a batch.
    if [own for _, own in parts] == [length]:
      return parts[0][0]
    encoded = tuple(part for part, _ in parts)
    return _join(encoded, model=model, length=length, mesh=mesh)
  groups: list[Any] = []
  size = -(-len(parts) // _MAX_GROUPS)
  while parts:
    encoded, lengths = zip(*parts[:size], strict=True)
    del parts[:size]  # So that no more than one group is in memory twice.
    own = length
    # Few lengths, since decoding is compiled for every combination of them.
    while max(lengths) <= -(-own // 2) < own:
      own = -(-own // 2)
    if lengths == (own,):
      groups += encoded[0]
    else:
      groups += _join(encoded, model=model, length=own, mesh=mesh)
  return tuple(groups)


def is_by_layer(model: Model, mesh: Mesh | None) -> bool:
  """Whether a model is called layer by layer instead of as one program.

  One layer is compiled much sooner than all of them, and takes less memory.
  Devices other than CPUs would wait for the host between layers. Several CPU
  devices get one program, too: those that wait for each other run few at a
  time. In bfloat16 the two may round differently.
  """
  is_cpu = jax.default_backend() == 'cpu'
  return model.config.has_causal_prompts and is_cpu and _is_one_device(mesh)


def _is_one_device(mesh: Mesh | None) -> bool:
  return mesh is None or mesh.size == 1


def _program(*static: str) -> Callable[[Callable[..., Any]], Any]:
  """Compiles a function, except where models are called layer by layer.

  Args:
    *static: Names of arguments that it is compiled for, besides `model` and
      `mesh`.
  """

  def decorate(function: Callable[..., Any]) -> Any:
    compiled = jax.jit(function, static_argnames=('model', 'mesh', *static))

    @functools.wraps(function)
    def call(
      *args: Any, model: Model, mesh: Mesh | None, **settings: Any
    ) -> Any:
      run = function if is_by_layer(model, mesh) else compiled
      return run(*args, model=model, mesh=mesh, **settings)

    return call

  return decorate


@_program()
def _encode(
  params: Any,
  tokens: Int[AnyArray, 'B L'],
  *,
  model: Model,
  mesh: Mesh | None,
) -> Any:
  apply: Callable[..., Any] = model.apply
  with partitioning.activation_sharding(mesh):
    return apply({'params': params}, tokens, method='encode')


@_program()
def _extend(
  params: Any,
  beginnings: tuple[Any, ...],
  lengths: Int[AnyArray, ' B'],
  rests: Int[AnyArray, 'B Q'],
  *,
  model: Model,
  mesh: Mesh | None,
) -> tuple[Any, Int[AnyArray, ' B'], Any]:
  """Returns the beginnings as one group, their lengths, and what follows."""
  apply: Callable[..., Any] = model.apply
  joined = _split_rows(jax.tree.map(_concatenate, *beginnings), mesh)
  with partitioning.activation_sharding(mesh):
    extended = apply(
      {'params': params}, joined, lengths, rests, method='extend'
    )
  return joined, lengths, extended


@_program('length')
def _join(
  parts: tuple[Any, ...],
  *,
  model: Model,
  length: int,
  mesh: Mesh | None,
) -> Any:
  return _split_rows(model.join(parts, length=length), mesh)


def _append(
  beginnings: Any,
  lengths: Int[AnyArray, ' B'],
  rests: Any,
  *,
  model: Model,
  length: int,
  mesh: Mesh | None,
) -> Any:
  """Returns whole prompts."""
  # On one device of any kind layer by layer, which is compiled sooner.
  append = _append_layers if _is_one_device(mesh) else _append_at_once
  return append(
    beginnings, lengths, rests, model=model, length=length, mesh=mesh
  )


def _append_layers(
  beginnings: Any,
  lengths: Int[AnyArray, ' B'],
  rests: Any,
  *,
  model: Model,
  length: int,
  mesh: Mesh | None,
) -> Any:
  appended = model.append(beginnings, lengths, rests, length=length)
  return _split_rows(appended, mesh)


_append_at_once = jax.jit(
  _append_layers, static_argnames=('model', 'length', 'mesh')
)


@jax.jit
def _concatenate(*arrays: Array) -> Array:
  """Joins the first rows of arrays."""
  return jnp.concatenate([array[:1] for array in arrays])


def _split_rows(encoded: Any, mesh: Mesh | None) -> Any:
  """Splits the rows among devices, if there are several."""
  if mesh is None or mesh.size == 1:
    return encoded
  return jax.lax.with_sharding_constraint(
    encoded, partitioning.batch_sharding(mesh)
  )
