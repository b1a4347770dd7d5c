"""Tests that parameters that are not finite are refused, from every format."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import t5x_fixture as fixture

from it_study.checkpoints import finite, manager, weights, weights_source
from it_study.checkpoints.hf import params as hf
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.checkpoints.t5x import writing
from it_study.errors import InputError
from it_study.models.config import T5Config

_CONFIG = T5Config(
  vocab_size=32,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
_NAME = 'encoder/layers_0/mlp/wo/kernel'
_ADVICE = (
  'Use other weights, such as an earlier checkpoint, or a copy in float32 or '
  'bfloat16 where float16 overflowed.'
)
_FORMATS = ('hf', 't5x', 't5x_orbax', 'it_study')


def message_of(source, *, count, size=128, name=_NAME):
  return (
    f'{source}: {count} of {size} values of {name} are not finite (NaN or '
    f'infinity). {_ADVICE}'
  )


def damaged():
  """Parameters with two values that are not finite, and a third elsewhere."""
  params = jax.tree.map(np.array, fixture.draw(_CONFIG))
  kernel = params['encoder']['layers_0']['mlp']['wo']['kernel']
  kernel[3, 5], kernel[0, 0] = np.nan, np.inf
  params['token_embedder']['embedding'][1, 1] = -np.inf
  return params


def save(folder, params, to):
  """Writes parameters in a format, and returns the folder of the tensors."""
  if to == 'hf':
    hf.save_params(folder, params, config=_CONFIG)
    return folder
  if to.startswith('t5x'):
    layout = 'orbax' if to == 't5x_orbax' else 'msgpack'
    return writing.save_params(folder, params, layout=layout)
  checkpoints = manager.Checkpoints(LocalCheckpoints(folder / 'checkpoints'))
  checkpoints.save(step=3, params=params, opt_state={'a': 1}, metadata={})
  checkpoints.close()
  return folder / 'checkpoints/3'


@pytest.mark.parametrize('stored', _FORMATS)
def test_restoring_names_the_first_tensor(stored, tmp_path):
  path = save(tmp_path / 'w', damaged(), stored)
  with pytest.raises(InputError) as caught:
    weights.restore(
      weights_source.resolve(tmp_path / 'w'),
      config=_CONFIG,
      target=fixture.target_of(_CONFIG),
    )
  assert str(caught.value) == message_of(path, count=2)


@pytest.mark.parametrize('stored', _FORMATS)
def test_nothing_is_converted(stored, tmp_path):
  path = save(tmp_path / 'w', damaged(), stored)
  start = 't5x' if stored == 't5x_orbax' else stored
  for to in weights.DESTINATIONS:
    # Weights without LoRA are refused for peft.
    if start == to != 't5x' or to == 'peft':
      continue
    with pytest.raises(InputError) as caught:
      weights.convert(
        tmp_path / 'w', tmp_path / 'out', source_format=start, to=to
      )
    # The first that is written.
    assert str(caught.value) in (
      message_of(path, count=2),
      message_of(path, count=1, size=256, name='token_embedder/embedding'),
    )
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_every_such_value_is_found(dtype, value):
  finite.check({'a': jnp.ones((4, 2), dtype)}, source='w')
  array = jnp.ones((4, 2), dtype).at[3, 1].set(value)
  with pytest.raises(InputError) as caught:
    finite.check({'a': jnp.zeros(3, dtype), 'b': array}, source='w')
  assert str(caught.value) == message_of('w', count=1, size=8, name='b')
