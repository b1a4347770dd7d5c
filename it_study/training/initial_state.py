"""The state a training starts from: its newest checkpoint, or a new one."""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import json
import logging
from typing import Any

import jax
from jax.sharding import Mesh
import numpy as np

from it_study.checkpoints.manager import Checkpoints, check_shapes
from it_study.errors import InputError
from it_study.input_pipeline.feed import Feed
from it_study.models import Model, ModelConfig, partitioning
from it_study.models.adapters import lora as lora_lib
from it_study.training.settings import TrainingSettings
from it_study.training.train_step import TrainState, abstract_state, init_state

_logger = logging.getLogger(__name__)


def identify(
  model_config: ModelConfig, *, feed: Feed, settings: TrainingSettings
) -> dict[str, Any]:
  """Returns the settings that a checkpoint must share with its training.

  Two trainings with equal ones compute the same parameters. A checkpoint's
  metadata holds them.
  """
  identity = {
    'model': _numerical_fields(model_config),
    'optimizer': dataclasses.asdict(settings.optimizer),
    'feed': feed.metadata(),
    'seed': settings.seed,
    'z_loss': settings.z_loss,
    'label_smoothing': settings.label_smoothing,
  }
  if settings.lora is not None:
    identity['lora'] = dataclasses.asdict(settings.lora)
  # Through JSON, so that tuples compare equal to the lists of a checkpoint.
  return json.loads(json.dumps(identity))


def restore_or_init(
  checkpoints: Checkpoints,
  *,
  model: Model,
  mesh: Mesh,
  settings: TrainingSettings,
  identity: Mapping[str, Any],
  initial_params: Callable[[], Any] | None,
  frozen: Any = None,
) -> tuple[TrainState, int | None]:
  """Returns the state to continue from.

  Args:
    checkpoints: Checkpoints of this training.
    model: Model to train.
    mesh: Mesh from `partitioning.make_mesh`.
    settings: Settings of the training.
    identity: Settings from `identify`; the checkpoint's must be equal.
    initial_params: Function that returns the parameters of step 0, called only
      without a checkpoint; None to draw them from the seed.
    frozen: Parameters from `frozen_params`.

  Returns:
    The state, and the step it was restored from; None for a new state.

  Raises:
    InputError: If the checkpoint belongs to a training with other settings, or
      the initial parameters do not fit the model.
  """
  optimizer, lora = settings.optimizer, settings.lora
  abstract = abstract_state(
    model=model, optimizer=optimizer, mesh=mesh, lora=lora
  )
  newest = checkpoints.newest()
  if newest is not None:
    path = checkpoints.path(newest)
    _check_same(checkpoints.metadata(newest)['settings'], identity, path=path)
    restored = checkpoints.restore(
      newest, params=abstract.params, opt_state=abstract.opt_state
    )
    _logger.info('restored step %d from %s', newest, path)
    state = TrainState(
      step=jax.device_put(np.int32(newest), abstract.step.sharding),
      params=restored.params,
      opt_state=restored.opt_state,
      frozen=frozen,
    )
    return state, newest
  if lora is not None:
    _logger.info('no checkpoint: drawing LoRA, seed %d', settings.seed)
    params = lora_lib.init(
      lora,
      partitioning.abstract_params(model=model, mesh=mesh),
      seed=settings.seed,
    )
  elif initial_params is None:
    _logger.info('no checkpoint: drawing parameters, seed %d', settings.seed)
    params = partitioning.init_params(
      model=model, seed=settings.seed, mesh=mesh
    )
  else:
    _logger.info('no checkpoint: starting from the initial parameters')
    params = initial_params()
    check_shapes(params, abstract.params, source='initial_params')
  state = init_state(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    params=params,
    lora=lora,
    frozen=frozen,
  )
  return state, None


def frozen_params(
  *,
  model: Model,
  settings: TrainingSettings,
  initial_params: Callable[[], Any] | None,
) -> Any:
  """Returns the parameters that LoRA updates; None without LoRA.

  Raises:
    InputError: If there are no weights to update.
  """
  if settings.lora is None:
    return None
  if initial_params is None:
    raise InputError(
      'LORA_RANK is set, but INITIAL_CHECKPOINT_PATH is None: LoRA updates '
      'weights that are there. Name them, or leave LORA_RANK out.'
    )
  return lora_lib.freeze(initial_params(), model.config)


def _check_same(
  saved: Mapping[str, Any], wanted: Mapping[str, Any], *, path: str
) -> None:
  saved, wanted = dict(_leaves(saved)), dict(_leaves(wanted))
  for name in sorted({*saved, *wanted}):
    if saved.get(name) != wanted.get(name):
      raise InputError(
        f'checkpoint {path} belongs to a training with {name} ='
        f' {saved.get(name)}, this one has {wanted.get(name)}. Give the same'
        ' settings to resume, or another model_dir to start over.'
      )


def _leaves(
  tree: Mapping[str, Any], prefix: str = ''
) -> Iterator[tuple[str, Any]]:
  """Yields dotted names and values: {'a': {'b': 1}} gives ('a.b', 1)."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _leaves(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value


def _numerical_fields(config: ModelConfig) -> dict[str, Any]:
  """Returns the fields of a configuration that may not change on resuming.

  What the backward pass recomputes and which kernel computes attention may.
  """
  fields = dataclasses.asdict(config)
  del fields['remat_policy'], fields['attention_implementation']
  if not fields['scan_layers']:
    # Checkpoints from before this field existed do not have it.
    del fields['scan_layers']
  return fields
