"""Tests of converting between formats: one tensor at a time, all or nothing."""

import contextlib
import gc
import itertools
import threading
import time
import weakref

import jax
import numpy as np
import pytest
import t5x_fixture as fixture

from it_study.checkpoints import (
  lazy_arrays,
  tensor_reading,
  weights,
  weights_source,
)
from it_study.checkpoints.hf import params as hf
from it_study.errors import InputError
from it_study.models.config import T5Config

CONFIG = T5Config(
  vocab_size=64,
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=64,
  num_encoder_layers=4,
  num_decoder_layers=4,
)


@pytest.fixture(name='source')
def _source(tmp_path):
  """A Hugging Face folder and its parameters."""
  params = fixture.draw(CONFIG)
  hf.save_params(tmp_path / 'source', params, config=CONFIG)
  return tmp_path / 'source', params


def load(path):
  target = fixture.target_of(CONFIG)
  return weights.restore(
    weights_source.resolve(path), config=CONFIG, target=target
  )


def test_tensors_are_in_memory_one_at_a_time(source, tmp_path, monkeypatch):
  held: dict[int, int] = {}
  most, count = 0, 0
  convert_one = lazy_arrays.LazyArray.__array__

  def watched(self, dtype=None, copy=None):
    nonlocal most, count
    # A copy, which all its views keep alive.
    array = np.array(convert_one(self, dtype, copy))
    count += 1
    held[count] = array.nbytes
    weakref.finalize(array, held.pop, count)
    most = max(most, sum(held.values()))
    return array

  monkeypatch.setattr(lazy_arrays.LazyArray, '__array__', watched)
  # No groups of small tensors either.
  monkeypatch.setattr(tensor_reading, 'BYTES_AT_ONCE', 1)
  path, params = source
  sizes = [leaf.nbytes for leaf in jax.tree.leaves(params)]
  # One tensor twice: before and after conversion.
  bound = 2 * max(sizes)
  assert sum(sizes) > 8 * bound
  formats = ['hf', 'it_study', 't5x', 'hf', 't5x_orbax', 'it_study', 'hf']
  for number, (start, end) in enumerate(itertools.pairwise(formats)):
    most, count = 0, 0
    path = weights.convert(
      path,
      tmp_path / str(number),
      source_format='t5x' if start == 't5x_orbax' else start,
      to=end,
    )
    assert count >= len(sizes)
    assert max(sizes) <= most <= bound, f'{start} to {end}'
    # TensorStore's threads free what they have written a little later.
    deadline = time.monotonic() + 60
    while held and time.monotonic() < deadline:
      gc.collect()
      time.sleep(0.01)
    assert not held
  fixture.assert_same(load(path), params)


@pytest.mark.parametrize('source_format', weights_source.FORMATS)
def test_a_file_instead_of_a_folder_is_refused(source, source_format, tmp_path):
  path, _ = source
  file = path / 'model.safetensors'
  to = 'hf' if source_format != 'hf' else 'it_study'
  with pytest.raises(
    InputError,
    match=r'model\.safetensors: expected a folder, got a file\. Name the '
    r'folder that contains it\.$',
  ):
    weights.convert(file, tmp_path / 'out', source_format=source_format, to=to)
  assert not (tmp_path / 'out').exists()


# The source is of Hugging Face and has no LoRA.
@pytest.mark.parametrize('to', ['t5x', 't5x_orbax', 'it_study'])
@pytest.mark.parametrize('is_there', [False, True])
def test_a_conversion_that_fails_leaves_nothing(
  source, to, is_there, tmp_path, monkeypatch
):
  path, params = source
  convert_one = lazy_arrays.LazyArray.__array__
  left = 20

  def broken(self, dtype=None, copy=None):
    nonlocal left
    left -= 1
    if not left:
      raise InputError('a tensor cannot be read.')
    return convert_one(self, dtype, copy)

  out = tmp_path / 'out'
  if is_there:
    out.mkdir()
  with monkeypatch.context() as patch:
    patch.setattr(lazy_arrays.LazyArray, '__array__', broken)
    with pytest.raises(InputError, match=r'^a tensor cannot be read\.$'):
      weights.convert(path, out, source_format='hf', to=to)
  assert out.exists() == is_there
  assert not is_there or not any(out.iterdir())
  weights.convert(path, out, source_format='hf', to=to)
  fixture.assert_same(load(out), params)


def test_files_that_a_thread_still_writes_are_deleted_too(
  source, tmp_path, monkeypatch
):
  path, _ = source
  out = tmp_path / 'out'
  threads = []

  def keep_writing():
    for number in range(10):
      folder = out / 'params' / str(number)
      # The folder may be deleted in between.
      with contextlib.suppress(FileNotFoundError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'chunk').touch()
      time.sleep(0.03)

  def broken(directory, params):
    del params
    directory.mkdir()
    threads.append(threading.Thread(target=keep_writing))
    threads[0].start()
    raise InputError('a tensor cannot be written.')

  monkeypatch.setattr(weights, '_save', broken)
  with pytest.raises(InputError, match=r'^a tensor cannot be written\.$'):
    weights.convert(path, out, source_format='hf', to='it_study')
  threads[0].join()
  assert not out.exists()
