"""T5 v1.1 and v1.0, encoder and decoder, with T5X's parameter tree.

Shape letters:
  B batch            L prompt length     T target length    S cache length
  E emb_dim          H num_heads         D head_dim         V vocab_size
  Q query length     K key length        R rows a prompt
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from it_study.models import cudnn_attention, layers
from it_study.models.attention import MASKED
from it_study.models.config import T5Config
from it_study.models.initialization import partitioned
from it_study.models.stacks import DecodeCache, Decoder, Encoder

__all__ = ['PAD_ID', 'T5', 'DecodeCache', 'T5Config']

PAD_ID = 0

_UNIT_NORMAL = nn.initializers.normal(stddev=1.0)


class T5(nn.Module):
  """An encoder-decoder Transformer.

  `model.init` gives parameters boxed with logical axis names;
  `partitioning.init_params` gives them plain and placed on a mesh:

  >>> model = T5(config)
  >>> params = partitioning.init_params(model=model, seed=0, mesh=mesh)
  >>> logits = model.apply({'params': params}, prompts, shifted, targets)
  """

  config: T5Config

  def setup(self):
    config = self.config
    self.token_embedder = _Embedding(config)
    self.encoder = Encoder(config)
    self.decoder = Decoder(config)

  def __call__(
    self,
    encoder_input_tokens: jax.Array,
    decoder_input_tokens: jax.Array,
    decoder_target_tokens: jax.Array,
    encoder_segment_ids: jax.Array | None = None,
    decoder_segment_ids: jax.Array | None = None,
    encoder_positions: jax.Array | None = None,
    decoder_positions: jax.Array | None = None,
    *,
    deterministic: bool = True,
  ) -> jax.Array:
    """Logits of every target token, each seeing the targets before it.

    Args:
      encoder_input_tokens: int32 `[B, L]`, padded with 0.
      decoder_input_tokens: int32 `[B, T]`, targets shifted right by one; in a
        packed row every target starts with 0.
      decoder_target_tokens: int32 `[B, T]`; only where it is padding matters.
      encoder_segment_ids: int32 `[B, L]`, 1, 2, … for the examples packed in a
        row, 0 on padding; absent where rows are not packed.
      decoder_segment_ids: int32 `[B, T]`, likewise; both or neither.
      encoder_positions: accepted so that a packed batch can be passed whole.
        Not read: a difference of positions is the same in the example as in
        the row, and T5 looks at nothing else.
      decoder_positions: likewise.
      deterministic: no dropout. Otherwise `apply` needs an rng 'dropout'.

    Returns:
      float32 `[B, T, V]`. Meaningless where the target is padding.
    """
    return self._logits(
      self.decode_states(
        encoder_input_tokens,
        decoder_input_tokens,
        decoder_target_tokens,
        encoder_segment_ids,
        decoder_segment_ids,
        encoder_positions,
        decoder_positions,
        deterministic=deterministic,
      )
    )

  def before_logits(
    self, *features: jax.Array, deterministic: bool = True, **named: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """What the logits are the product of, for `losses.cross_entropy`.

    Args:
      *features: as for a call of the model.
      deterministic: no dropout.
      **named: more features, by name.

    Returns:
      Hidden states `[B, T, E]` and the matrix `[E, V]`, in the compute dtype.
    """
    hidden = self.decode_states(*features, deterministic=deterministic, **named)
    dtype = self.config.dtype
    if self.config.logits_via_embedding:
      hidden = self.token_embedder.scale(hidden)
      axes = ('vocab', 'embed')
      kernel = self.token_embedder.embedding
    else:
      axes = ('embed', 'vocab')
      kernel = self.decoder.logits_dense.get_variable('params', 'kernel')
    kernel = layers.gather_embed(kernel.astype(dtype), axes)
    return (
      hidden.astype(dtype),
      kernel.T if self.config.logits_via_embedding else kernel,
    )

  def decode_states(
    self,
    encoder_input_tokens: jax.Array,
    decoder_input_tokens: jax.Array,
    decoder_target_tokens: jax.Array,
    encoder_segment_ids: jax.Array | None = None,
    decoder_segment_ids: jax.Array | None = None,
    encoder_positions: jax.Array | None = None,
    decoder_positions: jax.Array | None = None,
    *,
    deterministic: bool = True,
  ) -> jax.Array:
    """The decoder's output for every target token, `[B, T, E]`.

    Arguments are those of a call of the model.
    """
    del encoder_positions, decoder_positions
    if (encoder_segment_ids is None) != (decoder_segment_ids is None):
      raise ValueError(
        'encoder_segment_ids and decoder_segment_ids: both or neither'
      )
    encoded = self.encode(
      encoder_input_tokens, encoder_segment_ids, deterministic=deterministic
    )  # [B, L, E]
    embedded = self.token_embedder(decoder_input_tokens)  # [B, T, E]
    return self.decoder(
      embedded,
      encoded,
      self_mask=self._mask(
        decoder_target_tokens,
        decoder_segment_ids,
        decoder_segment_ids,
        query_length=decoder_target_tokens.shape[1],
      ),
      cross_mask=self._mask(
        encoder_input_tokens,
        encoder_segment_ids,
        decoder_segment_ids,
        query_length=decoder_target_tokens.shape[1],
      ),
      deterministic=deterministic,
    )  # [B, T, E]

  def encode(
    self,
    encoder_input_tokens: jax.Array,
    encoder_segment_ids: jax.Array | None = None,
    *,
    deterministic: bool = True,
  ) -> jax.Array:
    """The encoder's output: `[B, L] -> [B, L, E]`, in the compute dtype."""
    return self.encoder(
      self.token_embedder(encoder_input_tokens),
      mask=self._mask(
        encoder_input_tokens,
        encoder_segment_ids,
        encoder_segment_ids,
        query_length=encoder_input_tokens.shape[1],
      ),
      deterministic=deterministic,
    )

  def project_prompts(
    self, encoded: jax.Array
  ) -> tuple[tuple[jax.Array, jax.Array], ...]:
    """What the decoder's layers attend to, for `score_targets`.

    Args:
      encoded: `[B, L, E]` from `encode`.

    Returns:
      Keys and values of each layer, `[B, H, L, D]`, in the compute dtype.
    """
    return self.decoder.project(encoded)

  def score_targets(
    self,
    projected: tuple[tuple[jax.Array, jax.Array], ...],
    encoder_input_tokens: jax.Array,
    decoder_input_tokens: jax.Array,
    decoder_target_tokens: jax.Array,
  ) -> jax.Array:
    """Logits of targets after prompts that are encoded already.

    Args:
      projected: from `project_prompts`, once for all targets of the prompts.
      encoder_input_tokens: int32 `[B, L]`, what was encoded.
      decoder_input_tokens: int32 `[B, T]`, targets shifted right by one.
      decoder_target_tokens: int32 `[B, T]`, padded with 0.

    Returns:
      float32 `[B, T, V]`. Meaningless where the target is padding.
    """
    length = decoder_target_tokens.shape[1]
    return self._logits(
      self.decoder.after_projected(
        self.token_embedder(decoder_input_tokens),
        projected,
        self_mask=self._mask(
          decoder_target_tokens, None, None, query_length=length
        ),
        cross_mask=self._mask(
          encoder_input_tokens, None, None, query_length=length
        ),
      )
    )

  def start_decoding(
    self,
    encoded: jax.Array,
    encoder_input_tokens: jax.Array,
    max_decode_length: int,
    *,
    rows_per_prompt: int = 1,
  ) -> DecodeCache:
    """Projects the prompt for every layer, once, and makes room for targets.

    Args:
      encoded: `[B, L, E]` from `encode`.
      encoder_input_tokens: int32 `[B, L]`.
      max_decode_length: S, the steps that the cache has room for.
      rows_per_prompt: R, continuations that share a prompt, such as beams.

    Returns:
      The cache of step 0.
    """
    return self.decoder.start(
      encoded,
      prompt_bias=_mask_bias(encoder_input_tokens)[:, 0],
      max_decode_length=max_decode_length,
      rows_per_prompt=rows_per_prompt,
    )

  def decode_step(
    self, tokens: jax.Array, cache: DecodeCache, step: jax.Array | int
  ) -> tuple[jax.Array, DecodeCache]:
    """Logits of the next token after `tokens`, the ones of position `step`.

    Args:
      tokens: int32 `[B R]`, those of a prompt in succession; 0 at step 0, then
        what was decoded last.
      cache: of the steps before.
      step: int32 scalar from 0 to S - 1, the same for every row.

    Returns:
      float32 logits `[B R, V]`, and the cache of the step after.
    """
    embedded = self.token_embedder(tokens)  # [B R, E]
    hidden, cache = self.decoder.step(embedded, cache, step)  # [B R, E]
    return self._logits(hidden), cache

  def _mask(
    self,
    key_tokens: jax.Array,
    key_segments: jax.Array | None,
    query_segments: jax.Array | None,
    *,
    query_length: int,
  ) -> jax.Array | cudnn_attention.SegmentCodes:
    """What keeps padding and other examples from being seen."""
    config = self.config
    if not cudnn_attention.is_available(
      config.attention_implementation,
      dtype=config.dtype,
      head_dim=config.head_dim,
      lengths=(query_length, key_tokens.shape[1]),
    ):
      return _mask_bias(key_tokens, key_segments, query_segments)
    return _mask_codes(
      key_tokens,
      key_segments,
      query_segments,
      query_length=query_length,
      dtype=config.dtype,
    )

  def _logits(self, hidden: jax.Array) -> jax.Array:
    """`[..., E] -> [..., V]` in float32."""
    if self.config.logits_via_embedding:
      logits = self.token_embedder.attend(hidden)
    else:
      logits = self.decoder.logits_dense(hidden)
    return nn.with_logical_constraint(
      logits, ('batch', *(None,) * (logits.ndim - 2), 'vocab')
    )


