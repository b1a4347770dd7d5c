"""The configuration of a T5."""

import dataclasses

from it_study.errors import InputError, nearest
from it_study.models import layers

REMAT_POLICIES = ('none', 'minimal', 'full')
ATTENTION_IMPLEMENTATIONS = ('auto', 'xla', 'cudnn')


@dataclasses.dataclass(frozen=True)
class T5Config:
  """Everything that shapes a T5; hashable, so jit can key on it.

  T5 v1.1 as it stands; T5 v1.0 with `mlp_activations=('relu',)` and
  `logits_via_embedding=True`.

  Attributes:
    vocab_size: rows of the embedding table, padding to a round number included.
    emb_dim: width of the residual stream.
    num_heads: attention heads.
    head_dim: width of one head; heads times this need not be `emb_dim`.
    mlp_dim: width inside the MLP.
    num_encoder_layers: layers of the encoder.
    num_decoder_layers: layers of the decoder.
    mlp_activations: one a factor of the MLP's gate.
    logits_via_embedding: logits from the embedding table, scaled by
      1/sqrt(emb_dim), in place of a matrix of their own.
    dropout_rate: share of activations dropped when not deterministic.
    dtype: type of matrix products; parameters, norms, softmax and logits are
      float32 always. In training the product that gives the logits is of
      numbers of this type, summed in float32; in answering it is all float32.
    remat_policy: what the backward pass recomputes to save memory, layer by
      layer: 'none'; 'minimal', all but the outputs of matrix products with
      parameters and of attention; 'full', all but the layer's input. Values
      stay the same without dropout, which draws other numbers under these two
      than under 'none'. Attention weights are kept for no longer than a layer.
    scan_layers: compile one layer of a stack and loop over it, in place of
      compiling every layer. Parameters keep their tree, so checkpoints are the
      same either way; dropout draws other numbers.
    attention_implementation: 'xla'; 'cudnn', its fused kernel, where dtype and
      sizes allow it; or 'auto', the latter on an NVIDIA GPU.
    relative_attention_num_buckets: buckets of relative position.
    relative_attention_max_distance: tokens from which all distances share the
      last bucket.

  Raises:
    InputError: a value that no T5 can have.
  """

  vocab_size: int
  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_encoder_layers: int
  num_decoder_layers: int
  mlp_activations: tuple[str, ...] = ('gelu', 'linear')
  logits_via_embedding: bool = False
  dropout_rate: float = 0.0
  dtype: str = 'float32'
  remat_policy: str = 'none'
  scan_layers: bool = False
  attention_implementation: str = 'auto'
  relative_attention_num_buckets: int = 32
  relative_attention_max_distance: int = 128

  def __post_init__(self):
    # A configuration file gives a list, which cannot be hashed.
    object.__setattr__(self, 'mlp_activations', tuple(self.mlp_activations))
    _check_config(self)


def _check_config(config: T5Config) -> None:
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if field.type in ('int', int) and (
      isinstance(value, bool) or not isinstance(value, int) or value < 1
    ):
      raise InputError(
        f'T5Config.{field.name} is {value!r}: give a whole number from 1 up.'
      )
  if config.dtype == 'float16':
    raise InputError(
      "T5Config.dtype is 'float16': T5's activations exceed its largest value "
      "(65504) and turn into infinities. Give 'bfloat16' or 'float32'."
    )
  if config.dtype not in ('float32', 'bfloat16'):
    raise InputError(
      f"T5Config.dtype is {config.dtype!r}: give 'float32' or 'bfloat16'."
      f'{nearest(str(config.dtype), ("float32", "bfloat16"))}'
    )
  for name, allowed in (
    ('remat_policy', REMAT_POLICIES),
    ('attention_implementation', ATTENTION_IMPLEMENTATIONS),
  ):
    value = getattr(config, name)
    if value not in allowed:
      raise InputError(
        f'T5Config.{name} is {value!r}: allowed are {", ".join(allowed)}.'
        f'{nearest(str(value), allowed)}'
      )
  if not config.mlp_activations:
    raise InputError(
      "T5Config.mlp_activations is empty: give ('gelu', 'linear') for T5 v1.1 "
      "or ('relu',) for v1.0."
    )
  for name in config.mlp_activations:
    if name not in layers.ACTIVATIONS:
      raise InputError(
        f'T5Config.mlp_activations has {name!r}: allowed are '
        f'{", ".join(layers.ACTIVATIONS)}.{nearest(name, layers.ACTIVATIONS)}'
      )
  rate = config.dropout_rate
  if not isinstance(rate, int | float) or not 0.0 <= rate < 1.0:
    raise InputError(
      f'T5Config.dropout_rate is {rate!r}: give a share from 0 '
      'up to, not including, 1.'
    )
