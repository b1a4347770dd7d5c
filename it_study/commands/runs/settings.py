"""The configured settings of a training, with the engine's defaults."""

from collections.abc import Sequence
import inspect
import os
from typing import TYPE_CHECKING, Any

from it_study import gin_utils
from it_study.errors import InputError
from it_study.storage.storage_path import StoragePath

if TYPE_CHECKING:
  from it_study.training.settings import MeshSettings

# Parameters of `finetune` that size the mesh.
MESH = ('mesh_data', 'mesh_fsdp', 'mesh_model')
_OF_A_STUDY = (
  *('optimizer', 'seed', 'batch_size', 'train_steps', 'epochs'),
  *('task_feature_lengths', 'checkpoint_period', 'eval_period', 'keep_best'),
  'log_period',
  *MESH,
)


def of_training(names: Sequence[str], *, run: str) -> dict[str, Any]:
  """Returns arguments of `finetune`, bound by gin or by default.

  Args:
    names: Names of the arguments.
    run: Name of the run and the gin file that binds it, for a message, such as
      'a study: runs/study.gin'.

  Raises:
    InputError: If no batch size is bound, which means that the file is missing.
  """
  from it_study.engines import native

  gin_utils.check_bound('finetune.batch_size', run)
  parameters = inspect.signature(native.finetune).parameters
  return {
    **{name: parameters[name].default for name in names},
    **gin_utils.bound('finetune', names),
  }


def mesh_of(arguments: dict[str, Any]) -> 'MeshSettings':
  """Returns the mesh that arguments of `finetune` describe."""
  from it_study.training.settings import MeshSettings

  return MeshSettings(
    **{name.removeprefix('mesh_'): arguments[name] for name in MESH}
  )


def check_study(*, trains: bool) -> None:
  """Checks a study's settings before its folder is claimed.

  Args:
    trains: Whether the study trains any model, which takes steps or epochs.

  Raises:
    InputError: If no training or prediction of the study could run with them.
  """
  from it_study.training import settings

  arguments = of_training(_OF_A_STUDY, run='a study: runs/study.gin')
  mesh = mesh_of(arguments)
  # T5X lays the devices out differently.
  if gin_utils.macro('ENGINE') == 'native':
    mesh.make()
  # Settings check themselves when they are made, as decoding does when bound.
  settings.TrainingSettings(
    optimizer=arguments['optimizer'],
    seed=arguments['seed'],
    checkpoints=settings.CheckpointSettings(
      period=arguments['checkpoint_period'], keep_best=arguments['keep_best']
    ),
    evaluation=settings.EvaluationSettings(period=arguments['eval_period']),
    log=settings.LogSettings(period=arguments['log_period']),
  )
  if trains:
    settings.check_duration(
      train_steps=arguments['train_steps'], epochs=arguments['epochs']
    )
  settings.check_batch(
    arguments['batch_size'], arguments['task_feature_lengths']
  )
  of_prediction = gin_utils.bound('predict', ('batch_size', 'decoding'))
  settings.check_whole(INFER_BATCH_SIZE=of_prediction.get('batch_size', 1))


def check_output(path: str | os.PathLike, *, processes: int) -> bool:
  """Returns whether several processes write to a bucket together.

  Args:
    path: Folder to write to, local or in a bucket.
    processes: Number of processes that write there.

  Raises:
    InputError: If they do, and the engine does not support it.
  """
  if StoragePath(path).local is not None or processes == 1:
    return False
  if gin_utils.macro('ENGINE') == 't5x':
    raise InputError(
      f'{path}: several processes of the engine t5x do not write to a bucket. '
      'Use the native engine, mount the bucket on every host with Cloud '
      'Storage FUSE and name the mount, or run t5x.main (docs/t5x.md).'
    )
  return True
