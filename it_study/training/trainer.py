"""The training loop: it logs, saves, stops when told, and goes on."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh
import numpy as np

from it_study import distributed
from it_study.checkpoints.manager import Checkpoints, check_shapes
from it_study.checkpoints.step_folders import CheckpointFolder, LocalCheckpoints
from it_study.errors import InputError
from it_study.input_pipeline.device_batches import placed_batches
from it_study.input_pipeline.feed import Feed
from it_study.models import partitioning
from it_study.models.flops import training_flops
from it_study.models.t5 import T5, T5Config
from it_study.training import hardware, host_memory, losses
from it_study.training.metrics_log import MetricsLog
from it_study.training.optimizers import Optimizer
from it_study.training.preemption import preemption
from it_study.training.profiling import StepTrace
from it_study.training.settings import check_settings, check_whole
from it_study.training.train_step import (
  TrainState,
  abstract_state,
  compile_train_step,
  init_state,
)
from it_study.training.validation import Validation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
  """Where a training stands, for a progress bar.

  Attributes:
    phase: 'tokenising', 'compiling' or 'training'.
    step: updates done; when tokenising, examples.
    train_steps: updates to do in all; 0 when tokenising.
    metrics: the last line of metrics.jsonl; empty before the first.
    seconds_left: at the last rate, None before there is one.
  """

  phase: str
  step: int
  train_steps: int
  metrics: Mapping[str, float]
  seconds_left: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainResult:
  """What a training ends with.

  Attributes:
    state: after the last step.
    metrics: the last line of metrics.jsonl, empty if no step was left to do.
    compile_seconds: spent on compiling; 0 where an equal step was at hand.
    restored_step: the step of the checkpoint it went on from, or None.
    num_microbatches: parts that every batch was computed in.
  """

  state: TrainState
  metrics: Mapping[str, float]
  compile_seconds: float
  restored_step: int | None
  num_microbatches: int


class TrainingDivergedError(InputError):
  """Loss or gradients are no longer finite."""

  def __init__(self, what: str, *, last: str | None):
    """Says what to go on from, and what to try.

    Args:
      what: is not finite, and where.
      last: good checkpoint, None if there is none.
    """
    super().__init__(
      f'training stopped: {what}. Last good checkpoint: '
      f'{last or "there is none"}. Try a lower learning rate, more warm-up '
      'steps or clipped gradients, in another folder; in bfloat16, try float32.'
    )


def train(
  *,
  model_config: T5Config,
  feed: Feed,
  train_steps: int,
  seed: int,
  optimizer: Optimizer,
  mesh: Mesh,
  model_dir: str | os.PathLike[str],
  initial_params: Callable[[], Any] | None = None,
  z_loss: float = losses.DEFAULT_Z_LOSS,
  label_smoothing: float = 0.0,
  microbatch_size: int | None = None,
  checkpoint_period: int = 1000,
  keep_checkpoints: int = 2,
  validation_feed: Feed | None = None,
  eval_period: int | None = None,
  keep_best: bool = False,
  log_period: int = 50,
  events: bool = False,
  profile_steps: tuple[int, int] | None = None,
  checkpoint_folder: CheckpointFolder | None = None,
  on_progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
  """Trains up to a step, going on from the newest checkpoint if there is one.

  Batches depend on (seed, step) alone, and dropout on these and on the number
  of microbatches, so a training that was stopped ends with the same parameters,
  bit for bit, as one that was not, on the same kind of device and in as many
  parts.

  Every `log_period` steps, and before every checkpoint, a line goes to
  `model_dir/metrics.jsonl`: `step`; `steps`, the number of steps it speaks of;
  `loss` (z-loss included), `z_loss` and `accuracy`, means over their target
  tokens; `num_target_tokens`, their sum; `gradient_norm`, the mean over steps;
  `learning_rate` of the last step; `tokens_per_second`, inputs and targets
  without padding; `seconds`, compiling not counted;
  `model_flops_utilization`, of what the devices can compute at most, where that
  is known; and `compile_seconds` in the line that follows a compilation; with
  `eval_period` also what `Validation` gives. Lines
  after the restored step are dropped.

  Args:
    model_config: of the model.
    feed: the batches; a batch's rows are split over the mesh's `data` and
      `fsdp`.
    train_steps: updates in all, those before a restart included.
    seed: of the initial parameters and of dropout.
    optimizer: from `it_study.training.optimizers`.
    mesh: from `partitioning.make_mesh`.
    model_dir: gets `checkpoints/` and `metrics.jsonl`.
    initial_params: gives a nested dict of arrays, and is called only where
      there is no checkpoint; they are left as they are, and nothing here keeps
      them. Drawn if None.
    z_loss: coefficient of the squared log normaliser.
    label_smoothing: probability taken from the target.
    microbatch_size: the most rows that a device computes at once; more are
      computed in equal parts whose gradients are added. None computes all.
    checkpoint_period: steps between checkpoints; one is written at the end too.
    keep_checkpoints: how many to keep, the newest.
    validation_feed: held-out examples, not packed, or None.
    eval_period: steps between two looks at them, and one is taken at the end;
      their loss and accuracy go into the line of that step.
    keep_best: whether the checkpoint of lowest validation loss is kept too.
    log_period: steps between two looks at the metrics. Between them the host
      does not wait for the device.
    events: whether to write the same for TensorBoard, to `model_dir/events`.
    profile_steps: the first and the last step to trace with JAX's profiler,
      into `model_dir/profile`; None traces nothing.
    checkpoint_folder: where checkpoints go instead of `model_dir`.
    on_progress: called before compiling and at every look.

  Raises:
    InputError: settings that do not go together, or other settings than those
      of the checkpoint in `model_dir`.
    TrainingDivergedError: a loss or gradient is not finite. No checkpoint is
      written of that or a later step.
    SystemExit: with status 75 (`PREEMPTED_STATUS`) after SIGTERM, once a
      checkpoint is written. Only when called from the main thread; elsewhere
      signals are left alone.
  """
  check_settings(
    optimizer=optimizer,
    seed=seed,
    checkpoint_period=checkpoint_period,
    eval_period=eval_period,
    keep_best=keep_best,
    log_period=log_period,
  )
  check_whole(TRAIN_STEPS=train_steps)
  num_microbatches = partitioning.count_microbatches(
    batch_size=feed.batch_size, mesh=mesh, microbatch_size=microbatch_size
  )
  model = T5(model_config)
  model_dir = pathlib.Path(model_dir)
  settings = {
    'model': _values_of(model_config),
    'optimizer': dataclasses.asdict(optimizer),
    'feed': feed.metadata(),
    'seed': seed,
    'z_loss': z_loss,
    'label_smoothing': label_smoothing,
  }
  # Through JSON, so that tuples and lists compare equal.
  settings = json.loads(json.dumps(settings))
  trace = StepTrace(model_dir / 'profile', steps=profile_steps)
  checkpoints = Checkpoints(
    checkpoint_folder or LocalCheckpoints(model_dir / 'checkpoints'),
    keep=keep_checkpoints,
    keep_best=keep_best,
  )
  validate = None
  if eval_period is not None:
    validate = Validation(feed=validation_feed, model=model, mesh=mesh)
  with (
    contextlib.closing(checkpoints),
    contextlib.closing(trace),
    preemption() as preempted,
  ):
    state, restored_step = _restore_or_init(
      checkpoints=checkpoints,
      model=model,
      optimizer=optimizer,
      mesh=mesh,
      seed=seed,
      initial_params=initial_params,
      settings=settings,
    )
    start = restored_step or 0
    log = MetricsLog(
      model_dir / 'metrics.jsonl',
      start=start,
      step_flops=training_flops(
        model_config,
        batch_size=feed.batch_size,
        input_length=feed.lengths['inputs'],
        target_length=feed.lengths['targets'],
      ),
      peak_flops=_peak_flops(mesh),
      events=events,
      writes=distributed.is_first(),
    )
    if start >= train_steps:
      return TrainResult(
        state=state,
        metrics={},
        compile_seconds=0.0,
        restored_step=restored_step,
        num_microbatches=num_microbatches,
      )

    def report(phase, step, metrics):
      if on_progress is not None and distributed.is_first():
        rate = metrics.get('seconds', 0) / metrics.get('steps', 1)
        on_progress(
          Progress(
            phase=phase,
            step=step,
            train_steps=train_steps,
            metrics=metrics,
            seconds_left=rate * (train_steps - step) if metrics else None,
          )
        )

    report('compiling', start, {})
    compiled, compile_seconds = compile_train_step(
      model=model,
      optimizer=optimizer,
      mesh=mesh,
      z_loss=z_loss,
      label_smoothing=label_smoothing,
      num_microbatches=num_microbatches,
      batch_shapes=tuple(
        (name, array.shape, array.dtype.name)
        for name, array in feed.batch(start).items()
      ),
    )
    if compile_seconds:
      host_memory.give_back_unused()
    log.restart_clock(compile_seconds=compile_seconds)
    dropout_seed = np.uint32(seed)
    batches = placed_batches(feed, start=start, stop=train_steps, mesh=mesh)
    metrics = {}
    for step, (batch, num_tokens) in enumerate(batches, start=start + 1):
      trace.before(step)
      state, step_metrics = compiled(state, batch, dropout_seed)
      trace.after(step, step_metrics)
      log.add(step_metrics, num_tokens=num_tokens)
      stopping = preempted(step)
      saving = step % checkpoint_period == 0 or step == train_steps or stopping
      evaluating = validate is not None and (
        step % eval_period == 0 or step == train_steps
      )
      if not (saving or evaluating or step % log_period == 0):
        continue
      held_out = None
      if evaluating:
        held_out = functools.partial(validate, state.params)
      try:
        metrics = log.write(step, held_out=held_out)
      except FloatingPointError as error:
        last = checkpoints.newest()
        raise TrainingDivergedError(
          str(error),
          last=None if last is None else checkpoints.path(last),
        ) from error
      if saving:
        checkpoints.save(
          step=step,
          params=state.params,
          opt_state=state.opt_state,
          # The step is the feed's position as well.
          metadata={'step': step, 'settings': settings},
          loss=metrics.get('validation_loss'),
        )
      report('training', step, metrics)
      log.restart_clock()
      if stopping:
        break
  return TrainResult(
    state=state,
    metrics=metrics,
    compile_seconds=compile_seconds,
    restored_step=restored_step,
    num_microbatches=num_microbatches,
  )


def _peak_flops(mesh: Mesh) -> float | None:
  peaks = [hardware.peak_flops(device) for device in mesh.devices.flat]
  return None if None in peaks else sum(peaks)


def _restore_or_init(
  *,
  checkpoints: Checkpoints,
  model: T5,
  optimizer: Optimizer,
  mesh: Mesh,
  seed: int,
  initial_params: Callable[[], Any] | None,
  settings: dict[str, Any],
) -> tuple[TrainState, int | None]:
  """Returns the state and the step it was restored from, None for a new one."""
  abstract = abstract_state(model=model, optimizer=optimizer, mesh=mesh)
  newest = checkpoints.newest()
  if newest is not None:
    _check_same(
      checkpoints.metadata(newest)['settings'],
      settings,
      path=checkpoints.path(newest),
    )
    restored = checkpoints.restore(
      newest, params=abstract.params, opt_state=abstract.opt_state
    )
    state = TrainState(
      step=jax.device_put(np.int32(newest), abstract.step.sharding),
      params=restored.params,
      opt_state=restored.opt_state,
    )
    return state, newest
  if initial_params is None:
    params = partitioning.init_params(model=model, seed=seed, mesh=mesh)
  else:
    params = initial_params()
    check_shapes(params, abstract.params, source='initial_params')
  state = init_state(model=model, optimizer=optimizer, mesh=mesh, params=params)
  return state, None


def _check_same(
  found: dict[str, Any], wanted: dict[str, Any], *, path: str
) -> None:
  found, wanted = dict(_leaves(found)), dict(_leaves(wanted))
  for name in sorted({*found, *wanted}):
    if found.get(name) != wanted.get(name):
      raise InputError(
        f'checkpoint {path} belongs to a training with {name} ='
        f' {found.get(name)}, this one has {wanted.get(name)}. Give the same'
        ' settings to go on, or another model_dir to start anew.'
      )


def _values_of(config: T5Config) -> dict[str, Any]:
  """What of a configuration tells one training from another.

  What the backward pass recomputes is none of it, nor is which kernel attends:
  both may change on the way.
  """
  fields = dataclasses.asdict(config)
  del fields['remat_policy'], fields['attention_implementation']
  if not fields['scan_layers']:
    # As checkpoints have it that were written before there was a choice.
    del fields['scan_layers']
  return fields


def _leaves(tree: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _leaves(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value
