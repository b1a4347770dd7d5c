"""Beam search over a KV cache, as T5X or as transformers has it.

Shape letters:
  B batch   K num_beams   S max_decode_length   V vocab_size
  L prompt length   E emb_dim
"""

import contextlib
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh

from it_study.inference import label_trie
from it_study.inference.label_trie import LabelTrie
from it_study.models import partitioning
from it_study.models.t5 import PAD_ID, T5, DecodeCache, T5Config

# Whose rules of scoring and ending.
STYLES = ('t5x', 'transformers')


def beam_decode(
  *,
  model: T5,
  params: Any,
  encoder_input_tokens: jax.Array,
  max_decode_length: int,
  num_beams: int = 4,
  length_alpha: float = 0.6,
  style: str = 't5x',
  eos_id: int = 1,
  trie: LabelTrie | None = None,
  roots: jax.Array | None = None,
  encoded: jax.Array | None = None,
) -> jax.Array:
  """Continues every prompt with the best-scored sequence that a beam finds.

  A sequence of n tokens, its end counted, scores its log-probability over
  ((5 + n) / 6) ** alpha in T5X's style (Wu et al., "Google's Neural LoadedModel
  Translation System", 2016, equation 14, without coverage), over n ** alpha in
  transformers'. A row's search is over when no live beam can still reach its
  best `num_beams` ended ones; transformers judges that by the length so far
  (its `early_stopping=False`), T5X by the longest possible. In transformers
  only an end among the best `num_beams` candidates counts, and what has not
  ended when there is no more room competes; in T5X it counts where nothing has
  ended. What comes out for a row does not depend on the rows beside it.

  Args:
    model: the model; only its configuration matters.
    params: its parameters, without the outer 'params' key. Decoding runs on
      the mesh that they lie on.
    encoder_input_tokens: int32 `[B, L]`, padded with 0. A row that is padding
      throughout fills a batch up and gets padding.
    max_decode_length: tokens to decode at most, end of sequence included.
    num_beams: K, from 1 up.
    length_alpha: how much long sequences are favoured, from 0 up; 0 does
      not. T5 was decoded with 0.6 of its own, transformers' default is 1 of its
      own.
    style: one of `STYLES`.
    eos_id: the token that ends a sequence.
    trie: label spaces to keep to, see `label_trie.build`; None keeps to none.
    roots: int32 `[B]`, the node at which each row's label space begins.
    encoded: `[B, L, E]`, where the prompts are encoded already.

  Returns:
    int32 `[B, S]`: tokens, `eos_id`, then 0; no `eos_id` in a sequence that had
    no room to end.
  """
  return _beam_decode(
    params,
    encoder_input_tokens,
    jnp.float32(length_alpha),
    trie,
    roots,
    encoded,
    config=model.config,
    max_decode_length=max_decode_length,
    num_beams=num_beams,
    style=style,
    eos_id=eos_id,
    mesh=partitioning.mesh_of(params),
  )


class _Beams(NamedTuple):
  """Some sequences of each row, the best first.

  Attributes:
    scores: float32 `[B, K]`; -inf is none.
    tokens: int32 `[B, K, S]`.
  """

  scores: jax.Array
  tokens: jax.Array


class _State(NamedTuple):
  """Where a search stands.

  Attributes:
    step: int32 scalar, tokens that live beams have.
    live: beams that go on, by their log-probability.
    ended: the best that have ended, by their score.
    settled: bool `[B]`, where the search is over.
    last: int32 `[B, K]`, the live beams' last tokens.
    nodes: int32 `[B, K]`, where they stand in the trie; None without one.
    cache: the live beams'.
  """

  step: jax.Array
  live: _Beams
  ended: _Beams
  settled: jax.Array
  last: jax.Array
  nodes: jax.Array | None
  cache: DecodeCache


