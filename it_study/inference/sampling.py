"""Draws tokens at random from a model's logits, row by row.

Shape letters, as in `it_study.models`:
  B batch     V vocab_size
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int, Int32, UInt32

from it_study.models import AnyArray

# Named, so that draws do not depend on JAX's default generator. Its keys are
# two words long.
_GENERATOR = 'threefry2x32'


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampling:
  """Settings of sampling; a pytree whose leaves may change without recompiling.

  As in other decoders, in this order: the logits are divided by the
  temperature; all but the `top_k` most likely tokens are excluded; then all but
  the fewest that together have `top_p` of the probability (nucleus sampling;
  Holtzman et al., 2020, section 3.1).

  Attributes:
    keys: Seed of each row. A row's draws depend on nothing else, and so not on
      the other rows.
    temperature: Divisor of the logits, above 0.
    top_k: Number of tokens to draw from; 0 for no limit.
    top_p: Probability of the tokens to draw from, above 0; 1 for no limit.
  """

  keys: UInt32[AnyArray, 'B 2']
  temperature: Float32[Array, ''] | float = 1.0
  top_k: Int[Array, ''] | int = 0
  top_p: Float32[Array, ''] | float = 1.0


def draw(
  sampling: Sampling, logits: Float32[Array, 'B V'], step: Int[Array, ''] | int
) -> Int32[Array, ' B']:
  """Draws a token for every row.

  Args:
    sampling: Settings of sampling.
    logits: Logits; -inf for tokens that must not be drawn.
    step: Position of the token.
  """
  logits = _narrow(sampling, logits / sampling.temperature)
  keys = jax.vmap(jax.random.fold_in, (0, None))(
    jax.random.wrap_key_data(jnp.asarray(sampling.keys), impl=_GENERATOR), step
  )
  return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def _narrow(
  sampling: Sampling, logits: Float32[Array, 'B V']
) -> Float32[Array, 'B V']:
  """Sets the logits of excluded tokens to -inf.

  With top_k = 2 and top_p = 1:

    [[1., 3., 2.]] -> [[-inf, 3., 2.]]
  """
  size = logits.shape[-1]
  order = jnp.argsort(-logits, axis=-1)  # Stable: ties go to the smaller id.
  ordered = jnp.take_along_axis(logits, order, axis=-1)
  top_k = jnp.where(sampling.top_k == 0, size, sampling.top_k)
  ordered = jnp.where(jnp.arange(size) < top_k, ordered, -jnp.inf)
  probabilities = jax.nn.softmax(ordered)
  before = jnp.cumsum(probabilities, axis=-1) - probabilities
  # Rounding may leave the sum above 1, but top_p = 1 must exclude no token.
  is_included = (before < sampling.top_p) | (sampling.top_p >= 1)
  ordered = jnp.where(is_included, ordered, -jnp.inf)
  rows = jnp.arange(logits.shape[0])[:, None]
  return jnp.zeros_like(logits).at[rows, order].set(ordered)
