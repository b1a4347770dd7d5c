"""A stack's layers one after the other, in a loop or recomputed on request.

Shape letters:
  B batch          L any length     E emb_dim
"""

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from it_study.models import dot_product_attention


def through_layers(
  stack: nn.Module,
  x: jax.Array,
  shared: dict[str, jax.Array],
  *,
  deterministic: bool,
) -> jax.Array:
  """Calls a stack's layers one after the other, as its configuration says.

  Args:
    stack: an encoder or a decoder, with a `config` and `layers` that are alike.
    x: `[B, L, E]`.
    shared: goes to every layer by name.
    deterministic: no dropout.

  Returns:
    `[B, L, E]`.
  """
  config = stack.config
  if stack.is_initializing() or (
    config.remat_policy == 'none' and not config.scan_layers
  ):
    for layer in stack.layers:
      x = layer(x, **shared, deterministic=deterministic)
    return x
  # A pure function of a layer's parameters, which is what JAX can loop over
  # and recompute.
  template = type(stack.layers[0])(config, parent=None)

  def call(x, layer, shared):
    params, key = layer
    rngs = None if deterministic else {'dropout': key}
    return template.apply(
      {'params': params}, x, **shared, deterministic=deterministic, rngs=rngs
    )

  policies = {
    'minimal': jax.checkpoint_policies.save_from_both_policies(
      jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
      jax.checkpoint_policies.save_only_these_names(
        dot_product_attention.SAVED_NAME
      ),
    ),
    'full': jax.checkpoint_policies.nothing_saveable,
  }
  if config.remat_policy != 'none':
    call = jax.checkpoint(
      call,
      policy=policies[config.remat_policy],
      # A loop keeps what is recomputed apart by itself.
      prevent_cse=not config.scan_layers,
    )
  # Every layer computes with copies of this type, so that a loop needs no more
  # of them than that.
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
      x = call(x, (layer_params, key), shared)
    return x
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
  x, _ = lax.scan(
    lambda x, layer: (call(x, layer, shared), None), x, (stacked, keys)
  )
  return x
