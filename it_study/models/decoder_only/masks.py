"""Which tokens a decoder-only model's layers see, and the tokens' rotations.

Shape letters, as in `it_study.models`:
  B batch            T target length
  Q query length     K key length
"""

from collections.abc import Sequence
import functools
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int

from it_study.errors import InputError
from it_study.models import AnyArray
from it_study.models.decoder_only import rotary
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.dot_product_attention import MASKED
from it_study.models.kernels import flash_attention
from it_study.models.kernels.distance_bias import DistanceBias

# For all rows, or for each group of rows.
Mask = Float32[Array, 'B 1 Q K'] | tuple[Any, ...] | DistanceBias


class Masks(struct.PyTreeNode):
  """Masks and rotations of both kinds of layer; a pytree.

  Attributes:
    full: Mask of layers that see everything before a token.
    windowed: Mask of layers with a window; None if there are none.
    rotation: Cosines and sines of the full layers.
    local_rotation: Cosines and sines of the layers with a window.
    segments: Segments, which select our kernel; the masks are then by distance.
    is_causal: Whether no query sees a key after its own place in the row.
  """

  full: Mask
  windowed: Mask | None
  rotation: rotary.Rotation
  local_rotation: rotary.Rotation | None
  segments: flash_attention.Segments | None = None
  is_causal: bool = struct.field(pytree_node=False, default=False)

  def of_layer(
    self, has_window: Bool[Array, '']
  ) -> tuple[Mask, rotary.Rotation]:
    """Returns a layer's mask and rotation; the choice may be traced."""
    if self.windowed is None or self.local_rotation is None:
      return self.full, self.rotation
    return jax.tree.map(
      functools.partial(jnp.where, has_window),
      (self.windowed, self.local_rotation),
      (self.full, self.rotation),
    )


def masks_of_texts(
  config: DecoderConfig,
  *,
  positions: Int[Array, 'B T'],
  segment_ids: Int[AnyArray, 'B T'] | None = None,
  is_prefix: Bool[AnyArray, 'B T'] | None = None,
) -> Masks:
  """Returns masks and rotations of a pass over whole texts.

  Args:
    config: Configuration of the model.
    positions: Position of every token in its text.
    segment_ids: Number of every token's text; None for one text a row.
    is_prefix: Whether a token is of its text's prefix, whose tokens see each
      other in both directions; None for no prefixes.

  Raises:
    InputError: If there are prefixes, and layers have a window.
  """
  if segment_ids is not None:
    segment_ids = jnp.asarray(segment_ids)
  key_positions = positions
  if is_prefix is not None:
    if config.window is not None:
      raise InputError(
        f'DecoderConfig.window is {config.window}: a prefix whose tokens see '
        'each other in both directions has no window. Use a model without '
        'windows, or causal attention.'
      )
    # Nothing is before position 0.
    key_positions = jnp.where(is_prefix, 0, positions)
  elif flash_attention.is_available(
    config.attention_implementation, head_dim=config.head_dim
  ):
    return _kernel_masks(config, positions, segment_ids)
  is_visible = None
  if segment_ids is not None:
    is_visible = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
    if is_prefix is None:
      # True of texts anyway; padding may have one position throughout.
      places = jnp.arange(positions.shape[1])
      is_visible = is_visible & (places[:, None] >= places)
  masks = make_masks(
    config,
    query_positions=positions,
    key_positions=key_positions,
    is_visible=is_visible,
  )
  return masks.replace(is_causal=is_prefix is None)


def make_masks(
  config: DecoderConfig,
  *,
  query_positions: Int[Array, 'B Q'],
  key_positions: Int[Array, 'B K'],
  is_visible: Bool[Array, '#B 1 #Q K'] | None = None,
) -> Masks:
  """Returns masks and rotations of a causal pass.

  Args:
    config: Configuration of the model.
    query_positions: Position of every query in its own text.
    key_positions: Position of every key in its own text.
    is_visible: Whether a query may see a key apart from order and window; None
      for always.
  """
  distance = (
    query_positions[:, None, :, None] - key_positions[:, None, None, :]
  )  # [B, 1, Q, K]
  is_before = distance >= 0
  if is_visible is not None:
    is_before = is_before & is_visible
  windowed = None
  if config.window is not None:
    windowed = bias(is_before & is_near(distance, config.window))
  rotation, local_rotation = _rotations(config, query_positions)
  return Masks(
    full=bias(is_before),
    windowed=windowed,
    rotation=rotation,
    local_rotation=local_rotation,
  )


