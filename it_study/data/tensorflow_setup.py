"""Imports TensorFlow quietly, and keeps it off the accelerator."""

from collections.abc import Iterator, Sequence
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import types

# Layers for Keras, which load all of it.
_KERAS_LAYERS = 'tensorflow_text.python.keras'


def import_tensorflow() -> None:
  """Imports TensorFlow for its data pipelines only.

  Its C++ libraries write to standard error as they load, whatever the log
  level, and it would claim the accelerator's memory before JAX does. Call this
  before anything that imports TensorFlow, and before JAX starts.
  """
  import_quietly()
  with _maybe_silent():
    tf = importlib.import_module('tensorflow')
    # Looks for a driver, and complains where there is none.
    tf.config.set_visible_devices([], 'GPU')


def import_quietly() -> None:
  """Imports TensorFlow without what its C++ libraries write as they load.

  Unlike `import_tensorflow`, it leaves the accelerator visible to TensorFlow.
  """
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  with _maybe_silent(), _keras_postponed():
    importlib.import_module('tensorflow')
    # SeqIO loads it, and it writes to standard error, too.
    importlib.import_module('tensorflow_text')


@contextlib.contextmanager
def _keras_postponed() -> Iterator[None]:
  """Lets Keras load at its first use only, not along with TensorFlow.

  Keras loads pandas as well. Nothing here uses either.
  """
  finder = _PostponingFinder()
  sys.meta_path.insert(0, finder)
  try:
    yield
  finally:
    sys.meta_path.remove(finder)


class _PostponingFinder(importlib.abc.MetaPathFinder):
  """Finds Keras so that TensorFlow's imports of it do not run it."""

  def find_spec(
    self,
    name: str,
    path: Sequence[str] | None,
    target: types.ModuleType | None = None,
  ) -> importlib.machinery.ModuleSpec | None:
    if name not in ('keras', _KERAS_LAYERS):
      return None
    spec = importlib.machinery.PathFinder.find_spec(name, path, target)
    if spec is None or spec.loader is None:
      return spec
    if name == 'keras':
      # TensorFlow looks where it is, and does without it if it cannot load.
      spec.loader = _FailingLoader()
    else:
      spec.loader = importlib.util.LazyLoader(spec.loader)
    return spec


class _FailingLoader(importlib.abc.Loader):
  """A loader that fails; the next import tries another finder."""

  def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
    raise ImportError(f'{spec.name} is loaded at its first use', name=spec.name)


def _maybe_silent() -> contextlib.AbstractContextManager[None]:
  """Discards standard error, unless debugging."""
  if logging.getLogger().isEnabledFor(logging.DEBUG):
    return contextlib.nullcontext()
  return _silent_stderr()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
  """Discards what is written to file descriptor 2, which C++ uses."""
  sys.stderr.flush()
  saved = os.dup(2)
  null = os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(null, 2)
    yield
  finally:
    os.dup2(saved, 2)
    os.close(saved)
    os.close(null)
