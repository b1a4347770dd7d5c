"""A T5X checkpoint read by two processes, each its own part of every tensor."""

import json
import os
import socket
import subprocess
import sys

import pytest
import t5x_fixture as fixture

from it_study.convert import t5x, t5x_writing

pytestmark = pytest.mark.slow
_READ = """
import json, sys
import jax, numpy as np
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 2)
from it_study import distributed
distributed.start()
from it_study import partitioning
from it_study.convert import t5x
from it_study.models.t5 import T5
path, = sys.argv[1:]
model = T5(t5x.read_model_config(path))
whole = t5x.load_params(path, target=partitioning.abstract_params(
  model=model, mesh=partitioning.make_mesh(devices=jax.local_devices()[:1])))
sizes = []
read = t5x._start_reading
def count(store):
  sizes.append(store.size)
  return read(store)
t5x._start_reading = count
parts = t5x.load_params(path, target=partitioning.abstract_params(
  model=model, mesh=partitioning.make_mesh(data=1, fsdp=4)))
for part, value in zip(jax.tree.leaves(parts), jax.tree.leaves(whole)):
  for shard in part.addressable_shards:
    np.testing.assert_array_equal(shard.data, np.asarray(value)[shard.index])
total = sum(leaf.size for leaf in jax.tree.leaves(whole))
print(json.dumps([jax.process_count(), sum(sizes) / total]))
"""


def test_a_process_reads_no_more_than_its_devices_hold(tmp_path):
  config = t5x.read_model_config(fixture.theirs() / fixture.ORBAX)
  changes = {'emb_dim': 64, 'mlp_dim': 128, 'vocab_size': 256, 'num_heads': 8}
  config = type(config)(**{**vars(config), **changes})
  path = t5x_writing.save_params(tmp_path, fixture.draw(config))
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  started = [
    subprocess.Popen(
      [sys.executable, '-c', _READ, str(path)],
      env={
        **os.environ,
        'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}',
        'JAX_NUM_PROCESSES': '2',
        'JAX_PROCESS_ID': str(index),
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(2)
  ]
  for process in started:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    count, share = json.loads(out)
    assert count == 2
    # All but the layer norms and the position biases is divided.
    assert 0.5 <= share < 0.52
