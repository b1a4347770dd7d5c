"""Tests of it_study.training.hardware."""

import types

import jax
import pytest

from it_study.training import hardware


@pytest.mark.parametrize(
  ('kind', 'peak'),
  [
    ('TPU v5 lite', 197e12),
    ('TPU v5', 459e12),
    ('TPU v4', 275e12),
    ('NVIDIA H100 80GB HBM3', 989e12),
    ('NVIDIA A100-SXM4-40GB', 312e12),
    ('NVIDIA A100 80GB PCIe', 312e12),
    ('NVIDIA H100 PCIe', 756e12),
    ('NVIDIA H100 NVL', 835e12),
    ('NVIDIA H200', 989e12),
    ('NVIDIA B200', 2250e12),
    ('NVIDIA L4', 121e12),
    ('NVIDIA L40S', 362e12),
    ('NVIDIA A10', 125e12),
    ('Tesla V100-SXM2-16GB', 125e12),
    ('Tesla V100-PCIE-16GB', 112e12),
    ('TPU v5e', 197e12),
    ('TPU v5p', 459e12),
    ('TPU v6e', 918e12),
    # Of these, part of the name is another's.
    ('TPU v4 lite', None),
    ('TPU v5x', None),
    ('TPU7x', None),
    ('NVIDIA L40', None),
    ('NVIDIA A10G', None),
    ('NVIDIA GB200', None),
    ('NVIDIA GH200 480GB', None),
    ('NVIDIA GeForce GTX 1', None),
  ],
)
def test_accelerators_are_looked_up_by_their_longest_name(kind, peak):
  device = types.SimpleNamespace(platform='tpu', device_kind=kind)
  assert hardware.peak_flops(device) == peak


def test_other_tables_are_looked_up_by_the_longest_name():
  assert hardware.lookup(hardware.MEMORY_BYTES, 'TPU v5 lite') == 17179869184
  assert hardware.lookup(hardware.MEMORY_BYTES, 'cpu') is None
  # 4 units of 128 x 128 products, two operations each.
  cycle = 4 * 128 * 128 * 2
  clock = hardware.lookup(hardware.CLOCK_HERTZ, 'TPU v5 lite')
  assert clock * cycle == pytest.approx(
    hardware.PEAK_FLOPS['TPU v5 lite'], rel=0.01
  )


def test_a_cpu_is_measured_once():
  device = jax.devices('cpu')[0]
  first = hardware.peak_flops(device)
  # Slower than a gigaflop a second is no machine that runs this.
  assert first > 1e9 / jax.local_device_count('cpu')
  assert hardware.peak_flops(device) == first
