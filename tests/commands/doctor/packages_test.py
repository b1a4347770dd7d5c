"""Tests of it_study.commands.doctor.packages."""

import importlib.metadata

import pytest

from it_study.commands import doctor
from it_study.commands.doctor import packages


@pytest.mark.parametrize(
  ('version', 'bounds', 'expected'),
  [
    ('0.10.2', '<0.11,>=0.10.2', True),
    ('0.10.10', '<0.11,>=0.10.2', True),
    ('0.10.1', '<0.11,>=0.10.2', False),
    ('0.11.0', '<0.11,>=0.10.2', False),
    ('0.11', '<=0.11.0', True),
    ('2.13.0+cpu', '==2.13.0', True),
    ('0.0.42.1', '==0.0.42.*', True),
    ('0.0.43', '==0.0.42.*', False),
    ('7', '', True),
    ('2', '>1', True),
  ],
)
def test_bounds(version, bounds, expected):
  assert packages.is_within(version, bounds) is expected


def version_of(name):
  versions = {'it_study': '1.2', 'jax': '0.9', 'jaxlib': '0.9', 'rich': '15.1'}
  if name not in versions:
    raise importlib.metadata.PackageNotFoundError(name)
  return versions[name]


def test_packages_that_are_old_missing_or_only_for_some():
  found = packages.check_packages(
    requirements=[
      'jax<0.11,>=0.10.2',
      'rich<16,>=15',
      'grain[x]<0.3,>=0.2.18',
      'torch==2.13.0; extra == "parity"',
    ],
    version=version_of,
    python=(3, 12, 1),
  )
  assert found == [
    doctor.DoctorCheck('Python', 'ok', '3.12.1'),
    doctor.DoctorCheck('it_study', 'ok', '1.2'),
    doctor.DoctorCheck(
      'grain',
      'broken',
      'not installed',
      "pip install 'grain[x]<0.3,>=0.2.18'",
    ),
    doctor.DoctorCheck(
      'jax',
      'warning',
      '0.9, tested with <0.11,>=0.10.2',
      "pip install 'jax<0.11,>=0.10.2'",
    ),
    doctor.DoctorCheck('jaxlib', 'ok', '0.9'),
    doctor.DoctorCheck('other packages', 'ok', '1 within bounds'),
  ]


def test_an_old_python_and_a_folder_that_is_not_installed():
  def nothing(name):
    raise importlib.metadata.PackageNotFoundError(name)

  found = packages.check_packages(version=nothing, python=(3, 10, 0))
  assert found[0] == doctor.DoctorCheck(
    'Python', 'broken', '3.10.0', 'install Python 3.11'
  )
  assert found[1].status == 'warning'
  assert {f.name: f.status for f in found[2:]}['jax'] == 'broken'


def test_this_environment_keeps_to_the_bounds():
  found = packages.check_packages()
  assert [f for f in found if f.status == 'broken'] == []
  assert {'jax', 'flax', 'tensorflow', 'seqio'} <= {f.name for f in found}
