"""Tests of it_study.models.adapters.lora."""

from decoder_golden_fixture import golden_model
from flax import traverse_util
import jax
import numpy as np
import pytest

from it_study.errors import InputError
from it_study.models import partitioning
from it_study.models.adapters import lora
from it_study.models.adapters.lora import Lora
from it_study.models.t5 import T5, T5Config


def abstract_params(model):
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  return partitioning.abstract_params(model=model, mesh=mesh)


def test_updates_start_at_zero_and_within_the_bound():
  model, params, _ = golden_model('llama')
  settings = Lora(rank=2, targets=('query', 'wo'))
  drawn = lora.init(settings, abstract_params(model), seed=3)
  flat = traverse_util.flatten_dict(drawn, sep='/')
  assert len(flat) == 2 * 2 * model.config.num_layers
  query = flat['decoder/layers_0/self_attention/query/lora_a']
  # 16 rows: within 1 / sqrt(16).
  assert query.shape == (16, 2)
  assert 0.2 < np.abs(query).max() <= 0.25
  other = flat['decoder/layers_1/self_attention/query/lora_a']
  assert np.abs(query - other).min() > 0
  assert not flat['decoder/layers_0/mlp/wo/lora_b'].any()
  again = lora.init(settings, abstract_params(model), seed=3)
  jax.tree.map(np.testing.assert_array_equal, drawn, again)
  merged = lora.merge(settings, drawn, params)
  jax.tree.map(np.testing.assert_array_equal, merged, params)


def test_a_merged_matrix_is_the_sum():
  kernel = np.ones((2, 3), np.float32)
  a = np.array([[1.0], [2.0]], np.float32)
  b = np.array([[1.0, 0.0, -1.0]], np.float32)
  assert lora.merged(kernel, a, b, scale=2.0).tolist() == [
    [3.0, 1.0, -1.0],
    [5.0, 1.0, -3.0],
  ]
  half = lora.merged(kernel.astype('bfloat16'), a, b, scale=2.0)
  assert half.dtype == 'bfloat16'


def test_a_t5_has_targets_too():
  params = abstract_params(T5(T5Config(16, 8, 2, 4, 16, 2, 1)))
  paths = lora.kernels(Lora(rank=1, targets=('value',)), params)
  # Of two layers' encoder, and of one layer's self- and cross-attention.
  assert len(paths) == 4


def test_an_unknown_module_is_named_with_the_nearest():
  model = golden_model('llama')[0]
  with pytest.raises(InputError) as caught:
    lora.kernels(
      Lora(rank=1, targets=('query', 'valu')), abstract_params(model)
    )
  assert str(caught.value) == (
    "LORA_TARGETS names 'valu', but no module of the model is called so; there "
    'are key, logits_dense, out, query, value, wi_0, wi_1, wo. Did you mean '
    "'value'?"
  )


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'rank': 0}, 'LORA_RANK is 0: give a whole number from 1 up.'),
    (
      {'rank': 1, 'alpha': 0},
      'LORA_ALPHA is 0: give a finite number above 0.',
    ),
    (
      {'rank': 1, 'targets': 'query'},
      "LORA_TARGETS is 'query': give names of modules in brackets, such as "
      "('query', 'value').",
    ),
  ],
)
def test_bad_settings_are_refused(fields, message):
  with pytest.raises(InputError) as caught:
    Lora(**fields)
  assert str(caught.value) == message
