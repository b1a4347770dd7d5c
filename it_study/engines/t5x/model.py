"""T5X's model, optimizer and partitioner, made from our settings."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable
import dataclasses
import functools
import importlib.util
from typing import Any

import numpy as np
import seqio

from it_study.engines.t5x.decoder import T5XDecoder
from it_study.errors import InputError
from it_study.inference.decoding import Decoding
from it_study.models import ModelConfig
from it_study.models.config import T5Config
from it_study.models.decoder_only.config import DecoderConfig
from it_study.training.optimizers import Optimizer
from it_study.training.settings import MeshSettings

# T5X's loss is a sum over tokens by default; ours is a mean.
_LOSS_NORMALIZING_FACTOR = 'NUM_REAL_TARGET_TOKENS'


def require() -> None:
  """Raises `InputError` if T5X is not installed, and says how to install it."""
  if importlib.util.find_spec('t5x') is None:
    raise InputError(
      "ENGINE is 't5x', and T5X is not installed: pip install 'it_study[t5x]' "
      '&& pip install --no-deps -r requirements/t5x.txt, or leave the engine '
      'at native.'
    )


def make_model(
  config: ModelConfig,
  *,
  vocabulary: seqio.Vocabulary,
  optimizer: Optimizer | None = None,
  decoding: Decoding | None = None,
  max_decode_steps: int | None = None,
  z_loss: float = 0.0,
  has_shares: bool = False,
) -> Any:
  """Returns T5X's model, of a T5 on T5X's own network, else on ours.

  Args:
    config: Sizes of the model; its parameters have the same names and shapes as
      the native engine's.
    vocabulary: Vocabulary of T5X's ids; in training, that of the task.
    optimizer: Optimizer, for training.
    decoding: Decoding, for prediction; greedy, ranked, or for a T5 a beam in
      T5X's style.
    max_decode_steps: Maximum number of tokens of an answer, for prediction by a
      decoder-only model; a T5 takes it from the task's lengths.
    z_loss: Coefficient of the squared log normaliser, as in the native engine.
    has_shares: Whether the weights of a batch's target tokens add up to 1. T5X
      sums the losses of microbatches, so they must not be means.

  Raises:
    InputError: If T5X does not support the decoding, or its network fixes a
      size that the configuration changes.
  """
  optimizer_def = None if optimizer is None else _optimizer_def(optimizer)
  if isinstance(config, DecoderConfig):
    make = _decoder_only(config, vocabulary, decoding, max_decode_steps)
  else:
    assert isinstance(config, T5Config), 'models are T5s or decoder-only'
    make = _encoder_decoder(config, vocabulary, decoding)
  make = functools.partial(make, optimizer_def=optimizer_def)
  model = make(
    z_loss=z_loss,
    loss_normalizing_factor=None if has_shares else _LOSS_NORMALIZING_FACTOR,
  )
  # By default, T5X evaluates with the training loss: with the z-loss, and
  # normalised per batch, which does not give a mean over all tokens.
  summing = make(z_loss=0.0, loss_normalizing_factor=None)
  model.eval_fn = functools.partial(summing.loss_fn, dropout_rng=None)
  return model


def _decoder_only(
  config: DecoderConfig,
  vocabulary: seqio.Vocabulary,
  decoding: Decoding | None,
  max_decode_steps: int | None,
) -> Callable[..., Any]:
  """Returns T5X's decoder-only model on our network, to be called."""
  if decoding is not None and not _is_greedy(decoding):
    raise InputError(
      f'DECODING is {decoding.method!r}: for decoder-only models the engine '
      "'t5x' supports greedy and ranked decoding. Predict with --engine "
      'native, which reads the same checkpoints.'
    )
  from t5x import decoding as t5x_decoding, models

  return functools.partial(
    models.DecoderOnlyModel,
    module=T5XDecoder(config, max_decode_steps=max_decode_steps),
    vocabulary=vocabulary,
    decode_fn=functools.partial(
      t5x_decoding.temperature_sample, max_decode_steps=max_decode_steps
    ),
  )


def _encoder_decoder(
  config: T5Config, vocabulary: seqio.Vocabulary, decoding: Decoding | None
) -> Callable[..., Any]:
  """Returns T5X's encoder-decoder model on its own network, to be called."""
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if field.name.startswith('relative_') and value != field.default:
      raise InputError(
        f"T5Config.{field.name} is {value!r}, but the engine 't5x' has "
        f'{field.default}. Leave it out, or use the native engine.'
      )
  from t5x import models
  from t5x.examples.t5 import network

  return functools.partial(
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
        # The native engine computes the softmax in float32 too.
        float32_attention_logits=True,
      )
    ),
    # The same object as the tasks': T5X refuses any other vocabulary.
    input_vocabulary=vocabulary,
    output_vocabulary=vocabulary,
    **({} if decoding is None else _decoder(decoding)),
  )


def make_partitioner(sizes: MeshSettings) -> Any:
  """Returns T5X's partitioner for our mesh.

  T5X has two axes: `model`, and `data`, along which parameters are either
  copied or split.

  Raises:
    InputError: If the mesh needs three axes, or does not fit the devices.
  """
  import jax
  from t5x import partitioning

  if sizes.fsdp != 1 and sizes.data not in (1, -1):
    raise InputError(
      f'MESH_DATA is {sizes.data} and MESH_FSDP {sizes.fsdp}: T5X splits '
      'parameters over all of its data axis or none. Leave one of them at 1, '
      'or use the native engine.'
    )
  num_devices = sizes.model * (sizes.fsdp if sizes.fsdp not in (1, -1) else 1)
  if sizes.model < 1 or jax.device_count() % num_devices:
    raise InputError(
      f'MESH_MODEL={sizes.model} and MESH_FSDP={sizes.fsdp} do not divide '
      f'{jax.device_count()} devices. Change them.'
    )

  class Partitioner(partitioning.PjitPartitioner):
    """T5X's partitioner, with a mesh that suits CPU devices, as in tests.

    T5X's own mesh puts all devices of a CPU process along `model`.
    """

    @functools.cached_property
    def mesh(self):
      devices = jax.devices()
      if devices[0].platform != 'cpu':
        return super().mesh
      return jax.sharding.Mesh(
        np.array(devices).reshape(-1, sizes.model), ('data', 'model')
      )

  return Partitioner(
    num_partitions=sizes.model,
    logical_axis_rules=partitioning.standard_logical_axis_rules(
      activation_partitioning_dims=1,
      parameter_partitioning_dims=1 if sizes.fsdp == 1 else 2,
    ),
  )


def _optimizer_def(optimizer: Optimizer) -> Any:
  """Returns T5X's Adafactor, or another optimizer of Optax in its wrapper."""
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


def _is_greedy(decoding: Decoding) -> bool:
  """Whether answers are free and greedy, or ranked."""
  return decoding.free_method == 'greedy' and not decoding.is_constrained


def _decoder(decoding: Decoding) -> dict[str, Any]:
  """Returns the arguments of T5X's model that say how to decode."""
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
  if _is_greedy(decoding):
    # With one candidate, sampling is greedy.
    return {'decode_fn': t5x_decoding.temperature_sample}
  raise InputError(
    f"DECODING is {decoding.method!r}: the engine 't5x' supports greedy, beam "
    "with BEAM_STYLE 't5x', and ranked decoding. Predict with --engine native, "
    'which reads the same checkpoints.'
  )
