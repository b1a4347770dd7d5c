"""T5X's trainer and initial state, adapted to our trainings."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import json
import logging
import math
import time
from typing import Any

import flax
import jax

from it_study import distributed
from it_study.checkpoints import weights
from it_study.checkpoints.weights_source import WeightsSource
from it_study.engines.t5x import checkpoints
from it_study.engines.training_inputs import OnProgress, TrainingInputs
from it_study.models import ModelConfig
from it_study.training import metrics_log
from it_study.training.trainer import Progress, TrainingDivergedError

_logger = logging.getLogger(__name__)


def initializer_class(
  config: ModelConfig, source: WeightsSource | None
) -> Callable[..., Any]:
  """Returns the class that makes T5X's state where there is no checkpoint.

  Args:
    config: Configuration of the model.
    source: Weights to start from, in any format; None to start from scratch.
  """
  from t5x import utils

  class Initializer(utils.TrainStateInitializer):
    """Starts at step 0, from scratch or with parameters from elsewhere.

    T5X itself would continue counting from the initial checkpoint's step.
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
  """Writes metrics.jsonl, reports progress, and checks that losses are finite.

  `trained` and `evaluated` take T5X's metrics by name.
  """

  def __init__(
    self, inputs: TrainingInputs, *, start: int, on_progress: OnProgress
  ):
    """Drops the lines of steps after `start`.

    Args:
      inputs: Settings and folder of the training.
      start: Step that the training resumes from.
      on_progress: Callback, called here if a training is resumed, before
        compiling and with every line.
    """
    self._model_dir = inputs.model_dir
    self._path = inputs.model_dir / 'metrics.jsonl'
    self._train_steps = inputs.train_steps
    self._keep_best = inputs.settings.checkpoints.keep_best
    self._on_progress = on_progress
    if distributed.is_first():
      metrics_log.drop_lines_after(self._path, start)
    if start:
      self._report('resuming', start, {}, None)

  def compiling(self, step: int) -> None:
    """Reports that the training step is being compiled."""
    _logger.info('compiling the training step')
    self._report('compiling', step, {}, None)

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
    """Writes a line of metrics, averaged over some steps.

    Args:
      step: Last of these steps.
      num_steps: Number of steps.
      num_tokens: Number of tokens in their batches.
      seconds: Time that they took.
      learning_rate: Learning rate of the last step.
      metrics: T5X's metrics by name.

    Raises:
      TrainingDivergedError: If the loss or the gradient is not finite.
    """
    line = {
      'step': step,
      'steps': num_steps,
      # Means over steps of means over target tokens. T5X's loss per token is
      # divided by the number of tokens once more, so it is not used.
      **{
        name: float(metrics[name].value)
        for name in (
          'loss',
          'z_loss',
          'accuracy',
          'gradient_norm',
        )
      },
      # T5X's own is the mean over the steps.
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
    self._report('training', step, line, left)

  def evaluated(self, step: int, *, metrics: Mapping, seconds: float) -> None:
    """Adds the metrics of one pass over held-out instances to the last line.

    Raises:
      TrainingDivergedError: If the validation loss is not finite.
    """
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
    self._report('training', step, line, left)

  def _diverged(self, problem: str, step: int) -> TrainingDivergedError:
    # T5X has already saved this step if its validation loss is not finite.
    last = checkpoints.newest_before(self._model_dir, step)
    return TrainingDivergedError(problem, last=last)

  def _report(
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
  """Returns T5X's trainer with our reports; needs T5X."""
  from t5x import trainer as t5x_trainer

  class Trainer(t5x_trainer.Trainer):
    """T5X's trainer, which reports progress and stops when preempted."""

    def __init__(self, *args, reporter, is_preempted, tokens, **settings):
      super().__init__(
        *args, weight_metrics_computer=_make_gradient_norm(), **settings
      )
      self._reporter = reporter
      self._is_preempted = is_preempted
      self._tokens = tokens
      self._num_checks = 0

    def compile_train(self, batch: Any) -> None:
      self._reporter.compiling(int(self.train_state.step))
      super().compile_train(batch)

    def train(
      self, batch_iter: Iterator, num_steps: int, start_step: int | None = None
    ) -> Any:
      assert start_step is not None, 't5x.train always gives it'
      with self._closed_by_failure():
        started = time.monotonic()
        summary = super().train(batch_iter, num_steps, start_step)
        metrics = summary.result()
        step = start_step + num_steps
        # T5X gives metrics to the first process only.
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
        # Processes agree on which check to stop at by its number, so numbers
        # must be consecutive, which steps are not here.
        self._num_checks += 1
        if self._is_preempted(self._num_checks):
          # An evaluation would reset T5X's `stop_training`, which also leaves
          # no checkpoint at the end of a period.
          raise t5x_trainer.PreemptionError
      return summary

    def eval(self, batch_iters: Mapping[str, Iterator]) -> Any:
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
      """Closes the event writers on failure; T5X only does so at the end.

      The garbage collector would flush them at any later moment, even into the
      graph that TensorFlow is building for another dataset.
      """
      with contextlib.ExitStack() as failed:
        failed.callback(self.close)
        yield
        failed.pop_all()

  return Trainer


def _make_gradient_norm() -> Any:
  """Returns T5X's metrics of weights, reduced to the gradients' global norm."""
  import optax
  from t5x import metrics as t5x_metrics, trainer as t5x_trainer

  class GradientNorm(t5x_trainer.WeightMetricsComputer):
    """The global norm of the gradients, in place of T5X's many metrics."""

    def compute_metrics(self, gradients, old_train_state, new_train_state):
      del old_train_state, new_train_state
      norm = optax.global_norm(gradients)
      return {
        'gradient_norm': t5x_metrics.AveragePerStep.from_model_output(norm)
      }

  return GradientNorm()
