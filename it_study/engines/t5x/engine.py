"""Upstream T5X as an engine: its loop, network, optimizer and checkpoints.

The batches are the native engine's, step by step, so that the two differ only
in what computes. T5X's own input pipeline packs differently for another number
of hosts, and starts over when it is restarted.
"""

from collections.abc import Callable, Mapping
import contextlib
import functools
import logging
import os
import pathlib
import shutil
from typing import Any

from it_study import distributed
from it_study.engines import (
  model_setup,
  prediction_record,
  prediction_rows,
  training_inputs,
  training_record,
)
from it_study.engines.t5x import (
  checkpoints,
  decoder,
  feed,
  inference,
  model as t5x_setup,
  trainer,
)
from it_study.engines.training_inputs import OnProgress, TrainingInputs
from it_study.errors import InputError
from it_study.inference.decoding import Decoding
from it_study.models import partitioning
from it_study.models.adapters.lora import Lora
from it_study.storage.storage_path import expanded
from it_study.training import metrics_log
from it_study.training.optimizers import Optimizer
from it_study.training.preemption import preemption
from it_study.training.settings import (
  CheckpointSettings,
  DataSettings,
  EvaluationSettings,
  LogSettings,
  MeshSettings,
  TrainingSettings,
)
from it_study.training.trainer import Progress

_logger = logging.getLogger(__name__)

ENGINE = 't5x'
_GREEDY = Decoding()


