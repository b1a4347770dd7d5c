"""The loss of parts of the rows, one block of the vocabulary after another.

Logits are computed twice, first for log Z and then for the gradients. In
return, devices that share the logits matrix along E hold a block of it at a
time, and a block of its gradient.

Shape letters, as in `it_study.models`:
  B batch     T target length     E emb_dim     V vocab_size
"""

from typing import Any

from flax.linen.spmd import with_logical_constraint
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32, Shaped

from it_study.models import AnyArray
from it_study.training.loss import parts, terms
from it_study.training.loss.division import Division
from it_study.training.loss.terms import Settings, Statistics, Terms

# Number of a block, and its columns of the kernel.
_Block = tuple[Int32[Array, ''], Float[AnyArray, 'E columns']]
# Hidden states, targets and shares; the first axis is that of the parts if
# there are several.
_Parts = tuple[Shaped[AnyArray, '...'], ...]


def sums(
  rows: _Parts, kernel: Float[AnyArray, 'E V'], settings: Settings
) -> tuple[Terms, Float32[Array, '...']]:
  """Returns the weighted sums, and log Z of every token."""
  hidden, targets, shares = rows
  division = settings.division

  def add(total: Statistics, block: _Block) -> tuple[Statistics, None]:
    index, kernel = block
    kernel = terms.gathered(kernel)

    def of_part(carry: None, part: Any) -> tuple[None, Statistics]:
      hidden, targets, _ = part
      values = terms.logits(hidden, kernel, settings)
      return carry, terms.statistics(values, targets)

    columns = _columns(targets, index, kernel.shape[1], division)
    new = parts.loop(of_part, None, (hidden, columns, shares), division)[1]
    return _merged(total, new), None

  zeros = jnp.zeros(targets.shape, jnp.float32)
  nothing = Statistics(
    largest=jnp.full_like(zeros, -jnp.inf), total=zeros, target=zeros, sum=zeros
  )
  found, _ = lax.scan(add, nothing, _blocks(kernel, division))
  return terms.terms(found, shares, settings)


def sums_and_gradients(
  rows: _Parts, kernel: Float[AnyArray, 'E V'], settings: Settings
) -> tuple[Terms, tuple[Float[Array, '...'], Float[Array, 'E V']]]:
  """Returns the sums, and the loss's gradients in `hidden` and `kernel`."""
  hidden, targets, shares = rows
  division = settings.division
  found, log_z = sums(rows, kernel, settings)

  def add(
    d_hidden: Float32[Array, '...'], block: _Block
  ) -> tuple[Float32[Array, '...'], Float[Array, 'E columns']]:
    index, kernel = block
    kernel = terms.gathered(kernel)

    def of_part(d_kernel: Any, part: Any) -> tuple[Any, Any]:
      values = terms.logits(part[0], kernel, settings)
      d_hidden, d_kernel = terms.gradients(
        values, part, kernel, d_kernel, settings
      )
      return d_kernel, d_hidden

    columns = _columns(targets, index, kernel.shape[1], division)
    d_kernel, new = parts.loop(
      of_part,
      terms.no_gradient(kernel, settings),
      (hidden, columns, log_z, shares),
      division,
    )
    if division.num_shards > 1:
      d_kernel = d_kernel.sum(axis=0)
    # At once, so that no device keeps more than its share.
    d_kernel = with_logical_constraint(d_kernel, ('embed', 'vocab'))
    return d_hidden + new, d_kernel.astype(kernel.dtype)

  d_hidden, d_blocks = lax.scan(
    add,
    jnp.zeros(hidden.shape, jnp.float32),
    _blocks(kernel, division),
  )
  return found, (
    d_hidden.astype(hidden.dtype),
    _joined(d_blocks, division),
  )


def _merged(first: Statistics, second: Statistics) -> Statistics:
  """Returns the statistics of two blocks together."""
  largest = jnp.maximum(first.largest, second.largest)
  total = sum(
    found.total * jnp.exp(found.largest - largest) for found in (first, second)
  )
  return Statistics(
    largest=largest,
    # It is 0 where a part was skipped, otherwise 1 or more.
    total=jnp.maximum(total, 1.0),
    target=first.target + second.target,
    sum=first.sum + second.sum,
  )


def _blocks(
  kernel: Float[AnyArray, 'E V'], division: Division
) -> tuple[Int32[Array, ' blocks'], Float[Array, 'blocks E columns']]:
  """Returns the numbers of the blocks, and their columns.

  A block takes an equal share of each device's columns, so that these stay on
  their devices.
  """
  rows, number = kernel.shape[0], division.num_blocks
  blocks = kernel.reshape(rows, division.num_vocab_shards, number, -1)
  blocks = jnp.moveaxis(blocks, 2, 0).reshape(number, rows, -1)
  blocks = with_logical_constraint(blocks, (None, 'embed', 'vocab'))
  return jnp.arange(number), blocks


def _joined(
  blocks: Float[Array, 'blocks E columns'], division: Division
) -> Float[Array, 'E V']:
  """Reverses `_blocks`."""
  number, rows, _ = blocks.shape
  blocks = blocks.reshape(number, rows, division.num_vocab_shards, -1)
  kernel = jnp.moveaxis(blocks, 0, 2).reshape(rows, -1)
  return with_logical_constraint(kernel, ('embed', 'vocab'))


def _columns(
  targets: Int[AnyArray, '*tokens'],
  index: Int32[Array, ''],
  num_columns: int,
  division: Division,
) -> Int[Array, '*tokens']:
  """Returns the targets' columns in a block; -1 for those in other blocks."""
  width = num_columns // division.num_vocab_shards
  shard, rest = jnp.divmod(targets, width * division.num_blocks)
  block, column = jnp.divmod(rest, width)
  return jnp.where(block == index, shard * width + column, -1)
