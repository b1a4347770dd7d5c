"""What a device can compute and hold at most."""

from collections.abc import Mapping
import functools
import time

import jax
import jax.numpy as jnp

# Dense matrix products in bfloat16, FLOP a second of one JAX device, by the
# name that JAX gives it. A TPU v2 or v3 chip is two devices. Sources: Google
# Cloud's pages on each TPU version, NVIDIA's data sheets (without sparsity; an
# H100 or V100 reaches less as a PCIe card than as an SXM module, an A100 does
# not).
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
# Bytes of memory of one JAX device, from the same sources; for a TPU also its
# clock, in cycles a second, which follows from the peak and the number of
# products that its matrix units make in a cycle (v5e: 4 units of 128 x 128).
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
  """FLOP a second that a device reaches at most, None if it is not known.

  That of an accelerator is looked up, in bfloat16. That of a CPU is measured,
  with float32 matrix products of 1,024 rows, once a process; it is shared by
  all of a host's virtual devices.
  """
  if device.platform == 'cpu':
    return _measured() / jax.local_device_count('cpu')
  return lookup(PEAK_FLOPS, device.device_kind)


def lookup(table: Mapping[str, float], device_kind: str) -> float | None:
  """What a table by JAX's names has for a kind of device, None if nothing.

  A name fits a kind that has its words, one after another: 'H100' fits 'NVIDIA
  H100 80GB HBM3', 'L4' does not fit 'NVIDIA L40S'. Of several the longest
  counts: 'TPU v5 lite' is not a 'TPU v5'. A TPU has no word but its name's.
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


def _has_in_a_row(words: list[str], some: list[str]) -> bool:
  return any(
    words[start : start + len(some)] == some for start in range(len(words))
  )


@functools.cache
def _measured() -> float:
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