def finetune(
  *,
  model_config: model_setup.MakeConfig,
  optimizer: Optimizer,
  mixture_or_task_name: str,
  task_feature_lengths: Mapping[str, int],
  model_dir: str | os.PathLike,
  batch_size: int,
  train_steps: int | None = None,
  epochs: int | None = None,
  seed: int = 0,
  initial_checkpoint_path: str | None = None,
  mixture_or_task_module: str = 'tasks',
  pack: bool = True,
  microbatch_size: int | None = None,
  dtype: str = 'auto',
  mesh_data: int = -1,
  mesh_fsdp: int = 1,
  mesh_model: int = 1,
  checkpoint_period: int = 1000,
  keep_checkpoints: int = 2,
  eval_period: int | None = None,
  keep_best: bool = False,
  log_period: int = 50,
  profile_steps: tuple[int, int] | None = None,
  lora: Lora | None = None,
  on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
  """Fine-tunes a model with `t5x.train.train`.

  Arguments, result and errors are those of `native.finetune`, with three
  differences: T5X does not trace steps, it writes its checkpoints to
  `model_dir`, and one of the two periods must be a multiple of the other. Steps
  count from 0 whatever the initial weights, and a training that is resumed ends
  at the step it was going to end at.
  """
  t5x_setup.require()
  _refuse(PROFILE_STEPS=profile_steps is not None, LORA_RANK=lora is not None)
  settings = TrainingSettings(
    optimizer=optimizer,
    seed=seed,
    microbatch_size=microbatch_size,
    checkpoints=CheckpointSettings(
      period=checkpoint_period, keep=keep_checkpoints, keep_best=keep_best
    ),
    evaluation=EvaluationSettings(period=eval_period),
    log=LogSettings(period=log_period),
  )
  _check_periods(settings)
  mesh = MeshSettings(data=mesh_data, fsdp=mesh_fsdp, model=mesh_model)
  partitioner = t5x_setup.make_partitioner(mesh)
  inputs = training_inputs.prepare(
    DataSettings(
      mixture_or_task_name=mixture_or_task_name,
      mixture_or_task_module=mixture_or_task_module,
      task_feature_lengths=task_feature_lengths,
      batch_size=batch_size,
      pack=pack,
      train_steps=train_steps,
      epochs=epochs,
    ),
    settings,
    model_config=model_config,
    dtype=dtype,
    model_dir=pathlib.Path(expanded(model_dir)).resolve(),
    initial_checkpoint_path=initial_checkpoint_path,
    on_progress=on_progress,
  )
  num_microbatches = partitioning.count_microbatches(
    batch_size=batch_size, mesh=mesh.make(), microbatch_size=microbatch_size
  )
  params = _train(
    inputs,
    partitioner=partitioner,
    num_microbatches=num_microbatches,
    on_progress=on_progress,
  )
  return training_record.write(
    inputs,
    engine=ENGINE,
    params=params,
    mesh=partitioner.mesh.shape,
    num_microbatches=num_microbatches,
  )


def predict(
  *,
  model_config: model_setup.MakeConfig,
  mixture_or_task_name: str,
  task_feature_lengths: Mapping[str, int],
  infer_output_dir: str | os.PathLike,
  checkpoint_path: str | os.PathLike | None = None,
  split: str = 'test',
  instances_per_test_task: int | None = None,
  seed: int = 0,
  batch_size: int = 64,
  decoding: Decoding = _GREEDY,
  answer_dir: str | os.PathLike | None = None,
  mixture_or_task_module: str = 'tasks',
  dtype: str = 'auto',
  mesh_data: int = -1,
  mesh_fsdp: int = 1,
  mesh_model: int = 1,
  on_progress: Callable[[int, int], None] | None = None,
) -> pathlib.Path:
  """Answers every instance of a split with `t5x.infer`.

  Arguments, result and errors are those of `native.predict`. Supports greedy,
  beam and ranked decoding. Answers are stored only to resume an interrupted
  prediction, so `answer_dir` is ignored, and progress is reported once, at the
  end.
  """
  del answer_dir
  t5x_setup.require()
  inputs = prediction_rows.prepare(
    prediction_rows.PredictionSettings(
      mixture_or_task_name=mixture_or_task_name,
      mixture_or_task_module=mixture_or_task_module,
      task_feature_lengths=task_feature_lengths,
      split=split,
      instances_per_test_task=instances_per_test_task,
      seed=seed,
      batch_size=batch_size,
      decoding=decoding,
    ),
    model_config=model_config,
    dtype=dtype,
    infer_output_dir=pathlib.Path(expanded(infer_output_dir)).resolve(),
    checkpoint_path=checkpoint_path,
  )
  folder = inputs.path.with_name('t5x')
  answers = inference.answer(
    inputs,
    model=t5x_setup.make_model(
      inputs.config,
      vocabulary=decoder.t5x_vocabulary(inputs.vocabulary, inputs.config),
      decoding=decoding,
      max_decode_steps=task_feature_lengths['targets'],
    ),
    partitioner=t5x_setup.make_partitioner(
      MeshSettings(data=mesh_data, fsdp=mesh_fsdp, model=mesh_model)
    ),
    folder=folder,
  )
  if distributed.is_first():
    if on_progress is not None:
      on_progress(len(inputs.rows), len(inputs.rows))
    prediction_record.write(inputs, answers, engine=ENGINE)
    shutil.rmtree(folder)
  return inputs.path


def _train(
  inputs: TrainingInputs,
  *,
  partitioner: Any,
  num_microbatches: int,
  on_progress: OnProgress,
) -> Any:
  """Runs T5X's loop, and returns the trained parameters."""
  from t5x import train as t5x_train, trainer as upstream_trainer

  settings, model_dir = inputs.settings, inputs.model_dir
  validation_feed = inputs.validation_feed
  start = checkpoints.newest_step(model_dir)
  _logger.info(
    'mesh %s, %d microbatches, starting at step %d',
    dict(partitioner.mesh.shape),
    num_microbatches,
    start,
  )
  # Tokens of a step's batch by step, from when it is built to when it is
  # reported.
  tokens: dict[int, int] = {}
  dataset = feed.dataset_config(
    inputs.data.mixture_or_task_name,
    lengths=inputs.data.task_feature_lengths,
    split='train',
    batch_size=inputs.data.batch_size,
  )
  with (
    preemption() as is_preempted,
    # T5X has saved a checkpoint; `preemption` exits the process afterwards.
    contextlib.suppress(upstream_trainer.PreemptionError),
  ):
    reporter = trainer.Reporter(inputs, start=start, on_progress=on_progress)
    _, state = t5x_train.train(
      model=t5x_setup.make_model(
        inputs.config,
        vocabulary=inputs.vocabulary,
        optimizer=settings.optimizer,
        z_loss=settings.z_loss,
        has_shares=num_microbatches > 1,
      ),
      model_dir=str(model_dir),
      train_dataset_cfg=dataset,
      train_eval_dataset_cfg=None if validation_feed is None else dataset,
      infer_eval_dataset_cfg=None,
      checkpoint_cfg=_checkpoint_config(settings.checkpoints),
      partitioner=partitioner,
      trainer_cls=functools.partial(
        trainer.trainer_class(),
        learning_rate_fn=settings.optimizer.schedule,
        num_microbatches=num_microbatches if num_microbatches > 1 else None,
        reporter=reporter,
        is_preempted=is_preempted,
        tokens=tokens,
      ),
      total_steps=inputs.train_steps,
      eval_steps=0,
      eval_period=settings.evaluation.period or 0,
      run_eval_before_training=_lacks_evaluation(inputs, start),
      stats_period=settings.log.period,
      random_seed=settings.seed,
      summarize_config_fn=lambda *_, **__: None,
      get_dataset_fn=lambda cfg, index, count, converter: feed.feed_iterator(
        inputs.feed,
        start=start,
        index=index,
        count=count,
        tokens=tokens,
        has_shares=num_microbatches > 1,
      ),
      # Called only with a `train_eval_dataset_cfg`.
      train_eval_get_dataset_fn=lambda cfg, index, count, *_: {
        'validation': feed.validation_batches(validation_feed, index, count)
      },
      train_state_initializer_cls=trainer.initializer_class(
        inputs.config, inputs.initial_weights
      ),
    )
  return state.params


def _checkpoint_config(settings: CheckpointSettings) -> Any:
  from t5x import utils

  return utils.CheckpointConfig(
    save=utils.SaveCheckpointConfig(
      period=settings.period, keep=settings.keep, dtype='float32'
    )
  )


def _check_periods(settings: TrainingSettings) -> None:
  eval_period = settings.evaluation.period
  checkpoint_period = settings.checkpoints.period
  if eval_period is None:
    return
  longer, shorter = sorted((checkpoint_period, eval_period), reverse=True)
  if longer % shorter:
    raise InputError(
      f'EVAL_PERIOD is {eval_period} and CHECKPOINT_PERIOD '
      f'{checkpoint_period}: with T5X, one must be a multiple of the other. '
      'Change one, or use the native engine.'
    )


def _lacks_evaluation(inputs: TrainingInputs, step: int) -> bool:
  """Returns whether a kill came between a checkpoint and its evaluation."""
  period = inputs.settings.evaluation.period
  lines = metrics_log.lines_of(inputs.model_dir / 'metrics.jsonl')
  return (
    period is not None
    and step > 0
    and step % period == 0
    and bool(lines)
    and lines[-1]['step'] == step
    and 'validation_loss' not in lines[-1]
  )


def _refuse(**is_set: bool) -> None:
  """Raises `InputError` for settings that T5X does not have, by macro."""
  for name, value in is_set.items():
    if value:
      raise InputError(
        f"{name} is set, which the engine 't5x' does not support. Leave it "
        'out, or use the native engine.'
      )
