"""Building blocks of layers: dense, embedding, norm, MLP, position bias.

Shape letters, as in `it_study.models`:
  B batch          L any length     E emb_dim        M mlp_dim
  Q query length   K key length     H num_heads
"""

import functools
import operator

from flax import linen as nn
from flax.linen.spmd import with_logical_constraint
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32, Shaped
import numpy as np

from it_study.models import AnyArray
from it_study.models.dot_product_attention import MASKED
from it_study.models.initialization import partitioned, variance_scaling
from it_study.models.kernels.distance_bias import DistanceBias


def dense_init(scale: float = 1.0) -> nn.initializers.Initializer:
  """Truncated normal, variance `scale` / fan-in, as in T5X's MLP and logits."""
  return variance_scaling(scale, 'fan_in', 'truncated_normal')


class Dense(nn.Module):
  """A matrix product with a kernel, and a bias if asked for."""

  features: int
  kernel_axes: tuple[str, str]
  kernel_init: nn.initializers.Initializer = dense_init()
  dtype: str = 'float32'
  use_bias: bool = False

  @nn.compact
  def __call__(
    self, x: Float[Array, '*rows in']
  ) -> Float[Array, '*rows {self.features}']:
    kernel = self.param(
      'kernel',
      partitioned(self.kernel_init, self.kernel_axes),
      (x.shape[-1], self.features),
      jnp.float32,
    )
    # Flattened, so that the kernel's gradient is one matrix product. With a
    # batch axis, XLA on CPUs transposes both of its operands first.
    flat = x.astype(self.dtype).reshape(-1, x.shape[-1])
    kernel = gather_embed(kernel.astype(self.dtype), self.kernel_axes)
    product = flat @ kernel
    if self.use_bias:
      product += self.param(
        'bias',
        partitioned(nn.initializers.zeros, self.kernel_axes[1:]),
        (self.features,),
        jnp.float32,
      ).astype(self.dtype)
    return product.reshape(*x.shape[:-1], -1)


_UNIT_NORMAL = nn.initializers.normal(stddev=1.0)


class Embedding(nn.Module):
  """A table of token embeddings, which may also give the logits."""

  vocab_size: int
  emb_dim: int
  dtype: str = 'float32'
  embedding_init: nn.initializers.Initializer = _UNIT_NORMAL

  def setup(self):
    self.embedding = self.param(
      'embedding',
      partitioned(self.embedding_init, ('vocab', 'embed')),
      (self.vocab_size, self.emb_dim),
      jnp.float32,
    )

  def __call__(self, tokens: Int[AnyArray, '*rows']) -> Float[Array, '*rows E']:
    """Embeds tokens; gives NaN for ids from `vocab_size` on."""
    embedded = jnp.take(self.embedding, tokens, axis=0).astype(self.dtype)
    return split_batch(_split_embed(embedded))

  def attend(
    self, hidden: Float[Array, '*rows E']
  ) -> Float32[Array, '*rows V']:
    """Returns the products with the table, in float32."""
    # Flattened for the reason given in `Dense`.
    flat = hidden.astype(jnp.float32).reshape(-1, hidden.shape[-1])
    return (flat @ self._table().T).reshape(*hidden.shape[:-1], -1)

  def _table(self) -> Float[AnyArray, 'V E']:
    return gather_embed(self.embedding, ('vocab', 'embed'))


def logits_kernel(
  embedder: Embedding, dense: Dense | None
) -> Float[AnyArray, 'E V']:
  """Returns the matrix that gives the logits, in the embedder's dtype.

  It is the kernel of `dense`, or without one the transposed table.
  """
  if dense is None:
    table = embedder.embedding.astype(embedder.dtype)
    return table.T
  kernel: jax.Array = dense.get_variable('params', 'kernel')
  return kernel.astype(embedder.dtype)


class RmsNorm(nn.Module):
  """Divides by the root mean square over E, then scales; no mean, no bias.

  Zhang & Sennrich, "Root Mean Square Layer Normalization" (2019), equation 4,
  with an epsilon inside the root; T5's is 1e-6. Computed in float32 whatever
  the dtype.

  Attributes:
    dtype: Type of the result.
    epsilon: Number added to the mean of squares.
    offset: Number added to the scale, which is drawn as 1 - offset.
  """

  dtype: str = 'float32'
  epsilon: float = 1e-6
  offset: float = 0.0

  @nn.compact
  def __call__(self, x: Float[Array, '*rows E']) -> Float[Array, '*rows E']:
    scale = self.param(
      'scale',
      partitioned(_norm_init(self.offset), ('embed',)),
      (x.shape[-1],),
      jnp.float32,
    )
    return _normalize(x, scale, self.epsilon, self.dtype, self.offset)


