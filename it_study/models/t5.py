"""T5 v1.1 and v1.0, encoder and decoder, with T5X's parameter tree.

Shape letters, as in `it_study.models`:
  B batch            L prompt length     T target length    V vocab_size
  E emb_dim          H num_heads         D head_dim         N decoded rows
  Q query length     K key length
"""

from collections.abc import Sequence

from flax import linen as nn
from flax.linen.spmd import with_logical_constraint
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32
import numpy as np

from it_study.models import AnyArray, cudnn_attention, layers
from it_study.models.config import T5Config
from it_study.models.dot_product_attention import MASKED
from it_study.models.kernels import flash_attention
from it_study.models.stacks import DecodeCache, Decoder, Encoder, KeysAndValues

__all__ = ['PAD_ID', 'T5', 'DecodeCache', 'T5Config']

PAD_ID = 0


class T5(nn.Module):
  """An encoder-decoder Transformer.

  `model.init` returns parameters boxed with logical axis names;
  `partitioning.init_params` returns them unboxed and sharded over a mesh:

  >>> model = T5(config)
  >>> params = partitioning.init_params(model=model, seed=0, mesh=mesh)
  >>> logits = model.apply({'params': params}, prompts, shifted, targets)
  """

  config: T5Config

  def setup(self):
    config = self.config
    self.token_embedder = layers.Embedding(
      config.vocab_size, config.emb_dim, dtype=config.dtype
    )
    self.encoder = Encoder(config)
    self.decoder = Decoder(config)

  def __call__(
    self,
    encoder_input_tokens: Int[AnyArray, 'B L'],
    decoder_input_tokens: Int[AnyArray, 'B T'],
    decoder_target_tokens: Int[AnyArray, 'B T'],
    encoder_segment_ids: Int[AnyArray, 'B L'] | None = None,
    decoder_segment_ids: Int[AnyArray, 'B T'] | None = None,
    encoder_positions: Int[AnyArray, 'B L'] | None = None,
    decoder_positions: Int[AnyArray, 'B T'] | None = None,
    *,
    deterministic: bool = True,
  ) -> Float32[Array, 'B T V']:
    """Returns the logits of every target token, given the targets before it.

    Args:
      encoder_input_tokens: Tokens of the prompts, padded with 0.
      decoder_input_tokens: Targets shifted right by one; in a packed row every
        target starts with 0.
      decoder_target_tokens: Targets; only their padding is used.
      encoder_segment_ids: Numbers 1, 2, … of the examples packed in a row, and
        0 for padding; None if rows are not packed.
      decoder_segment_ids: The same for the targets; both or neither.
      encoder_positions: Not used; accepted so that a packed batch can be passed
        whole. T5 depends on differences of positions only, which are the same
        in the example and in the row.
      decoder_positions: Not used.
      deterministic: Whether dropout is off. If not, `apply` needs an rng named
        'dropout'.

    Returns:
      Logits. Meaningless where the target is padding.
    """
    return self.logits(
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
    self,
    *features: Int[AnyArray, 'B _'],
    deterministic: bool = True,
    **named: Int[AnyArray, 'B _'],
  ) -> tuple[Float[Array, 'B T E'], Float[AnyArray, 'E V']]:
    """Returns the factors of the logits, for `losses.cross_entropy`.

    Args:
      *features: Arguments as for a call of the model.
      deterministic: Whether dropout is off.
      **named: More arguments as for a call of the model.

    Returns:
      Hidden states and the logits matrix, in the compute dtype.
    """
    hidden = self.decode_states(*features, deterministic=deterministic, **named)
    is_tied = self.config.logits_via_embedding
    if is_tied:
      hidden = self._scale(hidden)
    return hidden.astype(self.config.dtype), layers.logits_kernel(
      self.token_embedder, None if is_tied else self.decoder.logits_dense
    )

  def decode_states(
    self,
    encoder_input_tokens: Int[AnyArray, 'B L'],
    decoder_input_tokens: Int[AnyArray, 'B T'],
    decoder_target_tokens: Int[AnyArray, 'B T'],
    encoder_segment_ids: Int[AnyArray, 'B L'] | None = None,
    decoder_segment_ids: Int[AnyArray, 'B T'] | None = None,
    encoder_positions: Int[AnyArray, 'B L'] | None = None,
    decoder_positions: Int[AnyArray, 'B T'] | None = None,
    *,
    deterministic: bool = True,
  ) -> Float[Array, 'B T E']:
    """Returns the decoder's output; takes the arguments of a model call."""
    del encoder_positions, decoder_positions
    if (encoder_segment_ids is None) != (decoder_segment_ids is None):
      raise ValueError(
        'Pass both encoder_segment_ids and decoder_segment_ids, or neither.'
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
    encoder_input_tokens: Int[AnyArray, 'B L'],
    encoder_segment_ids: Int[AnyArray, 'B L'] | None = None,
    *,
    deterministic: bool = True,
  ) -> Float[Array, 'B L E']:
    """Returns the encoder's output, in the compute dtype."""
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

  def join(
    self, parts: Sequence[Float[Array, '_ _ E']], *, length: int
  ) -> Float[Array, 'B {length} E']:
    """Joins parts of a batch that were encoded at different lengths.

    Args:
      parts: Results of `encode`, for consecutive rows of the batch.
      length: Length of the result in tokens, at least that of every part.

    Returns:
      The encoder's output, zeros beyond a part's own length.
    """
    return jnp.concatenate(
      [
        jnp.pad(part, ((0, 0), (0, length - part.shape[1]), (0, 0)))
        for part in parts
      ]
    )

  def first_tokens(self, prompts: Int[AnyArray, 'B L']) -> Int32[Array, ' B']:
    """Returns the tokens that the first step reads, all of them padding."""
    return jnp.full(prompts.shape[0], PAD_ID, jnp.int32)

  def project_prompts(
    self, encoded: Float[Array, 'B L E']
  ) -> tuple[KeysAndValues, ...]:
    """Returns what the decoder's layers attend to, for `read_targets`.

    Args:
      encoded: Encoded prompts, from `encode`.

    Returns:
      Keys and values of each layer, in the compute dtype.
    """
    return self.decoder.project(encoded)

  def read_targets(
    self,
    projected: tuple[KeysAndValues, ...],
    encoder_input_tokens: Int[AnyArray, 'B L'],
    decoder_input_tokens: Int[AnyArray, 'B 1 T'],
    decoder_target_tokens: Int[AnyArray, 'B 1 T'],
  ) -> Float[Array, 'B 1 T E']:
    """Reads targets after prompts that are already encoded, one for each.

    Args:
      projected: Keys and values of the prompts, from `project_prompts`. One
        call of it serves all targets of the prompts.
      encoder_input_tokens: Tokens of the encoded prompts.
      decoder_input_tokens: Targets shifted right by one.
      decoder_target_tokens: Targets, padded with 0.

    Returns:
      Hidden states for `logits`. Meaningless where the target is padding.
    """
    targets = decoder_target_tokens[:, 0]
    length = targets.shape[1]
    hidden = self.decoder.after_projected(
      self.token_embedder(decoder_input_tokens[:, 0]),
      projected,
      self_mask=self._mask(targets, None, None, query_length=length),
      cross_mask=self._mask(
        encoder_input_tokens, None, None, query_length=length
      ),
    )
    return hidden[:, None]

  def logits(
    self, hidden: Float[Array, '*rows E']
  ) -> Float32[Array, '*rows {self.config.vocab_size}']:
    """Returns the logits of hidden states, such as those of `read_targets`."""
    if self.config.logits_via_embedding:
      logits = self.token_embedder.attend(self._scale(hidden))
    else:
      logits = self.decoder.logits_dense(hidden)
    return with_logical_constraint(
      logits, ('batch', *(None,) * (logits.ndim - 2), 'vocab')
    )

  def start_decoding(
    self,
    encoded: Float[Array, 'B L E'],
    encoder_input_tokens: Int[AnyArray, 'B L'],
    max_decode_length: int,
    *,
    rows_per_prompt: int = 1,
  ) -> DecodeCache:
    """Projects the prompts for every layer and allocates the decoding cache.

    Args:
      encoded: Encoded prompts, from `encode`.
      encoder_input_tokens: Tokens of the encoded prompts.
      max_decode_length: Number of steps that fit the cache.
      rows_per_prompt: Number of continuations per prompt, such as beams.

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
    self,
    tokens: Int[AnyArray, ' N'],
    cache: DecodeCache,
    step: Int[Array, ''] | int,
  ) -> tuple[Float32[Array, 'N V'], DecodeCache]:
    """Returns the logits of the tokens at position `step`.

    Args:
      tokens: Last token of every row, 0 at step 0. Rows of one prompt are
        consecutive.
      cache: Cache of the steps before.
      step: Position from 0 to S - 1, the same for every row.

    Returns:
      Logits, and the cache of the next step.
    """
    embedded = self.token_embedder(tokens)  # [N, E]
    hidden, cache = self.decoder.step(embedded, cache, step)  # [N, E]
    return self.logits(hidden), cache

  def _mask(
    self,
    key_tokens: Int[AnyArray, 'B K'],
    key_segments: Int[AnyArray, 'B K'] | None,
    query_segments: Int[AnyArray, 'B Q'] | None,
    *,
    query_length: int,
  ) -> (
    Float32[Array, 'B 1 #Q K']
    | cudnn_attention.SegmentCodes
    | flash_attention.Segments
  ):
    """Returns what hides padding and the other examples of a packed row."""
    config = self.config
    in_pallas = flash_attention.is_available(
      config.attention_implementation, head_dim=config.head_dim
    )
    if not in_pallas and not cudnn_attention.is_available(
      config.attention_implementation,
      dtype=config.dtype,
      head_dim=config.head_dim,
      lengths=(query_length, key_tokens.shape[1]),
    ):
      return _mask_bias(key_tokens, key_segments, query_segments)
    segments = _segments(
      key_tokens, key_segments, query_segments, query_length=query_length
    )
    if in_pallas:
      return segments
    return cudnn_attention.segment_codes(
      segments.query, segments.key, dtype=config.dtype
    )

  def _scale(
    self, hidden: Float[Array, '*rows E']
  ) -> Float32[Array, '*rows E']:
    """Divides by sqrt(E), as a tied table's entries have unit variance."""
    return hidden.astype(jnp.float32) / np.sqrt(
      self.config.emb_dim, dtype=np.float32
    )


