"""T5X's trainer and its initial state, as our trainings need them."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import json
import math
import pathlib
import time
from typing import Any

import flax
import jax

from it_study import distributed
from it_study.checkpoints import weights
from it_study.checkpoints.weights_source import WeightsSource
from it_study.engines.t5x import checkpoints
from it_study.models.config import T5Config
from it_study.training import metrics_log
from it_study.training.trainer import Progress, TrainingDivergedError


def initializer_class(
  config: T5Config, source: WeightsSource | None
) -> Callable[..., Any]:
  """How T5X gets a state where it has no checkpoint of its own.

  Args:
    config: of the model.
    source: Weights to start from; None to start from scratch.
  """
  from t5x import utils

  class Initializer(utils.TrainStateInitializer):
    """From scratch, or with parameters from elsewhere and step 0.

    T5X itself would go on counting an initial checkpoint's steps.
    """

    def from_scratch(self, init_rng):
      state = super().from_scratch(init_rng)
      if source is None:
        return state
      target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
          leaf.shape, leaf.dtype, sharding=leaf.sharding
        ),
        flax.core.unfreeze(state.params),
      )
      params = weights.restore(source, config=config, target=target)
      return state.replace_params(flax.core.freeze(params))

  return Initializer


class Reporter:
  """Lines of metrics.jsonl, progress, and the watch that losses are finite."""

  def __init__(
    self,
    model_dir: pathlib.Path,
    *,
    start: int,
    train_steps: int,
    keep_best: bool,
    on_progress: Callable[[Progress], None] | None,
  ):
    """Drops the lines of steps after `start`.

    Args:
      model_dir: gets metrics.jsonl.
      start: the step that the training goes on from.
      train_steps: of the training.
      keep_best: whether the checkpoint of lowest validation loss is kept.
      on_progress: is told of every line.
    """
    self._model_dir = model_dir
    self._path = model_dir / 'metrics.jsonl'
    self._train_steps = train_steps
    self._keep_best = keep_best
    self._on_progress = on_progress
    if distributed.is_first():
      metrics_log.drop_lines_after(self._path, start)

  def compiling(self, step: int) -> None:
    self._tell('compiling', step, {}, None)

  def trained(
    self,
    step: int,
    *,
    num_steps: int,
    num_tokens: int,
    seconds: float,
    learning_rate: float,
    metrics: Mapping,
  ) -> None:
    """Takes T5X's metrics of some steps, averaged over them.

    Args:
      step: the last of them.
      num_steps: how many.
      num_tokens: in their batches.
      seconds: that they took.
      learning_rate: of the last step.
      metrics: by name.
    """
    line = {
      'step': step,
      'steps': num_steps,
      # Means over steps of means over target tokens. What T5X calls the loss
      # per token is divided by their number once more.
      **{
        name: float(metrics[name].value)
        for name in (
          'loss',
          'z_loss',
          'accuracy',
          'gradient_norm',
        )
      },
      # T5X tells the mean of the steps.
      'learning_rate': learning_rate,
      'tokens_per_second': float(num_tokens / seconds),
      'seconds': seconds,
    }
    for name in ('loss', 'gradient_norm'):
      if not math.isfinite(line[name]):
        raise self._diverged(
          f'{name.replace("_", " ")} is {line[name]} at step {step} or one of '
          f'the {num_steps - 1} before',
          step,
        )
    if distributed.is_first():
      with self._path.open('a') as file:
        file.write(json.dumps(line) + '\n')
    left = (self._train_steps - step) * seconds / num_steps
    self._tell('training', step, line, left)

  def evaluated(self, step: int, *, metrics: Mapping, seconds: float) -> None:
    """Takes T5X's metrics of the instances held out, of one pass over them."""
    held_out = {
      'validation_loss': float(
        metrics['loss_per_nonpadding_target_token'].value
      ),
      'validation_accuracy': float(metrics['accuracy'].value),
      'validation_seconds': seconds,
    }
    loss = held_out['validation_loss']
    if not math.isfinite(loss):
      raise self._diverged(f'validation loss is {loss} at step {step}', step)
    metrics_log.add_to_last_line(self._path, held_out)
    line = metrics_log.lines_of(self._path)[-1]
    if self._keep_best:
      checkpoints.keep_best(self._model_dir, step=step)
    left = (self._train_steps - step) * line['seconds'] / line['steps']
    self._tell('training', step, line, left)

  def _diverged(self, what: str, step: int) -> TrainingDivergedError:
    # T5X has saved that of the step already where a look at the loss fails.
    last = checkpoints.newest_before(self._model_dir, step)
    return TrainingDivergedError(what, last=last)

  def _tell(
    self, phase: str, step: int, metrics: Mapping, seconds_left: float | None
  ) -> None:
    if self._on_progress is not None and distributed.is_first():
      self._on_progress(
        Progress(
          phase=phase,
          step=step,
          train_steps=self._train_steps,
          metrics=metrics,
          seconds_left=seconds_left,
        )
      )


