"""Runs a stack's layers in sequence, looped or rematerialised as configured.

Shape letters, as in `it_study.models`:
  B batch          L any length     E emb_dim
"""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from it_study.models import dot_product_attention

# What is saved of a layer for the backward pass.
_POLICIES = {
  'minimal': jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    jax.checkpoint_policies.save_only_these_names(
      dot_product_attention.SAVED_NAME
    ),
  ),
  'full': jax.checkpoint_policies.nothing_saveable,
}


def through_layers(
  stack: nn.Module,
  x: Float[Array, 'B L E'],
  shared: Mapping[str, Any],
  *,
  per_layer: Mapping[str, Shaped[Array, ' layers *rest']] | None = None,
  deterministic: bool,
) -> Float[Array, 'B L E']:
  """Calls a stack's layers in sequence.

  Args:
    stack: Encoder or decoder, with a `config` and equal `layers`.
    x: Input of the first layer.
    shared: Further arguments of every layer, by name.
    per_layer: Arrays by name of argument, of which each layer gets its own row;
      None for none.
    deterministic: Whether dropout is off.
  """
  config = stack.config
  per_layer = per_layer or {}
  if stack.is_initializing() or (
    config.remat_policy == 'none' and not config.scan_layers
  ):
    for index, layer in enumerate(stack.layers):
      own = {name: array[index] for name, array in per_layer.items()}
      x = layer(x, **shared, **own, deterministic=deterministic)
    return x
  # JAX can loop over and recompute a pure function of a layer's parameters.
  template = type(stack.layers[0])(config, parent=None)

  def call(x, layer, shared):
    params, key, own = layer
    rngs = None if deterministic else {'dropout': key}
    return template.apply(
      {'params': params},
      x,
      **shared,
      **own,
      deterministic=deterministic,
      rngs=rngs,
    )

  if config.remat_policy != 'none':
    call = jax.checkpoint(
      call,
      policy=_POLICIES[config.remat_policy],
      # A loop alone keeps the recomputation apart from the forward pass.
      prevent_cse=not config.scan_layers,
    )
  # Layers compute with copies in this type, so a loop need not stack the
  # float32 originals.
  params = [
    jax.tree.map(
      lambda leaf: leaf.astype(config.dtype), layer.variables['params']
    )
    for layer in stack.layers
  ]
  keys = None
  if not deterministic:
    keys = jax.random.split(stack.make_rng('dropout'), len(params))
  if not config.scan_layers:
    for index, layer_params in enumerate(params):
      key = None if keys is None else keys[index]
      own = {name: array[index] for name, array in per_layer.items()}
      x = call(x, (layer_params, key, own), shared)
    return x
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
  x, _ = lax.scan(
    lambda x, layer: (call(x, layer, shared), None),
    x,
    (stacked, keys, per_layer),
  )
  return x
