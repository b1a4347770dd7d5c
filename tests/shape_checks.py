"""Checks shape annotations at run time, through jaxtyping's import hook."""

from collections.abc import Callable
import functools
from importlib import machinery
import sys
from typing import Any

import beartype
import jaxtyping

MODULES = (
  'it_study.models',
  'it_study.inference',
  'it_study.training.loss',
  'it_study.training.losses',
)
# An int is accepted where a float is annotated, as in mypy.
_check_types = beartype.beartype(
  conf=beartype.BeartypeConf(is_pep484_tower=True)
)


def install() -> None:
  """Makes later imports of these modules check their annotations."""
  hook = jaxtyping.install_import_hook(MODULES, 'shape_checks.check').hook
  # After the finder of slipcover, which wraps what later ones find.
  sys.meta_path.remove(hook)
  place = sys.meta_path.index(machinery.PathFinder)
  sys.meta_path.insert(place, _UncachedFinder(hook))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
  """Checks a function's arguments and result against its annotations."""
  checked = _check_types(function)
  if function.__name__ != '__init__':
    return checked

  @functools.wraps(function)
  def check_arrays(*args, **kwargs):
    # JAX rebuilds pytrees with other leaves than arrays: shapes, shardings.
    import jax
    import numpy as np

    leaves = jax.tree.leaves((args[1:], kwargs))
    if all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves):
      return checked(*args, **kwargs)
    return function(*args, **kwargs)

  return check_arrays


class _UncachedFinder:
  """A finder whose modules are compiled anew and leave no bytecode.

  Wrapped by slipcover, jaxtyping's loader would write its bytecode where other
  processes expect that of the plain module.
  """

  def __init__(self, finder: Any):
    self._finder = finder

  def find_spec(self, name, path=None, target=None):
    spec = self._finder.find_spec(name, path, target)
    if spec is not None:
      loader = spec.loader
      loader.get_code = lambda _: loader.source_to_code(
        loader.get_data(loader.path), loader.path
      )
    return spec
