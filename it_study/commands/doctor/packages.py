"""Versions of Python and of packages, held against what this project asks."""

from collections.abc import Callable, Iterable, Sequence
import importlib.metadata
import re
import sys

from it_study.commands.doctor.finding import BROKEN, OK, WARNING, DoctorCheck

PROJECT = 'it_study'
_REQUIREMENT = re.compile(r'^([\w.-]+)\s*(\[[^\]]*\])?\s*\(?([^;)]*)\)?')
_BOUND = re.compile(r'(>=|<=|==|<|>)\s*([\w.*]+)')
# What numbers depend on is shown one by one; the rest in one line.
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
  """Python, this project, and every package that it asks for.

  Args:
    requirements: as a package's metadata has them, such as 'jax<0.11,>=0.10.2';
      by default those that the installed project asks for.
    version: of a package, by name; raises `PackageNotFoundError`.
    python: its version.
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
        'not installed, used from its folder; bounds of versions not checked',
        'run pip install -e . in the checkout',
      )
    )
    requirements = requirements or [*_SHOWN]
  found = [
    _check(name, extra, bounds, version)
    for name, extra, bounds in _needed(requirements)
  ]
  shown = [f for f in found if f.name in _SHOWN or f.status != OK]
  others = len(found) - len(shown)
  if others:
    shown.append(DoctorCheck('other packages', OK, f'{others} within bounds'))
  return [*findings, *shown]


def is_within(version: str, bounds: str) -> bool:
  """Whether a version keeps to bounds, of the forms that this project uses.

  >>> is_within('0.10.3', '<0.11,>=0.10.2'), is_within('0.11.0rc1', '<0.11')
  (True, False)
  """
  return all(
    _holds(_numbers(version), operator, bound)
    for operator, bound in _BOUND.findall(bounds)
  )


def _needed(requirements: Iterable[str]) -> list[tuple[str, str, str]]:
  """Name, its extra and bounds of what this project needs without extras."""
  needed = {'jaxlib': ('', '')}
  for requirement in requirements:
    if 'extra ==' not in requirement:
      name, extra, bounds = _REQUIREMENT.match(requirement).groups()
      needed[name] = extra or '', bounds.strip()
  return sorted((name, *rest) for name, rest in needed.items())


def _check(
  name: str, extra: str, bounds: str, version: Callable[[str], str]
) -> DoctorCheck:
  asked = f"pip install '{name}{extra}{bounds}'"
  try:
    found = version(name)
  except importlib.metadata.PackageNotFoundError:
    return DoctorCheck(name, BROKEN, 'not installed', asked)
  if is_within(found, bounds):
    return DoctorCheck(name, OK, found)
  return DoctorCheck(name, WARNING, f'{found}, tested with {bounds}', asked)


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
  """The release of a version: what is behind its numbers is left out."""
  release = re.match(r'\d+(?:\.\d+)*', version)
  return tuple(map(int, release[0].split('.'))) if release else ()
