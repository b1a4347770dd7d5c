"""The training loop: restores, trains, logs, saves, and stops when asked to."""

import collections
from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh
import numpy as np

from it_study import distributed
from it_study.checkpoints.manager import Checkpoints
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.errors import InputError
from it_study.inference import param_hash
from it_study.input_pipeline.device_batches import placed_batches
from it_study.input_pipeline.feed import Feed
from it_study.models import ModelConfig, partitioning
from it_study.models.decoder_only.model import make_model
from it_study.models.flops import training_flops
from it_study.processes import host_memory
from it_study.training import hardware, initial_state
from it_study.training.metrics_log import MetricsLog
from it_study.training.preemption import preemption
from it_study.training.profiling import StepTrace
from it_study.training.settings import TrainingSettings, check_whole
from it_study.training.train_step import TrainState, compile_train_step
from it_study.training.validation import Validation

# How many steps the host may be ahead of the device. Some, so that the device
# never waits for the host; few, so that a signal stops it soon.
_MAX_STEPS_AHEAD = 4
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
  """Where a training stands, for a progress bar.

  Attributes:
    phase: 'tokenising', 'resuming', 'compiling' or 'training'.
    step: Updates done; examples done when tokenising.
    train_steps: Updates in all; 0 when tokenising.
    metrics: Last line of metrics.jsonl; empty before the first.
    seconds_left: Time left at the last rate; None before there is one.
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
    state: State after the last step.
    metrics: Last line of metrics.jsonl; empty if no step was left to do.
    compile_seconds: Time spent compiling; 0 if an equal step was compiled
      before in this process.
    restored_step: Step of the checkpoint it resumed from, or None.
    num_microbatches: Number of parts that every batch was computed in.
  """

  state: TrainState
  metrics: Mapping[str, float]
  compile_seconds: float
  restored_step: int | None
  num_microbatches: int


class TrainingDivergedError(InputError):
  """The loss or the gradients are no longer finite."""

  def __init__(self, problem: str, *, last: str | os.PathLike[str] | None):
    """Says where to resume from, and what to try.

    Args:
      problem: Value that is not finite, and its step.
      last: Path of the last good checkpoint, or None.
    """
    super().__init__(
      f'training stopped: {problem}. Last good checkpoint: '
      f'{last or "there is none"}. Try a lower learning rate, more warm-up '
      'steps or clipped gradients, in another folder; in bfloat16, try float32.'
    )