def _mask_bias(
  key_tokens: Int[AnyArray, 'B K'],
  key_segments: Int[AnyArray, 'B K'] | None = None,
  query_segments: Int[AnyArray, 'B Q'] | None = None,
) -> Float32[Array, 'B 1 #Q K']:
  """Returns a bias of scores that hides padding and other examples.

  Queries that are padding may see other padding: nothing reads their output.
  Without segments the bias is the same for all queries.
  """
  visible = (key_tokens != PAD_ID)[:, None, None, :]  # [B, 1, 1, K]
  if key_segments is not None:
    assert query_segments is not None, 'segments come in pairs'
    same = query_segments[:, :, None] == key_segments[:, None, :]  # [B, Q, K]
    visible = visible & same[:, None]
  return jnp.where(visible, 0.0, MASKED).astype(jnp.float32)


def _segments(
  key_tokens: Int[AnyArray, 'B K'],
  key_segments: Int[AnyArray, 'B K'] | None,
  query_segments: Int[AnyArray, 'B Q'] | None,
  *,
  query_length: int,
) -> flash_attention.Segments:
  """Returns the equivalent of `_mask_bias` for fused kernels."""
  if key_segments is None or query_segments is None:
    key_segments = jnp.ones_like(key_tokens)
    query_segments = jnp.ones((key_tokens.shape[0], query_length), jnp.int32)
  return flash_attention.Segments(
    query=jnp.asarray(query_segments),
    key=jnp.where(key_tokens == PAD_ID, 0, key_segments),
  )
