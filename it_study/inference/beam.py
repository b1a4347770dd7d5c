"""Beam search over a KV cache, in T5X's style or that of transformers.

Shape letters, as in `it_study.models`:
  B batch           L prompt length    S decoding steps   E emb_dim
  W num_beams       V vocab_size       C choices          N decoded rows, B W
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, Shaped

from it_study.inference import label_trie
from it_study.inference.label_trie import LabelTrie
from it_study.inference.token_loop import NOT_FINITE, merge_ends
from it_study.models import AnyArray, Model, partitioning

# Rules by which sequences are scored and searches end.
STYLES = ('t5x', 'transformers')


def beam_decode(
  *,
  model: Model,
  params: Any,
  encoder_input_tokens: Int[AnyArray, 'B L'],
  max_decode_length: int,
  num_beams: int = 4,
  length_alpha: float = 0.6,
  style: str = 't5x',
  eos_id: int = 1,
  other_ends: tuple[int, ...] = (),
  trie: LabelTrie | None = None,
  roots: Int[AnyArray, ' B'] | None = None,
  encoded: Any = None,
) -> Int32[Array, 'B {max_decode_length}']:
  """Continues every prompt with the best-scored sequence that a beam finds.

  A sequence of n tokens, end of sequence included, scores its log-probability
  over ((5 + n) / 6) ** alpha in T5X's style (Wu et al., "Google's Neural
  Machine Translation System", 2016, equation 14, without coverage), over
  n ** alpha in transformers'. A row's search is over when no live beam can
  still beat its best `num_beams` ended ones; transformers judges that by the
  current length (its `early_stopping=False`), T5X by the longest possible. In
  transformers only ends among the best `num_beams` candidates count, and
  sequences that reach the maximum length without an end compete; in T5X these
  count only where nothing has ended. A row's result does not depend on the
  other rows.

  Args:
    model: Model to decode with; only its configuration is used.
    params: Parameters of the model, without the outer 'params' key. Decoding
      runs on the mesh that they are on.
    encoder_input_tokens: Prompts, padded with `config.pad_id`. Rows of padding
      alone, which fill up a batch, get padding.
    max_decode_length: Maximum number of tokens, end of sequence included.
    num_beams: Number of beams, at least 1.
    length_alpha: Exponent of the length penalty, at least 0. Larger values
      favour long sequences. T5 was decoded with 0.6 in T5X's style; the default
      of transformers is 1 in its own.
    style: One of `STYLES`.
    eos_id: Token that ends a sequence.
    other_ends: Further tokens that end one; see `token_loop.merge_ends`.
    trie: Label spaces that restrict the sequences, from `label_trie.build`;
      None for no restriction.
    roots: Node at which each row's label space begins.
    encoded: Result of the model's `encode`, if already computed.

  Returns:
    Tokens, `eos_id`, then padding. Sequences that reach the maximum length may
    have no `eos_id`. A row whose logits were not finite has `NOT_FINITE` alone.
  """
  return _beam_decode(
    params,
    encoder_input_tokens,
    jnp.float32(length_alpha),
    trie,
    roots,
    encoded,
    model=model,
    max_decode_length=max_decode_length,
    num_beams=num_beams,
    style=style,
    ends=(eos_id, *other_ends),
    mesh=partitioning.mesh_of(params),
  )


class _Beams(NamedTuple):
  """Some sequences of each row, best first.

  Attributes:
    scores: Scores of the sequences; -inf marks an absent one.
    tokens: Tokens of the sequences.
  """

  scores: Float32[Array, 'B W']
  tokens: Int32[Array, 'B W S']


class _State(NamedTuple):
  """State of a search.

  Attributes:
    step: Number of tokens in the live beams.
    live: Beams that continue, by their log-probability.
    ended: Best beams that have ended, by their score.
    is_over: Whether each row's search is over.
    is_finite: Whether each row's logits were finite until its search was over.
    last: Last token of each live beam.
    nodes: Trie node of each live beam; None without a trie.
    cache: Cache of the live beams.
  """

  step: Int32[Array, '']
  live: _Beams
  ended: _Beams
  is_over: Bool[Array, ' B']
  is_finite: Bool[Array, ' B']
  last: Int32[Array, 'B W']
  nodes: Int32[Array, 'B W'] | None
  cache: Any


@functools.partial(
  jax.jit,
  static_argnames=(
    'model',
    'max_decode_length',
    'num_beams',
    'style',
    'ends',
    'mesh',
  ),
)
def _beam_decode(
  params: Any,
  prompts: Int[Array, 'B L'],
  length_alpha: Float32[Array, ''],
  trie: LabelTrie | None,
  roots: Int[Array, ' B'] | None,
  encoded: Any,
  *,
  model: Model,
  max_decode_length: int,
  num_beams: int,
  style: str,
  ends: tuple[int, ...],
  mesh: Mesh | None,
) -> Int32[Array, 'B {max_decode_length}']:
  apply: Callable[..., Any] = functools.partial(model.apply, {'params': params})
  is_padding = jnp.all(prompts == model.config.pad_id, axis=1)
  search = _Search(
    apply=apply,
    trie=trie,
    length_alpha=length_alpha,
    max_decode_length=max_decode_length,
    num_beams=num_beams,
    is_t5x=style == 't5x',
    ends=ends,
    pad_id=model.config.pad_id,
  )
  with partitioning.activation_sharding(mesh):
    if encoded is None:
      encoded = apply(prompts, method='encode')
    cache = apply(
      encoded,
      prompts,
      max_decode_length,
      rows_per_prompt=num_beams,
      method='start_decoding',
    )
    state = lax.while_loop(
      search.is_running,
      search.extend,
      search.start(
        cache,
        first=apply(prompts, method='first_tokens'),
        is_over=is_padding,
        roots=roots,
      ),
    )
  has_ended = (state.ended.scores[:, 0] > -jnp.inf)[:, None]
  best = jnp.where(has_ended, state.ended.tokens[:, 0], state.live.tokens[:, 0])
  best = jnp.where(state.is_finite[:, None], best, NOT_FINITE)
  return jnp.where(is_padding[:, None], model.config.pad_id, best)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Search:
  """A search's settings and its steps.

  Attributes:
    apply: Function that calls a method of the model, given by name.
    trie: Label spaces that restrict the sequences, or None.
    length_alpha: Exponent of the length penalty.
    max_decode_length: Maximum number of tokens.
    num_beams: Number of beams.
    is_t5x: Whether T5X's rules hold, otherwise those of transformers.
    ends: Tokens that end a sequence; the first stands for all.
    pad_id: Padding of sequences.
  """

  apply: Callable[..., Any]
  trie: LabelTrie | None
  length_alpha: Float32[Array, '']
  max_decode_length: int
  num_beams: int
  is_t5x: bool
  ends: tuple[int, ...]
  pad_id: int

  def start(
    self,
    cache: Any,
    *,
    first: Int32[Array, ' B'],
    is_over: Bool[Array, ' B'],
    roots: Int[Array, ' B'] | None,
  ) -> _State:
    """Returns the state before the first token."""
    shape = (is_over.shape[0], self.num_beams)
    absent = jnp.full(shape, -jnp.inf)
    padding = jnp.full((*shape, self.max_decode_length), self.pad_id, jnp.int32)
    # All beams are equal at first, so only one is present.
    live = _Beams(absent.at[:, 0].set(0.0), padding)
    last = jnp.repeat(first[:, None], self.num_beams, axis=1)
    nodes = None
    if self.trie is not None:
      assert roots is not None, 'label spaces have roots in the trie'
      nodes = jnp.repeat(roots[:, None], self.num_beams, axis=1)
    return _State(
      step=jnp.int32(0),
      live=live,
      ended=_Beams(absent, padding),
      is_over=is_over,
      is_finite=jnp.ones_like(is_over),
      last=last,
      nodes=nodes,
      cache=cache,
    )

  def is_running(self, state: _State) -> Bool[Array, '']:
    """Whether a row's search continues and there is room for another token."""
    return (state.step < self.max_decode_length) & ~jnp.all(state.is_over)

  def extend(self, state: _State) -> _State:
    """Extends all live beams by one token."""
    step = state.step
    logits, cache = self.apply(
      state.last.reshape(-1), state.cache, step, method='decode_step'
    )
    is_finite = state.is_over | jnp.all(
      jnp.isfinite(logits).reshape(state.is_over.shape[0], -1), axis=-1
    )
    logits = merge_ends(logits, self.ends)
    scores, parents, chosen = _best_extensions(
      state.live.scores, logits, self.trie, state.nodes
    )
    tokens = lax.dynamic_update_slice_in_dim(
      _take(state.live.tokens, parents), chosen[..., None], step, axis=2
    )  # [B, 2 W, S]
    ends, counts = self._ends(chosen, step)
    ended = self._add_ended(state, scores, tokens, counts)
    scores, ranks = lax.top_k(jnp.where(ends, -jnp.inf, scores), self.num_beams)
    parents, last = _take(parents, ranks), _take(chosen, ranks)  # [B, W]
    # Further steps only lower log-probabilities, and never the penalty, as
    # length_alpha is at least 0.
    bound = scores[:, 0] / self._penalty(
      self.max_decode_length if self.is_t5x else step + 1
    )
    next_step = step + 1
    live = _Beams(scores, _take(tokens, ranks))
    is_over = state.is_over | (ended.scores[:, -1] >= bound) | ~is_finite
    nodes = None
    if self.trie is not None and state.nodes is not None:
      nodes = label_trie.follow(self.trie, _take(state.nodes, parents), last)
    return _State(
      step=next_step,
      live=live,
      ended=ended,
      is_over=is_over,
      is_finite=state.is_finite & is_finite,
      last=last,
      nodes=nodes,
      cache=_reorder(cache, parents),
    )

  def _ends(
    self, chosen: Int32[Array, 'B candidates'], step: Int32[Array, '']
  ) -> tuple[Bool[Array, 'B candidates'], Bool[Array, 'B candidates']]:
    """Returns which candidates end, and which of them may be results."""
    ends = chosen == self.ends[0]
    if self.is_t5x:
      return ends, ends
    ends = ends | (step + 1 == self.max_decode_length)
    return ends, ends & (jnp.arange(2 * self.num_beams) < self.num_beams)

  def _add_ended(
    self,
    state: _State,
    scores: Float32[Array, 'B candidates'],
    tokens: Int32[Array, 'B candidates S'],
    counts: Bool[Array, 'B candidates'],
  ) -> _Beams:
    """Returns the best ended beams, including the new ones that count."""
    new_scores = jnp.where(
      counts & ~state.is_over[:, None],
      scores / self._penalty(state.step + 1),
      -jnp.inf,
    )
    all_scores = jnp.concatenate([state.ended.scores, new_scores], axis=1)
    best_scores, ranks = lax.top_k(all_scores, self.num_beams)
    all_tokens = jnp.concatenate([state.ended.tokens, tokens], axis=1)
    return _Beams(best_scores, _take(all_tokens, ranks))

  def _penalty(self, length: Int32[Array, ''] | int) -> Float32[Array, '']:
    base = (5.0 + length) / 6.0 if self.is_t5x else jnp.float32(length)
    return base**self.length_alpha


