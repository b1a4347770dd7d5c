"""T5X's model, optimizer and partitioner from our settings."""

import functools
import importlib.util
from typing import Any

import numpy as np

from it_study.data import vocabularies
from it_study.errors import InputError
from it_study.inference.decoding import Decoding
from it_study.models.config import T5Config
from it_study.training.optimizers import Optimizer

# T5X's loss is a sum over tokens as it comes; ours is a mean.
_LOSS_NORMALIZING_FACTOR = 'NUM_REAL_TARGET_TOKENS'


def require() -> None:
  """Raises `InputError` where T5X cannot be imported, with what to do."""
  if importlib.util.find_spec('t5x') is None:
    raise InputError(
      "ENGINE is 't5x', and T5X is not installed: pip install 'it_study[t5x]' "
      '&& pip install --no-deps -r requirements/t5x.txt, or leave the engine '
      'at native.'
    )


def make_model(
  config: T5Config,
  *,
  optimizer: Optimizer | None = None,
  decoding: Decoding | None = None,
  z_loss: float = 0.0,
) -> Any:
  """T5X's encoder-decoder model on T5X's own network.

  Args:
    config: sizes; the parameters have the same names and shapes in both.
    optimizer: for training.
    decoding: for prediction, greedy or by a beam of T5X's style.
    z_loss: as the native engine has it.

  Raises:
    InputError: for a decoding that T5X does not have.
  """
  from t5x import models
  from t5x.examples.t5 import network

  vocabulary = vocabularies.checked_vocabulary()
  make = functools.partial(
    models.EncoderDecoderModel,
    module=network.Transformer(
      config=network.T5Config(
        vocab_size=config.vocab_size,
        dtype=config.dtype,
        emb_dim=config.emb_dim,
        num_heads=config.num_heads,
        num_encoder_layers=config.num_encoder_layers,
        num_decoder_layers=config.num_decoder_layers,
        head_dim=config.head_dim,
        mlp_dim=config.mlp_dim,
        mlp_activations=config.mlp_activations,
        dropout_rate=config.dropout_rate,
        logits_via_embedding=config.logits_via_embedding,
        # The softmax is in float32 here as it is there.
        float32_attention_logits=True,
      )
    ),
    # The tasks' own object: T5X refuses a model of another vocabulary.
    input_vocabulary=vocabulary,
    output_vocabulary=vocabulary,
    optimizer_def=None if optimizer is None else _optimizer_def(optimizer),
    **({} if decoding is None else _decoder(decoding)),
  )
  model = make(z_loss=z_loss, loss_normalizing_factor=_LOSS_NORMALIZING_FACTOR)
  # Where T5X evaluates, its loss is that of training: with the z-loss, and
  # divided batch by batch, of which no mean over all tokens can be made.
  summing = make(z_loss=0.0, loss_normalizing_factor=None)
  model.eval_fn = functools.partial(summing.loss_fn, dropout_rng=None)
  return model


def make_partitioner(*, mesh_data: int, mesh_fsdp: int, mesh_model: int) -> Any:
  """T5X's partitioner for our mesh.

  T5X has two axes: `model`, and `data`, along which parameters are either
  copied or split.

  Raises:
    InputError: for a mesh that takes three, or does not fit the devices.
  """
  import jax
  from t5x import partitioning

  if mesh_fsdp != 1 and mesh_data not in (1, -1):
    raise InputError(
      f'MESH_DATA is {mesh_data} and MESH_FSDP {mesh_fsdp}: T5X splits '
      'parameters over all of its data axis or none. Leave one of them at 1, '
      'or use the native engine.'
    )
  asked = mesh_model * (mesh_fsdp if mesh_fsdp not in (1, -1) else 1)
  if mesh_model < 1 or jax.device_count() % asked:
    raise InputError(
      f'MESH_MODEL={mesh_model} and MESH_FSDP={mesh_fsdp} do not divide '
      f'{jax.device_count()} devices. Change them.'
    )

  class Partitioner(partitioning.PjitPartitioner):
    """T5X's, whose mesh is one for tests where devices are a CPU's.

    It would have all of a process's devices along `model`, however many are
    asked for.
    """

    @functools.cached_property
    def mesh(self):
      devices = jax.devices()
      if devices[0].platform != 'cpu':
        return super().mesh
      return jax.sharding.Mesh(
        np.array(devices).reshape(-1, mesh_model), ('data', 'model')
      )

  return Partitioner(
    num_partitions=mesh_model,
    logical_axis_rules=partitioning.standard_logical_axis_rules(
      activation_partitioning_dims=1,
      parameter_partitioning_dims=1 if mesh_fsdp == 1 else 2,
    ),
  )


def _optimizer_def(optimizer: Optimizer) -> Any:
  from t5x import adafactor, optimizers

  settings = dict(optimizer.settings)
  if optimizer.name != 'adafactor':
    return optimizers.OptaxWrapper(optimizer.transformation())
  return adafactor.Adafactor(
    decay_rate=settings['decay_rate'],
    step_offset=settings['decay_offset'],
    multiply_by_parameter_scale=settings['multiply_by_parameter_scale'],
    clipping_threshold=settings['clipping_threshold'],
    min_dim_size_to_factor=settings['min_dim_size_to_factor'],
    weight_decay_rate=settings['weight_decay_rate'],
    global_norm_clip_threshold=optimizer.gradient_clip_norm,
    logical_factor_rules=adafactor.standard_logical_factor_rules(),
  )


def _decoder(decoding: Decoding) -> dict[str, Any]:
  """What a model is told of how to decode."""
  from t5x import decoding as t5x_decoding, models

  if decoding.method == 'beam' and decoding.beam_style == 't5x':
    return {
      'decode_fn': functools.partial(
        t5x_decoding.beam_search, alpha=decoding.length_alpha
      ),
      'default_decoder_params': models.DecoderParams(
        num_decodes=decoding.num_beams
      ),
    }
  if decoding.free_method == 'greedy' and not decoding.is_constrained:
    # Of one candidate, so without chance.
    return {'decode_fn': t5x_decoding.temperature_sample}
  raise InputError(
    f'DECODING is {decoding.method!r}, which T5X does not have as the native '
    "engine has it: there are greedy, beam with BEAM_STYLE 't5x', and ranked. "
    'Predict with --engine native; checkpoints are read by both.'
  )
