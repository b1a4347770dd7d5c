"""The configuration of a T5 model."""

import dataclasses
from typing import Any

from it_study.errors import InputError, nearest
from it_study.models import layers

REMAT_POLICIES = ('none', 'minimal', 'full')
ATTENTION_IMPLEMENTATIONS = ('auto', 'xla', 'cudnn', 'pallas')


@dataclasses.dataclass(frozen=True)
class T5Config:
  """All settings of a T5; hashable, so that it can be a static argument of jit.

  The defaults give T5 v1.1; `mlp_activations=('relu',)` and
  `logits_via_embedding=True` give v1.0.

  Attributes:
    vocab_size: Rows of the embedding table, including any padding to a round
      number.
    emb_dim: Width of the residual stream.
    num_heads: Number of attention heads.
    head_dim: Width of one head; `num_heads * head_dim` may differ from
      `emb_dim`.
    mlp_dim: Width of the MLP's hidden layer.
    num_encoder_layers: Number of encoder layers.
    num_decoder_layers: Number of decoder layers.
    mlp_activations: Activation of each factor of the gated MLP.
    logits_via_embedding: Whether the embedding table, scaled by
      1/sqrt(emb_dim), also gives the logits, instead of a separate matrix.
    dropout_rate: Share of activations dropped in training, in [0, 1).
    dtype: Type of matrix products, 'float32' or 'bfloat16'. Parameters, norms,
      softmax and logits are always float32. In training the product that gives
      the logits has operands of this type and sums in float32; in inference it
      is float32 throughout.
    remat_policy: Activations of each layer that the backward pass recomputes to
      save memory: 'none'; 'minimal', all but attention's output and those of
      matrix products with parameters; or 'full', all but the layer's input.
      Values do not depend on it, except that dropout draws other numbers under
      'minimal' and 'full' than under 'none'. No attention weights outlive their
      layer.
    scan_layers: Whether to compile one layer per stack and loop over it,
      instead of compiling every layer. The parameter tree, and so checkpoints,
      stay the same; dropout draws other numbers.
    attention_implementation: 'xla'; 'cudnn' for its fused kernel, or 'pallas'
      for ours, where device, dtype and sizes allow it; or 'auto', which means
      'cudnn' on NVIDIA GPUs.
    relative_attention_num_buckets: Number of buckets of relative position.
    relative_attention_max_distance: Distance in tokens from which on all
      distances share the last bucket.

  Raises:
    InputError: If a value is out of range.
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
    # Configuration files give lists, which are not hashable.
    object.__setattr__(self, 'mlp_activations', tuple(self.mlp_activations))
    check_common(self)

  @property
  def pad_id(self) -> int:
    """Id that pads prompts and answers; also the first token of an answer."""
    return 0

  @property
  def has_causal_prompts(self) -> bool:
    """False: every token of a prompt sees all others."""
    return False

  @property
  def logits_soft_cap(self) -> None:
    """No cap."""
    return None

  @property
  def z_loss(self) -> float:
    """T5's own coefficient."""
    return 1e-4

  @property
  def has_sparse_targets(self) -> bool:
    """Whether most tokens of a training row have no target: not T5's."""
    return False


def check_common(config: Any) -> None:
  """Checks the fields that the configurations of all models share.

  Args:
    config: Configuration dataclass.

  Raises:
    InputError: If a value is out of range; names the class and the field.
  """
  owner = type(config).__name__
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if field.type in ('int', int) and (
      isinstance(value, bool) or not isinstance(value, int) or value < 1
    ):
      raise InputError(
        f'{owner}.{field.name} is {value!r}; expected a positive integer.'
      )
    if field.type in ('bool', bool) and not isinstance(value, bool):
      raise InputError(
        f'{owner}.{field.name} is {value!r}; expected True or False.'
      )
  if config.dtype == 'float16':
    raise InputError(
      f"{owner}.dtype is 'float16', but some activations exceed its largest "
      "value (65504). Use 'bfloat16' or 'float32'."
    )
  if config.dtype not in ('float32', 'bfloat16'):
    raise InputError(
      f"{owner}.dtype is {config.dtype!r}; expected 'float32' or 'bfloat16'."
      f'{nearest(str(config.dtype), ("float32", "bfloat16"))}'
    )
  for name, allowed in (
    ('remat_policy', REMAT_POLICIES),
    ('attention_implementation', ATTENTION_IMPLEMENTATIONS),
  ):
    value = getattr(config, name)
    if value not in allowed:
      raise InputError(
        f'{owner}.{name} is {value!r}; expected one of {", ".join(allowed)}.'
        f'{nearest(str(value), allowed)}'
      )
  if not config.mlp_activations:
    raise InputError(
      f"{owner}.mlp_activations is empty. Use ('gelu', 'linear') for a gated "
      "MLP, ('relu',) for a plain one."
    )
  for name in config.mlp_activations:
    if name not in layers.ACTIVATIONS:
      raise InputError(
        f'{owner}.mlp_activations contains {name!r}; expected any of '
        f'{", ".join(layers.ACTIVATIONS)}.{nearest(name, layers.ACTIVATIONS)}'
      )
  rate = config.dropout_rate
  if not isinstance(rate, int | float) or not 0.0 <= rate < 1.0:
    raise InputError(
      f'{owner}.dropout_rate is {rate!r}; expected a number in [0, 1).'
    )
