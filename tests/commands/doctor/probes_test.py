"""Tests of probes: none hangs, and each failure is reported."""

import time

import fakes
import pytest

from it_study.commands import doctor
from it_study.commands.doctor import probes


@pytest.fixture(name='modules')
def _modules(tmp_path, monkeypatch):
  """Writes modules that shadow the real ones in a probe."""
  monkeypatch.setenv('PYTHONPATH', str(tmp_path))
  # Otherwise the project's folder comes first.
  monkeypatch.setattr(probes, '_ROOT', tmp_path)
  monkeypatch.syspath_prepend(tmp_path)

  def write(**texts):
    for name, text in texts.items():
      (tmp_path / f'{name}.py').write_text(text)

  return write


def test_the_devices_of_this_process_kind(monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=3')
  assert probes.check_devices(seconds=120) == doctor.DoctorCheck(
    'devices', 'ok', '3 x cpu'
  )


def test_a_device_that_hangs(modules):
  modules(jax='import time; time.sleep(60)')
  started = time.monotonic()
  found = probes.check_devices(seconds=0.5)
  assert time.monotonic() - started < 15
  assert (found.status, found.found) == (
    'broken',
    'JAX did not start within 0.5 s',
  )
  assert 'another process may hold the accelerator' in found.advice


def test_a_jax_that_cannot_start(modules):
  modules(jax='raise RuntimeError("no such driver")')
  found = probes.check_devices(seconds=30)
  assert found.found == 'JAX cannot start: RuntimeError: no such driver'
  assert found.status == 'broken'


def test_memory_of_accelerators(modules):
  modules(
    jax="""
class Device:
  platform, device_kind = 'gpu', 'H100'
  def memory_stats(self): return {'bytes_limit': 75 * 2**30}
def local_devices(): return [Device(), Device()]
"""
  )
  assert probes.check_devices(seconds=30) == doctor.DoctorCheck(
    'devices', 'ok', '2 x H100, 75 GiB each'
  )


def test_a_gpu_that_jax_does_not_see(modules, monkeypatch, tmp_path):
  modules(
    jax="""
class Device:
  platform = device_kind = 'cpu'
  def memory_stats(self): return None
def local_devices(): return [Device()]
"""
  )
  fakes.write_program(tmp_path / 'bin/nvidia-smi', '')
  monkeypatch.setenv('PATH', str(tmp_path / 'bin'))
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)
  assert probes.check_devices(seconds=30) == doctor.DoctorCheck(
    'devices',
    'warning',
    '1 x cpu; JAX does not see the NVIDIA GPU',
    "pip install 'it_study[gpu]'",
  )


def test_bytes_are_a_vocabulary(monkeypatch):
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  assert probes.check_vocabulary(seconds=1).status == 'ok'


def test_a_vocabulary_that_is_no_file(monkeypatch, tmp_path):
  monkeypatch.setenv('IT_STUDY_VOCABULARY', str(tmp_path / 'none.model'))
  found = probes.check_vocabulary(seconds=120)
  assert found.status == 'warning'
  assert f'vocabulary {tmp_path}/none.model: cannot be read' in found.found


def test_a_bucket_that_does_not_answer(modules, monkeypatch):
  monkeypatch.delenv('IT_STUDY_VOCABULARY', raising=False)
  modules(it_study='import time; time.sleep(60)')
  found = probes.check_vocabulary(seconds=0.5)
  assert found.status == 'warning'
  assert 'gs://t5-data/vocabs' in found.found
  assert 'gcloud storage cp gs://t5-data/vocabs' in found.advice


def test_t5x_that_is_missing_or_broken(modules):
  assert probes.check_t5x(seconds=30).status == 'optional'
  modules(t5x='raise ImportError("no airio")')
  found = probes.check_t5x(seconds=30)
  assert (found.status, found.found) == (
    'warning',
    'installed, but cannot be imported: ImportError: no airio',
  )