class _Embedding(nn.Module):
  """Token ids to vectors, and vectors to logits by the same table."""

  config: T5Config

  def setup(self):
    self.embedding = self.param(
      'embedding',
      partitioned(_UNIT_NORMAL, ('vocab', 'embed')),
      (self.config.vocab_size, self.config.emb_dim),
      jnp.float32,
    )

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """`[...] -> [..., E]`; NaN for an id beyond the vocabulary."""
    embedded = jnp.take(self._table(), tokens, axis=0)
    return layers.split_batch(embedded.astype(self.config.dtype))

  def attend(self, hidden: jax.Array) -> jax.Array:
    """`[..., E] -> [..., V]`, float32, scaled by 1/sqrt(E)."""
    hidden = self.scale(hidden)
    # Flat for the reason that `layers.Dense` gives.
    logits = hidden.reshape(-1, hidden.shape[-1]) @ self._table().T
    return logits.reshape(*hidden.shape[:-1], -1)

  def scale(self, hidden: jax.Array) -> jax.Array:
    """`[..., E]` over sqrt(E), float32: logits from a table of unit rows."""
    return hidden.astype(jnp.float32) / np.sqrt(
      self.config.emb_dim, dtype=np.float32
    )

  def _table(self) -> jax.Array:
    return layers.gather_embed(self.embedding, ('vocab', 'embed'))


