"""Tests of it_study.hardware."""

import types

import jax
import pytest

from it_study import hardware


@pytest.mark.parametrize(
  ('kind', 'peak'),
  [
    ('TPU v5 lite', 197e12),
    ('TPU v5', 459e12),
    ('TPU v4', 275e12),
    ('NVIDIA H100 80GB HBM3', 989e12),
    ('NVIDIA A100-SXM4-40GB', 312e12),
    ('NVIDIA GeForce GTX 1', None),
  ],
)
def test_accelerators_are_looked_up_by_their_longest_name(kind, peak):
  device = types.SimpleNamespace(platform='tpu', device_kind=kind)
  assert hardware.peak_flops(device) == peak


def test_a_cpu_is_measured_once():
  device = jax.devices('cpu')[0]
  first = hardware.peak_flops(device)
  # Slower than a gigaflop a second is no machine that runs this.
  assert first > 1e9 / jax.local_device_count('cpu')
  assert hardware.peak_flops(device) == first
