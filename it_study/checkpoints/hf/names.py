"""Maps our parameter names to a Hugging Face T5's."""

from collections.abc import Callable
from typing import Any, NamedTuple

from it_study.models.config import T5Config

HEAD = 'lm_head.weight'
# Names of the embedding table. Files may hold it under each, or under any one.
EMBEDDINGS = (
  'shared.weight',
  'encoder.embed_tokens.weight',
  'decoder.embed_tokens.weight',
)
# A bias in the first releases of T5 v1.0 that no model reads.
_UNUSED = (
  'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight'
)
_ATTENTION = {'query': 'q', 'key': 'k', 'value': 'v', 'out': 'o'}


class Tensor(NamedTuple):
  """A tensor of a checkpoint, and whether our parameter is its transpose."""

  name: str
  is_transposed: bool


class Layout(NamedTuple):
  """How the tensors of a kind of model are named.

  Attributes:
    tensors: Function that returns the tensors by our names.
    embeddings: Names of the embedding table.
    is_unused: Function that returns whether no model reads a tensor.
    may_lack_head: Whether logits come from the embedding table, whatever the
      configuration says, if no tensor holds their own.
    gin_file: Gin file of such a model, for messages.
  """

  tensors: Callable[[Any], dict[str, Tensor]]
  embeddings: tuple[str, ...]
  is_unused: Callable[[str], bool]
  may_lack_head: bool
  gin_file: str


def tensors(config: T5Config) -> dict[str, Tensor]:
  """Returns Hugging Face's tensors by our names, 'encoder/layers_0/…'.

  PyTorch's linear layers store [out, in], ours [in, out]; its relative
  attention bias [buckets, heads], ours [heads, buckets].
  """
  table = {
    'token_embedder/embedding': Tensor(EMBEDDINGS[0], False),
    'encoder/encoder_norm/scale': Tensor(
      'encoder.final_layer_norm.weight', False
    ),
    'decoder/decoder_norm/scale': Tensor(
      'decoder.final_layer_norm.weight', False
    ),
  }
  if not config.logits_via_embedding:
    table['decoder/logits_dense/kernel'] = Tensor(HEAD, True)
  for stack in ('encoder', 'decoder'):
    table[f'{stack}/relpos_bias/rel_embedding'] = Tensor(
      f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
      True,
    )
  for layer in range(config.num_encoder_layers):
    _add_layer(
      table,
      config,
      ours=f'encoder/layers_{layer}',
      theirs=f'encoder.block.{layer}.layer',
      parts=(('attention', 'SelfAttention', 'pre_attention_layer_norm'),),
    )
  for layer in range(config.num_decoder_layers):
    _add_layer(
      table,
      config,
      ours=f'decoder/layers_{layer}',
      theirs=f'decoder.block.{layer}.layer',
      parts=(
        ('self_attention', 'SelfAttention', 'pre_self_attention_layer_norm'),
        (
          'encoder_decoder_attention',
          'EncDecAttention',
          'pre_cross_attention_layer_norm',
        ),
      ),
    )
  return table


def _add_layer(
  table: dict[str, Tensor],
  config: T5Config,
  *,
  ours: str,
  theirs: str,
  parts: tuple[tuple[str, str, str], ...],
) -> None:
  for number, (part, name, norm) in enumerate(parts):
    for kernel, letter in _ATTENTION.items():
      table[f'{ours}/{part}/{kernel}/kernel'] = Tensor(
        f'{theirs}.{number}.{name}.{letter}.weight', True
      )
    table[f'{ours}/{norm}/scale'] = Tensor(
      f'{theirs}.{number}.layer_norm.weight', False
    )
  mlp = f'{theirs}.{len(parts)}'
  count = len(config.mlp_activations)
  kernels = ['wi'] if count == 1 else [f'wi_{k}' for k in range(count)]
  for kernel in (*kernels, 'wo'):
    table[f'{ours}/mlp/{kernel}/kernel'] = Tensor(
      f'{mlp}.DenseReluDense.{kernel}.weight', True
    )
  table[f'{ours}/pre_mlp_layer_norm/scale'] = Tensor(
    f'{mlp}.layer_norm.weight', False
  )


LAYOUT = Layout(
  tensors=tensors,
  embeddings=EMBEDDINGS,
  is_unused=_UNUSED.__eq__,
  may_lack_head=True,
  gin_file='models/t5_1_1_large.gin',
)
