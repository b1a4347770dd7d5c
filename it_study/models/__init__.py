"""Language models in Flax: layers, initialization, placement on a mesh.

Array shapes are jaxtyping annotations, which only the tests check. A letter
means the same in `it_study.models`, `it_study.inference` and
`it_study.training.losses`:

  B batch rows, one prompt each            V vocab_size
  L length of a prompt or any sequence     E emb_dim
  T length of a target                     H num_heads
  S decoding steps that fit the cache      D head_dim
  Q query length                           M mlp_dim
  K key length                             W num_beams
  R decoded rows per prompt                Y labels of a prompt
  N decoded rows, R for each of B          X nodes of a label trie
                                           C choices at a trie node
"""

import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable

from flax import linen as nn
import jax
import numpy as np

# What functions accept that may be called outside jit.
AnyArray = jax.Array | np.ndarray


@runtime_checkable
class ModelConfig(Protocol):
  """What the configurations of all models have; hashable dataclasses."""

  __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

  @property
  def vocab_size(self) -> int:
    """Rows of the embedding table."""

  @property
  def dtype(self) -> str:
    """Type of matrix products."""

  @property
  def pad_id(self) -> int:
    """Id that pads prompts and answers."""

  @property
  def has_causal_prompts(self) -> bool:
    """Whether the model encodes a prompt's beginning without its rest.

    Its module then has `extend` and `append`, so that prompts can share their
    beginning, and `read_prompts_and_targets`, so that labels are scored without
    keeping prompts. Its `encode` and `join` return a tuple of one group of
    prompts. Inference concatenates such tuples: groups may have lengths of
    their own.
    """

  @property
  def logits_via_embedding(self) -> bool:
    """Whether the embedding table also gives the logits."""

  @property
  def logits_soft_cap(self) -> float | None:
    """Cap c of the logits s, c tanh(s / c); None for no cap."""

  @property
  def dropout_rate(self) -> float:
    """Share of activations dropped in training."""

  @property
  def z_loss(self) -> float:
    """Coefficient of the squared log normaliser in the training loss."""


# A module with a `config` and the methods that inference calls, `encode`,
# `join`, `first_tokens`, `start_decoding`, `decode_step`, `project_prompts`,
# `read_targets` and `logits`, and that training calls, `before_logits`.
Model = nn.Module
