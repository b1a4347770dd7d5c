"""Tests of tpu_topologies: names; the chips are in plan_tpu_test."""

import sys
import types

import pytest

from it_study.errors import InputError
from it_study.training.planning import tpu_topologies


@pytest.mark.parametrize('name', ['v5e', 'v5litepod-16', 'v4:2x2x1', 'v5p:4x4'])
def test_unknown_names_are_refused(name):
  with pytest.raises(InputError, match=r'is unknown.* There are v5e: with'):
    tpu_topologies.check(name)


def test_a_known_name_needs_only_the_compiler(monkeypatch):
  libtpu = types.ModuleType('libtpu')
  libtpu.__spec__ = object()
  monkeypatch.setitem(sys.modules, 'libtpu', libtpu)
  tpu_topologies.check('v5p:2x2x1')
  monkeypatch.setitem(sys.modules, 'libtpu', None)
  with pytest.raises(InputError, match='pip install'):
    tpu_topologies.check('v5p:2x2x1')