def trainer_class() -> type:
  """T5X's trainer with our reports, made once T5X can be imported."""
  import optax
  from t5x import metrics as t5x_metrics, trainer as t5x_trainer

  class GradientNorm(t5x_trainer.WeightMetricsComputer):
    """The one number of the gradients, for T5X's many of every tensor."""

    def compute_metrics(self, gradients, old_train_state, new_train_state):
      del old_train_state, new_train_state
      norm = optax.global_norm(gradients)
      return {
        'gradient_norm': t5x_metrics.AveragePerStep.from_model_output(norm)
      }

  class Trainer(t5x_trainer.Trainer):
    """T5X's, which tells how far it is and hears when to stop."""

    def __init__(self, *args, reporter, is_preempted, tokens, **named):
      super().__init__(*args, weight_metrics_computer=GradientNorm(), **named)
      self._reporter = reporter
      self._is_preempted = is_preempted
      self._tokens = tokens
      self._num_looks = 0

    def compile_train(self, batch):
      self._reporter.compiling(int(self.train_state.step))
      super().compile_train(batch)

    def train(self, batch_iter: Iterator, num_steps: int, start_step=None):
      with self._closed_by_failure():
        started = time.monotonic()
        summary = super().train(batch_iter, num_steps, start_step)
        metrics = summary.result()
        step = start_step + num_steps
        # Of several processes only the first is told the metrics.
        if distributed.is_first():
          self._reporter.trained(
            step,
            num_steps=num_steps,
            num_tokens=sum(
              self._tokens.pop(step - k) for k in range(num_steps)
            ),
            seconds=time.monotonic() - started,
            learning_rate=float(self._learning_rate_fn(step - 1)),
            metrics=metrics,
          )
        # Several processes agree on one of the next looks by its number, so
        # none may be left out, as steps are between two of these.
        self._num_looks += 1
        if self._is_preempted(self._num_looks):
          # T5X's `stop_training` would be taken back by an evaluation, and
          # leave no checkpoint at the end of a period.
          raise t5x_trainer.PreemptionError
      return summary

    def eval(self, batch_iters: Mapping[str, Iterator]):
      with self._closed_by_failure():
        started = time.monotonic()
        summaries = super().eval(batch_iters)
        if distributed.is_first():
          (metrics,) = summaries.values()
          self._reporter.evaluated(
            int(self.train_state.step),
            metrics=metrics,
            seconds=time.monotonic() - started,
          )
      return summaries

    @contextlib.contextmanager
    def _closed_by_failure(self) -> Iterator[None]:
      """Closes the writers of events, which T5X does at the end alone.

      Left to be collected they are flushed wherever Python is by then, be it
      into the graph that TensorFlow makes of another dataset.
      """
      with contextlib.ExitStack() as failed:
        failed.callback(self.close)
        yield
        failed.pop_all()

  return Trainer
