"""How much of a batch and of the vocabulary the loss is computed for at once.

Shape letters, as in `it_study.models`:
  B batch     T target length     E emb_dim     V vocab_size
"""

from collections.abc import Mapping
import dataclasses

from jaxtyping import Float

from it_study.models import AnyArray

# Bytes of float32 logits that a device holds at once. Each part of the loss
# reads and writes the whole gradient of the logits matrix. An accelerator
# computes some hundred tokens' logits in that time, a CPU a few.
_CPU_LOGITS_BYTES = 32 * 2**20
_LOGITS_BYTES = 512 * 2**20

# Bytes of the float32 gradient of a block of the logits matrix, where no device
# keeps all of the matrix.
_BLOCK_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Division:
  """How the loss's work is divided; without arguments, not at all.

  Attributes:
    num_parts: Number of parts that the rows are computed in; divides B.
    num_columns: If most weights are 0: length of the parts that the rows are
      computed in, in place of `num_parts`, once the tokens that count come
      first. Parts where no token counts are skipped.
    num_shards: Number of devices that the rows of each part are divided among.
      Each sums its own gradient of the kernel, and the sums are added once.
    num_blocks: Number of blocks of the vocabulary, for devices that share the
      kernel along E. With several, each block of the kernel is gathered where
      it is used, and its gradient is at once divided among the devices. Logits
      are then computed twice.
    num_vocab_shards: Number of devices that share the kernel along V. Together
      with `num_blocks` it divides V.
  """

  num_parts: int = 1
  num_columns: int | None = None
  num_shards: int = 1
  num_blocks: int = 1
  num_vocab_shards: int = 1


UNDIVIDED = Division()


def divide(
  hidden: Float[AnyArray, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  mesh_shape: Mapping[str, int],
  *,
  platform: str,
  has_sparse_targets: bool,
) -> Division:
  """Returns how `cross_entropy` divides a batch and the vocabulary.

  Args:
    hidden: Hidden states, as for `cross_entropy`.
    kernel: Logits matrix, as for `cross_entropy`.
    mesh_shape: Number of devices along 'data', 'fsdp' and 'model'.
    platform: Kind of the devices, such as 'cpu'.
    has_sparse_targets: Whether most tokens have no weight.
  """
  sizes = hidden, kernel, mesh_shape
  most = _CPU_LOGITS_BYTES if platform == 'cpu' else _LOGITS_BYTES
  is_shared = kernel.shape[1] % mesh_shape['model'] == 0
  shared = Division(
    num_shards=mesh_shape['data'] * mesh_shape['fsdp'],
    num_blocks=count_blocks(kernel, mesh_shape, block_bytes=_BLOCK_BYTES),
    num_vocab_shards=mesh_shape['model'] if is_shared else 1,
  )
  if has_sparse_targets:
    columns = count_columns(*sizes, logits_bytes=most)
    return dataclasses.replace(shared, num_columns=columns)
  parts = count_parts(*sizes, logits_bytes=most)
  return dataclasses.replace(shared, num_parts=parts)


def count_parts(
  hidden: Float[AnyArray, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  mesh_shape: Mapping[str, int],
  *,
  logits_bytes: int,
) -> int:
  """Returns the number of parts to compute a batch's loss in.

  It is the least number that keeps a device's logits of one part small enough,
  where every part has rows for every device.

  Args:
    hidden: Hidden states, as for `cross_entropy`.
    kernel: Logits matrix, as for `cross_entropy`.
    mesh_shape: Number of devices along 'data', 'fsdp' and 'model'.
    logits_bytes: Largest size of a device's logits of one part.
  """
  rows = hidden.shape[0] // (mesh_shape['data'] * mesh_shape['fsdp'])
  row_bytes = 4 * hidden.shape[1] * kernel.shape[1] // mesh_shape['model']
  return next(
    parts
    for parts in range(1, rows + 1)
    if rows % parts == 0
    and (parts == rows or rows // parts * row_bytes <= logits_bytes)
  )


def count_columns(
  hidden: Float[AnyArray, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  mesh_shape: Mapping[str, int],
  *,
  logits_bytes: int,
) -> int:
  """Returns the length of the parts of rows whose targets are sparse.

  It is the largest power of two, up to that of the rows, that keeps a device's
  logits of one part small enough; at least 8.

  Args:
    hidden: Hidden states, as for `cross_entropy`.
    kernel: Logits matrix, as for `cross_entropy`.
    mesh_shape: Number of devices along 'data', 'fsdp' and 'model'.
    logits_bytes: Largest size of a device's logits of one part.
  """
  rows = hidden.shape[0] // (mesh_shape['data'] * mesh_shape['fsdp'])
  token_bytes = 4 * rows * kernel.shape[1] // mesh_shape['model']
  fitting = max(min(logits_bytes // token_bytes, hidden.shape[1]), 8)
  return 1 << (fitting.bit_length() - 1)


def count_blocks(
  kernel: Float[AnyArray, 'E V'],
  mesh_shape: Mapping[str, int],
  *,
  block_bytes: int,
) -> int:
  """Returns the number of blocks that the vocabulary is divided into.

  Where devices share the kernel along E, it is the least number that keeps the
  gradient of a block small enough and divides a device's columns. If that is
  more than four times the number needed, or devices do not share the kernel,
  there is one block.

  Args:
    kernel: Logits matrix, as for `cross_entropy`.
    mesh_shape: Number of devices along 'data', 'fsdp' and 'model'.
    block_bytes: Largest size of the float32 gradient of a block.
  """
  rows, vocabulary = kernel.shape
  shards = mesh_shape['model']
  if mesh_shape['fsdp'] == 1 or vocabulary % shards:
    return 1
  columns = vocabulary // shards
  least = -(-4 * rows * columns // block_bytes)
  fitting = (n for n in range(least, 4 * least + 1) if columns % n == 0)
  return next(fitting, 1)
