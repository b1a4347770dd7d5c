"""The train state, the sharding of its arrays, and the jitted step."""

from collections.abc import Callable
import functools
import logging
import time
from typing import Any

from flax import linen as nn, struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import optax

from it_study.models import partitioning
from it_study.models.adapters import lora as lora_lib
from it_study.models.adapters.lora import Lora
from it_study.training import grouped_adafactor, losses
from it_study.training.loss import division
from it_study.training.optimizers import Optimizer

# Features of a batch by name, `[rows, length]`.
Batch = dict[str, jax.Array]
# Float32 scalars by name.
Metrics = dict[str, jax.Array]

_logger = logging.getLogger(__name__)


@struct.dataclass
class TrainState:
  """All that a training step reads and writes; a pytree.

  Attributes:
    step: Updates done, int32 scalar.
    params: Parameters that are trained, a nested dict of float32 arrays.
    opt_state: State of the optimizer.
    frozen: Parameters of the model where others, LoRA's, are trained in their
      place; else None. No checkpoint holds them.
  """

  step: jax.Array
  params: Any
  opt_state: Any
  frozen: Any = None


@functools.lru_cache(maxsize=16)
def make_train_step(
  *,
  model: nn.Module,
  optimizer: Optimizer,
  mesh: Mesh,
  z_loss: float = losses.DEFAULT_Z_LOSS,
  label_smoothing: float = 0.0,
  num_microbatches: int = 1,
  lora: Lora | None = None,
) -> jax.stages.Wrapped:
  """Returns the jitted `(state, batch, seed) -> (state, metrics)`.

  The state is donated. Dropout's key is the seed's, folded with the state's
  step; the seed is an argument, so that trainings that differ only in it share
  one compilation. Equal arguments give the same function.

  Args:
    model: Model whose `before_logits` is called with the batch's features by
      name, except `decoder_loss_weights`, and with `deterministic`; its
      `config` is a `ModelConfig`.
    optimizer: Optimizer from `it_study.training.optimizers`.
    mesh: Mesh of the state and the batch.
    z_loss: Coefficient of the squared log normaliser.
    label_smoothing: Probability taken from the target token.
    num_microbatches: Number of parts that a batch is computed in, one after the
      other, to save memory; it divides every device's rows. Loss and gradients
      are the whole batch's, summed in another order; each part draws its own
      dropout.
    lora: Settings of LoRA; None to train all parameters.
  """
  is_grouped = optimizer.name == 'adafactor' and _is_gpu(mesh)
  transformation = optimizer.transformation(grouped=is_grouped)
  gradient_fn = _make_gradient_fn(
    model, mesh, z_loss=z_loss, label_smoothing=label_smoothing, lora=lora
  )

  def train_step(
    state: TrainState, batch: Batch, seed: jax.Array
  ) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    gradient = functools.partial(gradient_fn, state.params, state.frozen)
    if num_microbatches == 1:
      gradients, metrics = gradient(batch, key, None)
    else:
      gradients, metrics = _accumulate(
        gradient, batch, key, num_microbatches=num_microbatches, mesh=mesh
      )
    updates, opt_state = transformation.update(
      gradients, state.opt_state, state.params
    )
    metrics = {
      **metrics,
      'gradient_norm': optax.global_norm(
        grouped_adafactor.stack_layers(gradients) if is_grouped else gradients
      ),
      'learning_rate': optimizer.schedule(state.step),
    }
    state = TrainState(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
      frozen=state.frozen,
    )
    return state, metrics

  state_shardings = jax.tree.map(
    lambda leaf: leaf.sharding,
    abstract_state(model=model, optimizer=optimizer, mesh=mesh, lora=lora),
  )
  replicated = partitioning.replicated(mesh)
  return jax.jit(
    train_step,
    in_shardings=(
      state_shardings,
      partitioning.batch_sharding(mesh),
      replicated,
    ),
    out_shardings=(state_shardings, replicated),
    donate_argnums=0,
  )


