"""Imports TensorFlow quietly, and keeps it off the accelerator."""

from collections.abc import Iterator
import contextlib
import gc
import importlib
import logging
import os
import sys


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
  with _maybe_silent(), _no_collections():
    importlib.import_module('tensorflow')
    # SeqIO loads it, and it writes to standard error, too.
    importlib.import_module('tensorflow_text')


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
  """Pauses the search for reference cycles.

  Libraries create many objects as they load, and few cycles. The search takes a
  quarter of the time of these imports.
  """
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if was_enabled:
      gc.enable()


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
