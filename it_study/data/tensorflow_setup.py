"""TensorFlow, imported without its talk and kept off the accelerator."""

from collections.abc import Iterator
import contextlib
import importlib
import logging
import os
import sys


def import_tensorflow() -> None:
  """Imports TensorFlow for its data pipelines alone.

  Its C++ parts write to the standard error as they load, whatever the log level
  is, and it would take the accelerator's memory before JAX can. To be called
  before anything that imports TensorFlow, and before JAX starts.
  """
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  quiet = not logging.getLogger().isEnabledFor(logging.DEBUG)
  with _silent_stderr() if quiet else contextlib.nullcontext():
    tf = importlib.import_module('tensorflow')
    # SeqIO would load it, and it talks likewise.
    importlib.import_module('tensorflow_text')
    # Looks for a driver, and says so where there is none.
    tf.config.set_visible_devices([], 'GPU')


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
  """Sends file descriptor 2, which C++ writes to, nowhere."""
  sys.stderr.flush()
  saved = os.dup(2)
  nowhere = os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nowhere, 2)
    yield
  finally:
    os.dup2(saved, 2)
    os.close(saved)
    os.close(nowhere)
