"""Adafactor and AdamW with their schedules, as comparable values."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from it_study.errors import InputError
from it_study.training import grouped_adafactor
from it_study.training.grouped_adafactor import FactoredRms

# Of Adafactor, whose updates are relative to the parameters.
_LEAST_PARAMETER_SCALE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
  """A learning rate by step; schedules with equal fields are equal.

  Attributes:
    kind: 'constant', 'linear_warmup', 'linear_decay' or 'inverse_sqrt'.
    learning_rate: Factor of the schedule; except for 'inverse_sqrt', the
      highest rate.
    warmup_steps: Number of steps of the first phase.
    total_steps: Step at which 'linear_decay' reaches 0.
  """

  kind: str
  learning_rate: float
  warmup_steps: int = 0
  total_steps: int = 0

  def __post_init__(self):
    rate = self.learning_rate
    if not isinstance(rate, int | float) or not 0 <= rate < math.inf:
      raise InputError(
        f'learning rate is {rate!r}; give a finite number, 0 or more.'
      )
    if self.warmup_steps < 0:
      raise InputError(f'warm-up is {self.warmup_steps} steps; give 0 or more.')

  def __call__(self, step: jax.typing.ArrayLike) -> jax.Array:
    """Returns the learning rate of the update after `step` updates, float32."""
    step = jnp.asarray(step, jnp.float32)
    warmup_steps = max(self.warmup_steps, 1)
    if self.kind == 'constant':
      factor = jnp.ones_like(step)
    elif self.kind == 'linear_warmup':
      factor = jnp.minimum(1.0, step / warmup_steps)
    elif self.kind == 'linear_decay':
      left = (self.total_steps - step) / (self.total_steps - self.warmup_steps)
      factor = jnp.clip(left, 0.0, 1.0)
    else:
      factor = jax.lax.rsqrt(jnp.maximum(step, warmup_steps))
    return self.learning_rate * factor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
  """The settings of an optimizer, which `transformation` builds.

  It is hashable, so that two trainings with equal settings share one compiled
  step.

  Attributes:
    name: 'adafactor' or 'adamw'.
    schedule: Schedule of the learning rate.
    settings: Other settings, as sorted pairs of name and value.
    gradient_clip_norm: Maximum global norm of the gradients; None for no
      clipping.
  """

  name: str
  schedule: Schedule
  settings: tuple[tuple[str, Any], ...]
  gradient_clip_norm: float | None = None

  def transformation(
    self, *, grouped: bool = False
  ) -> optax.GradientTransformation:
    """Returns the Optax transformation.

    Args:
      grouped: Whether Adafactor updates the equal tensors of all layers
        together, which suits GPUs (`grouped_adafactor.py`). The state is the
        same, updates differ by rounding. AdamW takes no notice.
    """
    settings = dict(self.settings)
    if self.name == 'adafactor':
      core = _adafactor(self.schedule, grouped=grouped, **settings)
    else:
      core = optax.adamw(
        learning_rate=self.schedule, mask=_is_matrix, **settings
      )
    if self.gradient_clip_norm is None:
      return core
    return optax.chain(optax.clip_by_global_norm(self.gradient_clip_norm), core)


def adafactor(
  *,
  learning_rate: float | Schedule = 1e-3,
  decay_rate: float = 0.8,
  step_offset: int = 0,
  multiply_by_parameter_scale: bool = True,
  clipping_threshold: float | None = 1.0,
  min_dim_size_to_factor: int = 128,
  weight_decay_rate: float | None = None,
  gradient_clip_norm: float | None = None,
) -> Optimizer:
  """Returns Adafactor with T5's settings (Shazeer & Stern 2018, algorithm 4).

  It has no momentum. 1e-30 is added to squared gradients, and the parameter
  scale is at least 1e-3. It computes what `t5x.adafactor.Adafactor` computes,
  with float32 multiplications in another order: after five steps on matrices
  with and without factoring and on vectors, parameters agree to 1e-8 of their
  norm, and with weight decay to 1.3e-7 (`tests/training/optimizers_test.py`
  checks 2e-7). Two differences remain. T5X treats the layers of a stacked
  (scanned) tensor one by one, Optax treats the stack as one tensor. And T5X can
  be told which axes of a tensor of rank 3 or more are rows, Optax factors the
  two largest.

  Args:
    learning_rate: Constant or schedule, relative to each tensor's own root mean
      square if `multiply_by_parameter_scale` is set. T5 fine-tunes with 1e-3.
    decay_rate: Exponent of the second moment's decay, 1 - step^-decay_rate.
    step_offset: Step from which `step` counts in that decay.
    multiply_by_parameter_scale: Whether updates are relative to the parameters.
    clipping_threshold: Maximum root mean square of a tensor's update; None for
      no clipping.
    min_dim_size_to_factor: Minimum size of a tensor's second largest axis for
      its second moment to be factored.
    weight_decay_rate: Share of each parameter lost per step, whatever the
      learning rate, as in T5X; None for no decay.
    gradient_clip_norm: Maximum global norm of the gradients; None for no
      clipping.
  """
  return _optimizer(
    'adafactor',
    learning_rate=learning_rate,
    gradient_clip_norm=gradient_clip_norm,
    decay_rate=decay_rate,
    decay_offset=step_offset,
    multiply_by_parameter_scale=multiply_by_parameter_scale,
    clipping_threshold=clipping_threshold,
    min_dim_size_to_factor=min_dim_size_to_factor,
    weight_decay_rate=weight_decay_rate,
  )


def adamw(
  *,
  learning_rate: float | Schedule = 1e-4,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  gradient_clip_norm: float | None = 1.0,
) -> Optimizer:
  """Returns AdamW (Loshchilov & Hutter 2019).

  Args:
    learning_rate: Constant or schedule.
    b1: Decay rate of the first moment.
    b2: Decay rate of the second moment.
    eps: Constant added to the root of the second moment.
    weight_decay: Weight decay, multiplied by the learning rate. Applies only to
      matrices, not to the scales of layer norms.
    gradient_clip_norm: Maximum global norm of the gradients; None for no
      clipping.
  """
  return _optimizer(
    'adamw',
    learning_rate=learning_rate,
    gradient_clip_norm=gradient_clip_norm,
    b1=b1,
    b2=b2,
    eps=eps,
    weight_decay=weight_decay,
  )


def constant(*, learning_rate: float) -> Schedule:
  """Returns a schedule with the same rate at every step."""
  return Schedule(kind='constant', learning_rate=learning_rate)


def linear_warmup(*, learning_rate: float, warmup_steps: int) -> Schedule:
  """Returns a linear rise from 0 over `warmup_steps`, then a constant rate.

  Step 0 has rate 0, as in T5X and in transformers: 4 warm-up steps to 1.0 give
  0, 0.25, 0.5, 0.75, 1, 1, ….
  """
  return Schedule(
    kind='linear_warmup',
    learning_rate=learning_rate,
    warmup_steps=warmup_steps,
  )


def linear_decay(
  *,
  learning_rate: float,
  total_steps: int | None,
  constant_share: float = 0.0,
) -> Schedule:
  """Returns a constant rate, then a linear fall to 0 at the last step.

  A rate of 1.0 over 4 steps, half of them constant, gives 1, 1, 1, 0.5, then 0.

  Args:
    learning_rate: Rate of the constant part.
    total_steps: Number of steps in all.
    constant_share: Share of the steps before the rate falls, from 0 to below 1.

  Raises:
    InputError: If `total_steps` is not set, or the share is out of range.
  """
  if total_steps is None or total_steps < 1:
    raise InputError(
      f'linear_decay.total_steps is {total_steps}; it must be the number of'
      ' steps: set TRAIN_STEPS, not EPOCHS.'
    )
  if not 0 <= constant_share < 1:
    raise InputError(
      f'linear_decay.constant_share is {constant_share}; give a share from 0 to'
      ' below 1.'
    )
  return Schedule(
    kind='linear_decay',
    learning_rate=learning_rate,
    warmup_steps=int(constant_share * total_steps),
    total_steps=total_steps,
  )


def inverse_sqrt(
  *, learning_rate: float = 1.0, warmup_steps: int = 10_000
) -> Schedule:
  """Returns learning_rate / sqrt(max(step, warmup_steps)).

  The defaults are T5's pre-training (Raffel et al. 2020, section 3.1.2): 0.01
  for the first 10,000 steps, then falling.
  """
  return Schedule(
    kind='inverse_sqrt', learning_rate=learning_rate, warmup_steps=warmup_steps
  )


def _optimizer(
  name: str,
  *,
  learning_rate: float | Schedule,
  gradient_clip_norm: float | None,
  **settings: Any,
) -> Optimizer:
  if not isinstance(learning_rate, Schedule):
    learning_rate = constant(learning_rate=learning_rate)
  return Optimizer(
    name=name,
    schedule=learning_rate,
    settings=tuple(sorted(settings.items())),
    gradient_clip_norm=gradient_clip_norm,
  )


def _adafactor(
  schedule: Schedule,
  *,
  grouped: bool,
  decay_rate: float,
  decay_offset: int,
  multiply_by_parameter_scale: bool,
  clipping_threshold: float | None,
  min_dim_size_to_factor: int,
  weight_decay_rate: float | None,
) -> optax.GradientTransformation:
  """Returns the parts of `optax.adafactor`, one of them in fewer passes."""
  first = FactoredRms(decay_rate, decay_offset, min_dim_size_to_factor)
  parts: list[optax.GradientTransformation] = []
  if clipping_threshold is not None:
    parts.append(optax.clip_by_block_rms(clipping_threshold))
  parts.append(optax.scale_by_learning_rate(schedule, flip_sign=False))
  if multiply_by_parameter_scale:
    parts.append(_scale_by_parameter_rms())
  if weight_decay_rate is not None:
    parts.append(optax.add_decayed_weights(weight_decay_rate))
  parts.append(optax.scale(-1))
  if grouped:
    return grouped_adafactor.grouped(first, optax.chain(*parts))
  return optax.chain(
    optax.scale_by_factored_rms(**dataclasses.asdict(first)), *parts
  )


def _scale_by_parameter_rms() -> optax.GradientTransformation:
  """Computes `optax.scale_by_param_block_rms`, without a gradient of its own.

  For the sake of that gradient, Optax computes each mean of squares twice, the
  second time of a masked copy of the parameters: three more passes over them.
  """

  def scale(update: jax.Array, param: jax.Array) -> jax.Array:
    rms = jnp.sqrt(jnp.mean(param * param))
    return update * jnp.where(
      rms <= _LEAST_PARAMETER_SCALE, _LEAST_PARAMETER_SCALE, rms
    )

  return optax.GradientTransformation(
    lambda params: optax.EmptyState(),
    lambda updates, state, params: (
      jax.tree.map(scale, updates, params),
      state,
    ),
  )


def _is_matrix(params: Any) -> Any:
  """Returns whether each parameter has two axes or more, as a tree."""
  return jax.tree.map(lambda param: param.ndim > 1, params)