@functools.cache
def _norm_init(offset: float) -> nn.initializers.Initializer:
  """Returns the same object for the same offset, as draws require."""
  if not offset:
    return nn.initializers.ones
  return nn.initializers.constant(1.0 - offset)


@functools.partial(jax.checkpoint, static_argnums=(2, 3, 4))
def _normalize(
  x: Float[Array, '*rows E'],
  scale: Float[Array, ' E'],
  epsilon: float,
  dtype: str,
  offset: float,
) -> Float[Array, '*rows E']:
  """Applies `RmsNorm`; the backward pass keeps nothing but the arguments."""
  x = x.astype(jnp.float32)
  inverse = lax.rsqrt(
    jnp.mean(lax.square(x), axis=-1, keepdims=True) + epsilon
  )  # [..., 1]
  if offset:
    # In float32: a sum with 1 loses the small digits of the scale.
    scale = scale.astype(jnp.float32) + offset
    return (x * inverse * scale).astype(dtype)
  return (x * inverse).astype(dtype) * scale.astype(dtype)


class Mlp(nn.Module):
  """`wo(act_0(wi_0 x) * act_1(wi_1 x) …)`.

  With one activation this is T5 v1.0's MLP (one matrix, named `wi`); with
  ('gelu', 'linear') it is v1.1's gated GELU (Shazeer, "GLU Variants Improve
  Transformer", 2020; the tanh form of GELU).
  """

  mlp_dim: int
  emb_dim: int
  activations: tuple[str, ...]
  dropout_rate: float = 0.0
  dtype: str = 'float32'
  use_bias: bool = False

  def setup(self):
    dense = functools.partial(Dense, dtype=self.dtype, use_bias=self.use_bias)
    inner = [dense(self.mlp_dim, ('embed', 'mlp')) for _ in self.activations]
    # The attribute names the parameters: `wi`, or `wi_0` and `wi_1`.
    self.wi: Dense | list[Dense] = inner[0] if len(inner) == 1 else inner
    self.wo = dense(self.emb_dim, ('mlp', 'embed'))
    self.dropout = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,))

  def __call__(
    self, x: Float[Array, '*rows E'], *, deterministic: bool = True
  ) -> Float[Array, '*rows E']:
    inner = [self.wi] if isinstance(self.wi, Dense) else self.wi
    hidden = _gate(self.activations, *[dense(x) for dense in inner])
    hidden = with_logical_constraint(
      hidden, ('batch', *(None,) * (hidden.ndim - 2), 'mlp')
    )
    hidden = self.dropout(hidden, deterministic=deterministic)
    return self.wo(hidden)


@functools.partial(jax.checkpoint, static_argnums=0)
def _gate(
  activations: tuple[str, ...], *factors: Float[Array, '*rows M']
) -> Float[Array, '*rows M']:
  """Returns the product of the activated factors.

  The backward pass keeps only the factors: GELU's gradient would keep several
  more arrays that are cheap to recompute.
  """
  return functools.reduce(
    operator.mul,
    [
      _ACTIVATIONS[name](factor)
      for name, factor in zip(activations, factors, strict=True)
    ],
  )


def split_batch(
  x: Shaped[Array, ' *shape'],
) -> Shaped[Array, ' *shape']:
  """Tells the compiler to shard `x` along its first axis only, if at all.

  Does nothing outside `partitioning.activation_sharding`.
  """
  return with_logical_constraint(x, ('batch', *(None,) * (x.ndim - 1)))


def gather_embed(
  parameter: Float[AnyArray, '*shape'], axes: tuple[str | None, ...]
) -> Float[AnyArray, '*shape']:
  """Tells the compiler to gather a parameter along 'embed' where it is used.

  Otherwise it may gather the activations, which are larger. Does nothing
  outside `partitioning.activation_sharding`.
  """
  return with_logical_constraint(
    parameter, tuple(None if axis == 'embed' else axis for axis in axes)
  )


def _split_embed(x: Shaped[Array, '*rows E']) -> Shaped[Array, '*rows E']:
  """Tells the compiler to shard looked-up rows like their table, along E.

  Each device then looks up its share of E for all rows of its copy of the
  parameters, and exchanges it for its own rows. Otherwise it gathers the table
  or adds up the table's whole gradient, which are larger. Does nothing outside
  `partitioning.activation_sharding`.
  """
  if 'copies' not in dict(nn.get_logical_axis_rules()):
    return x
  axes = ('copies', *(None,) * (x.ndim - 2), 'embed')
  return with_logical_constraint(x, axes)


