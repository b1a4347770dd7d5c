"""Tests of the files that hold the tensors of a Hugging Face model."""

import ml_dtypes
import numpy as np
from safetensors import numpy as safetensors_numpy

from it_study.checkpoints import lazy_arrays
from it_study.checkpoints.hf import files


def test_safetensors_are_written_as_their_library_does(tmp_path):
  random = np.random.default_rng(0)
  tensors = {
    name: random.normal(size=shape).astype(np.float32)
    for name, shape in (
      ('a.weight', (3, 5)),
      ('b', (7,)),
      ('shared.weight', (2, 3)),
    )
  }
  safetensors_numpy.save_file(
    tensors, tmp_path / 'theirs', metadata={'format': 'pt'}
  )
  files.write_safetensors(
    tmp_path / 'ours',
    {
      name: lazy_arrays.cast(array.astype(np.float64), np.float32)
      for name, array in tensors.items()
    },
  )
  assert (tmp_path / 'ours').read_bytes() == (tmp_path / 'theirs').read_bytes()


def test_tensors_are_opened_without_being_read(tmp_path):
  array = np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3)
  safetensors_numpy.save_file({'a': array}, tmp_path / 'model.safetensors')
  with files.open_weights(tmp_path) as weights:
    assert weights.names() == {'a'}
    assert weights.shape('a') == (2, 3)
    found = weights.read('a')
  assert found.dtype == ml_dtypes.bfloat16
  assert found.astype(int).tolist() == [[0, 1, 2], [3, 4, 5]]
