"""Attention as Pallas kernels, with a bias by distance and segments.

Tiles of the scores live on the chip alone, forward and backward (Dao et al.,
"FlashAttention", 2022, and "FlashAttention-2", 2023): nothing of size [H, Q, K]
is read or written. The same kernels are compiled for GPUs, through Triton, and
for TPUs.

Shape letters, as in `it_study.models`:
  B batch          H num_heads      D head_dim
  Q query length   K key length     J num_kv_heads
"""

import functools
import math
from typing import Any

from flax import struct
import jax
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu, triton
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from it_study.models import AnyArray
from it_study.models.cudnn_attention import has_fused_kernels
from it_study.models.dot_product_attention import SAVED_NAME
from it_study.models.kernels import tile_kernels
from it_study.models.kernels.distance_bias import FAR, DistanceBias
from it_study.models.kernels.tile_kernels import Bias, Keys, Queries
from it_study.models.partitioning import LOGICAL_AXIS_RULES

# Lengths are padded to a multiple of a TPU register's lanes.
_LANES = 128
# Largest side of a tile of scores.
_TILES = {'cpu': 64, 'cuda': 64, 'tpu': 512}
# Platforms that can rotate the rows of a tile.
_BY_DIAGONAL = ('tpu',)
_COMPILER_PARAMS = {
  'cpu': None,
  'cuda': triton.CompilerParams(num_warps=4, num_stages=2),
  'tpu': pltpu.CompilerParams(dimension_semantics=('parallel',) * 3),
}


# Layers of the same shapes share what is traced for each platform.
_trace_once = functools.partial(jax.jit, static_argnums=(0, 1))


@struct.dataclass
class Segments:
  """Segments, of which a query sees only its own one's keys; a pytree.

  Attributes:
    query: Segment number of each query, from 0 up.
    key: Segment number of each key, from 0 up.
  """

  query: Int[AnyArray, 'B Q']
  key: Int[AnyArray, 'B K']


def is_available(implementation: str, *, head_dim: int) -> bool:
  """Whether attention goes through the kernels.

  Args:
    implementation: A value of `T5Config.attention_implementation`. Only
      'pallas' selects the kernels: they have not been timed on a device.
    head_dim: Width of one head.
  """
  if implementation != 'pallas':
    return False
  device = jax.local_devices()[0]
  if device.platform != 'gpu':
    return device.platform in ('cpu', 'tpu')
  # Triton's conditions.
  is_power_of_two = head_dim & (head_dim - 1) == 0
  return has_fused_kernels(device) and is_power_of_two and head_dim >= 16