@functools.lru_cache(maxsize=16)
def abstract_state(
  *,
  model: nn.Module,
  optimizer: Optimizer,
  mesh: Mesh,
  lora: Lora | None = None,
) -> TrainState:
  """Returns the state's shapes, types and shardings, without allocating it.

  An optimizer's array that has the shape of its parameter is sharded like the
  parameter. The others, such as Adafactor's row and column means, are small and
  copied to every device.
  """
  params = partitioning.abstract_params(model=model, mesh=mesh)
  frozen = None
  if lora is not None:
    frozen = lora_lib.freeze(params, model.config)
    params = lora_lib.abstract(lora, params)
  by_path = dict(jax.tree_util.tree_leaves_with_path(params))

  def place(path, leaf):
    for start in range(len(path)):
      param = by_path.get(path[start:])
      if param is not None and param.shape == leaf.shape:
        return _placed(leaf, param.sharding)
    return _placed(leaf, partitioning.replicated(mesh))

  opt_state = jax.tree_util.tree_map_with_path(
    place, jax.eval_shape(optimizer.transformation().init, params)
  )
  step = _placed(
    jax.ShapeDtypeStruct((), jnp.int32), partitioning.replicated(mesh)
  )
  return TrainState(
    step=step, params=params, opt_state=opt_state, frozen=frozen
  )


def init_state(
  *,
  model: nn.Module,
  optimizer: Optimizer,
  mesh: Mesh,
  params: Any,
  lora: Lora | None = None,
  frozen: Any = None,
) -> TrainState:
  """Returns the state of step 0.

  Args:
    model: Model to train.
    optimizer: Optimizer from `it_study.training.optimizers`.
    mesh: Mesh to place the state on.
    params: Parameters to train: nested dict of NumPy or JAX arrays with the
      model's shapes, or LoRA's. They are copied, so that donating the state
      does not delete them.
    lora: Settings of LoRA; None to train all parameters.
    frozen: Parameters of the model if LoRA's are trained. They become the
      state's, and so are deleted with it.
  """
  abstract = abstract_state(
    model=model, optimizer=optimizer, mesh=mesh, lora=lora
  )
  params = jax.tree.map(
    lambda leaf, like: jax.device_put(
      leaf.astype(like.dtype), like.sharding, may_alias=False
    ),
    params,
    abstract.params,
  )
  init = _opt_state_init(model=model, optimizer=optimizer, mesh=mesh, lora=lora)
  return TrainState(
    step=jax.device_put(jnp.zeros((), jnp.int32), abstract.step.sharding),
    params=params,
    opt_state=init(params),
    frozen=frozen,
  )


def lower_train_step(
  *, batch_shapes: tuple[tuple[str, tuple[int, ...], str], ...], **settings: Any
) -> jax.stages.Lowered:
  """Returns the traced step, ready to compile, without allocating anything.

  Args:
    batch_shapes: Name, shape and dtype of every feature of a batch.
    **settings: Arguments of `make_train_step`.
  """
  state = abstract_state(
    **{name: settings[name] for name in ('model', 'optimizer', 'mesh')},
    lora=settings.get('lora'),
  )
  sharding = partitioning.batch_sharding(settings['mesh'])
  batch = {
    name: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    for name, shape, dtype in batch_shapes
  }
  seed = jax.ShapeDtypeStruct((), jnp.uint32)
  return make_train_step(**settings).lower(state, batch, seed)