def _mask_bias(
  key_tokens: jax.Array,
  key_segments: jax.Array | None = None,
  query_segments: jax.Array | None = None,
) -> jax.Array:
  """What to add to scores so that padding and other examples are not seen.

  Returns:
    float32, `[B, 1, 1, K]` without segments, else `[B, 1, Q, K]`. Queries that
    are padding are left to see what they like: nothing reads their output.
  """
  visible = (key_tokens != PAD_ID)[:, None, None, :]  # [B, 1, 1, K]
  if key_segments is not None:
    same = query_segments[:, :, None] == key_segments[:, None, :]  # [B, Q, K]
    visible = visible & same[:, None]
  return jnp.where(visible, 0.0, MASKED).astype(jnp.float32)


def _mask_codes(
  key_tokens: jax.Array,
  key_segments: jax.Array | None,
  query_segments: jax.Array | None,
  *,
  query_length: int,
  dtype: str,
) -> cudnn_attention.SegmentCodes:
  """The same for the fused kernel."""
  if key_segments is None:
    key_segments = jnp.ones_like(key_tokens)
    query_segments = jnp.ones((key_tokens.shape[0], query_length), jnp.int32)
  return cudnn_attention.segment_codes(
    query_segments,
    jnp.where(key_tokens == PAD_ID, 0, key_segments),
    dtype=dtype,
  )
