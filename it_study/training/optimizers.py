"""Adafactor and AdamW with their schedules, as values that compare equal."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from it_study.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
  """A learning rate by step; equal schedules are equal values.

  Attributes:
    kind: 'constant', 'linear_warmup', 'linear_decay' or 'inverse_sqrt'.
    learning_rate: the factor; the rate itself but for 'inverse_sqrt'.
    warmup_steps: steps of the first phase.
    total_steps: steps after which 'linear_decay' is at 0.
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
  """An optimizer's settings; `transformation` builds it.

  Being a plain value, it can be a key: two trainings with equal settings share
  one compiled step.

  Attributes:
    name: 'adafactor' or 'adamw'.
    schedule: the learning rate.
    settings: the other settings, sorted pairs.
    gradient_clip_norm: largest global norm of the gradients, or None.
  """

  name: str
  schedule: Schedule
  settings: tuple[tuple[str, Any], ...]
  gradient_clip_norm: float | None = None

  def transformation(self) -> optax.GradientTransformation:
    """Returns the Optax transformation."""
    settings = dict(self.settings)
    if self.name == 'adafactor':
      core = optax.adafactor(learning_rate=self.schedule, **settings)
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

  No momentum; squared gradients get 1e-30 added, the parameter scale is at
  least 1e-3. It computes what `t5x.adafactor.Adafactor` computes, in another
  order of float32 multiplications: after five steps on matrices with and
  without factoring and on vectors, parameters agree to 1e-8 of their norm, with
  weight decay to 1.3e-7 (`tests/optimizers_test.py` holds them to 2e-7). Two
  differences are left: T5X averages stacked (scanned) layers one by one, Optax
  takes the stack as one tensor; and T5X can be told which axes of a tensor of
  rank three or more are rows, Optax takes the two largest.

  Args:
    learning_rate: a constant or a schedule; relative to each tensor's own root
      mean square where `multiply_by_parameter_scale` is true. T5 fine-tunes
      with 1e-3.
    decay_rate: of the second moment, 1 - step^-decay_rate.
    step_offset: the step from which `step` counts in that decay.
    multiply_by_parameter_scale: whether steps are relative.
    clipping_threshold: largest root mean square of a tensor's update, or None.
    min_dim_size_to_factor: tensors whose second largest axis is shorter keep
      their full second moment.
    weight_decay_rate: share of each parameter lost in a step, whatever the
      learning rate, as in T5X; or None.
    gradient_clip_norm: largest global norm of the gradients, or None.
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
    learning_rate: a constant or a schedule.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: added to the root of the second moment.
    weight_decay: times the learning rate, of matrices alone, not of the layer
      norms' scales.
    gradient_clip_norm: largest global norm of the gradients, or None.
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
  """Returns the same rate at every step."""
  return Schedule(kind='constant', learning_rate=learning_rate)


def linear_warmup(*, learning_rate: float, warmup_steps: int) -> Schedule:
  """Returns a rise from 0 over `warmup_steps`, then the constant rate.

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
  """Returns the rate for a share of the steps, then a fall to 0 at the end.

  A rate of 1.0, 4 steps in all, half of them constant: 1, 1, 1, 0.5, then 0.

  Raises:
    InputError: `total_steps` is not stated, or the share is not from 0 to 1.
  """
  if total_steps is None or total_steps < 1:
    raise InputError(
      f'linear_decay falls over {total_steps} steps; it has to be told how many'
      ' there are: set TRAIN_STEPS, not EPOCHS.'
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


def _is_matrix(params: Any) -> Any:
  return jax.tree.map(lambda param: param.ndim > 1, params)
