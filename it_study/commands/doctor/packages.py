"""Checks of the versions of Python and of the packages we require."""

from collections.abc import Callable, Iterable, Sequence
import importlib.metadata
import re
import sys

from it_study.commands.doctor.doctor_check import (
  BROKEN,
  OK,
  WARNING,
  DoctorCheck,
)

PROJECT = 'it_study'
_REQUIREMENT = re.compile(r'^([\w.-]+)\s*(\[[^\]]*\])?\s*\(?([^;)]*)\)?')
_BOUND = re.compile(r'(>=|<=|==|<|>)\s*([\w.*]+)')
# Packages that results depend on get a line each; the others share one.
_SHOWN = (
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax-checkpoint',
  'seqio',
  'tensorflow',
)


def check_packages(
  *,
  requirements: Sequence[str] | None = None,
  version: Callable[[str], str] = importlib.metadata.version,
  python: tuple[int, ...] = sys.version_info[:3],
) -> list[DoctorCheck]:
  """Checks Python, this project, and every package it requires.

  Args:
    requirements: Requirements in the form of package metadata, such as
      'jax<0.11,>=0.10.2'; None for those of the installed project.
    version: Returns the version of a package, or raises
      `PackageNotFoundError`.
    python: Version of Python.
  """
  python_text = '.'.join(map(str, python))
  findings = [DoctorCheck('Python', OK, python_text)]
  if python < (3, 11):
    findings[0] = DoctorCheck(
      'Python', BROKEN, python_text, 'install Python 3.11'
    )
  try:
    findings.append(DoctorCheck(PROJECT, OK, version(PROJECT)))
    if requirements is None:
      requirements = importlib.metadata.requires(PROJECT) or []
  except importlib.metadata.PackageNotFoundError:
    findings.append(
      DoctorCheck(
        PROJECT,
        WARNING,
        'not installed, running from its folder; version bounds not checked',
        'run pip install -e . in the checkout',
      )
    )
    requirements = requirements or [*_SHOWN]
  checks = [
    _check(name, extra, bounds, version)
    for name, extra, bounds in _needed(requirements)
  ]
  shown = [c for c in checks if c.name in _SHOWN or c.status != OK]
  num_others = len(checks) - len(shown)
  if num_others:
    shown.append(
      DoctorCheck('other packages', OK, f'{num_others} within bounds')
    )
  return [*findings, *shown]


def is_within(version: str, bounds: str) -> bool:
  """Returns whether a version is within bounds, in the forms that we use.

  >>> is_within('0.10.3', '<0.11,>=0.10.2'), is_within('0.11.0rc1', '<0.11')
  (True, False)
  """
  return all(
    _holds(_numbers(version), operator, bound)
    for operator, bound in _BOUND.findall(bounds)
  )


def _needed(requirements: Iterable[str]) -> list[tuple[str, str, str]]:
  """Returns name, extra and bounds of each requirement that is not optional."""
  needed = {'jaxlib': ('', '')}
  for requirement in requirements:
    if 'extra ==' not in requirement:
      match = _REQUIREMENT.match(requirement)
      assert match is not None, requirement
      name, extra, bounds = match.groups()
      needed[name] = extra or '', bounds.strip()
  return sorted((name, *rest) for name, rest in needed.items())


def _check(
  name: str, extra: str, bounds: str, version: Callable[[str], str]
) -> DoctorCheck:
  advice = f"pip install '{name}{extra}{bounds}'"
  try:
    found = version(name)
  except importlib.metadata.PackageNotFoundError:
    return DoctorCheck(name, BROKEN, 'not installed', advice)
  if is_within(found, bounds):
    return DoctorCheck(name, OK, found)
  return DoctorCheck(name, WARNING, f'{found}, tested with {bounds}', advice)


def _holds(found: tuple[int, ...], operator: str, bound: str) -> bool:
  numbers = _numbers(bound)
  width = max(len(found), len(numbers))
  if operator == '==' and bound.endswith('*'):
    return found[: len(numbers)] == numbers
  padded = tuple(n + (0,) * (width - len(n)) for n in (found, numbers))
  first, second = padded
  return {
    '>=': first >= second,
    '<=': first <= second,
    '==': first == second,
    '<': first < second,
    '>': first > second,
  }[operator]


def _numbers(version: str) -> tuple[int, ...]:
  """Returns the release numbers of a version, without suffixes."""
  release = re.match(r'\d+(?:\.\d+)*', version)
  return tuple(map(int, release[0].split('.'))) if release else ()
