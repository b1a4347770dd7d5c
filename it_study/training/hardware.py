"""Peak compute and memory of devices."""

from collections.abc import Mapping
import functools
import time

import jax
import jax.numpy as jnp

# Peak FLOPs per second of one JAX device for dense matrix products in bfloat16,
# by JAX's name for it. A TPU v2 or v3 chip is two devices. Sources: Google
# Cloud's pages on each TPU version; NVIDIA's data sheets, without sparsity. (An
# H100 or V100 is slower as a PCIe card than as an SXM module, an A100 is not.)
PEAK_FLOPS = {
  'TPU v2': 22.5e12,
  'TPU v3': 61.5e12,
  'TPU v4': 275e12,
  'TPU v5 lite': 197e12,
  'TPU v5e': 197e12,
  'TPU v5': 459e12,
  'TPU v5p': 459e12,
  'TPU v6 lite': 918e12,
  'TPU v6e': 918e12,
  'Tesla V100': 125e12,
  'Tesla V100 PCIe': 112e12,
  'A10': 125e12,
  'A100': 312e12,
  'L4': 121e12,
  'L40S': 362e12,
  'H100': 989e12,
  'H100 PCIe': 756e12,
  'H100 NVL': 835e12,
  'H200': 989e12,
  'H200 NVL': 835e12,
  'B200': 2250e12,
}
# Memory of one JAX device in bytes, from the same sources, and the clock of a
# TPU in Hz. The clock follows from the peak and the number of products per
# cycle of its matrix units (v5e: 4 units of 128 x 128).
MEMORY_BYTES = {
  'TPU v5 lite': 16 * 2**30,
  'TPU v5e': 16 * 2**30,
  'TPU v5': 95 * 2**30,
  'TPU v5p': 95 * 2**30,
  'TPU v6 lite': 32 * 2**30,
  'TPU v6e': 32 * 2**30,
}
CLOCK_HERTZ = {'TPU v5 lite': 1.5e9, 'TPU v5e': 1.5e9}
_MATRIX = 1024
_REPEATS = 5


def peak_flops(device: jax.Device) -> float | None:
  """Returns the peak FLOPs per second of a device, None if it is not known.

  For an accelerator it is looked up, for bfloat16. For a CPU it is measured
  once per process, with float32 products of 1,024 x 1,024 matrices, and divided
  by the number of the host's virtual devices.
  """
  if device.platform == 'cpu':
    return _measured() / jax.local_device_count('cpu')
  return lookup(PEAK_FLOPS, device.device_kind)


def lookup(table: Mapping[str, float], device_kind: str) -> float | None:
  """Returns a table's value for a kind of device, None if it has none.

  A name matches a kind that contains its words in a row: 'H100' matches 'NVIDIA
  H100 80GB HBM3', 'L4' does not match 'NVIDIA L40S'. The longest match wins. A
  TPU's name must match in full: 'TPU v5 lite' is not a 'TPU v5'.
  """
  kind = _words(device_kind)
  names = [
    name
    for name in table
    if _words(name) == kind
    or (not name.startswith('TPU') and _has_in_a_row(kind, _words(name)))
  ]
  return table[max(names, key=len)] if names else None


def _words(name: str) -> list[str]:
  """'NVIDIA A100-SXM4-40GB' -> ['nvidia', 'a100', 'sxm4', '40gb']."""
  return name.lower().replace('-', ' ').split()


def _has_in_a_row(words: list[str], run: list[str]) -> bool:
  return any(
    words[start : start + len(run)] == run for start in range(len(words))
  )


@functools.cache
def _measured() -> float:
  """Returns the FLOPs per second of the fastest of a few matrix products."""
  device = jax.local_devices(backend='cpu')[0]
  matrix = jax.device_put(jnp.ones((_MATRIX, _MATRIX), jnp.float32), device)
  product = jax.jit(jnp.matmul)
  product(matrix, matrix).block_until_ready()
  best = float('inf')
  for _ in range(_REPEATS):
    before = time.perf_counter()
    product(matrix, matrix).block_until_ready()
    best = min(best, time.perf_counter() - before)
  return 2 * _MATRIX**3 / best
