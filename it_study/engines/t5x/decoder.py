"""Our decoder-only model as a module of T5X's `DecoderOnlyModel`.

SeqIO and T5X pad with id 0, begin every text with it, and measure lengths by
it, while most vocabularies of decoder-only models have a token of id 0. So ids
are one higher in T5X than in ours: its 0 is no token, its 1 our token 0.

Shape letters, as in `it_study.models`:
  B batch     T target length     V vocab_size
"""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import linen as nn, traverse_util
from flax.linen import partitioning as flax_partitioning
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int, Int32, Shaped
import numpy as np
import seqio

from it_study.models import AnyArray, ModelConfig
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.model import DecoderLM

# Logit of T5X's id 0. Finite, since T5X multiplies it by a probability of 0.
_NEVER = -1e9


def id_offset(config: ModelConfig) -> int:
  """Returns what is added to our ids to get T5X's."""
  return 1 if isinstance(config, DecoderConfig) else 0


def t5x_vocabulary(
  vocabulary: seqio.Vocabulary, config: ModelConfig
) -> seqio.Vocabulary:
  """Returns the vocabulary of T5X's ids."""
  offset = id_offset(config)
  if not offset:
    return vocabulary
  return seqio.PassThroughVocabulary(
    size=vocabulary.vocab_size + offset, eos_id=vocabulary.eos_id + offset
  )