@functools.partial(
  jax.jit,
  static_argnames=(
    'config',
    'max_decode_length',
    'num_beams',
    'style',
    'eos_id',
    'mesh',
  ),
)
def _beam_decode(
  params: Any,
  prompts: jax.Array,
  length_alpha: jax.Array,
  trie: LabelTrie | None,
  roots: jax.Array | None,
  encoded: jax.Array | None,
  *,
  config: T5Config,
  max_decode_length: int,
  num_beams: int,
  style: str,
  eos_id: int,
  mesh: Mesh | None,
) -> jax.Array:
  apply = functools.partial(T5(config).apply, {'params': params})
  batch = prompts.shape[0]
  is_padding = jnp.all(prompts == PAD_ID, axis=1)

  is_t5x = style == 't5x'

  def penalty(length):
    base = (5.0 + length) / 6.0 if is_t5x else jnp.float32(length)
    return base**length_alpha

  def unfinished(state):
    return (state.step < max_decode_length) & ~jnp.all(state.settled)

  def extend(state):
    step, live = state.step, state.live
    logits, cache = apply(
      state.last.reshape(-1), state.cache, step, method='decode_step'
    )
    scores, parents, chosen = _best_extensions(
      live.scores, logits, trie, state.nodes
    )
    tokens = lax.dynamic_update_slice_in_dim(
      _take(live.tokens, parents), chosen[..., None], step, axis=2
    )  # [B, 2 K, S]
    ends = chosen == eos_id
    counts = ends
    if not is_t5x:
      ends = ends | (step + 1 == max_decode_length)
      counts = ends & (jnp.arange(2 * num_beams) < num_beams)
    now_ended = jnp.where(
      counts & ~state.settled[:, None], scores / penalty(step + 1), -jnp.inf
    )
    ended_scores = jnp.concatenate([state.ended.scores, now_ended], axis=1)
    ended_scores, kept = lax.top_k(ended_scores, num_beams)
    ended_tokens = jnp.concatenate([state.ended.tokens, tokens], axis=1)
    ended = _Beams(ended_scores, _take(ended_tokens, kept))
    scores, kept = lax.top_k(jnp.where(ends, -jnp.inf, scores), num_beams)
    parents, last = _take(parents, kept), _take(chosen, kept)  # [B, K]
    # No step makes a sequence likelier, and none lowers the penalty while
    # length_alpha is not below 0.
    hope = scores[:, 0] / penalty(max_decode_length if is_t5x else step + 1)
    return _State(
      step=step + 1,
      live=_Beams(scores, _take(tokens, kept)),
      ended=ended,
      settled=state.settled | (ended.scores[:, -1] >= hope),
      last=last,
      nodes=None
      if trie is None
      else label_trie.follow(trie, _take(state.nodes, parents), last),
      cache=_reorder(cache, parents),
    )

  with contextlib.ExitStack() as stack:
    if mesh is not None:
      stack.enter_context(partitioning.activation_sharding(mesh))
    if encoded is None:
      encoded = apply(prompts, method='encode')
    cache = apply(
      encoded,
      prompts,
      max_decode_length,
      rows_per_prompt=num_beams,
      method='start_decoding',
    )
    none = jnp.full((batch, num_beams), -jnp.inf)
    nothing = jnp.full((batch, num_beams, max_decode_length), PAD_ID, jnp.int32)
    state = lax.while_loop(
      unfinished,
      extend,
      _State(
        step=jnp.int32(0),
        # All beams are alike at first, so only one is there.
        live=_Beams(none.at[:, 0].set(0.0), nothing),
        ended=_Beams(none, nothing),
        settled=is_padding,
        last=jnp.full((batch, num_beams), PAD_ID, jnp.int32),
        nodes=None
        if trie is None
        else jnp.repeat(roots[:, None], num_beams, axis=1),
        cache=cache,
      ),
    )
  has_ended = (state.ended.scores[:, 0] > -jnp.inf)[:, None]
  best = jnp.where(has_ended, state.ended.tokens[:, 0], state.live.tokens[:, 0])
  return jnp.where(is_padding[:, None], PAD_ID, best)


def _best_extensions(
  scores: jax.Array,
  logits: jax.Array,
  trie: LabelTrie | None,
  nodes: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The best 2 K sequences with one more token, the best first.

  At most K of them end there, so that K are left to go on.

  Args:
    scores: float32 `[B, K]`, of the sequences without it.
    logits: float32 `[B K, V]` of the token.
    trie: label spaces to keep to, or None.
    nodes: int32 `[B, K]`, where the sequences stand in it.

  Returns:
    `[B, 2 K]` each: float32 scores, int32 indices of the sequences, and tokens.
  """
  batch, num_beams = scores.shape

  def choose(gains, tokens=None):
    """From gains `[B K, C]` of all tokens or of those of `[B K, C]`."""
    size = gains.shape[-1]
    extended = scores[..., None] + gains.reshape(batch, num_beams, size)
    best, places = lax.top_k(extended.reshape(batch, -1), 2 * num_beams)
    parents, chosen = places // size, (places % size).astype(jnp.int32)
    if tokens is not None:
      chosen = jnp.take_along_axis(tokens.reshape(batch, -1), places, axis=1)
    return best, parents, chosen

  if trie is None:
    return choose(jax.nn.log_softmax(logits))
  flat = nodes.reshape(-1)
  return lax.cond(
    # What scores -inf may have strayed to any node.
    jnp.any((nodes == label_trie.FREE) & (scores > -jnp.inf)),
    lambda: choose(label_trie.mask(trie, flat, jax.nn.log_softmax(logits))),
    # The same among few tokens, where all rows keep to label spaces.
    lambda: choose(
      *label_trie.allowed_scores(trie, flat, jax.nn.log_softmax(logits))
    ),
  )


def _take(array: jax.Array, indices: jax.Array) -> jax.Array:
  """`[B, m, ...]` and `[B, n]` -> `[B, n, ...]`."""
  indices = indices.reshape(*indices.shape, *(1,) * (array.ndim - 2))
  return jnp.take_along_axis(array, indices, axis=1)


def _reorder(cache: DecodeCache, parents: jax.Array) -> DecodeCache:
  """Gives every beam what its parent has seen; `parents` is `[B, K]`."""

  def of_parents(array):
    split = array.reshape(*parents.shape, *array.shape[1:])
    return _take(split, parents).reshape(array.shape)

  return cache.replace(
    self_keys=tuple(map(of_parents, cache.self_keys)),
    self_values=tuple(map(of_parents, cache.self_values)),
  )
