"""The layers of a decoder-only Transformer, over a sequence or step by step.

Shape letters, as in `it_study.models` and `it_study.models.decoder_only`:
  B batch            L prompt length     T target length     E emb_dim
  Q query length     K key length        D head_dim          N decoded rows
  S decoding steps   J num_kv_heads
"""

from collections.abc import Sequence
import functools

from flax import linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int

from it_study.models import layers
from it_study.models.decoder_only import rotary
from it_study.models.decoder_only.attention import (
  GroupedQueryAttention,
  Groups,
  OwnKeysAndValues,
)
from it_study.models.decoder_only.config import DecoderConfig, norm_settings
from it_study.models.decoder_only.masks import Masks
from it_study.models.layer_loop import through_layers


class DecoderLayer(nn.Module):
  """Causal self-attention and MLP, each with its norms and residual."""

  config: DecoderConfig

  def setup(self):
    config = self.config
    norm = functools.partial(layers.RmsNorm, **norm_settings(config))
    self.self_attention = GroupedQueryAttention(config)
    self.mlp = layers.Mlp(
      mlp_dim=config.mlp_dim,
      emb_dim=config.emb_dim,
      activations=config.mlp_activations,
      dtype=config.dtype,
      use_bias=config.mlp_bias,
    )
    if config.norm_place in ('before', 'around'):
      self.pre_self_attention_layer_norm = norm()
      self.pre_mlp_layer_norm = norm()
    if config.norm_place in ('after', 'around'):
      self.post_self_attention_layer_norm = norm()
      self.post_mlp_layer_norm = norm()

  def __call__(
    self,
    x: Float[Array, 'B Q E'],
    *,
    masks: Masks,
    has_window: Bool[Array, ''],
    deterministic: bool,
  ) -> Float[Array, 'B Q E']:
    """Applies the layer; there is no dropout."""
    del deterministic
    return self.after(x, masks=masks, has_window=has_window)[0]

  def after(
    self,
    x: Float[Array, 'B Q E'],
    *,
    masks: Masks,
    has_window: Bool[Array, ''] | bool,
    before: Groups = (),
  ) -> tuple[Float[Array, 'B Q E'], OwnKeysAndValues]:
    """Applies the layer after what `before` holds the keys and values of.

    Returns:
      The output, and the keys and values of `x`.
    """
    mask, rotation = masks.of_layer(jnp.asarray(has_window))
    update, own = self.self_attention(
      self._norm_before('self_attention', x),
      rotation,
      mask=mask,
      segments=masks.segments,
      before=before,
      is_causal=masks.is_causal,
    )
    x = layers.split_batch(x + self._norm_after('self_attention', update))
    return layers.split_batch(x + self._mlp_update(x)), own

  def step(
    self,
    x: Float[Array, 'N E'],
    prompts: Groups,
    stored: tuple[Float[Array, 'N J D S'], Float[Array, 'N J S D']],
    step: Int[Array, ''] | int,
    rotation: rotary.Rotation,
    *,
    prompt_biases: Sequence[Float32[Array, '_ _']],
    step_bias: Float32[Array, ' S'],
  ) -> tuple[
    Float[Array, 'N E'], Float[Array, 'N J D S'], Float[Array, 'N J S D']
  ]:
    """Applies the layer to one token per row.

    Args:
      x: Input of the layer.
      prompts: The layer's keys and values of the prompts.
      stored: The layer's keys and values of the steps.
      step: Number of the step.
      rotation: Cosines and sines of the rows' positions, of length 1.
      prompt_biases: Bias of each group's tokens.
      step_bias: Bias of the steps.

    Returns:
      The output, and keys and values of the steps with this one's added.
    """
    keys, values = stored
    normed = self._norm_before('self_attention', x)
    key, value = self.self_attention.keys_and_values(normed[:, None], rotation)
    keys = lax.dynamic_update_slice(keys, key.swapaxes(2, 3), (0, 0, 0, step))
    values = lax.dynamic_update_slice(values, value, (0, 0, step, 0))
    update = self.self_attention.step(
      normed,
      rotation,
      prompts,
      (keys, values),
      prompt_biases=prompt_biases,
      step_bias=step_bias,
    )
    x = x + self._norm_after('self_attention', update)
    return x + self._mlp_update(x), keys, values

  def _mlp_update(self, x: Float[Array, '*rows E']) -> Float[Array, '*rows E']:
    return self._norm_after('mlp', self.mlp(self._norm_before('mlp', x)))

  def _norm_before(
    self, part: str, x: Float[Array, '*rows E']
  ) -> Float[Array, '*rows E']:
    if self.config.norm_place == 'after':
      return x
    return getattr(self, f'pre_{part}_layer_norm')(x)

  def _norm_after(
    self, part: str, x: Float[Array, '*rows E']
  ) -> Float[Array, '*rows E']:
    if self.config.norm_place == 'before':
      return x
    return getattr(self, f'post_{part}_layer_norm')(x)


class Decoder(nn.Module):
  """The stack of layers and the logits matrix."""

  config: DecoderConfig

  def setup(self):
    config = self.config
    self.layers = [DecoderLayer(config) for _ in range(config.num_layers)]
    self.decoder_norm = layers.RmsNorm(**norm_settings(config))
    if not config.logits_via_embedding:
      self.logits_dense = layers.Dense(config.vocab_size, ('embed', 'vocab'))

  def __call__(
    self, x: Float[Array, 'B T E'], *, masks: Masks
  ) -> Float[Array, 'B T E']:
    x = through_layers(
      self,
      x,
      {'masks': masks},
      per_layer={'has_window': jnp.array(windows(self.config))},
      deterministic=True,
    )
    return self.decoder_norm(x)


def windows(config: DecoderConfig) -> list[bool]:
  """Whether each layer has a window."""
  return [config.has_window(layer) for layer in range(config.num_layers)]