def _best_extensions(
  scores: Float32[Array, 'B W'],
  logits: Float32[Array, 'N V'],
  trie: LabelTrie | None,
  nodes: Int32[Array, 'B W'] | None,
) -> tuple[
  Float32[Array, 'B 2*W'], Int32[Array, 'B 2*W'], Int32[Array, 'B 2*W']
]:
  """Returns the best 2 W sequences with one more token, best first.

  At most W of them end there, so that W are left to continue.

  Args:
    scores: Log-probabilities of the sequences so far.
    logits: Logits of the next token.
    trie: Label spaces that restrict the sequences, or None.
    nodes: Trie node of each sequence.

  Returns:
    Scores, indices of the extended sequences, and the new tokens.
  """
  batch, num_beams = scores.shape

  def choose(
    gains: Float32[Array, 'N C'], tokens: Int32[Array, 'N C'] | None = None
  ) -> tuple[Array, Array, Array]:
    """Chooses among `tokens`, or among the whole vocabulary."""
    size = gains.shape[-1]
    extended = scores[..., None] + gains.reshape(batch, num_beams, size)
    best, places = lax.top_k(extended.reshape(batch, -1), 2 * num_beams)
    parents, chosen = places // size, (places % size).astype(jnp.int32)
    if tokens is not None:
      chosen = jnp.take_along_axis(tokens.reshape(batch, -1), places, axis=1)
    return best, parents, chosen

  if trie is None:
    return choose(jax.nn.log_softmax(logits))
  assert nodes is not None, 'a trie comes with the nodes of its sequences'
  flat = nodes.reshape(-1)
  return lax.cond(
    # Absent sequences, which score -inf, may be at any node.
    jnp.any((nodes == label_trie.FREE) & (scores > -jnp.inf)),
    lambda: choose(label_trie.mask(trie, flat, jax.nn.log_softmax(logits))),
    # If every row has a label space, the same result from few tokens.
    lambda: choose(
      *label_trie.allowed_scores(trie, flat, jax.nn.log_softmax(logits))
    ),
  )


def _take(
  array: Shaped[Array, 'B _ *rest'], indices: Int32[Array, 'B n']
) -> Shaped[Array, 'B n *rest']:
  """Selects each row's elements along the second axis."""
  indices = indices.reshape(*indices.shape, *(1,) * (array.ndim - 2))
  return jnp.take_along_axis(array, indices, axis=1)


def _reorder(cache: Any, parents: Int32[Array, 'B W']) -> Any:
  """Gives every beam its parent's keys and values of the steps so far."""

  def of_parents(array: Float[Array, ' N *rest']) -> Float[Array, ' N *rest']:
    split = array.reshape(*parents.shape, *array.shape[1:])
    return _take(split, parents).reshape(array.shape)

  return dataclasses.replace(
    cache,
    self_keys=tuple(map(of_parents, cache.self_keys)),
    self_values=tuple(map(of_parents, cache.self_values)),
  )
