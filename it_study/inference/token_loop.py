"""Greedy decoding and sampling with a KV cache, one token at a time.

Shape letters, as in `it_study.models`:
  B batch     L prompt length     E emb_dim
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float32, Int, Int32

from it_study.inference import encoding, label_trie, sampling as sampling_lib
from it_study.inference.label_trie import LabelTrie
from it_study.inference.sampling import Sampling
from it_study.models import AnyArray, Model, partitioning

# Stands in the place of a token whose logits are not finite. No model pads with
# it.
NOT_FINITE = -2


class _State(NamedTuple):
  """What is decoded so far.

  Attributes:
    step: Number of the next step.
    last: Last token of every row.
    ended: Which rows have ended.
    tokens: Tokens of the steps so far, then padding.
    nodes: Node of every row in the trie of label spaces.
  """

  step: Int32[Array, '']
  last: Int32[Array, ' B']
  ended: Bool[Array, ' B']
  tokens: Int32[Array, 'B S']
  nodes: Int32[Array, ' B']


def decode_tokens(
  *,
  model: Model,
  params: Any,
  encoder_input_tokens: Int[AnyArray, 'B L'],
  max_decode_length: int,
  eos_id: int = 1,
  other_ends: tuple[int, ...] = (),
  trie: LabelTrie | None = None,
  roots: Int[AnyArray, ' B'] | None = None,
  sampling: Sampling | None = None,
  encoded: Any = None,
) -> Int32[Array, 'B {max_decode_length}']:
  """Continues every prompt with its most likely tokens, or with drawn ones.

  Compiled once for each configuration, batch shape and length. Stops as soon as
  every row has ended. Of equally likely tokens it takes the smallest.

  Args:
    model: Model to decode with; only its configuration is used.
    params: Parameters of the model, without the outer 'params' key. Decoding
      runs on the mesh that they are on.
    encoder_input_tokens: Prompts, padded with `config.pad_id`. Rows of padding
      alone, which fill up a batch, end before their first token.
    max_decode_length: Maximum number of tokens, end of sequence included.
    eos_id: Token that ends a row.
    other_ends: Further tokens that end a row. `eos_id` stands in their place.
    trie: Label spaces that restrict the answers, from `label_trie.build`; None
      for no restriction. Cannot be combined with `sampling`.
    roots: Node at which each row's label space begins.
    sampling: Settings of sampling; None for the most likely tokens.
    encoded: Result of the model's `encode`, if already computed.

  Returns:
    Tokens, `eos_id` where the row ended, then padding. Rows that reach the
    maximum length may have no `eos_id`. A row ends with `NOT_FINITE` where its
    logits were not finite.
  """
  if sampling is not None and trie is not None:
    raise ValueError('Sampling does not support label spaces.')
  mesh = partitioning.mesh_of(params)
  is_by_layer = encoding.is_by_layer(model, mesh)
  decode = _decode if is_by_layer else _decode_tokens
  return decode(
    params,
    encoder_input_tokens,
    trie,
    roots,
    sampling,
    encoded,
    model=model,
    max_decode_length=max_decode_length,
    eos_id=eos_id,
    other_ends=other_ends,
    mesh=mesh,
    loop=_loop_on_host if is_by_layer else lax.while_loop,
  )


def merge_ends(
  logits: Float32[Array, '*rows V'], ends: tuple[int, ...]
) -> Float32[Array, '*rows V']:
  """Gives one token the probability of all tokens that end an answer.

  A model tuned for chats may end its turn by one token and a text by another.
  Without this, a label or a beam would be judged by one of them alone.

  Args:
    logits: Logits of the next token.
    ends: Token that gets the probability, then the tokens that lose theirs.
      Fewer than two tokens leave the logits as they are.
  """
  if len(ends) < 2:
    return logits
  ids = jnp.array(ends)
  merged = jax.nn.logsumexp(logits[..., ids], axis=-1)
  return logits.at[..., ids[1:]].set(-jnp.inf).at[..., ends[0]].set(merged)


def _decode(
  params: Any,
  prompts: Int[AnyArray, 'B L'],
  trie: LabelTrie | None,
  roots: Int[AnyArray, ' B'] | None,
  sampling: Sampling | None,
  encoded: Any,
  *,
  model: Model,
  max_decode_length: int,
  eos_id: int,
  other_ends: tuple[int, ...],
  mesh: Mesh | None,
  loop: Callable[..., Any] = lax.while_loop,
) -> Int32[Array, 'B {max_decode_length}']:
  apply: Callable[..., Any] = functools.partial(model.apply, {'params': params})

  def decode_one(state: tuple[_State, Any]) -> tuple[_State, Any]:
    decoded, cache = state
    logits, cache = apply(
      decoded.last, cache, decoded.step, method='decode_step'
    )  # [B, V]
    decoded = _add_tokens(
      decoded,
      logits,
      trie,
      sampling,
      eos_id=eos_id,
      other_ends=other_ends,
      pad_id=model.config.pad_id,
    )
    return decoded, cache

  with partitioning.activation_sharding(mesh):
    if encoded is None:
      encoded = apply(prompts, method='encode')
    cache = apply(encoded, prompts, max_decode_length, method='start_decoding')
    batch = prompts.shape[0]
    start = _State(
      step=jnp.int32(0),
      last=apply(prompts, method='first_tokens'),
      ended=jnp.all(prompts == model.config.pad_id, axis=1),
      tokens=jnp.full(
        (batch, max_decode_length), model.config.pad_id, jnp.int32
      ),
      nodes=jnp.zeros(batch, jnp.int32)
      if roots is None
      else jnp.asarray(roots),
    )
    state, _ = loop(
      lambda state: _is_unfinished(state[0]), decode_one, (start, cache)
    )
  return state.tokens


_decode_tokens = jax.jit(
  _decode,
  static_argnames=(
    'model',
    'max_decode_length',
    'eos_id',
    'other_ends',
    'mesh',
    'loop',
  ),
)


def _loop_on_host(
  condition: Callable[[Any], Bool[Array, '']],
  body: Callable[[Any], Any],
  state: Any,
) -> Any:
  """Does what `lax.while_loop` does, for a body that is not one program."""
  while condition(state):
    state = body(state)
  return state


@jax.jit
def _is_unfinished(state: _State) -> Bool[Array, '']:
  return (state.step < state.tokens.shape[1]) & ~jnp.all(state.ended)


@functools.partial(jax.jit, static_argnames=('eos_id', 'other_ends', 'pad_id'))
def _add_tokens(
  state: _State,
  logits: Float32[Array, 'B V'],
  trie: LabelTrie | None,
  sampling: Sampling | None,
  *,
  eos_id: int,
  other_ends: tuple[int, ...],
  pad_id: int,
) -> _State:
  """Chooses the next token of every row."""
  nodes = state.nodes
  # Before label spaces and sampling, which exclude tokens by -inf.
  is_finite = jnp.all(jnp.isfinite(logits), axis=-1)
  if sampling is not None:
    chosen = sampling_lib.draw(sampling, logits, state.step)
  elif trie is not None:
    logits = merge_ends(logits, (eos_id, *other_ends))
    chosen, nodes = label_trie.choose(trie, nodes, logits)
  else:
    chosen = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  if other_ends:
    is_end = jnp.isin(chosen, jnp.array(other_ends))
    chosen = jnp.where(is_end, eos_id, chosen)
  chosen = jnp.where(is_finite, chosen, NOT_FINITE)
  chosen = jnp.where(state.ended, pad_id, chosen)
  return _State(
    step=state.step + 1,
    last=chosen,
    ended=state.ended | (chosen == eos_id) | (chosen == NOT_FINITE),
    tokens=lax.dynamic_update_slice_in_dim(
      state.tokens, chosen[:, None], state.step, axis=1
    ),
    nodes=nodes,
  )
