"""Tests of the model that is made for a vocabulary and a device."""

import fakes
import jax
import pytest

from it_study import vocabularies
from it_study.engines import model_setup


@pytest.fixture(autouse=True)
def _use_bytes(monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')


def test_products_are_in_bfloat16_where_the_device_has_it(monkeypatch):
  config = model_setup.complete_config(fakes.tiny_model(), dtype='auto')
  assert config.dtype == 'float32'
  monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
  config = model_setup.complete_config(fakes.tiny_model(), dtype='auto')
  assert config.dtype == 'bfloat16'
  config = model_setup.complete_config(fakes.tiny_model(), dtype='float32')
  assert config.dtype == 'float32'
