"""Tests that importing the library from Python writes nothing."""

import gc
import pathlib
import re
import subprocess
import sys

import pytest

from it_study.data import tensorflow_setup

_PACKAGE = pathlib.Path(__file__).parents[2] / 'it_study'
_LOADS = re.compile(r'^(?:import|from) (?:seqio|tensorflow)\b', re.MULTILINE)
_QUIET = 'from it_study.data import quiet_tensorflow'


def test_modules_that_load_tensorflow_make_it_quiet_first():
  modules = {
    path.relative_to(_PACKAGE).as_posix(): text
    for path in sorted(_PACKAGE.rglob('*.py'))
    if _LOADS.search(text := path.read_text())
  }
  assert {'seqio_lib.py', 'data/vocabularies.py'} <= modules.keys()
  loud = [
    name
    for name, text in modules.items()
    if not 0 < text.find(_QUIET) < _LOADS.search(text).start()
  ]
  assert loud == []


@pytest.mark.slow
@pytest.mark.parametrize('module', ['tasks', 'it_study.engines.native'])
def test_an_import_writes_nothing(module):
  done = subprocess.run(
    [sys.executable, '-c', f'import {module}'],
    capture_output=True,
    text=True,
    check=True,
    cwd=_PACKAGE.parent,
  )
  assert (done.stdout, done.stderr) == ('', '')


@pytest.mark.parametrize('is_enabled', [True, False])
def test_garbage_is_not_collected_while_tensorflow_loads(
  monkeypatch, is_enabled
):
  found = []
  monkeypatch.setattr(
    tensorflow_setup.importlib,
    'import_module',
    lambda name: found.append(gc.isenabled()),
  )
  try:
    if not is_enabled:
      gc.disable()
    tensorflow_setup.import_quietly()
    assert gc.isenabled() == is_enabled
  finally:
    gc.enable()
  assert found == [False, False]
