"""Tests of packaging: version bounds, the lock file, files of a wheel."""

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import zipfile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest

_ROOT = pathlib.Path(__file__).parent.parent


def locked():
  lines = (_ROOT / 'requirements/lock.txt').read_text().splitlines()
  pins = [line.split('==') for line in lines if not line.startswith('#')]
  return {canonicalize_name(name): version for name, version in pins}


def required():
  """Yields the requirements without an extra and those of the extra `test`."""
  for line in importlib.metadata.requires('it_study'):
    requirement = Requirement(line)
    if requirement.marker is None or requirement.marker.evaluate(
      {'extra': 'test'}
    ):
      yield requirement


def test_the_lock_file_is_within_the_bounds():
  pins = locked()
  names = set()
  for requirement in required():
    name = canonicalize_name(requirement.name)
    names.add(name)
    assert requirement.specifier.contains(pins[name]), requirement
  assert {'jax', 'flax', 'seqio', 'pytest'} <= names
  # The package t5 would install second copies of SeqIO and TFDS.
  assert not {'t5', 'seqio-nightly', 'tfds-nightly'} & set(pins)


@pytest.mark.slow
def test_a_wheel_holds_everything_but_the_tests(tmp_path):
  listed = subprocess.run(
    ['git', '-C', _ROOT, 'ls-files'],
    capture_output=True,
    text=True,
    check=False,
  )
  if listed.returncode:
    pytest.skip('requires a checkout to list the tracked files')
  tracked = [name for name in listed.stdout.split('\n') if name]
  # A copy, since building leaves folders behind.
  for name in tracked:
    if (_ROOT / name).is_file() and not name.startswith(('tests/', 'bench')):
      (tmp_path / 'source' / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(_ROOT / name, tmp_path / 'source' / name)
  built = subprocess.run(
    [
      *(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps'),
      *('--wheel-dir', tmp_path, tmp_path / 'source'),
    ],
    capture_output=True,
    text=True,
    check=False,
  )
  assert built.returncode == 0, built.stderr[-2000:]
  (wheel,) = tmp_path.glob('it_study-*.whl')
  with zipfile.ZipFile(wheel) as archive:
    files = {name for name in archive.namelist() if '.dist-info/' not in name}
  folders = ('it_study/', 'tasks/', 'gin_configs/', 'launch/')
  assert files == {name for name in tracked if name.startswith(folders)}
