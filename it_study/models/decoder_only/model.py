"""A decoder-only language model.

Shape letters, as in `it_study.models`:
  B batch     L prompt length     T target length     V vocab_size
  E emb_dim   N decoded rows
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
import functools
import math
from typing import Any

from flax import linen as nn
from flax.linen.spmd import with_logical_constraint
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from it_study.models import AnyArray, Model, ModelConfig, layers
from it_study.models.decoder_only import cached_passes
from it_study.models.decoder_only.cached_passes import (
  DecodeCache,
  Prefix,
  Prompts,
)
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.masks import (
  Masks,
  masks_after_prompts,
  masks_of_rests,
  masks_of_texts,
)
from it_study.models.decoder_only.stack import Decoder
from it_study.models.dot_product_attention import capped
from it_study.models.t5 import T5, T5Config

# The standard deviation that transformers draws the weights of these families
# with. Tied to the logits, embeddings of unit variance would begin with logits
# as wide as sqrt(emb_dim).
_EMBEDDING_INIT = nn.initializers.normal(stddev=0.02)


class DecoderLM(nn.Module):
  """A causal language model of one stack.

  Prompts are padded at their end with `config.pad_id`, which is no token's id.
  Parameters have logical axis names, as those of `T5`.
  """

  config: DecoderConfig

  def setup(self):
    config = self.config
    self.token_embedder = layers.Embedding(
      config.vocab_size,
      config.emb_dim,
      dtype=config.dtype,
      embedding_init=_EMBEDDING_INIT,
    )
    self.decoder = Decoder(config)

  def __call__(
    self,
    decoder_input_tokens: Int[AnyArray, 'B T'],
    decoder_segment_ids: Int[AnyArray, 'B T'] | None = None,
    decoder_positions: Int[AnyArray, 'B T'] | None = None,
    is_prefix: Bool[AnyArray, 'B T'] | None = None,
  ) -> Float32[Array, 'B T V']:
    """Returns the logits of the token after every token.

    Args:
      decoder_input_tokens: Tokens of each text; padding follows the text.
      decoder_segment_ids: Numbers 1, 2, … of the texts packed in a row, and 0
        for padding; None if rows are not packed.
      decoder_positions: Position of every token in its text; both or neither.
      is_prefix: Whether a token is of its text's prefix, as for
        `masks_of_texts`; None for causal attention alone.

    Returns:
      Logits. Meaningless where the token is padding.
    """
    return self._logits(
      self._hidden(
        decoder_input_tokens,
        decoder_segment_ids,
        decoder_positions,
        is_prefix,
      )
    )

  def before_logits(
    self,
    decoder_input_tokens: Int[AnyArray, 'B T'],
    decoder_target_tokens: Int[AnyArray, 'B T'],
    decoder_segment_ids: Int[AnyArray, 'B T'],
    decoder_positions: Int[AnyArray, 'B T'],
    *,
    deterministic: bool = True,
  ) -> tuple[Float[Array, 'B T E'], Float[AnyArray, 'E V']]:
    """Returns the factors of the logits before their cap.

    Args:
      decoder_input_tokens: As for a call of the model.
      decoder_target_tokens: Tokens after these; not used.
      decoder_segment_ids: As for a call of the model.
      decoder_positions: As for a call of the model.
      deterministic: Not used: there is no dropout.

    Returns:
      Hidden states and the logits matrix, in the compute dtype.
    """
    del decoder_target_tokens, deterministic
    hidden = self._hidden(
      decoder_input_tokens, decoder_segment_ids, decoder_positions
    )
    is_tied = self.config.logits_via_embedding
    return hidden, layers.logits_kernel(
      self.token_embedder, None if is_tied else self.decoder.logits_dense
    )

  def encode(
    self, prompts: Int[AnyArray, 'B L'], *, is_bidirectional: bool = False
  ) -> Prompts:
    """Returns the keys and values of prompts, as one group.

    Args:
      prompts: Tokens of the prompts, padded at the end.
      is_bidirectional: Whether a prompt's tokens see each other in both
        directions, as with `is_prefix` in a call of the model.
    """
    x, masks = self._compiled(
      '_begin_prompts', prompts, is_bidirectional=is_bidirectional
    )
    return (self._read(x, masks),)

  def extend(
    self,
    beginnings: Prompts,
    lengths: Int[AnyArray, ' B'],
    rests: Int[AnyArray, 'B Q'],
  ) -> Prompts:
    """Returns the keys and values of what follows encoded beginnings.

    Args:
      beginnings: Encoded beginnings, one group; or a single one that all rests
        follow.
      lengths: Number of tokens of each beginning; may be 0.
      rests: Tokens after the beginnings, padded at the end.
    """
    x, masks = self._compiled(
      '_begin_after', lengths, rests[:, None], shapes=_shapes(beginnings)
    )
    return (self._read(x, masks, beginnings),)

  def append(
    self,
    beginnings: Prompts,
    lengths: Int[AnyArray, ' B'],
    rests: Prompts,
    *,
    length: int,
  ) -> Prompts:
    """Returns what `encode` returns for beginnings and their rests.

    Args:
      beginnings: Encoded beginnings, as for `extend`.
      lengths: Number of tokens of each beginning.
      rests: Result of `extend`.
      length: Length of the result in tokens, at least that of every prompt.
    """
    return cached_passes.append(
      beginnings, jnp.asarray(lengths), rests, length=length
    )

  def join(self, parts: Sequence[Prompts], *, length: int) -> Prompts:
    """Joins parts of a batch, encoded at different lengths, to one group.

    Args:
      parts: Results of `encode`, for consecutive rows of the batch.
      length: Length of the result in tokens, at least that of every part.
    """
    return cached_passes.join(parts, length=length)

  def first_tokens(self, prompts: Int[AnyArray, 'B L']) -> Int32[Array, ' B']:
    """Returns the tokens that the first step reads: the prompts' last ones."""
    last = jnp.maximum(self._num_before(prompts), 0)[:, None]  # [B, 1]
    return jnp.take_along_axis(jnp.asarray(prompts), last, axis=1)[:, 0].astype(
      jnp.int32
    )

  def project_prompts(self, encoded: Prompts) -> Prompts:
    """Returns what `read_targets` reads of prompts: all of it."""
    return encoded

  def read_targets(
    self,
    projected: Prompts,
    prompts: Int[AnyArray, 'B L'],
    decoder_input_tokens: Int[AnyArray, 'B Y T'],
    decoder_target_tokens: Int[AnyArray, 'B Y T'],
  ) -> Float[Array, 'B Y T E']:
    """Reads targets after prompts that are already encoded.

    Args:
      projected: Result of `project_prompts`. One call of it serves all targets
        of the prompts.
      prompts: Tokens of the encoded prompts.
      decoder_input_tokens: `first_tokens`, then the targets but their last. The
        targets of a prompt do not see each other.
      decoder_target_tokens: Targets; not used, since padding comes last.

    Returns:
      Hidden states for `logits`. Meaningless where the target is padding.
    """
    del decoder_target_tokens
    x, masks = self._compiled(
      '_begin_after',
      self._num_before(prompts),
      decoder_input_tokens,
      shapes=_shapes(projected),
    )
    hidden = cached_passes.after_prompts(
      self.config, self._stack_params, x, projected, masks=masks
    )
    return hidden.reshape(*decoder_input_tokens.shape, -1)

  def read_prompts_and_targets(
    self,
    beginnings: Prompts,
    lengths: Int[AnyArray, ' B'],
    rests: Int[AnyArray, 'B Q'],
    targets: Int[AnyArray, 'B Y T'],
  ) -> Float[Array, 'B Y T E']:
    """Reads the rests of prompts and targets after them in one pass.

    Keeps nothing of them, unlike `extend`.

    Args:
      beginnings: Encoded beginnings, as for `extend`; none for whole prompts.
      lengths: Number of tokens of each beginning.
      rests: Tokens after the beginnings, padded at the end.
      targets: Targets of each prompt, which do not see each other.

    Returns:
      Hidden states for `logits`, like those of `read_targets`.
    """
    x, masks = self._compiled(
      '_begin_rests', lengths, rests, targets, shapes=_shapes(beginnings)
    )
    hidden = cached_passes.after_prompts(
      self.config, self._stack_params, x, beginnings, masks=masks
    )
    return self._compiled('_states_of_targets', hidden, rests, targets)

  def logits(
    self, hidden: Float[Array, '*rows E']
  ) -> Float32[Array, '*rows {self.config.vocab_size}']:
    """Returns the logits of what `read_targets` returns."""
    return self._logits(self.decoder.decoder_norm(hidden))

  def start_decoding(
    self,
    encoded: Prompts,
    prompts: Int[AnyArray, 'B L'],
    max_decode_length: int,
    *,
    rows_per_prompt: int = 1,
  ) -> DecodeCache:
    """Allocates the decoding cache.

    Args:
      encoded: Encoded prompts, from `encode`.
      prompts: Tokens of the encoded prompts.
      max_decode_length: Number of steps that fit the cache.
      rows_per_prompt: Number of continuations per prompt, such as beams.

    Returns:
      The cache of step 0.
    """
    return cached_passes.start(
      self.config,
      encoded,
      prompt_lengths=self._num_before(prompts),
      max_decode_length=max_decode_length,
      rows_per_prompt=rows_per_prompt,
    )

  def decode_step(
    self,
    tokens: Int[AnyArray, ' N'],
    cache: DecodeCache,
    step: Int[Array, ''] | int,
  ) -> tuple[Float32[Array, 'N V'], DecodeCache]:
    """Returns the logits of the tokens of a step.

    Args:
      tokens: Last token of every row: `first_tokens` at step 0. Rows of one
        prompt are consecutive.
      cache: Cache of the steps before. A caller that is not compiled must not
        use it again.
      step: Number of the step, the same for every row.

    Returns:
      Logits, and the cache of the next step.
    """
    hidden, cache = cached_passes.step(
      self.config,
      self._stack_params,
      self._compiled('_embed', tokens),
      cache,
      step,
    )
    return self._compiled('logits', hidden), cache

  def _hidden(
    self,
    tokens: Int[AnyArray, 'B T'],
    segment_ids: Int[AnyArray, 'B T'] | None,
    positions: Int[AnyArray, 'B T'] | None,
    is_prefix: Bool[AnyArray, 'B T'] | None = None,
  ) -> Float[Array, 'B T E']:
    if (segment_ids is None) != (positions is None):
      raise ValueError(
        'Pass both decoder_segment_ids and decoder_positions, or neither.'
      )
    masks = masks_of_texts(
      self.config,
      positions=(
        _positions(tokens) if positions is None else jnp.asarray(positions)
      ),
      segment_ids=segment_ids,
      is_prefix=is_prefix,
    )
    return self.decoder(self._embed(tokens), masks=masks)

  def _begin_prompts(
    self, prompts: Int[AnyArray, 'B L'], *, is_bidirectional: bool
  ) -> tuple[Float[Array, 'B L E'], Masks]:
    segments = is_prefix = None
    if is_bidirectional:
      is_prefix = jnp.asarray(prompts) != self.config.pad_id
      segments = is_prefix.astype(jnp.int32)
    masks = masks_of_texts(
      self.config,
      positions=_positions(prompts),
      segment_ids=segments,
      is_prefix=is_prefix,
    )
    return self._embed(prompts), masks

  def _begin_after(
    self,
    before: Int[AnyArray, ' B'],
    texts: Int[AnyArray, 'B Y T'],
    *,
    shapes: tuple[tuple[int, int], ...],
  ) -> tuple[Float[Array, 'B Q E'], Masks]:
    """Begins Y texts after each prompt, one after another in its row."""
    rows, num_texts, length = texts.shape
    masks = masks_after_prompts(
      self.config,
      jnp.asarray(before)[:, None],
      shapes,
      num_texts=num_texts,
      length=length,
    )
    return self._embed(texts.reshape(rows, -1)), masks

  def _begin_rests(
    self,
    lengths: Int[AnyArray, ' B'],
    rests: Int[AnyArray, 'B Q'],
    targets: Int[AnyArray, 'B Y T'],
    *,
    shapes: tuple[tuple[int, int], ...],
  ) -> tuple[Float[Array, 'B places E'], Masks]:
    """Begins rows of a rest, then its targets, each without its last token."""
    rows, num_targets, length = targets.shape
    read = jnp.asarray(targets)[:, :, :-1].reshape(rows, -1)
    masks = masks_of_rests(
      self.config,
      jnp.asarray(lengths),
      self._num_before(rests) + 1,
      shapes[0][1] if shapes else 0,
      num_places=rests.shape[1],
      num_texts=num_targets,
      length=length - 1,
    )
    return self._embed(jnp.concatenate([rests, read], axis=1)), masks

  def _states_of_targets(
    self,
    hidden: Float[Array, 'B places E'],
    rests: Int[AnyArray, 'B Q'],
    targets: Int[AnyArray, 'B Y T'],
  ) -> Float[Array, 'B Y T E']:
    """Returns what each token of the targets is predicted from."""
    rows, num_targets, length = targets.shape
    last = jnp.maximum(self._num_before(rests), 0)[:, None, None]
    first = jnp.take_along_axis(hidden, last, axis=1)[:, None]  # [B, 1, 1, E]
    others = hidden[:, rests.shape[1] :].reshape(
      rows, num_targets, length - 1, -1
    )
    first = jnp.broadcast_to(first, (rows, num_targets, *first.shape[2:]))
    return jnp.concatenate([first, others], axis=2)

  def _embed(self, tokens: Int[AnyArray, '*rows']) -> Float[Array, '*rows E']:
    """Returns what the first layer reads."""
    config = self.config
    # Padding is no row of the table; nothing reads what it becomes.
    embedded = self.token_embedder(jnp.maximum(tokens, 0))
    if not config.embedding_scale:
      return embedded
    # Rounded to the compute dtype first, as in Gemma's own code.
    scale = jnp.asarray(math.sqrt(config.emb_dim), config.dtype)
    return embedded * scale

  def _read(
    self, x: Float[Array, 'B Q E'], masks: Masks, before: Prompts = ()
  ) -> Prefix:
    return cached_passes.read(
      self.config, self._stack_params, x, masks=masks, before=before
    )

  @property
  def _stack_params(self) -> Mapping[str, Any]:
    return self.variables['params']['decoder']

  def _compiled(self, method: str, *args: Any, **static: Hashable) -> Any:
    """Calls a method; as a program of its own if the caller is not compiled."""
    return _call(
      self.variables,
      args,
      model=DecoderLM(self.config, parent=None),
      method=method,
      static=tuple(static.items()),
      axis_rules=nn.get_logical_axis_rules(),
    )

  def _num_before(self, prompts: Int[AnyArray, 'B L']) -> Int32[Array, ' B']:
    """Returns the number of each prompt's tokens before its last one."""
    lengths = jnp.sum(jnp.asarray(prompts) != self.config.pad_id, axis=1)
    return (lengths - 1).astype(jnp.int32)

  def _logits(
    self, hidden: Float[Array, '*rows E']
  ) -> Float32[Array, '*rows {self.config.vocab_size}']:
    if self.config.logits_via_embedding:
      logits = self.token_embedder.attend(hidden)
    else:
      logits = self.decoder.logits_dense(hidden)
    logits = capped(logits, self.config.logits_soft_cap)
    return with_logical_constraint(
      logits, ('batch', *(None,) * (logits.ndim - 2), 'vocab')
    )


def make_model(config: ModelConfig) -> Model:
  """Returns the module of a configuration, a T5 or a decoder-only model."""
  if isinstance(config, DecoderConfig):
    return DecoderLM(config)
  assert isinstance(config, T5Config), 'models are T5s or decoder-only'
  return T5(config)


def _shapes(prompts: Prompts) -> tuple[tuple[int, int], ...]:
  return tuple(group.shape for group in prompts)


def _positions(tokens: Int[AnyArray, 'B L']) -> Int32[Array, 'B L']:
  return jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)


# The axis rules are read from the context, and so are a part of what is traced.
@functools.partial(
  jax.jit, static_argnames=('model', 'method', 'static', 'axis_rules')
)
def _call(
  variables: Any,
  args: tuple[Any, ...],
  *,
  model: DecoderLM,
  method: str,
  static: tuple[tuple[str, Hashable], ...],
  axis_rules: Any,
) -> Any:
  del axis_rules
  apply: Callable[..., Any] = model.apply
  return apply(variables, *args, **dict(static), method=method)