class RelativePositionBias(nn.Module):
  """T5's learned bias for each head and each bucket of distance.

  Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
  Text-to-Text Transformer" (2020), section 2.1. All layers of a stack share one
  bias.
  """

  num_heads: int
  num_buckets: int
  max_distance: int
  bidirectional: bool

  def setup(self):
    self.rel_embedding = self.param(
      'rel_embedding',
      partitioned(
        variance_scaling(1.0, 'fan_avg', 'uniform'),
        ('heads', 'relpos_buckets'),
      ),
      (self.num_heads, self.num_buckets),
      jnp.float32,
    )

  def __call__(
    self, query_length: int, key_length: int
  ) -> Float32[Array, '{self.num_heads} {query_length} {key_length}']:
    """Returns the bias of every query and key."""
    return spread_diagonals(
      self.by_distance(query_length, key_length), query_length, key_length
    )

  def by_distance(
    self, query_length: int, key_length: int
  ) -> Float32[Array, '{self.num_heads} {query_length}+{key_length}-1']:
    """Returns the bias of every distance k - q, from 1 - Q to K - 1."""
    buckets = relative_position_bucket(
      np.arange(1 - query_length, key_length),
      bidirectional=self.bidirectional,
      num_buckets=self.num_buckets,
      max_distance=self.max_distance,
    )  # [Q + K - 1]
    return jnp.take(self.rel_embedding, buckets, axis=1)

  def by_steps(self) -> DistanceBias:
    """Returns the same bias for our kernel.

    Unless it is bidirectional, keys after the query are masked.
    """
    distances = np.arange(-self.max_distance, self.max_distance + 1)
    buckets = relative_position_bucket(
      distances,
      bidirectional=self.bidirectional,
      num_buckets=self.num_buckets,
      max_distance=self.max_distance,
    )
    begins = np.flatnonzero(np.diff(buckets, prepend=-1))
    starts = tuple(distances[begins].tolist())
    values = jnp.take(self.rel_embedding, buckets[begins], axis=1)
    if not self.bidirectional:
      starts = (*starts, 1)
      values = jnp.pad(values, ((0, 0), (0, 1)), constant_values=MASKED)
    return DistanceBias(values, starts, is_learned=True)


def spread_diagonals(
  values: Shaped[Array, 'H distances'], query_length: int, key_length: int
) -> Shaped[Array, 'H {query_length} {key_length}']:
  """Returns the value of distance k - q at every (q, k).

  The rows of the result are windows of `values`, each one step to the left of
  the row before. Reading copies of `values` laid end to end, with one element
  fewer per row, gives these windows by broadcasts and reshapes alone, forward
  and backward. The gradient of a gather would be a scatter of Q * K elements.

  Args:
    values: Values of the distances from 1 - Q to K - 1.
    query_length: Number of queries, Q.
    key_length: Number of keys, K.

  >>> spread_diagonals(jnp.array([[-1, 0, 1, 2]]), 2, 3).tolist()
  [[[0, 1, 2], [-1, 0, 1]]]
  """
  heads = values.shape[0]
  width = query_length + key_length  # One more than there are distances.
  values = jnp.pad(values, ((0, 0), (0, 1)))
  rows = jnp.broadcast_to(
    values[:, None, :], (heads, query_length, width)
  ).reshape(heads, -1)
  rows = rows[:, : query_length * (width - 1)]
  rows = rows.reshape(heads, query_length, width - 1)
  return rows[:, :, query_length - 1 : query_length - 1 + key_length]


def relative_position_bucket(
  distance: Int[np.ndarray, '*shape'],
  *,
  bidirectional: bool,
  num_buckets: int = 32,
  max_distance: int = 128,
) -> Int32[np.ndarray, '*shape']:
  """Returns the bucket of each distance (key position minus query position).

  Half of a direction's buckets hold one distance each. The others grow by a
  constant factor up to `max_distance`, and the last holds everything beyond.
  If bidirectional, keys to the right use the upper half of the buckets;
  otherwise they share bucket 0, and a causal mask hides them.

  >>> relative_position_bucket(np.array([0, -1, 1, -200]), bidirectional=True)
  array([ 0,  1, 17, 15], dtype=int32)
  """
  distance = np.asarray(distance)
  if bidirectional:
    side = num_buckets // 2
    offset = np.where(distance > 0, side, 0)
    steps = np.abs(distance)
  else:
    side = num_buckets
    offset = np.zeros_like(distance)
    steps = np.maximum(-distance, 0)
  exact = side // 2
  # Nudged up, so that rounding errors do not lower values that are integers, as
  # at 16, 32 and 64 steps with the default settings.
  growth = np.log(np.maximum(steps, 1) / exact) / np.log(max_distance / exact)
  grown = exact + np.floor(growth * (side - exact) + 1e-6)
  bucket = np.where(steps < exact, steps, np.minimum(grown, side - 1))
  return (offset + bucket).astype(np.int32)


_ACTIVATIONS = {
  'gelu': nn.gelu,
  'linear': lambda x: x,
  'relu': nn.relu,
  'silu': nn.silu,
}

ACTIVATIONS = tuple(_ACTIVATIONS)
