"""Settings of a training in frozen groups, each checked when it is made.

Messages name a setting by its gin macro.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

import jax
from jax.sharding import Mesh

from it_study.checkpoints.step_folders import CheckpointFolder
from it_study.errors import InputError
from it_study.models import partitioning
from it_study.models.adapters.lora import Lora
from it_study.training import losses
from it_study.training.optimizers import Optimizer

# Steps are int32 on the devices.
MAX_STEPS = 2**31 - 1
# Attention to itself alone takes terabytes at this length.
_MOST_TOKENS = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshSettings:
  """The number of devices along each axis of the mesh.

  One axis may be -1: it takes the devices that the others leave.

  Attributes:
    data: Devices that split the batch and copy the parameters.
    fsdp: Devices that split the batch and the parameters.
    model: Devices that split the matrices of each layer.
  """

  data: int = -1
  fsdp: int = 1
  model: int = 1

  def make(self, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns the mesh over `devices`, by default all of them.

    Raises:
      InputError: If the sizes do not multiply to the number of devices.
    """
    partitioning.check_mesh_sizes(dataclasses.asdict(self))
    return partitioning.make_mesh(
      data=self.data, fsdp=self.fsdp, model=self.model, devices=devices
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
  """What a training reads, and for how long.

  Attributes:
    mixture_or_task_name: Name of a task or mixture registered with SeqIO.
    mixture_or_task_module: Module that registers it; imported first.
    task_feature_lengths: Maximum lengths of 'inputs' and 'targets' in tokens.
    batch_size: Rows per step over all devices.
    pack: Whether several examples share a row.
    train_steps: Steps to train, or None to derive them from `epochs`.
    epochs: Passes over the data, or None if `train_steps` is set.

  Raises:
    InputError: If a value is out of range, or not exactly one of `train_steps`
      and `epochs` is set.
  """

  mixture_or_task_name: str
  mixture_or_task_module: str
  task_feature_lengths: Mapping[str, int]
  batch_size: int
  pack: bool = True
  train_steps: int | None = None
  epochs: int | None = None

  def __post_init__(self):
    check_duration(train_steps=self.train_steps, epochs=self.epochs)
    check_batch(self.batch_size, self.task_feature_lengths)
    check_flag(PACK=self.pack)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
  """When checkpoints are written, and which are kept.

  Attributes:
    period: Steps between checkpoints; the last step always gets one.
    keep: Number of newest checkpoints to keep.
    keep_best: Whether to also keep the one with the lowest validation loss.
    folder: Folder for checkpoints; None for `checkpoints/` in the training's
      folder.
  """

  period: int = 1000
  keep: int = 2
  keep_best: bool = False
  folder: CheckpointFolder | None = None

  def __post_init__(self):
    check_whole(CHECKPOINT_PERIOD=self.period)
    check_flag(KEEP_BEST=self.keep_best)

  def is_due(self, step: int, *, is_last: bool) -> bool:
    """Returns whether to save a checkpoint after `step`."""
    return is_last or step % self.period == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
  """When the loss on held-out instances is computed.

  Attributes:
    period: Steps between evaluations, with one after the last step; None for
      no evaluation.
  """

  period: int | None = None

  def __post_init__(self):
    check_whole(EVAL_PERIOD=self.period)

  def is_due(self, step: int, *, is_last: bool) -> bool:
    """Returns whether to evaluate after `step`."""
    return self.period is not None and (is_last or step % self.period == 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSettings:
  """When metrics are written, and what besides metrics.jsonl.

  Attributes:
    period: Steps between lines of metrics; in between, the host does not wait
      for the device.
    events: Whether to write the metrics for TensorBoard, to `events/`.
    profile_steps: First and last step to trace with JAX's profiler, to
      `profile/`; None for no trace.
  """

  period: int = 50
  events: bool = False
  profile_steps: tuple[int, int] | None = None

  def __post_init__(self):
    check_whole(LOG_PERIOD=self.period)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
  """What a training computes and writes, whatever its model and data.

  Attributes:
    optimizer: Optimizer from `it_study.training.optimizers`.
    seed: Seed for initial parameters, dropout and the order of examples.
    microbatch_size: Maximum rows per device computed at once; larger batches
      are computed in equal parts whose gradients are added. None for no limit.
    z_loss: Coefficient of the squared log normaliser.
    label_smoothing: Probability taken from the target token.
    lora: Settings of LoRA, whose parameters are trained in place of the
      model's; None to train all parameters.
    checkpoints: Settings of checkpoints.
    evaluation: Settings of the evaluation on held-out instances.
    log: Settings of metrics and traces.

  Raises:
    InputError: If the seed is out of range; if `keep_best` is set and some
      checkpoint would have no validation loss; or if `optimizer` is not an
      `Optimizer`: gin takes a name without @ for text.
  """

  optimizer: Optimizer
  seed: int = 0
  microbatch_size: int | None = None
  z_loss: float = losses.DEFAULT_Z_LOSS
  label_smoothing: float = 0.0
  lora: Lora | None = None
  checkpoints: CheckpointSettings = dataclasses.field(
    default_factory=CheckpointSettings
  )
  evaluation: EvaluationSettings = dataclasses.field(
    default_factory=EvaluationSettings
  )
  log: LogSettings = dataclasses.field(default_factory=LogSettings)

  def __post_init__(self):
    if not isinstance(self.optimizer, Optimizer):
      raise InputError(
        f'OPTIMIZER is {self.optimizer!r}; give a call, such as @adafactor() '
        'or @adamw().'
      )
    check_whole(SEED=self.seed)
    if self.seed >= 2**32:
      raise InputError(
        f'SEED is {self.seed}; give a number from 0 to 2**32 - 1.'
      )
    eval_period, period = self.evaluation.period, self.checkpoints.period
    if self.checkpoints.keep_best and (
      eval_period is None or period % eval_period
    ):
      raise InputError(
        'KEEP_BEST needs the validation loss of every checkpoint: EVAL_PERIOD '
        f'is {eval_period}, CHECKPOINT_PERIOD {period}. Give an EVAL_PERIOD of '
        'which CHECKPOINT_PERIOD is a multiple.'
      )


def check_duration(*, train_steps: int | None, epochs: int | None) -> None:
  """Raises `InputError` unless exactly one of steps and epochs is set."""
  if (train_steps is None) == (epochs is None):
    raise InputError(
      f'TRAIN_STEPS is {train_steps} and EPOCHS is {epochs}: set one of them, '
      'the other to None.'
    )
  check_whole(TRAIN_STEPS=train_steps, EPOCHS=epochs)
  if train_steps is not None and train_steps > MAX_STEPS:
    raise InputError(
      f'TRAIN_STEPS is {train_steps}; at most {MAX_STEPS} can be counted.'
    )


def check_batch(batch_size: int, lengths: Mapping[str, int]) -> None:
  """Raises `InputError` for a batch that this machine cannot hold.

  Args:
    batch_size: Rows per step over all devices.
    lengths: Maximum lengths of 'inputs' and 'targets' in tokens.
  """
  check_whole(BATCH_SIZE=batch_size)
  check_lengths(lengths)
  # Every process holds its own rows: one int32 a token, and more.
  rows = batch_size // jax.process_count()
  num_bytes = 4 * rows * sum(lengths.values())
  memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  if num_bytes > memory:
    raise InputError(
      f'BATCH_SIZE is {batch_size}: the tokens of one batch take '
      f'{num_bytes / 2**30:,.0f} GiB, and this machine has '
      f'{memory / 2**30:,.0f} GiB. Lower it, or TASK_FEATURE_LENGTHS.'
    )


def check_lengths(lengths: Mapping[str, int]) -> None:
  """Raises `InputError` unless there are usable lengths of both features."""
  if not isinstance(lengths, Mapping) or set(lengths) != {'inputs', 'targets'}:
    raise InputError(
      f'TASK_FEATURE_LENGTHS is {lengths!r}: give both lengths and no other, '
      "as in {'inputs': 1024, 'targets': 128}."
    )
  for name, length in lengths.items():
    setting = f'TASK_FEATURE_LENGTHS[{name!r}]'
    check_whole(**{setting: length})
    if length > _MOST_TOKENS:
      raise InputError(
        f'{setting} is {length:,}: give at most {_MOST_TOKENS:,} tokens, which '
        'is more than a device has memory for.'
      )


def check_flag(**values: Any) -> None:
  """Raises `InputError` for a value that is neither True nor False.

  Gin lets others through; as text, even 'False' would be taken for true.

  Args:
    **values: Values by the macros that set them.
  """
  for name, value in values.items():
    if not isinstance(value, bool):
      raise InputError(f'{name} is {value!r}: give True or False.')


def check_whole(**values: Any) -> None:
  """Raises `InputError` for text, a fraction, or a count below 1.

  Gin lets them through.

  Args:
    **values: Values by the macros that set them; SEED may be 0, and None is not
      checked.
  """
  for name, value in values.items():
    least = 0 if name == 'SEED' else 1
    if value is not None and (
      not isinstance(value, int) or isinstance(value, bool) or value < least
    ):
      raise InputError(
        f'{name} is {value!r}: give a whole number from {least} up.'
      )
