"""Decoding a token at a time, the likeliest or a drawn one, with a KV cache."""

import contextlib
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh

from it_study.inference import label_trie, sampling as sampling_lib
from it_study.inference.label_trie import LabelTrie
from it_study.inference.sampling import Sampling
from it_study.models import partitioning
from it_study.models.t5 import PAD_ID, T5, T5Config


def decode_tokens(
  *,
  model: T5,
  params: Any,
  encoder_input_tokens: jax.Array,
  max_decode_length: int,
  eos_id: int = 1,
  trie: LabelTrie | None = None,
  roots: jax.Array | None = None,
  sampling: Sampling | None = None,
  encoded: jax.Array | None = None,
) -> jax.Array:
  """Continues every prompt by its likeliest tokens, or by drawn ones.

  Compiled once for each configuration, batch shape and length. Stops as soon
  as every row has ended. Of equally likely tokens the smallest is taken.

  Args:
    model: the model; only its configuration matters.
    params: its parameters, without the outer 'params' key. Decoding runs on
      the mesh that they lie on.
    encoder_input_tokens: int32 `[batch, length]`, padded with 0. A row that is
      padding throughout fills a batch up: it ends before its first token.
    max_decode_length: tokens to decode at most, end of sequence included.
    eos_id: the token that ends a row.
    trie: label spaces to keep to, see `label_trie.build`; None keeps to none.
    roots: int32 `[batch]`, the node at which each row's label space begins.
    sampling: how tokens are drawn; None takes the likeliest.
    encoded: `[batch, length, emb_dim]`, where the prompts are encoded already.

  Returns:
    int32 `[batch, max_decode_length]`: tokens, `eos_id` where the row ended,
    then 0. A row without `eos_id` ran out of room.
  """
  if sampling is not None and trie is not None:
    raise ValueError('sampling does not keep to label spaces')
  return _decode_tokens(
    params,
    encoder_input_tokens,
    trie,
    roots,
    sampling,
    encoded,
    config=model.config,
    max_decode_length=max_decode_length,
    eos_id=eos_id,
    mesh=partitioning.mesh_of(params),
  )


@functools.partial(
  jax.jit, static_argnames=('config', 'max_decode_length', 'eos_id', 'mesh')
)
def _decode_tokens(
  params: Any,
  prompts: jax.Array,
  trie: LabelTrie | None,
  roots: jax.Array | None,
  sampling: Sampling | None,
  encoded: jax.Array | None,
  *,
  config: T5Config,
  max_decode_length: int,
  eos_id: int,
  mesh: Mesh | None,
) -> jax.Array:
  apply = functools.partial(T5(config).apply, {'params': params})

  def unfinished(state):
    step, _, ended, *_ = state
    return (step < max_decode_length) & ~jnp.all(ended)

  def decode_one(state):
    step, tokens, ended, decoded, cache, nodes = state
    logits, cache = apply(
      tokens, cache, step, method='decode_step'
    )  # [batch, vocab]
    if sampling is not None:
      tokens = sampling_lib.draw(sampling, logits, step)
    elif trie is not None:
      tokens, nodes = label_trie.choose(trie, nodes, logits)
    else:
      tokens = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    tokens = jnp.where(ended, PAD_ID, tokens)
    decoded = lax.dynamic_update_slice_in_dim(
      decoded, tokens[:, None], step, axis=1
    )
    ended = ended | (tokens == eos_id)
    return step + 1, tokens, ended, decoded, cache, nodes

  with contextlib.ExitStack() as stack:
    if mesh is not None:
      stack.enter_context(partitioning.activation_sharding(mesh))
    if encoded is None:
      encoded = apply(prompts, method='encode')
    cache = apply(encoded, prompts, max_decode_length, method='start_decoding')
    batch = prompts.shape[0]
    *_, decoded, _, _ = lax.while_loop(
      unfinished,
      decode_one,
      (
        jnp.int32(0),
        jnp.full(batch, PAD_ID, jnp.int32),
        jnp.all(prompts == PAD_ID, axis=1),
        jnp.full((batch, max_decode_length), PAD_ID, jnp.int32),
        cache,
        jnp.zeros(batch, jnp.int32) if roots is None else roots,
      ),
    )
  return decoded
