"""JAX's switches, so that no run depends on those of the user's shell."""

import logging
import os
from typing import Any

import jax

from it_study import distributed

# JAX's defaults, under which the programs are tested. Other values change
# numbers or random bits, or stop programs that are right.
_VALUES: dict[str, Any] = {
  'jax_check_tracer_leaks': False,
  'jax_debug_infs': False,
  'jax_debug_key_reuse': False,
  'jax_debug_nans': False,
  'jax_default_matmul_precision': None,
  'jax_default_prng_impl': 'threefry2x32',
  'jax_disable_jit': False,
  'jax_enable_custom_prng': False,
  'jax_enable_x64': False,
  'jax_high_dynamic_range_gumbel': False,
  'jax_legacy_prng_key': 'allow',
  'jax_numpy_dtype_promotion': 'standard',
  'jax_numpy_rank_promotion': 'allow',
  'jax_random_seed_offset': 0,
  'jax_softmax_custom_jvp': False,
  'jax_threefry_partitionable': True,
  'jax_transfer_guard': None,
}
_PROCESS = distributed.VARIABLES[-1]
_logger = logging.getLogger(__name__)


def set_defaults() -> None:
  """Sets switches that the environment may have set to JAX's defaults."""
  changed = []
  for name, value in _VALUES.items():
    current = jax.config.values.get(name, value)
    if getattr(current, 'value', current) != value:
      changed.append(name.upper())
      jax.config.update(name, value)
  # Not `is_first`, which would start JAX before `plan` has chosen devices.
  if changed and os.environ.get(_PROCESS, '0') == '0':
    _logger.warning(
      'no effect: %s. Runs use the defaults of JAX, so that results do not '
      'depend on the shell.',
      ', '.join(changed),
    )