def train(
  *,
  model_config: ModelConfig,
  feed: Feed,
  train_steps: int,
  settings: TrainingSettings,
  mesh: Mesh,
  model_dir: str | os.PathLike[str],
  validation_feed: Feed | None = None,
  initial_params: Callable[[], Any] | None = None,
  on_progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
  """Trains up to a step, resuming from the newest checkpoint if there is one.

  Batches depend only on (seed, step), and dropout on these and the number of
  microbatches. So a training that was interrupted ends with the same
  parameters, bit for bit, as one that was not, on the same kind of device and
  with the same number of microbatches.

  `MetricsLog` describes the lines of `model_dir/metrics.jsonl`. One is written
  when metrics, a checkpoint or an evaluation is due. Lines after the restored
  step are dropped.

  Args:
    model_config: Configuration of the model.
    feed: Batches; the mesh's `data` and `fsdp` split their rows.
    train_steps: Updates in all, those before a restart included.
    settings: Optimizer, seed, and when to save, evaluate and log.
    mesh: Mesh from `partitioning.make_mesh`.
    model_dir: Folder for `checkpoints/` and `metrics.jsonl`.
    validation_feed: Held-out examples, not packed; needed to evaluate.
    initial_params: Function that returns a nested dict of arrays, called only
      without a checkpoint. The arrays are copied, and no reference to them is
      kept. None to draw parameters from the seed.
    on_progress: Callback, called after restoring a checkpoint, before compiling
      and after every line.

  Raises:
    InputError: If settings contradict each other or those of the checkpoint in
      `model_dir`.
    TrainingDivergedError: If a loss or gradient is not finite. No checkpoint of
      that step or a later one is written.
    SystemExit: With status 75 (`PREEMPTED_STATUS`) after SIGTERM or Ctrl-C
      between the first step and the last, once a checkpoint is written. Only in
      the main thread; elsewhere signals are left alone.
    KeyboardInterrupt: After a second Ctrl-C, without a checkpoint.
  """
  check_whole(TRAIN_STEPS=train_steps)
  loop = _TrainLoop(
    model_config=model_config,
    feed=feed,
    train_steps=train_steps,
    settings=settings,
    mesh=mesh,
    model_dir=pathlib.Path(model_dir),
    validation_feed=validation_feed,
    on_progress=on_progress,
  )
  with contextlib.closing(loop):
    restored_step = loop.restore(initial_params)
    compile_seconds = 0.0
    if loop.step < train_steps:
      compile_seconds = loop.compile()
      # Before the first step there is nothing to save.
      with preemption() as is_preempted:
        loop.run(is_preempted)
  return TrainResult(
    state=loop.state,
    metrics=loop.metrics,
    compile_seconds=compile_seconds,
    restored_step=restored_step,
    num_microbatches=loop.num_microbatches,
  )


class _TrainLoop:
  """The parts of `train`, in the order in which they run.

  Attributes:
    step: Updates done.
    state: Current state. Only this object refers to it, as steps donate it.
    metrics: Last line of metrics.jsonl; empty before the first.
    num_microbatches: Number of parts that every batch is computed in.
  """

  state: TrainState
  _log: MetricsLog
  _train_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]]

  def __init__(
    self,
    *,
    model_config: ModelConfig,
    feed: Feed,
    train_steps: int,
    settings: TrainingSettings,
    mesh: Mesh,
    model_dir: pathlib.Path,
    validation_feed: Feed | None,
    on_progress: Callable[[Progress], None] | None,
  ):
    self.num_microbatches = partitioning.count_microbatches(
      batch_size=feed.batch_size,
      mesh=mesh,
      microbatch_size=settings.microbatch_size,
    )
    self.step = 0
    self.metrics: Mapping[str, float] = {}
    self._model = make_model(model_config)
    self._feed = feed
    self._train_steps = train_steps
    self._settings = settings
    self._mesh = mesh
    self._model_dir = model_dir
    self._on_progress = on_progress
    self._identity = initial_state.identify(
      model_config, feed=feed, settings=settings
    )
    self._running: collections.deque[jax.Array] = collections.deque()
    self._validation: Validation | None = None
    if settings.evaluation.period is not None:
      if validation_feed is None:
        raise ValueError('evaluation.period is set without a validation_feed')
      self._validation = Validation(
        feed=validation_feed,
        model=self._model,
        mesh=mesh,
        lora=settings.lora,
      )
    self._trace = StepTrace(
      model_dir / 'profile', steps=settings.log.profile_steps
    )
    self._checkpoints = Checkpoints(
      settings.checkpoints.folder
      or LocalCheckpoints(model_dir / 'checkpoints'),
      keep=settings.checkpoints.keep,
      keep_best=settings.checkpoints.keep_best,
    )

  def close(self) -> None:
    """Ends a trace that is running, and waits for the last save."""
    with contextlib.closing(self._checkpoints):
      self._trace.close()

  def restore(self, initial_params: Callable[[], Any] | None) -> int | None:
    """Sets the state, and returns the step it was restored from, or None."""
    _logger.info(
      'mesh %s, %d microbatches', dict(self._mesh.shape), self.num_microbatches
    )
    frozen = initial_state.frozen_params(
      model=self._model,
      settings=self._settings,
      initial_params=initial_params,
    )
    if frozen is not None:
      # A resumed training must update the same weights.
      self._identity['frozen'] = param_hash.fingerprint(frozen)
    self.state, restored_step = initial_state.restore_or_init(
      self._checkpoints,
      model=self._model,
      mesh=self._mesh,
      settings=self._settings,
      identity=self._identity,
      initial_params=initial_params,
      frozen=frozen,
    )
    self.step = restored_step or 0
    self._log = MetricsLog(
      self._model_dir / 'metrics.jsonl',
      start=self.step,
      step_flops=training_flops(
        self._model.config,
        batch_size=self._feed.batch_size,
        input_length=self._feed.lengths['inputs'],
        target_length=self._feed.lengths['targets'],
      ),
      peak_flops=_peak_flops(self._mesh),
      events=self._settings.log.events,
      writes=distributed.is_first(),
    )
    if restored_step is not None:
      self._report('resuming')
    return restored_step

  def compile(self) -> float:
    """Compiles the step, and returns the seconds that it took."""
    self._report('compiling')
    self._train_step, seconds = compile_train_step(
      model=self._model,
      optimizer=self._settings.optimizer,
      mesh=self._mesh,
      z_loss=self._settings.z_loss,
      label_smoothing=self._settings.label_smoothing,
      num_microbatches=self.num_microbatches,
      lora=self._settings.lora,
      batch_shapes=tuple(
        (name, array.shape, array.dtype.name)
        for name, array in self._feed.batch(self.step).items()
      ),
    )
    if seconds:
      host_memory.give_back_unused()
    self._log.restart_clock(compile_seconds=seconds)
    return seconds

  def run(self, is_preempted: Callable[[int], bool]) -> None:
    """Trains up to the last step, or until preempted, and waits for the save.

    Args:
      is_preempted: Function that tells, given a step, whether to stop after it.
    """
    settings = self._settings
    for batch, num_tokens in self._batches():
      self._update(batch, num_tokens)
      stops = is_preempted(self.step)
      is_last = self.step == self._train_steps
      saves = settings.checkpoints.is_due(self.step, is_last=is_last or stops)
      evaluates = settings.evaluation.is_due(self.step, is_last=is_last)
      if saves or evaluates or self.step % settings.log.period == 0:
        self._write_metrics(evaluates=evaluates)
        if saves:
          self._save()
        self._report('training')
        self._log.restart_clock()
      if stops:
        _logger.info('preempted: stopping after step %d', self.step)
        break
    self._checkpoints.wait()

  def _batches(self) -> Iterator[tuple[dict[str, jax.Array], float]]:
    return placed_batches(
      self._feed, start=self.step, stop=self._train_steps, mesh=self._mesh
    )

  def _update(self, batch: dict[str, jax.Array], num_tokens: float) -> None:
    """Starts one training step; waits only for one some steps before."""
    self.step += 1
    self._trace.before(self.step)
    self.state, metrics = self._train_step(
      self.state, batch, np.uint32(self._settings.seed)
    )
    self._trace.after(self.step, metrics)
    self._log.add(metrics, num_tokens=num_tokens)
    self._running.append(metrics['loss'])
    if len(self._running) > _MAX_STEPS_AHEAD:
      self._running.popleft().block_until_ready()

  def _write_metrics(self, *, evaluates: bool) -> None:
    """Waits for the device and writes a line of metrics.jsonl."""
    held_out = None
    if evaluates:
      assert self._validation is not None
      held_out = functools.partial(
        self._validation, self.state.params, self.state.frozen
      )
    try:
      self.metrics = self._log.write(self.step, held_out=held_out)
    except FloatingPointError as error:
      last = self._checkpoints.newest()
      raise TrainingDivergedError(
        str(error), last=None if last is None else self._checkpoints.path(last)
      ) from error

  def _save(self) -> None:
    """Starts a save of the current state in the background."""
    _logger.info('saving %s', self._checkpoints.path(self.step))
    self._checkpoints.save(
      step=self.step,
      params=self.state.params,
      opt_state=self.state.opt_state,
      # The step is also the position in the feed.
      metadata={'step': self.step, 'settings': self._identity},
      loss=self.metrics.get('validation_loss'),
    )

  def _report(self, phase: str) -> None:
    """Calls `on_progress`, in the first process."""
    if self._on_progress is None or not distributed.is_first():
      return
    seconds_left = None
    if self.metrics:
      rate = self.metrics['seconds'] / self.metrics['steps']
      seconds_left = rate * (self._train_steps - self.step)
    self._on_progress(
      Progress(
        phase=phase,
        step=self.step,
        train_steps=self._train_steps,
        metrics=self.metrics,
        seconds_left=seconds_left,
      )
    )


def _peak_flops(mesh: Mesh) -> float | None:
  """Returns the FLOPs per second of all devices, None if not known."""
  peaks = [hardware.peak_flops(device) for device in mesh.devices.flat]
  known = [peak for peak in peaks if peak is not None]
  return sum(known) if len(known) == len(peaks) else None
