"""The configuration of a decoder-only Transformer."""

import dataclasses
import math
from typing import Any

from it_study.errors import InputError, nearest
from it_study.models.config import check_common

NORM_PLACES = ('before', 'after', 'around')
QK_NORMS = ('none', 'head', 'full')
ROPE_SCALINGS = ('none', 'linear', 'llama3')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rope:
  """Rotary position embedding; hashable.

  Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding"
  (2021), section 3.4.2, with the first and second half of a head as pairs.

  Attributes:
    base: Base of the frequencies `base ** (-2 i / head_dim)`.
    scaling: 'none'; 'linear', which divides all frequencies by `factor` (Chen
      et al., "Extending Context Window of Large Language Models via Positional
      Interpolation", 2023); or 'llama3', which divides only the low ones
      (Llama 3.1's `apply_scaling`).
    factor: Factor of the scaling, above 0.
    low_frequency_factor: Wavelengths longer than `original_length` over this
      are divided by the whole factor; 'llama3' only.
    high_frequency_factor: Wavelengths shorter than `original_length` over this
      stay as they are; between the two, the divisor is interpolated.
    original_length: Context length in tokens before the scaling.

  Raises:
    InputError: If a value is out of range.
  """

  base: float = 10_000.0
  scaling: str = 'none'
  factor: float = 1.0
  low_frequency_factor: float = 1.0
  high_frequency_factor: float = 4.0
  original_length: int = 8192

  def __post_init__(self):
    if self.scaling not in ROPE_SCALINGS:
      raise InputError(
        f'Rope.scaling is {self.scaling!r}; expected one of '
        f'{", ".join(ROPE_SCALINGS)}.'
        f'{nearest(str(self.scaling), ROPE_SCALINGS)}'
      )
    for name in (
      'base',
      'factor',
      'low_frequency_factor',
      'high_frequency_factor',
      'original_length',
    ):
      _check_positive(f'Rope.{name}', getattr(self, name))
    if (
      self.scaling == 'llama3'
      and self.low_frequency_factor >= self.high_frequency_factor
    ):
      raise InputError(
        f'Rope.low_frequency_factor is {self.low_frequency_factor!r} and '
        f'high_frequency_factor {self.high_frequency_factor!r}; the first must '
        'be above 0 and below the second.'
      )


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """All settings of a decoder-only Transformer; hashable.

  The defaults give Llama 2. Every layer is causal self-attention, then a gated
  MLP.

  Attributes:
    vocab_size: Rows of the embedding table.
    emb_dim: Width of the residual stream.
    num_heads: Number of query heads.
    num_kv_heads: Number of key and value heads; divides `num_heads`. Each is
      shared by consecutive query heads (Ainslie et al., "GQA", 2023).
    head_dim: Width of one head.
    mlp_dim: Width of the MLP's hidden layer.
    num_layers: Number of layers.
    mlp_activations: Activation of each factor of the gated MLP.
    logits_via_embedding: Whether the embedding table also gives the logits.
    embedding_scale: Whether embeddings are multiplied by sqrt(emb_dim), as in
      Gemma.
    norm_place: Where a sublayer has its norms: 'before' it, on the residual
      stream; 'after' it, on its output (OLMo 2); or 'around' (Gemma 2).
    norm_offset: Number added to every norm's weight: 1 in Gemma, else 0.
    norm_epsilon: Epsilon inside the norms' root.
    qk_norm: Norm of queries and keys before the rotation: 'none', one over each
      'head' (Qwen 3, Gemma 3), or one over all heads, 'full' (OLMo 2).
    qkv_bias: Whether queries, keys and values have a bias.
    out_bias: Whether attention's output has a bias.
    mlp_bias: Whether the MLP's products have biases.
    query_scale: Factor of the queries; None for 1 / sqrt(head_dim).
    rope: Rotary embedding of layers that see everything before a token.
    local_rope: Rotary embedding of layers with a window; None for `rope`.
    window: Number of tokens that a layer with a window sees, the token itself
      included; None if no layer has one.
    window_pattern: Whether a layer has the window, for consecutive layers; it
      repeats. (True, False) is Gemma 2's.
    attention_soft_cap: Cap c of attention's scores s, c tanh(s / c); None for
      no cap.
    logits_soft_cap: The same for the logits.
    dropout_rate: Always 0: decoder-only models are tuned without dropout.
    dtype: As in `T5Config`.
    remat_policy: As in `T5Config`.
    scan_layers: As in `T5Config`.
    attention_implementation: 'pallas' for our kernel where device and sizes
      allow it; anything else for XLA.

  Raises:
    InputError: If a value is out of range.
  """

  vocab_size: int
  emb_dim: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  mlp_dim: int
  num_layers: int
  mlp_activations: tuple[str, ...] = ('silu', 'linear')
  logits_via_embedding: bool = False
  embedding_scale: bool = False
  norm_place: str = 'before'
  norm_offset: float = 0.0
  norm_epsilon: float = 1e-5
  qk_norm: str = 'none'
  qkv_bias: bool = False
  out_bias: bool = False
  mlp_bias: bool = False
  query_scale: float | None = None
  rope: Rope = dataclasses.field(default_factory=Rope)
  local_rope: Rope | None = None
  window: int | None = None
  window_pattern: tuple[bool, ...] = (False,)
  attention_soft_cap: float | None = None
  logits_soft_cap: float | None = None
  dropout_rate: float = 0.0
  dtype: str = 'float32'
  remat_policy: str = 'none'
  scan_layers: bool = False
  attention_implementation: str = 'auto'

  def __post_init__(self):
    # Configuration files give lists, which are not hashable.
    for name in ('mlp_activations', 'window_pattern'):
      object.__setattr__(self, name, tuple(getattr(self, name)))
    check_common(self)
    _check_config(self)

  @property
  def pad_id(self) -> int:
    """Id that pads prompts and answers: none of the vocabulary's.

    Id 0 is a token like any other in most of these vocabularies.
    """
    return -1

  @property
  def has_causal_prompts(self) -> bool:
    """True: a token sees only those before it."""
    return True

  @property
  def z_loss(self) -> float:
    """No z-loss: these models are tuned on the cross entropy alone."""
    return 0.0

  @property
  def has_sparse_targets(self) -> bool:
    """Whether most tokens of a training row have no target: the prompts'."""
    return True

  def has_window(self, layer: int) -> bool:
    """Returns whether a layer sees only a window."""
    pattern = self.window_pattern
    return self.window is not None and pattern[layer % len(pattern)]


