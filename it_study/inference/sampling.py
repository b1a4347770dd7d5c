"""Tokens drawn at random from what a model gives, row by row."""

import dataclasses

import jax
import jax.numpy as jnp

# Named, so that draws are the same whatever JAX is set to; its keys are two
# words.
_GENERATOR = 'threefry2x32'


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampling:
  """How tokens are drawn; a pytree whose leaves may change without a compile.

  In this order, as in other decoders: the logits are divided by the
  temperature, all but the `top_k` likeliest tokens are left out, then all but
  the fewest that together have `top_p` of the probability (nucleus sampling;
  Holtzman et al., 2020, section 3.1).

  Attributes:
    keys: uint32 `[B, 2]`, a seed for each row; what a row draws depends on
      nothing else, so not on the rows beside it.
    temperature: float32 scalar above 0.
    top_k: int32 scalar; 0 leaves none out.
    top_p: float32 scalar above 0; 1 leaves none out.
  """

  keys: jax.Array
  temperature: jax.Array | float = 1.0
  top_k: jax.Array | int = 0
  top_p: jax.Array | float = 1.0


def draw(
  sampling: Sampling, logits: jax.Array, step: jax.Array | int
) -> jax.Array:
  """Draws a token for every row.

  Args:
    sampling: how.
    logits: float32 `[B, V]`; -inf for a token that may not be drawn.
    step: int32 scalar, the position of the token.

  Returns:
    int32 `[B]`.
  """
  logits = _narrowed(sampling, logits / sampling.temperature)
  keys = jax.vmap(jax.random.fold_in, (0, None))(
    jax.random.wrap_key_data(sampling.keys, impl=_GENERATOR), step
  )
  return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def _narrowed(sampling: Sampling, logits: jax.Array) -> jax.Array:
  """Logits with -inf for the tokens that are left out; `[B, V]`.

  With top_k = 2 and top_p = 1:

    [[1., 3., 2.]] -> [[-inf, 3., 2.]]
  """
  size = logits.shape[-1]
  order = jnp.argsort(-logits, axis=-1)  # Stable: of equals the smaller id.
  ordered = jnp.take_along_axis(logits, order, axis=-1)
  top_k = jnp.where(sampling.top_k == 0, size, sampling.top_k)
  ordered = jnp.where(jnp.arange(size) < top_k, ordered, -jnp.inf)
  probabilities = jax.nn.softmax(ordered)
  before = jnp.cumsum(probabilities, axis=-1) - probabilities
  # Rounding may leave the sum below 1: there 1 must not leave out the last.
  kept = (before < sampling.top_p) | (sampling.top_p >= 1)
  ordered = jnp.where(kept, ordered, -jnp.inf)
  rows = jnp.arange(logits.shape[0])[:, None]
  return jnp.zeros_like(logits).at[rows, order].set(ordered)
