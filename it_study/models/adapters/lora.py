"""LoRA: low-rank updates of some matrices, trained in place of all weights.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), section
4.1: a matrix W becomes W + alpha / rank * A B. Layers know nothing of it, since
the sum is formed where the loss is computed.

Shape letters:
  I rows of a matrix     O columns of a matrix     r rank
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float, Float32
import numpy as np

from it_study.errors import InputError, nearest
from it_study.models import AnyArray, ModelConfig, initialization, param_dtype
from it_study.seeding import stable_hash

# Names of A [I, r] and B [r, O], beside the kernel that they update.
A, B = 'lora_a', 'lora_b'
_KERNEL = 'kernel'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora:
  """Which matrices are updated, and how; hashable.

  Attributes:
    rank: Rank of the updates.
    alpha: Factor of the updates, divided by the rank.
    targets: Names of the modules whose kernels are updated, such as 'query' or
      'wi_0', in every layer.

  Raises:
    InputError: If a value is out of range.
  """

  rank: int
  alpha: float = 16.0
  targets: tuple[str, ...] = ('query', 'key', 'value', 'out')

  def __post_init__(self):
    if type(self.rank) is not int or self.rank < 1:
      raise InputError(
        f'LORA_RANK is {self.rank!r}: give a whole number from 1 up.'
      )
    if not isinstance(self.alpha, int | float) or not 0 < self.alpha < np.inf:
      raise InputError(
        f'LORA_ALPHA is {self.alpha!r}: give a finite number above 0.'
      )
    targets = self.targets
    if not isinstance(targets, list | tuple) or not targets:
      raise InputError(
        f'LORA_TARGETS is {targets!r}: give names of modules in brackets, such '
        "as ('query', 'value')."
      )
    object.__setattr__(self, 'targets', tuple(targets))

  @property
  def scale(self) -> float:
    """Factor of A B."""
    return self.alpha / self.rank


def kernels(lora: Lora, params: Any) -> list[str]:
  """Returns the paths of the matrices that are updated, in the tree's order.

  Args:
    lora: Settings.
    params: Parameters of the model, or their shapes.

  Raises:
    InputError: If the model has no module of one of the names.
  """
  flat = traverse_util.flatten_dict(params, sep='/')
  by_module: dict[str, list[str]] = {}
  for path in flat:
    module, _, leaf = path.rpartition('/')
    if leaf == _KERNEL:
      by_module.setdefault(module.rpartition('/')[2], []).append(path)
  for name in lora.targets:
    if name not in by_module:
      raise InputError(
        f'LORA_TARGETS names {name!r}, but no module of the model is called '
        f'so; there are {", ".join(sorted(by_module))}.'
        f'{nearest(str(name), sorted(by_module))}'
      )
  wanted = {path for name in lora.targets for path in by_module[name]}
  return [path for path in flat if path in wanted]


def factor_paths(path: str) -> tuple[str, str]:
  """Returns the paths of A and B of a matrix."""
  stem = path.removesuffix(_KERNEL)
  return stem + A, stem + B


def abstract(lora: Lora, params: Any) -> Any:
  """Returns shapes, types and shardings of A and B of every matrix.

  Args:
    lora: Settings.
    params: Tree of `jax.ShapeDtypeStruct` of the model, with shardings.
  """
  flat = traverse_util.flatten_dict(params, sep='/')
  found = {}
  for path in kernels(lora, params):
    kernel = flat[path]
    rows, columns = kernel.shape
    mesh = kernel.sharding.mesh
    spec = (*kernel.sharding.spec, None, None)
    a, b = factor_paths(path)
    for name, shape, axes in (
      (a, (rows, lora.rank), (spec[0], None)),
      (b, (lora.rank, columns), (None, spec[1])),
    ):
      found[name] = jax.ShapeDtypeStruct(
        shape,
        jnp.float32,
        sharding=NamedSharding(mesh, PartitionSpec(*axes)),
      )
  return traverse_util.unflatten_dict(found, sep='/')


def init(lora: Lora, params: Any, *, seed: int) -> Any:
  """Draws A uniformly within 1 / sqrt(I), as PEFT does; B is 0.

  Args:
    lora: Settings.
    params: Tree of `jax.ShapeDtypeStruct` of the model, with shardings.
    seed: Seed of the draws.

  Returns:
    Tree like that of `abstract`. The values do not depend on the mesh.
  """
  uniform = initialization.variance_scaling(1 / 3, 'fan_in', 'uniform')
  zeros = jax.nn.initializers.zeros

  def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    drawn = initialization.Draw(
      uniform if name.endswith(A) else zeros, leaf.shape, leaf.dtype.name
    )
    key = jax.random.key(stable_hash('lora', seed, name) % 2**32)
    data = np.asarray(jax.random.key_data(key))
    return initialization.program(drawn, leaf.sharding)(data)

  return jax.tree_util.tree_map_with_path(draw, abstract(lora, params))


def merge(lora: Lora | None, trained: Any, frozen: Any) -> Any:
  """Returns the parameters of the model.

  Args:
    lora: Settings; None if all parameters are trained.
    trained: Tree of A and B, or all parameters.
    frozen: Parameters of the model, in any type; None if all are trained.

  Returns:
    Parameters, each in its frozen type.
  """
  if lora is None:
    return trained
  flat = dict(traverse_util.flatten_dict(frozen, sep='/'))
  factors = traverse_util.flatten_dict(trained, sep='/')
  for path in kernels(lora, frozen):
    a, b = factor_paths(path)
    flat[path] = merged(flat[path], factors[a], factors[b], scale=lora.scale)
  return traverse_util.unflatten_dict(flat, sep='/')


def merged(
  kernel: Float[AnyArray, 'I O'],
  a: Float32[AnyArray, 'I r'],
  b: Float32[AnyArray, 'r O'],
  *,
  scale: float,
) -> Float[AnyArray, 'I O']:
  """Returns W + scale A B, summed in float32, in the type of W."""
  updated = kernel.astype(jnp.float32) + scale * jnp.matmul(a, b)
  return updated.astype(kernel.dtype)


def freeze(params: Any, config: ModelConfig) -> Any:
  """Returns parameters, or their shapes, in the type that they are used in."""
  return param_dtype.to_compute_dtype(params, config)


def from_record(record: Mapping[str, Any]) -> Lora:
  """Returns the settings that training.json records."""
  return Lora(
    rank=record['rank'], alpha=record['alpha'], targets=record['targets']
  )
