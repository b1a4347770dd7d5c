"""Upstream T5X as an engine: its loop, network, optimizer and checkpoints.

The batches are the native engine's, step by step, so that the two differ in
what computes and in nothing else; T5X's own input pipeline packs otherwise for
another number of hosts and begins anew when it is restarted.
"""

from collections.abc import Callable, Mapping
import contextlib
import functools
import os
import pathlib
import shutil
import time
from typing import Any

from it_study import distributed
from it_study.checkpoints import weights_source
from it_study.engines import (
  model_setup,
  prediction_rows,
  training_inputs,
  training_record,
)
from it_study.engines.t5x import (
  checkpoints,
  feed,
  inference,
  model as t5x_setup,
  trainer,
)
from it_study.errors import InputError
from it_study.inference.decoding import Decoding
from it_study.models import partitioning
from it_study.training import metrics_log
from it_study.training.losses import DEFAULT_Z_LOSS
from it_study.training.optimizers import Optimizer
from it_study.training.preemption import preemption
from it_study.training.settings import check_settings
from it_study.training.trainer import Progress

ENGINE = 't5x'
_GREEDY = Decoding()


def finetune(
  *,
  model_config: model_setup.ModelConfig,
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
  on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
  """Fine-tunes a model by `t5x.train.train`.

  Arguments, result and errors are those of `native.finetune`, but that T5X
  traces no steps, writes its checkpoints to `model_dir` and wants one of the
  two periods to be a multiple of the other. Steps count from 0 whatever the
  initial weights, and a training that is started again ends where it was to
  end.
  """
  t5x_setup.require()
  _refuse(PROFILE_STEPS=profile_steps is not None)
  check_settings(
    optimizer=optimizer,
    seed=seed,
    checkpoint_period=checkpoint_period,
    eval_period=eval_period,
    keep_best=keep_best,
    log_period=log_period,
  )
  _check_periods(checkpoint_period=checkpoint_period, eval_period=eval_period)
  from t5x import train as t5x_train, trainer as upstream_trainer, utils

  started = time.monotonic()
  model_dir = pathlib.Path(model_dir).resolve()
  partitioner = t5x_setup.make_partitioner(
    mesh_data=mesh_data, mesh_fsdp=mesh_fsdp, mesh_model=mesh_model
  )
  batches, held_out, train_steps = training_inputs.make_feeds(
    mixture_or_task_name=mixture_or_task_name,
    mixture_or_task_module=mixture_or_task_module,
    task_feature_lengths=task_feature_lengths,
    model_dir=model_dir,
    batch_size=batch_size,
    train_steps=train_steps,
    epochs=epochs,
    seed=seed,
    pack=pack,
    validates=eval_period is not None,
    on_progress=on_progress,
  )
  source = weights_source.resolve(initial_checkpoint_path)
  config = model_setup.complete_config(model_config, dtype=dtype, source=source)
  if source is not None:
    model_setup.check_folder_vocabulary(source)
  num_microbatches = partitioning.count_microbatches(
    batch_size=batch_size,
    mesh=partitioning.make_mesh(
      data=mesh_data, fsdp=mesh_fsdp, model=mesh_model
    ),
    microbatch_size=microbatch_size,
  )
  start = checkpoints.newest_step(model_dir)
  # Step to tokens in its batch, from when that is built to when it is told.
  tokens: dict[int, int] = {}
  dataset = feed.dataset_config(
    mixture_or_task_name,
    lengths=task_feature_lengths,
    split='train',
    batch_size=batch_size,
  )
  with (
    preemption() as is_preempted,
    # After it comes the exit of a preemption; T5X has saved a checkpoint.
    contextlib.suppress(upstream_trainer.PreemptionError),
  ):
    reporter = trainer.Reporter(
      model_dir,
      start=start,
      train_steps=train_steps,
      keep_best=keep_best,
      on_progress=on_progress,
    )
    _, state = t5x_train.train(
      model=t5x_setup.make_model(
        config, optimizer=optimizer, z_loss=DEFAULT_Z_LOSS
      ),
      model_dir=str(model_dir),
      train_dataset_cfg=dataset,
      train_eval_dataset_cfg=None if held_out is None else dataset,
      infer_eval_dataset_cfg=None,
      checkpoint_cfg=utils.CheckpointConfig(
        save=utils.SaveCheckpointConfig(
          period=checkpoint_period, keep=keep_checkpoints, dtype='float32'
        )
      ),
      partitioner=partitioner,
      trainer_cls=functools.partial(
        trainer.trainer_class(),
        learning_rate_fn=optimizer.schedule,
        num_microbatches=num_microbatches if num_microbatches > 1 else None,
        reporter=reporter,
        is_preempted=is_preempted,
        tokens=tokens,
      ),
      total_steps=train_steps,
      eval_steps=0,
      eval_period=eval_period or 0,
      run_eval_before_training=_is_unseen(model_dir, start, eval_period),
      stats_period=log_period,
      random_seed=seed,
      summarize_config_fn=lambda *_, **__: None,
      get_dataset_fn=lambda cfg, index, count, converter: feed.feed_iterator(
        batches, start=start, index=index, count=count, tokens=tokens
      ),
      train_eval_get_dataset_fn=lambda cfg, index, count, *_: {
        'validation': feed.validation_batches(held_out, index, count)
      },
      train_state_initializer_cls=trainer.initializer_class(config, source),
    )
  return training_record.write(
    model_dir,
    engine=ENGINE,
    mixture_or_task_name=mixture_or_task_name,
    batches=batches,
    config=config,
    params=state.params,
    mesh=partitioner.mesh.shape,
    num_microbatches=num_microbatches,
    train_steps=train_steps,
    seed=seed,
    started=started,
  )


def predict(
  *,
  model_config: model_setup.ModelConfig,
  mixture_or_task_name: str,
  task_feature_lengths: Mapping[str, int],
  infer_output_dir: str | os.PathLike,
  checkpoint_path: str | os.PathLike | None = None,
  split: str = 'test',
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
  """Answers every instance of a split by `t5x.infer`, into predictions.jsonl.

  Arguments, result and errors are those of `native.predict`. Greedy, beam and
  ranked answers are to be had; none is kept but for going on after a kill, so
  `answer_dir` is not used, and progress is told when all is done.
  """
  del answer_dir
  t5x_setup.require()
  started = time.monotonic()
  infer_output_dir = pathlib.Path(infer_output_dir).resolve()
  rows = prediction_rows.check_and_load(
    mixture_or_task_name=mixture_or_task_name,
    mixture_or_task_module=mixture_or_task_module,
    task_feature_lengths=task_feature_lengths,
    infer_output_dir=infer_output_dir,
    split=split,
    batch_size=batch_size,
    seed=seed,
  )
  source = weights_source.resolve(checkpoint_path)
  config = model_setup.complete_config(model_config, dtype=dtype, source=source)
  training = model_setup.check_weights(source)
  model = t5x_setup.make_model(config, decoding=decoding)
  partitioner = t5x_setup.make_partitioner(
    mesh_data=mesh_data, mesh_fsdp=mesh_fsdp, mesh_model=mesh_model
  )
  folder = infer_output_dir / 't5x'
  answers = inference.answer(
    rows,
    model=model,
    config=config,
    partitioner=partitioner,
    source=source,
    seed=seed,
    decoding=decoding,
    lengths=task_feature_lengths,
    batch_size=batch_size,
    folder=folder,
  )
  path = infer_output_dir / 'predictions.jsonl'
  if not distributed.is_first():
    return path
  if on_progress is not None:
    on_progress(len(rows), len(rows))
  prediction_rows.write_rows(
    path,
    rows=rows,
    answers=answers,
    engine=ENGINE,
    training=training,
    mixture_or_task_name=mixture_or_task_name,
    split=split,
    seed=seed,
    decoding=decoding,
    num_kept_answers=0,
    started=started,
  )
  shutil.rmtree(folder)
  return path


def _check_periods(*, checkpoint_period: int, eval_period: int | None) -> None:
  if eval_period is None:
    return
  longer, shorter = sorted((checkpoint_period, eval_period), reverse=True)
  if longer % shorter:
    raise InputError(
      f'EVAL_PERIOD is {eval_period} and CHECKPOINT_PERIOD '
      f'{checkpoint_period}: T5X wants one to be a multiple of the other. '
      'Change one, or use the native engine.'
    )


def _is_unseen(model_dir: pathlib.Path, step: int, period: int | None) -> bool:
  """Whether a training died between a checkpoint and the look at its loss."""
  lines = metrics_log.lines_of(model_dir / 'metrics.jsonl')
  return (
    period is not None
    and step > 0
    and step % period == 0
    and bool(lines)
    and lines[-1]['step'] == step
    and 'validation_loss' not in lines[-1]
  )


def _refuse(**asked: bool) -> None:
  for name, is_asked in asked.items():
    if is_asked:
      raise InputError(
        f"{name} is set, which the engine 't5x' does not have. Leave it out, "
        'or use the native engine.'
      )
