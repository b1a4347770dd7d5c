"""Weights in any format, as a checkpoint that T5X can load."""

import pathlib
import shutil
from typing import Any

import flax
import jax
from jax.experimental import multihost_utils
import numpy as np

from it_study import distributed
from it_study.checkpoints import weights
from it_study.checkpoints.t5x import writing
from it_study.checkpoints.weights_source import WeightsSource
from it_study.models import ModelConfig, partitioning
from it_study.models.decoder_only.model import make_model
from it_study.storage.manifest import find_damage
from it_study.storage.storage_path import StoragePath


def find(source: WeightsSource | None) -> str | None:
  """Returns the T5X checkpoint of a source; None for weights in other formats.

  Args:
    source: Weights, or None.

  Returns:
    A path in a bucket, or an absolute one, as Orbax refuses relative ones.
  """
  if source is None or source.format != 't5x':
    return None
  return _absolute(source.folder)


def load(
  source: WeightsSource | None,
  *,
  config: ModelConfig,
  model: Any,
  partitioner: Any,
  seed: int,
) -> dict[str, Any]:
  """Returns the parameters, split over the devices of all processes.

  Every process must call it.

  Args:
    source: Weights in any format; None to draw parameters from the seed.
    config: Configuration of the model.
    model: Model from `t5x.model.make_model`.
    partitioner: Partitioner of T5X.
    seed: Seed for the parameters without a path.

  Raises:
    InputError: If there are no weights, or they do not fit the model.
  """
  if source is None:
    params = _first_params(model=model, partitioner=partitioner, seed=seed)
    return flax.core.unfreeze(params)
  mesh = partitioning.make_mesh(data=1, fsdp=-1)
  target = partitioning.abstract_params(model=make_model(config), mesh=mesh)
  return weights.restore(source, config=config, target=target)


def save(folder: pathlib.Path, params: dict[str, Any]) -> str:
  """Writes a T5X checkpoint, unless the folder already holds an intact one.

  Whatever a killed process left in the folder is deleted. Every process must
  call it, as each holds a part of the parameters.

  Args:
    folder: Folder for this checkpoint alone, on a disk that all processes
      share.
    params: Parameters from `load`.

  Returns:
    The absolute path of the checkpoint.
  """
  is_first = distributed.is_first()
  final = folder / 'checkpoint_0'
  if not distributed.broadcast_from_first(
    int(is_first and find_damage(final) is None)
  ):
    whole = jax.tree.map(_gather, params)
    if is_first:
      shutil.rmtree(folder, ignore_errors=True)
      writing.save_params(folder, whole)
    # No process may look for it before it is written.
    distributed.broadcast_from_first(0)
  return str(final.absolute())


def _gather(leaf: jax.Array) -> np.ndarray | None:
  """Returns the whole array in the first process, None in others."""
  if leaf.is_fully_addressable:
    return np.asarray(leaf)
  value = multihost_utils.process_allgather(leaf, tiled=True)
  return value if distributed.is_first() else None


def _absolute(folder: StoragePath) -> str:
  """Returns a path in a bucket, or an absolute local one."""
  return str(folder if folder.local is None else folder.local.absolute())


def _first_params(*, model: Any, partitioner: Any, seed: int) -> Any:
  """Returns the parameters that T5X starts a training of that seed with."""
  from t5x import utils

  shape = (1, 1)
  initializer = utils.TrainStateInitializer(
    optimizer_def=None,
    init_fn=model.get_initial_variables,
    input_shapes={
      name: shape
      for name in (
        'encoder_input_tokens',
        'decoder_input_tokens',
        'decoder_target_tokens',
      )
    },
    partitioner=partitioner,
  )
  # The first of the two that `t5x.train` splits it into.
  key, _ = jax.random.split(jax.random.PRNGKey(seed))
  return initializer.from_scratch(key).params
