"""A T5X checkpoint read by two processes, each its own part of every tensor."""

import json

import fakes
import pytest
import t5x_fixture as fixture

from it_study.checkpoints.t5x import reading, writing

pytestmark = pytest.mark.slow
_READ = """
import dataclasses, json, sys
import jax, numpy as np
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 2)
from it_study import distributed
distributed.start()
from it_study.models import partitioning
from it_study.checkpoints import tensor_reading
from it_study.checkpoints.t5x import reading
from it_study.models.t5 import T5
path, vocab_size, mesh = sys.argv[1:]
config = reading.read_model_config(path)
model = T5(dataclasses.replace(config, vocab_size=int(vocab_size)))
whole = reading.load_params(path, target=partitioning.abstract_params(
  model=model, mesh=partitioning.make_mesh(devices=jax.local_devices()[:1])))
sizes = []
read = tensor_reading.start_reading
def count(store):
  sizes.append(store.size)
  return read(store)
tensor_reading.start_reading = count
parts = reading.load_params(path, target=partitioning.abstract_params(
  model=model, mesh=partitioning.make_mesh(**json.loads(mesh))))
for part, value in zip(jax.tree.leaves(parts), jax.tree.leaves(whole)):
  for shard in part.addressable_shards:
    np.testing.assert_array_equal(shard.data, np.asarray(value)[shard.index])
total = sum(leaf.size for leaf in jax.tree.leaves(whole))
print(json.dumps([jax.process_count(), sum(sizes) / total]))
"""


@pytest.mark.parametrize(
  ('mesh', 'vocab_size', 'most'),
  [
    # All but the layer norms and the position biases is divided.
    ({'data': 1, 'fsdp': 4}, 256, 0.52),
    # The tables of tokens by their rows.
    ({'data': 1, 'fsdp': 1, 'model': 4}, 256, 0.53),
    # Tables to be filled up are read whole.
    ({'data': 1, 'fsdp': 1, 'model': 4}, 384, 0.9),
  ],
  ids=['fsdp', 'vocabulary', 'filled'],
)
def test_a_process_reads_what_its_devices_hold(
  mesh, vocab_size, most, tmp_path
):
  config = reading.read_model_config(fixture.theirs() / fixture.ORBAX)
  changes = {'emb_dim': 64, 'mlp_dim': 128, 'vocab_size': 256, 'num_heads': 8}
  config = type(config)(**{**vars(config), **changes})
  path = writing.save_params(tmp_path, fixture.draw(config))
  for said in fakes.run_in_two_processes(
    _READ, path, vocab_size, json.dumps(mesh), folder=tmp_path
  ):
    count, share = json.loads(said)
    assert count == 2
    assert 0.5 <= share < most