def masks_after_prompts(
  config: DecoderConfig,
  before: Int[Array, 'B 1'],
  shapes: Sequence[tuple[int, int]],
  *,
  num_texts: int,
  length: int,
) -> Masks:
  """Returns masks of texts that each follow a prompt, whose keys come first.

  Args:
    config: Configuration of the model.
    before: Number of tokens of each prompt before the first of a text.
    shapes: Number of prompts in each group, and the length of their keys. A
      single prompt may be what all texts follow; `before` may then differ, as
      some may see less of it.
    num_texts: Number of texts after each prompt, which do not see each other.
    length: Number of tokens of each text.

  Returns:
    Masks by group of prompts, and the rotations of all.
  """
  texts = jnp.repeat(jnp.arange(num_texts), length)  # [Q]
  is_same_text = texts[:, None] == texts  # [Q, Q]
  masks, start = [], 0
  for rows, prompt_length in shapes:
    if len(shapes) == 1:
      rows = before.shape[0]
    lengths = before[start : start + rows]
    start += rows
    places = jnp.arange(prompt_length)[None]  # [1, L]
    positions = lengths + jnp.tile(jnp.arange(length), num_texts)  # [rows, Q]
    is_visible = jnp.concatenate(
      [
        jnp.broadcast_to(
          (places < lengths)[:, None], (rows, texts.size, prompt_length)
        ),
        jnp.broadcast_to(is_same_text, (rows, *is_same_text.shape)),
      ],
      axis=2,
    )  # [rows, Q, L + Q]
    places = jnp.broadcast_to(places, (rows, prompt_length))
    masks.append(
      make_masks(
        config,
        query_positions=positions,
        key_positions=jnp.concatenate([places, positions], axis=1),
        is_visible=is_visible[:, None],
      )
    )
  return _by_group(masks)


def masks_of_rests(
  config: DecoderConfig,
  before: Int[Array, ' B'],
  rest_lengths: Int[Array, ' B'],
  beginning_length: int,
  *,
  num_places: int,
  num_texts: int,
  length: int,
) -> Masks:
  """Returns masks of rows that each hold a rest, then texts that follow it.

  Args:
    config: Configuration of the model.
    before: Number of tokens of each beginning.
    rest_lengths: Number of tokens of each rest.
    beginning_length: Length of the keys of the beginnings, which come first; 0
      for none.
    num_places: Number of tokens that rests are padded to.
    num_texts: Number of texts after each rest, which do not see each other.
    length: Number of tokens of each text.
  """
  in_beginning, in_rest = jnp.arange(beginning_length), jnp.arange(num_places)
  after = (before + rest_lengths)[:, None]  # [B, 1]
  positions = jnp.concatenate(
    [
      before[:, None] + in_rest,
      after + jnp.tile(jnp.arange(length), num_texts),
    ],
    axis=1,
  )  # [B, Q]
  texts = jnp.repeat(jnp.arange(num_texts), length)
  queries = jnp.concatenate([jnp.full(num_places, -1), texts])  # [Q]
  is_token = jnp.concatenate(
    [in_beginning < before[:, None], in_rest < rest_lengths[:, None]], axis=1
  )[:, None]  # [B, 1, places]
  shape = len(before), positions.shape[1]
  is_visible = jnp.concatenate(
    [
      jnp.broadcast_to(is_token, (*shape, is_token.shape[2])),
      jnp.broadcast_to(queries[:, None] == texts, (*shape, texts.size)),
    ],
    axis=2,
  )
  masks = make_masks(
    config,
    query_positions=positions,
    key_positions=jnp.concatenate(
      [
        jnp.broadcast_to(in_beginning, (len(before), beginning_length)),
        positions,
      ],
      axis=1,
    ),
    is_visible=is_visible[:, None],
  )
  if beginning_length:
    return _by_group([masks])
  return masks.replace(is_causal=True)


def _by_group(masks: Sequence[Masks]) -> Masks:
  """Returns masks by group of rows, and the rotations of all rows."""
  joined = jax.tree.map(
    lambda *rows: jnp.concatenate(rows),
    *((mask.rotation, mask.local_rotation) for mask in masks),
  )
  has_windows = masks[0].windowed is not None
  return Masks(
    full=tuple(mask.full for mask in masks),
    windowed=tuple(mask.windowed for mask in masks) if has_windows else None,
    rotation=joined[0],
    local_rotation=joined[1],
  )


def is_near(
  distance: Int[Array, ' *shape'], window: int | None
) -> Bool[Array, ' *shape']:
  """Whether a key at a distance before the query is in the window."""
  if window is None:
    return jnp.ones_like(distance, bool)
  return distance < window


def bias(is_visible: Bool[Array, ' *shape']) -> Float32[Array, ' *shape']:
  """Returns 0 for what a query may see, else `MASKED`."""
  return jnp.where(is_visible, 0.0, MASKED).astype(jnp.float32)


def _kernel_masks(
  config: DecoderConfig,
  positions: Int[Array, 'B T'],
  segment_ids: Int[Array, 'B T'] | None,
) -> Masks:
  # A text is in one piece, so distances in the row are those in the text.
  if segment_ids is None:
    segment_ids = jnp.zeros_like(positions)
  rotation, local_rotation = _rotations(config, positions)
  window = config.window or 1
  starts = (-window, 1 - window, 1)  # Before the window, in it, after.

  def mask(before: float) -> DistanceBias:
    return DistanceBias(jnp.array([[before, 0.0, MASKED]]), starts)

  return Masks(
    full=mask(0.0),
    windowed=None if config.window is None else mask(MASKED),
    rotation=rotation,
    local_rotation=local_rotation,
    segments=flash_attention.Segments(segment_ids, segment_ids),
  )


def _rotations(
  config: DecoderConfig, positions: Int[Array, 'B Q']
) -> tuple[rotary.Rotation, rotary.Rotation | None]:
  """Returns the rotations of full layers and of those with a window."""
  rotation = functools.partial(
    rotary.rotation, positions=positions, head_dim=config.head_dim
  )
  if config.window is None:
    return rotation(config.rope), None
  return rotation(config.rope), rotation(config.local_rope or config.rope)
