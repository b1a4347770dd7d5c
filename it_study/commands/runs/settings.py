"""What gin gives a training, the engine's defaults filled in."""

from collections.abc import Sequence
import inspect
import os
from typing import Any

from it_study import gin_utils
from it_study.errors import InputError
from it_study.storage.storage_path import StoragePath

# Of `finetune`, the devices along each axis.
MESH = ('mesh_data', 'mesh_fsdp', 'mesh_model')
_OF_A_STUDY = (
  *('optimizer', 'seed', 'batch_size', 'train_steps', 'epochs'),
  *('task_feature_lengths', 'checkpoint_period', 'eval_period', 'keep_best'),
  'log_period',
  *MESH,
)


def of_training(names: Sequence[str], *, run: str) -> dict[str, Any]:
  """Arguments of `finetune`, as gin binds them or by default.

  Args:
    names: of the arguments.
    run: what is to run and the gin file that binds it, for a message, such as
      'a study: runs/study.gin'.

  Raises:
    InputError: no batch size is bound, so that no such file is there.
  """
  from it_study.engines import native

  gin_utils.check_bound('finetune.batch_size', run)
  parameters = inspect.signature(native.finetune).parameters
  return {
    **{name: parameters[name].default for name in names},
    **gin_utils.bound('finetune', names),
  }


def take_mesh(settings: dict[str, Any]) -> dict[str, int]:
  """Takes the mesh out of settings, as `partitioning.make_mesh` has it."""
  return {name.removeprefix('mesh_'): settings.pop(name) for name in MESH}


def check_study() -> None:
  """Refuses settings of a study before its folder is claimed by them."""
  from it_study.engines import training_inputs
  from it_study.models import partitioning

  settings = of_training(_OF_A_STUDY, run='a study: runs/study.gin')
  mesh = take_mesh(settings)
  # T5X makes its own, which fits the devices otherwise.
  if gin_utils.macro('ENGINE') == 'native':
    partitioning.make_mesh(**mesh)
  # To bind the decoding is to check it.
  of_prediction = gin_utils.bound('predict', ('batch_size', 'decoding'))
  training_inputs.check_study(
    **settings, infer_batch_size=of_prediction.get('batch_size', 1)
  )


def check_output(path: str | os.PathLike, *, processes: int) -> bool:
  """Whether several processes write to a bucket together.

  Args:
    path: of a folder of output.
    processes: that write there.

  Raises:
    InputError: if they do, of an engine that cannot.
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