def norm_settings(config: DecoderConfig) -> dict[str, Any]:
  """Returns the settings of all of a model's norms, for `layers.RmsNorm`."""
  return {
    'dtype': config.dtype,
    'epsilon': config.norm_epsilon,
    'offset': config.norm_offset,
  }


def _check_config(config: DecoderConfig) -> None:
  if config.num_heads % config.num_kv_heads:
    raise InputError(
      f'DecoderConfig.num_kv_heads is {config.num_kv_heads}; it must divide '
      f'num_heads, which is {config.num_heads}.'
    )
  if config.head_dim % 2:
    raise InputError(
      f'DecoderConfig.head_dim is {config.head_dim}; rotary embeddings need an '
      'even number.'
    )
  for name, allowed in (('norm_place', NORM_PLACES), ('qk_norm', QK_NORMS)):
    value = getattr(config, name)
    if value not in allowed:
      raise InputError(
        f'DecoderConfig.{name} is {value!r}; expected one of '
        f'{", ".join(allowed)}.{nearest(str(value), allowed)}'
      )
  if config.dropout_rate:
    raise InputError(
      f'DecoderConfig.dropout_rate is {config.dropout_rate!r}; decoder-only '
      'models have no dropout. Set DROPOUT_RATE = 0.0.'
    )
  for name in ('query_scale', 'attention_soft_cap', 'logits_soft_cap'):
    value = getattr(config, name)
    if value is not None:
      _check_positive(f'DecoderConfig.{name}', value)
  window = config.window
  if window is not None and (
    isinstance(window, bool) or not isinstance(window, int) or window < 1
  ):
    raise InputError(
      f'DecoderConfig.window is {window!r}; expected a positive integer or '
      'None.'
    )
  if not config.window_pattern:
    raise InputError(
      'DecoderConfig.window_pattern is empty; expected at least one truth '
      'value, such as (True, False).'
    )
  if any(config.window_pattern) and config.window is None:
    raise InputError(
      'DecoderConfig.window_pattern gives layers a window, but window is None. '
      'Set it to a number of tokens.'
    )


def _check_positive(name: str, value: Any) -> None:
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  if not is_number or not 0 < value < math.inf:
    raise InputError(f'{name} is {value!r}; expected a finite number above 0.')