def compile_train_step(
  *, batch_shapes: tuple[tuple[str, tuple[int, ...], str], ...], **settings: Any
) -> tuple[Callable[..., Any], float]:
  """Returns the compiled step, and the seconds that compiling took.

  An equal step that this process compiled before takes 0 seconds.

  Args:
    batch_shapes: Name, shape and dtype of every feature of a batch.
    **settings: Arguments of `make_train_step`.
  """
  before = time.perf_counter()
  misses = _compiled.cache_info().misses
  compiled = _compiled(
    batch_shapes=batch_shapes, settings=tuple(sorted(settings.items()))
  )
  if _compiled.cache_info().misses == misses:
    _logger.info('the training step was compiled before: reusing it')
    return compiled, 0.0
  seconds = time.perf_counter() - before
  _logger.info('compiled the training step in %.1f s', seconds)
  return compiled, seconds


def _make_gradient_fn(
  model: nn.Module,
  mesh: Mesh,
  *,
  z_loss: float,
  label_smoothing: float,
  lora: Lora | None = None,
) -> Callable[..., tuple[Any, Metrics]]:
  """Returns the function that computes gradients and metrics.

  Its arguments are the trained and the frozen parameters, a batch, dropout's
  key and the number of target tokens that the loss is a mean over; None for the
  batch's own.
  """
  deterministic = not model.config.dropout_rate

  def loss_fn(
    params: Any,
    frozen: Any,
    batch: Batch,
    key: jax.Array,
    num_target_tokens: jax.Array | None,
  ) -> tuple[jax.Array, Metrics]:
    features: dict[str, Any] = dict(batch)
    weights = features.pop('decoder_loss_weights')
    # Without it XLA gathers activations where parameters are fully sharded.
    with partitioning.activation_sharding(mesh):
      outputs: Any = model.apply(
        {'params': lora_lib.merge(lora, params, frozen)},
        **features,
        deterministic=deterministic,
        rngs=None if deterministic else {'dropout': key},
        method='before_logits',
      )
      hidden, kernel = outputs
      return losses.cross_entropy(
        hidden=hidden,
        kernel=kernel,
        targets=features['decoder_target_tokens'],
        weights=weights,
        z_loss=z_loss,
        label_smoothing=label_smoothing,
        num_target_tokens=num_target_tokens,
        soft_cap=model.config.logits_soft_cap,
        division=division.divide(
          hidden,
          kernel,
          mesh.shape,
          platform=mesh.devices.flat[0].platform,
          has_sparse_targets=model.config.has_sparse_targets,
        ),
      )

  return jax.grad(loss_fn, has_aux=True)


def _accumulate(
  gradient: Callable[..., tuple[Any, Metrics]],
  batch: Batch,
  key: jax.Array,
  *,
  num_microbatches: int,
  mesh: Mesh,
) -> tuple[Any, Metrics]:
  """Returns the gradients and metrics of a batch, summed part by part."""
  num_target_tokens = batch['decoder_loss_weights'].sum()
  parts = jax.tree.map(
    lambda array: partitioning.split_rows(array, num_microbatches, mesh), batch
  )

  def add(sums, part):
    index, features = part
    terms = gradient(
      features, jax.random.fold_in(key, index), num_target_tokens
    )
    return jax.tree.map(jnp.add, sums, terms), None

  first = jax.tree.map(lambda array: array[0], parts)
  zeros = jax.tree.map(
    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
    jax.eval_shape(gradient, first, key, num_target_tokens),
  )
  indices = jnp.arange(num_microbatches, dtype=jnp.uint32)
  return jax.lax.scan(add, zeros, (indices, parts))[0]


@functools.lru_cache(maxsize=16)
def _compiled(*, batch_shapes, settings):
  return lower_train_step(batch_shapes=batch_shapes, **dict(settings)).compile()


@functools.lru_cache(maxsize=16)
def _opt_state_init(*, model, optimizer, mesh, lora):
  state = abstract_state(model=model, optimizer=optimizer, mesh=mesh, lora=lora)
  return jax.jit(
    optimizer.transformation().init,
    out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state.opt_state),
  )


def _is_gpu(mesh: Mesh) -> bool:
  # A GPU that is only compiled for is called by its platform.
  return mesh.devices.flat[0].platform in ('gpu', 'cuda')


def _placed(leaf, sharding):
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