def attend(
  query: Float[Array, 'B H Q D'],
  key: Float[Array, 'B J K D'],
  value: Float[Array, 'B J K D'],
  segments: Segments,
  bias: DistanceBias | None = None,
  soft_cap: float | None = None,
) -> Float[Array, 'B H Q D']:
  """Computes `softmax(query @ key^T + bias) @ value` in each segment.

  The softmax is in float32, the result in the values' dtype. On a CPU the
  kernels are interpreted, which is slow.

  Args:
    query: Queries.
    key: Keys; each head serves H / J consecutive heads of the queries.
    value: Values, as the keys.
    segments: Segments. The result of a query without a key has no meaning.
    bias: Bias by distance; None for none.
    soft_cap: Cap c that turns products s into c tanh(s / c) before the bias is
      added (Gemma 2); None for no cap.
  """
  if bias is None:
    bias = DistanceBias(jnp.zeros((1, 1)), starts=(0,))
  values = jnp.broadcast_to(bias.values, (query.shape[1], len(bias.starts)))
  mixed = _attend(
    tile_kernels.Settings(bias.starts, bias.is_learned, soft_cap),
    values,
    # Padding is of no segment, and that of queries not of that of keys.
    Queries(_rows(segments.query[:, None, :, None], -1), _rows(query)),
    Keys(_rows(segments.key[:, None, :, None], -2), _rows(key), _rows(value)),
  )
  return mixed[..., : query.shape[2]].swapaxes(2, 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(settings, values, queries, keys):
  return _attend_forward(settings, values, queries, keys)[0]


def _attend_forward(settings, values, queries, keys):
  mixed, normalizer = checkpoint_name(
    _on_devices(_forward, settings, values, queries, keys), SAVED_NAME
  )
  return mixed, (values, queries, keys, mixed, normalizer)


def _attend_backward(settings, residuals, gradient):
  values, queries, keys, mixed, normalizer = residuals
  # The softmax's gradient needs sum_k weights * d_weights, which equals
  # sum_d gradient * mixed.
  shared = jnp.sum(
    (gradient * mixed).astype(jnp.float32), axis=2, keepdims=True
  )
  queries = queries._replace(
    gradient=gradient, normalizer=normalizer, shared=shared
  )
  d_values, d_query = _on_devices(
    _backward_of_queries, settings, values, queries, keys
  )
  d_key, d_value = (
    # Heads of queries that share a head of keys.
    x.reshape(*keys.key.shape[:2], -1, *keys.key.shape[2:]).sum(axis=2)
    for x in _on_devices(_backward_of_keys, settings, values, queries, keys)
  )
  return (
    d_values.sum(axis=0),
    Queries(None, d_query),
    Keys(None, d_key, d_value),
  )


_attend.defvjp(_attend_forward, _attend_backward)


@_trace_once
def _forward(platform, settings, values, queries, keys):
  """Returns results, and the logarithms of the softmax's normalizers."""
  query = queries.query
  return _call(
    tile_kernels.forward,
    *(platform, settings, values, queries, keys),
    outputs=(
      jax.ShapeDtypeStruct(query.shape, keys.value.dtype),
      jax.ShapeDtypeStruct((*query.shape[:2], 1, query.shape[3]), 'float32'),
    ),
  )


@_trace_once
def _backward_of_queries(platform, settings, values, queries, keys):
  """Returns the gradients of each row's values, and of queries."""
  query = queries.query
  num_tiles = query.shape[3] // _tile(platform, query)
  num_steps = math.ceil(len(settings.starts) / _LANES) * _LANES
  d_values, d_query = _call(
    tile_kernels.backward_of_queries,
    *(platform, settings, values, queries, keys),
    outputs=(
      jax.ShapeDtypeStruct(
        (*query.shape[:2], 1, num_tiles * num_steps), 'float32'
      ),
      jax.ShapeDtypeStruct(query.shape, query.dtype),
    ),
  )
  d_values = d_values.reshape(*query.shape[:2], num_tiles, num_steps)
  return d_values.sum(axis=2)[..., : values.shape[1]], d_query


@_trace_once
def _backward_of_keys(platform, settings, values, queries, keys):
  """Returns the gradients of keys and values, for each head of the queries."""
  shape = (*queries.query.shape[:2], *keys.key.shape[2:])
  return _call(
    tile_kernels.backward_of_keys,
    *(platform, settings, values, keys, queries),
    outputs=(
      jax.ShapeDtypeStruct(shape, keys.key.dtype),
      jax.ShapeDtypeStruct(shape, keys.value.dtype),
    ),
  )


def _call(kernel, platform, settings, values, tiled, whole, *, outputs):
  """Calls a kernel for every row, head, and tile of queries or keys.

  Args:
    kernel: Kernel.
    platform: Platform to compile for.
    settings: Settings of the kernel.
    values: Values of the bias.
    tiled: Arrays of one side, of which the kernel gets one tile.
    whole: Arrays of the other side, of which it gets all tiles.
    outputs: Shapes of the results, of which it writes one tile.
  """
  rows, num_heads = outputs[0].shape[:2]
  num_tiles = tiled[1].shape[3] // _tile(platform, tiled[1])
  # A step more, which no distance reaches, so that the last one has an end.
  bias = Bias(jnp.array((*settings.starts, FAR), jnp.int32), values)
  spec = functools.partial(_block_spec, num_heads=num_heads)
  of_tile, of_all = (
    functools.partial(jax.tree.map, functools.partial(spec, num_tiles=n))
    for n in (num_tiles, 1)
  )
  scalars = pl.BlockSpec(memory_space=pltpu.SMEM if platform == 'tpu' else None)
  settings = settings._replace(by_diagonal=platform in _BY_DIAGONAL)
  return pl.pallas_call(
    functools.partial(kernel, settings, _tile(platform, whole[1])),
    grid=(rows, num_heads, num_tiles),
    in_specs=(Bias(scalars, scalars), of_tile(tiled), of_all(whole)),
    out_specs=of_tile(outputs),
    out_shape=outputs,
    compiler_params=_COMPILER_PARAMS[platform],
    interpret=platform == 'cpu',
  )(bias, tiled, whole)


def _block_spec(array, *, num_heads, num_tiles):
  """Returns the part of an array that one call of a kernel gets."""
  # Heads that share a head of this array.
  group = num_heads // array.shape[1]

  def index(row, head, tile):
    return row, lax.div(head, group), 0, tile if num_tiles > 1 else 0

  dim, length = array.shape[2:]
  return pl.BlockSpec((None, None, dim, length // num_tiles), index)


def _tile(platform, array):
  """Returns the side of a tile, which divides the array's length."""
  return math.gcd(array.shape[3], _TILES[platform])


def _rows(x, fill=0):
  """Returns [B, heads, L, D] as [B, heads, D, L], padded to whole lanes.

  In this order a TPU stores heads of fewer than 128 dimensions without padding.
  """
  x = x.swapaxes(2, 3)
  width = [(0, 0)] * 3 + [(0, -x.shape[3] % _LANES)]
  return jnp.pad(x, width, constant_values=fill)


def _on_devices(function, settings, values, queries, keys):
  """Calls a function for the platform, on each device's rows and heads.

  The compiler cannot split a kernel itself.
  """
  call = functools.partial(
    lax.platform_dependent,
    **{
      platform: functools.partial(function, platform, settings)
      for platform in _TILES
    },
  )
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return call(values, queries, keys)
  rules: dict[str, Any] = dict(LOGICAL_AXIS_RULES)
  rows, heads = rules['batch'], rules['heads']
  num_rows, num_kv_heads = keys.key.shape[:2]
  if num_rows % math.prod(mesh.shape[axis] for axis in rows):
    rows = None
  if num_kv_heads % mesh.shape[heads]:
    heads = None

  def spec(array):
    return PartitionSpec(rows, heads if array.shape[1] > 1 else None)

  return jax.shard_map(
    call,
    mesh=mesh,
    in_specs=(PartitionSpec(heads), *jax.tree.map(spec, (queries, keys))),
    out_specs=PartitionSpec(rows, heads),
    check_vma=False,
  )(values, queries, keys)
