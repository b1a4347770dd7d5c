"""The default engine: JAX, Flax, Optax and Orbax, nothing else."""

from collections.abc import Callable, Mapping
import functools
import logging
import os
import pathlib
from typing import Any

from jax.sharding import Mesh

from it_study import distributed
from it_study.checkpoints import weights
from it_study.checkpoints.step_folders import CheckpointFolder
from it_study.engines import (
  model_setup,
  prediction_record,
  prediction_rows,
  training_inputs,
  training_record,
)
from it_study.engines.prediction_rows import PredictionInputs
from it_study.engines.training_inputs import TrainingInputs
from it_study.inference import answers
from it_study.inference.decoding import Decoding
from it_study.inference.prompt_batches import LoadedModel
from it_study.models import partitioning
from it_study.models.adapters.lora import Lora
from it_study.models.decoder_only.model import make_model
from it_study.models.param_dtype import to_compute_dtype
from it_study.storage.storage_path import expanded
from it_study.training import trainer
from it_study.training.optimizers import Optimizer
from it_study.training.settings import (
  CheckpointSettings,
  DataSettings,
  EvaluationSettings,
  LogSettings,
  MeshSettings,
  TrainingSettings,
)

_logger = logging.getLogger(__name__)

ENGINE = 'native'
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
  checkpoint_folder: CheckpointFolder | None = None,
  on_progress: Callable[[trainer.Progress], None] | None = None,
) -> dict[str, Any]:
  """Fine-tunes a model on the train split of a SeqIO task.

  A training that was interrupted resumes from its newest checkpoint. Gin binds
  the arguments one by one; those that are not listed here are documented in the
  settings group of `it_study.training.settings` that they become a field of.

  Args:
    model_config: Function that makes a `T5Config` or `DecoderConfig` from
      `vocab_size` and `dtype`.
    model_dir: Folder for checkpoints, metrics.jsonl, events and training.json.
    initial_checkpoint_path: Training to start from, or weights of Hugging Face
      or T5X; None to start from scratch.
    dtype: Type of matrix products; 'auto' is bfloat16 where the device has it.
    on_progress: Callback, called while it tokenises and trains.

  Returns:
    The content of training.json: task, seed, steps, seconds and more.

  Raises:
    InputError: If an argument is not valid, or the loss is not finite.
  """
  settings = TrainingSettings(
    optimizer=optimizer,
    seed=seed,
    microbatch_size=microbatch_size,
    lora=lora,
    checkpoints=CheckpointSettings(
      period=checkpoint_period,
      keep=keep_checkpoints,
      keep_best=keep_best,
      folder=checkpoint_folder,
    ),
    evaluation=EvaluationSettings(period=eval_period),
    log=LogSettings(
      period=log_period, events=True, profile_steps=profile_steps
    ),
  )
  mesh = MeshSettings(data=mesh_data, fsdp=mesh_fsdp, model=mesh_model).make()
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
    model_dir=pathlib.Path(expanded(model_dir)),
    initial_checkpoint_path=initial_checkpoint_path,
    on_progress=on_progress,
  )
  result = trainer.train(
    model_config=inputs.config,
    feed=inputs.feed,
    train_steps=inputs.train_steps,
    settings=inputs.settings,
    mesh=mesh,
    model_dir=inputs.model_dir,
    validation_feed=inputs.validation_feed,
    initial_params=_initial_params(inputs, mesh),
    on_progress=on_progress,
  )
  return training_record.write(
    inputs,
    engine=ENGINE,
    params=result.state.frozen or result.state.params,
    mesh=mesh.shape,
    num_microbatches=result.num_microbatches,
    compile_seconds=result.compile_seconds,
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
  """Answers every instance of a split, into predictions.jsonl.

  A prediction that was interrupted resumes after the last batch that it
  answered, on any number of devices. Arguments that are not listed here are
  documented in `PredictionSettings` and `MeshSettings`.

  Args:
    model_config: Function that makes a `T5Config` or `DecoderConfig` from
      `vocab_size` and `dtype`.
    infer_output_dir: Folder for predictions.jsonl and inference.json.
    checkpoint_path: Training of `finetune`, or weights that it can start from;
      None to draw parameters from the seed.
    answer_dir: Folder that caches answers by content; several predictions may
      share it. None for `answers` in `infer_output_dir`.
    dtype: Type of matrix products; 'auto' is bfloat16 where the device has it.
    on_progress: Callback, called with the number of prompts done and of all.

  Returns:
    The path of predictions.jsonl.

  Raises:
    InputError: If an argument is not valid, or the folder cannot be written.
  """
  mesh = MeshSettings(data=mesh_data, fsdp=mesh_fsdp, model=mesh_model).make()
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
    infer_output_dir=pathlib.Path(expanded(infer_output_dir)),
    checkpoint_path=checkpoint_path,
  )
  answered, count = answers.answer(
    inputs.rows,
    decoding=decoding,
    loaded=_load_model(inputs, mesh),
    store_directory=answer_dir or inputs.path.with_name('answers'),
    on_progress=on_progress,
  )
  if distributed.is_first():
    prediction_record.write(
      inputs, answered, engine=ENGINE, num_kept_answers=count.kept
    )
  return inputs.path


def _initial_params(
  inputs: TrainingInputs, mesh: Mesh
) -> Callable[[], Any] | None:
  """Returns a function that loads the parameters to start from.

  A function, so that nobody holds these parameters beside the train state's.
  """
  if inputs.initial_weights is None:
    return None
  return functools.partial(
    weights.restore,
    inputs.initial_weights,
    config=inputs.config,
    target=partitioning.abstract_params(
      model=make_model(inputs.config), mesh=mesh
    ),
  )


def _load_model(inputs: PredictionInputs, mesh: Mesh) -> LoadedModel:
  """Places the model's parameters on the mesh, restored or drawn."""
  model = make_model(inputs.config)
  settings = inputs.settings
  if inputs.weights is None:
    params = partitioning.init_params(
      model=model, seed=settings.seed, mesh=mesh
    )
  else:
    params = weights.restore(
      inputs.weights,
      config=inputs.config,
      target=partitioning.abstract_params(model=model, mesh=mesh),
    )
  _logger.info(
    'mesh %s, parameters from %s',
    dict(mesh.shape),
    f'seed {settings.seed}' if inputs.weights is None else inputs.weights.path,
  )
  return LoadedModel(
    model=model,
    params=to_compute_dtype(params, inputs.config),
    mesh=mesh,
    vocabulary=inputs.vocabulary,
    max_length=settings.task_feature_lengths['inputs'],
    max_decode_length=settings.task_feature_lengths['targets'],
    batch_size=settings.batch_size,
    on_halved=lambda size: _logger.warning(
      'INFER_BATCH_SIZE=%d does not fit memory; %d prompts at once now.',
      settings.batch_size,
      size,
    ),
  )
