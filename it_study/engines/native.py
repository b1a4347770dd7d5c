"""The default engine: JAX, Flax, Optax and Orbax, nothing else."""

from collections.abc import Callable, Mapping
import functools
import logging
import os
import pathlib
import time
from typing import Any

from it_study import distributed
from it_study.checkpoints import weights, weights_source
from it_study.checkpoints.step_folders import CheckpointFolder
from it_study.engines import (
  model_setup,
  prediction_rows,
  training_inputs,
  training_record,
)
from it_study.inference import answers
from it_study.inference.decoding import Decoding
from it_study.inference.prompt_batches import LoadedModel
from it_study.models import partitioning
from it_study.models.param_dtype import to_compute_dtype
from it_study.models.t5 import T5
from it_study.training import trainer
from it_study.training.optimizers import Optimizer
from it_study.training.settings import check_settings

_logger = logging.getLogger(__name__)

ENGINE = 'native'
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
  checkpoint_folder: CheckpointFolder | None = None,
  on_progress: Callable[[trainer.Progress], None] | None = None,
) -> dict[str, Any]:
  """Fine-tunes a model on the train split of a SeqIO task.

  A training that was stopped continues from its newest checkpoint.

  Args:
    model_config: makes a `T5Config`, given `vocab_size` and `dtype`.
    optimizer: from `it_study.training.optimizers`.
    mixture_or_task_name: registered with SeqIO.
    task_feature_lengths: 'inputs' and 'targets', in tokens.
    model_dir: gets checkpoints, metrics.jsonl, events and training.json.
    batch_size: rows a step, over all devices; packed ones if `pack`.
    train_steps: steps to train, or
    epochs: passes over the data, from which steps are derived.
    seed: of initial parameters, dropout and order.
    initial_checkpoint_path: what `weights_source.resolve` takes: a training to
      start from, or weights of Hugging Face or T5X; None starts from scratch.
    mixture_or_task_module: is imported first; it registers the task.
    pack: whether several examples share a row.
    microbatch_size: the most rows that a device computes at once; the number of
      parts that a batch is computed in follows from it and the mesh. None
      computes all rows at once.
    dtype: of matrix products; 'auto' is bfloat16 where the device has it.
    mesh_data: devices along data; -1 takes what the others leave.
    mesh_fsdp: devices along fully sharded parameters.
    mesh_model: devices along tensor parallelism.
    checkpoint_period: steps between checkpoints.
    keep_checkpoints: how many to keep, the newest.
    eval_period: steps between two looks at the loss on the split validation,
      the instances held out of every training task; None never looks.
    keep_best: whether the checkpoint of lowest such loss is kept too.
    log_period: steps between lines of metrics.jsonl and TensorBoard's events.
    profile_steps: the first and the last step to trace, into `profile/`.
    checkpoint_folder: where checkpoints go instead of model_dir.
    on_progress: called while it tokenises and trains.

  Returns:
    What training.json holds: task, seed, steps, seconds.

  Raises:
    InputError: if an argument does not fit, or the loss is not finite.
  """
  started = time.monotonic()
  # Before anything is tokenised, which may take long.
  check_settings(
    optimizer=optimizer,
    seed=seed,
    checkpoint_period=checkpoint_period,
    eval_period=eval_period,
    keep_best=keep_best,
    log_period=log_period,
  )
  model_dir = pathlib.Path(model_dir)
  source = weights_source.resolve(initial_checkpoint_path)
  mesh = partitioning.make_mesh(
    data=mesh_data, fsdp=mesh_fsdp, model=mesh_model
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
  config = model_setup.complete_config(model_config, dtype=dtype, source=source)
  initial_params = None
  if source is not None:
    model_setup.check_folder_vocabulary(source)
    # A function, so that nobody keeps these parameters beside the state's.
    initial_params = functools.partial(
      weights.restore,
      source,
      config=config,
      target=partitioning.abstract_params(model=T5(config), mesh=mesh),
    )
  result = trainer.train(
    model_config=config,
    feed=batches,
    train_steps=train_steps,
    seed=seed,
    optimizer=optimizer,
    mesh=mesh,
    model_dir=model_dir,
    initial_params=initial_params,
    microbatch_size=microbatch_size,
    checkpoint_period=checkpoint_period,
    keep_checkpoints=keep_checkpoints,
    validation_feed=held_out,
    eval_period=eval_period,
    keep_best=keep_best,
    log_period=log_period,
    events=True,
    profile_steps=profile_steps,
    checkpoint_folder=checkpoint_folder,
    on_progress=on_progress,
  )
  return training_record.write(
    model_dir,
    engine=ENGINE,
    mixture_or_task_name=mixture_or_task_name,
    batches=batches,
    config=config,
    params=result.state.params,
    mesh=mesh.shape,
    num_microbatches=result.num_microbatches,
    train_steps=train_steps,
    seed=seed,
    started=started,
    compile_seconds=result.compile_seconds,
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
  """Answers every instance of a split, into predictions.jsonl.

  What was stopped continues after the last batch that it answered, on any
  number of devices.

  Args:
    model_config: makes a `T5Config`, given `vocab_size` and `dtype`.
    mixture_or_task_name: a task made by `seqio_lib.add_task`.
    task_feature_lengths: 'inputs' and 'targets', in tokens.
    infer_output_dir: gets predictions.jsonl and inference.json.
    checkpoint_path: of `finetune`, or of weights that it takes; None takes
      the parameters that `seed` draws.
    split: 'test', 'validation' or 'train'.
    seed: of the parameters without a checkpoint.
    batch_size: prompts decoded at once.
    decoding: how prompts are answered.
    answer_dir: where answers are kept as they are given, by content, so that
      whoever names the same folder does not compute them again; None is
      `answers` in infer_output_dir.
    mixture_or_task_module: is imported first; it registers the task.
    dtype: of matrix products; 'auto' is bfloat16 where the device has it.
    mesh_data: devices along data; -1 takes what the others leave.
    mesh_fsdp: devices along fully sharded parameters.
    mesh_model: devices along tensor parallelism.
    on_progress: called with the number of prompts done and of all.

  Returns:
    The path of predictions.jsonl.

  Raises:
    InputError: if an argument does not fit or nothing can be written.
  """
  started = time.monotonic()
  infer_output_dir = pathlib.Path(infer_output_dir)
  rows = prediction_rows.check_and_load(
    mixture_or_task_name=mixture_or_task_name,
    mixture_or_task_module=mixture_or_task_module,
    task_feature_lengths=task_feature_lengths,
    infer_output_dir=infer_output_dir,
    split=split,
    batch_size=batch_size,
    seed=seed,
  )
  mesh = partitioning.make_mesh(
    data=mesh_data, fsdp=mesh_fsdp, model=mesh_model
  )
  source = weights_source.resolve(checkpoint_path)
  model = T5(
    model_setup.complete_config(model_config, dtype=dtype, source=source)
  )
  training = model_setup.check_weights(source)
  if source is None:
    params = partitioning.init_params(model=model, seed=seed, mesh=mesh)
  else:
    params = weights.restore(
      source,
      config=model.config,
      target=partitioning.abstract_params(model=model, mesh=mesh),
    )
  params = to_compute_dtype(params, model.config)
  found, count = answers.answer(
    rows,
    decoding=decoding,
    loaded=LoadedModel(
      model=model,
      params=params,
      mesh=mesh,
      max_length=task_feature_lengths['inputs'],
      max_decode_length=task_feature_lengths['targets'],
      batch_size=batch_size,
      on_halved=lambda size: _logger.warning(
        'INFER_BATCH_SIZE=%d does not fit memory; %d prompts at once now.',
        batch_size,
        size,
      ),
    ),
    store_directory=answer_dir or infer_output_dir / 'answers',
    on_progress=on_progress,
  )
  path = infer_output_dir / 'predictions.jsonl'
  if not distributed.is_first():
    return path
  return prediction_rows.write_rows(
    path,
    rows=rows,
    answers=found,
    engine=ENGINE,
    training=training,
    mixture_or_task_name=mixture_or_task_name,
    split=split,
    seed=seed,
    decoding=decoding,
    num_kept_answers=count.kept,
    started=started,
  )
