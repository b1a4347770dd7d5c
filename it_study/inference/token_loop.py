"""Greedy decoding and sampling with a KV cache, one token at a time.

Shape letters, as in `it_study.models`:
  B batch     L prompt length     E emb_dim
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float32, Int, Int32

from it_study.inference import label_trie, sampling as sampling_lib
from it_study.inference.label_trie import LabelTrie
from it_study.inference.sampling import Sampling
from it_study.models import AnyArray, Model, partitioning

# Stands in the place of a token whose logits are not finite. No model pads with
# it.
NOT_FINITE = -2


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
  return _decode_tokens(
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
    mesh=partitioning.mesh_of(params),
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


@functools.partial(
  jax.jit,
  static_argnames=(
    'model',
    'max_decode_length',
    'eos_id',
    'other_ends',
    'mesh',
  ),
)
def _decode_tokens(
  params: Any,
  prompts: Int[Array, 'B L'],
  trie: LabelTrie | None,
  roots: Int[Array, ' B'] | None,
  sampling: Sampling | None,
  encoded: Any,
  *,
  model: Model,
  max_decode_length: int,
  eos_id: int,
  other_ends: tuple[int, ...],
  mesh: Mesh | None,
) -> Int32[Array, 'B {max_decode_length}']:
  apply: Callable[..., Any] = functools.partial(model.apply, {'params': params})

  def unfinished(state):
    step, _, ended, *_ = state
    return (step < max_decode_length) & ~jnp.all(ended)

  def decode_one(state):
    step, tokens, ended, decoded, cache, nodes = state
    logits, cache = apply(tokens, cache, step, method='decode_step')  # [B, V]
    # Before label spaces and sampling, which exclude tokens by -inf.
    is_finite = jnp.all(jnp.isfinite(logits), axis=-1)
    if sampling is not None:
      tokens = sampling_lib.draw(sampling, logits, step)
    elif trie is not None:
      logits = merge_ends(logits, (eos_id, *other_ends))
      tokens, nodes = label_trie.choose(trie, nodes, logits)
    else:
      tokens = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    if other_ends:
      is_end = jnp.isin(tokens, jnp.array(other_ends))
      tokens = jnp.where(is_end, eos_id, tokens)
    tokens = jnp.where(is_finite, tokens, NOT_FINITE)
    tokens = jnp.where(ended, model.config.pad_id, tokens)
    decoded = lax.dynamic_update_slice_in_dim(
      decoded, tokens[:, None], step, axis=1
    )
    ended = ended | (tokens == eos_id) | (tokens == NOT_FINITE)
    return step + 1, tokens, ended, decoded, cache, nodes

  with partitioning.activation_sharding(mesh):
    if encoded is None:
      encoded = apply(prompts, method='encode')
    cache = apply(encoded, prompts, max_decode_length, method='start_decoding')
    batch = prompts.shape[0]
    *_, decoded, _, _ = lax.while_loop(
      unfinished,
      decode_one,
      (
        jnp.int32(0),
        apply(prompts, method='first_tokens'),
        jnp.all(prompts == model.config.pad_id, axis=1),
        jnp.full((batch, max_decode_length), model.config.pad_id, jnp.int32),
        cache,
        jnp.zeros(batch, jnp.int32) if roots is None else roots,
      ),
    )
  return decoded