def t5x_batch(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns a batch with T5X's ids; one without segments stays as it is.

  Args:
    batch: Batch of `row_layouts.DECODER` or `row_layouts.ENCODER_DECODER`.
  """
  if 'encoder_input_tokens' in batch:
    return dict(batch)
  is_token = batch['decoder_segment_ids'] > 0
  names = ('decoder_input_tokens', 'decoder_target_tokens')
  return {**batch, **{name: batch[name] + is_token for name in names}}


class T5XDecoder(nn.Module):
  """`DecoderLM` with the interface of T5X's decoder-only network.

  It takes the batches of SeqIO's `LMFeatureConverter` and
  `PrefixLMFeatureConverter`, packed or not, in T5X's ids. The 0 that they begin
  each text with is no token of the model: nothing sees it, and the token after
  it, which has nothing before it, is predicted by equal logits, so that it adds
  a constant to the loss and nothing to the gradient.

  Parameters are those of `DecoderLM`.

  Attributes:
    config: Configuration of the model.
    max_decode_steps: Number of decoding steps that fit the cache; None for the
      length of a row.
  """

  config: DecoderConfig
  max_decode_steps: int | None = None

  def setup(self):
    # As T5X's own networks, which have no kernels of ours.
    self.model = DecoderLM(
      dataclasses.replace(self.config, attention_implementation='xla')
    )
    nn.share_scope(self, self.model)

  @nn.nowrap
  def init(self, rngs: Any, *args: Any, **settings: Any) -> dict[str, Any]:
    """Returns variables with axis names beside them, as T5X expects them.

    Args:
      rngs: Random key, in JAX's new form or in the one that T5X uses.
      *args: Arguments of a call.
      **settings: Further arguments of a call.
    """
    if not jnp.issubdtype(rngs.dtype, jax.dtypes.prng_key):
      rngs = jax.random.wrap_key_data(rngs)
    variables = super().init(rngs, *args, **settings)
    boxed = traverse_util.flatten_dict(variables['params'], sep='/')
    axes = {
      f'{name}_axes': flax_partitioning.AxisMetadata(names=leaf.names)
      for name, leaf in boxed.items()
    }
    params = {name: leaf.value for name, leaf in boxed.items()}
    return {
      'params': traverse_util.unflatten_dict(params, sep='/'),
      'params_axes': traverse_util.unflatten_dict(axes, sep='/'),
    }

  @nn.compact
  def __call__(
    self,
    decoder_input_tokens: Shaped[AnyArray, 'B T'],
    decoder_target_tokens: Shaped[AnyArray, 'B T'],
    decoder_segment_ids: Int[AnyArray, 'B T'] | None = None,
    decoder_positions: Int[AnyArray, 'B T'] | None = None,
    decoder_causal_attention: Int[AnyArray, 'B T'] | None = None,
    *,
    enable_dropout: bool = True,
    decode: bool = False,
    prefill: bool = False,
    prefill_lengths: Int[AnyArray, ' B'] | None = None,
    max_decode_length: int | None = None,
  ) -> Float32[Array, 'B T V+1'] | None:
    """Returns the logits of the token after every token, by T5X's ids.

    T5X decodes by three kinds of calls: one with `decode` that makes the cache,
    one with `prefill` that fills it with prompts, and one with `decode` for
    each token.

    Args:
      decoder_input_tokens: Tokens, or one token a row once the cache is filled;
        to draw parameters, T5X gives floats.
      decoder_target_tokens: Tokens after these; not used.
      decoder_segment_ids: Numbers 1, 2, … of the texts packed in a row, and 0
        for padding; None if rows are not packed.
      decoder_positions: Position of every token in its text; both or neither.
      decoder_causal_attention: 1 for tokens of prompts, which then see each
        other in both directions; None for no such tokens.
      enable_dropout: Not used: there is no dropout.
      decode: Whether to make the cache, or to decode a token with it.
      prefill: Whether to fill the cache with prompts.
      prefill_lengths: Not used: prompts are padded.
      max_decode_length: Not used: the cache has its length.

    Returns:
      Logits; None for calls that make or fill the cache.
    """
    del decoder_target_tokens, enable_dropout
    del prefill_lengths, max_decode_length
    tokens = jnp.asarray(decoder_input_tokens).astype(jnp.int32) - 1
    if decode and self.has_variable('cache', 'memory'):
      return self._decode(tokens)
    if decode or prefill:
      self._fill(tokens, is_bidirectional=decoder_causal_attention is not None)
      return None
    is_token = tokens >= 0
    if decoder_segment_ids is None:
      decoder_segment_ids = jnp.ones_like(tokens)
    if decoder_positions is None:
      decoder_positions = jnp.broadcast_to(
        jnp.arange(tokens.shape[1]), tokens.shape
      )
    # Where texts begin with a 0, it takes the first position.
    first = (~is_token[:, :1]).astype(jnp.int32)
    is_prefix = None
    if decoder_causal_attention is not None:
      is_prefix = (jnp.asarray(decoder_causal_attention) > 0) & is_token
    logits = self.model(
      tokens,
      jnp.where(is_token, decoder_segment_ids, 0),
      jnp.maximum(decoder_positions - first, 0),
      is_prefix,
    )
    return _by_t5x_ids(jnp.where(is_token[..., None], logits, 0.0))

  def _fill(self, tokens: Int[Array, 'B T'], *, is_bidirectional: bool) -> None:
    """Fills the cache, or makes it, with prompts that a 0 begins."""
    prompts = tokens[:, 1:]
    steps = self.max_decode_steps or tokens.shape[1]
    encoded = self.model.encode(prompts, is_bidirectional=is_bidirectional)
    memory = self.model.start_decoding(encoded, prompts, steps)
    self.put_variable('cache', 'memory', memory)
    self.put_variable('cache', 'step', jnp.int32(0))

  def _decode(self, tokens: Int[Array, 'B 1']) -> Float32[Array, 'B 1 V+1']:
    step: Int32[Array, ''] = self.get_variable('cache', 'step')
    logits, memory = self.model.decode_step(
      tokens[:, 0], self.get_variable('cache', 'memory'), step
    )
    self.put_variable('cache', 'memory', memory)
    self.put_variable('cache', 'step', step + 1)
    return _by_t5x_ids(logits[:, None])


def _by_t5x_ids(
  logits: Float32[Array, 'B T V'],
) -> Float32[Array, 'B T V+1']:
  return jnp.pad(logits, ((0, 0), (0, 0), (1, 0)), constant_values=_NEVER)
