"""Tests of our decoder-only model as a module of T5X's."""

import dataclasses
import functools

from engines_t5x_fixture import needs_t5x
from flax import linen as nn
import gguf_files
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import seqio
import tensorflow as tf

from it_study.engines.t5x import decoder
from it_study.errors import InputError
from it_study.inference import token_loop
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.model import DecoderLM

_EOS = 1
_CONFIG = DecoderConfig(
  vocab_size=12,
  emb_dim=gguf_files.WIDTH,
  num_heads=gguf_files.HEADS,
  num_kv_heads=gguf_files.KV_HEADS,
  head_dim=gguf_files.HEAD_DIM,
  mlp_dim=gguf_files.MLP,
  num_layers=2,
)
# Ids of ours, of which 0 is a token like any other.
_EXAMPLES = (([7, 0, 8, 5], [3, 0, 9, _EOS]), ([0, 4], [0, _EOS]))
_LENGTHS = {'inputs': 5, 'targets': 6}


@pytest.fixture(name='module', scope='module')
def _module():
  return decoder.T5XDecoder(_CONFIG)


@pytest.fixture(name='variables', scope='module')
def _variables(module):
  tokens = np.ones((1, 4), np.int32)
  # Wide enough that answers differ.
  variables = module.init(jax.random.key(2), tokens, tokens)
  embedding = variables['params']['token_embedder']['embedding']
  variables['params']['token_embedder']['embedding'] = 50 * embedding
  return variables


def batches(converter, examples=_EXAMPLES, lengths=None):
  """Returns a batch of SeqIO's, in T5X's ids, from examples in ours."""
  lengths = lengths or _LENGTHS
  names = tuple(lengths)
  found = [
    dict(zip(('inputs', 'targets'), example, strict=True))
    for example in examples
  ]
  data = tf.data.Dataset.from_generator(
    lambda: (
      {name: np.add(example[name], 1).astype(np.int32) for name in names}
      for example in found
    ),
    output_signature={name: tf.TensorSpec([None], tf.int32) for name in names},
  )
  rows = list(converter(data, lengths).as_numpy_iterator())
  return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def log_likelihoods(params, text, is_prefix=None):
  """Returns those of the tokens of a text after its first."""
  tokens = np.array([text], np.int32)
  extra = () if is_prefix is None else (None, None, np.array([is_prefix]))
  logits = DecoderLM(_CONFIG).apply({'params': params}, tokens, *extra)
  found = jax.nn.log_softmax(logits[0, :-1])
  return np.asarray(found)[np.arange(len(text) - 1), text[1:]]


def test_ids_are_one_higher_where_there_are_tokens():
  batch = {
    'decoder_input_tokens': np.array([[0, 7, 0, 0]]),
    'decoder_target_tokens': np.array([[7, 0, 5, 0]]),
    'decoder_segment_ids': np.array([[1, 1, 1, 0]]),
    'decoder_positions': np.array([[0, 1, 2, 0]]),
  }
  found = decoder.t5x_batch(batch)
  assert found['decoder_input_tokens'].tolist() == [[1, 8, 1, 0]]
  assert found['decoder_target_tokens'].tolist() == [[8, 1, 6, 0]]
  assert found['decoder_positions'].tolist() == [[0, 1, 2, 0]]


def test_parameters_have_the_names_of_ours_and_axes(module, variables):
  params, axes = variables['params'], variables['params_axes']
  tokens = np.ones((1, 4), np.int32)
  ours = DecoderLM(_CONFIG).init(jax.random.key(2), tokens)['params']
  same = jax.tree.map(lambda leaf: leaf.shape, params)
  assert same == jax.tree.map(lambda leaf: leaf.shape, nn.meta.unbox(ours))
  assert axes['token_embedder']['embedding_axes'].names == ('vocab', 'embed')
  layer = axes['decoder']['layers_1']
  assert layer['mlp']['wo']['kernel_axes'].names == ('mlp', 'embed')


@pytest.mark.parametrize('pack', [False, True])
def test_prefix_lm_batches_have_the_likelihoods_of_ours(
  module, variables, pack
):
  lengths = _LENGTHS if not pack else {'inputs': 8, 'targets': 8}
  batch = batches(seqio.PrefixLMFeatureConverter(pack=pack), lengths=lengths)
  assert batch['decoder_input_tokens'].shape[0] == (1 if pack else 2)
  found = t5x_likelihoods(module, variables, batch)
  expected = [
    log_likelihoods(variables['params'], inputs + targets)[-len(targets) :]
    for inputs, targets in _EXAMPLES
  ]
  np.testing.assert_allclose(
    np.asarray(found)[batch['decoder_loss_weights'] > 0],
    np.concatenate(expected),
    atol=1e-5,
  )


def test_prefixes_see_each_other_in_both_directions(module, variables):
  batch = batches(seqio.PrefixLMFeatureConverter(pack=False))
  found = t5x_likelihoods(
    module,
    variables,
    batch,
    decoder_causal_attention=batch['decoder_causal_attention'],
  )
  expected = [
    log_likelihoods(
      variables['params'],
      inputs + targets,
      [True] * len(inputs) + [False] * len(targets),
    )[-len(targets) :]
    for inputs, targets in _EXAMPLES
  ]
  weights = batch['decoder_loss_weights'] > 0
  np.testing.assert_allclose(
    found[weights], np.concatenate(expected), atol=1e-5
  )
  causal = t5x_likelihoods(module, variables, batch)
  assert np.abs(found - causal)[weights].max() > 1e-2


def t5x_likelihoods(module, variables, batch, **more):
  packed = {
    name: batch[name]
    for name in ('decoder_segment_ids', 'decoder_positions')
    if name in batch
  }
  logits = module.apply(
    {'params': variables['params']},
    batch['decoder_input_tokens'],
    batch['decoder_target_tokens'],
    **packed,
    **more,
  )
  targets = batch['decoder_target_tokens'][..., None]
  found = jnp.take_along_axis(jax.nn.log_softmax(logits), targets, axis=-1)
  return found[..., 0]


def test_the_first_token_of_a_text_has_no_gradient(module, variables):
  batch = batches(seqio.LMFeatureConverter(pack=False), lengths={'targets': 6})

  def loss(params, weights):
    found = t5x_likelihoods(module, {'params': params}, batch)
    return -(found * weights).sum()

  weights = np.array(batch['decoder_loss_weights'])
  without_first = weights.copy()
  without_first[:, 0] = 0
  losses, gradients = zip(
    *(
      jax.value_and_grad(loss)(variables['params'], array)
      for array in (without_first, weights)
    ),
    strict=True,
  )
  jax.tree.map(np.testing.assert_array_equal, *gradients)
  constant = len(_EXAMPLES) * np.log(_CONFIG.vocab_size)
  assert losses[1] - losses[0] == pytest.approx(constant, rel=1e-5)
  expected = [
    log_likelihoods(variables['params'], targets) for _, targets in _EXAMPLES
  ]
  assert losses[0] == pytest.approx(-np.concatenate(expected).sum(), rel=1e-5)


def test_prefixes_with_windows_are_refused(variables):
  config = dataclasses.replace(_CONFIG, window=2, window_pattern=(True,))
  tokens = np.ones((1, 4), np.int32)
  with pytest.raises(InputError) as caught:
    decoder.T5XDecoder(config).apply(
      {'params': variables['params']},
      tokens,
      tokens,
      decoder_causal_attention=tokens,
    )
  assert str(caught.value) == (
    'DecoderConfig.window is 2: a prefix whose tokens see each other in both '
    'directions has no window. Use a model without windows, or causal '
    'attention.'
  )


class TestWithT5X:
  pytestmark = needs_t5x

  def model(self, **settings):
    from t5x import decoding, models

    steps = _LENGTHS['targets']
    return models.DecoderOnlyModel(
      module=decoder.T5XDecoder(_CONFIG, max_decode_steps=steps),
      vocabulary=decoder.t5x_vocabulary(
        seqio.PassThroughVocabulary(_CONFIG.vocab_size, eos_id=_EOS), _CONFIG
      ),
      optimizer_def=None,
      decode_fn=functools.partial(
        decoding.temperature_sample, max_decode_steps=steps
      ),
      **settings,
    )

  def test_greedy_answers_are_ours(self, variables):
    rng = np.random.default_rng(0)
    examples = [
      (rng.integers(2, 12, size=1 + k % 5).tolist(), [_EOS]) for k in range(24)
    ]
    # Prompts that end and begin in token 0 too.
    for k in range(0, 24, 3):
      examples[k][0][-1] = 0
      examples[k + 1][0][0] = 0
    batch = batches(seqio.PrefixLMFeatureConverter(pack=False), examples)
    found = np.asarray(
      jax.jit(self.model().predict_batch)(variables['params'], batch)
    )
    prompts = np.full((24, 5), -1, np.int32)
    for row, (inputs, _) in zip(prompts, examples, strict=True):
      row[: len(inputs)] = inputs
    expected = token_loop.decode_tokens(
      model=DecoderLM(_CONFIG),
      params=variables['params'],
      encoder_input_tokens=prompts,
      max_decode_length=_LENGTHS['targets'],
      eos_id=_EOS,
    )
    steps = _LENGTHS['targets']
    np.testing.assert_array_equal(found[:, :steps] - 1, expected)
    assert not found[:, steps:].any()
    # Answers differ in length, and hold the token 0.
    assert len({tuple(row) for row in found.tolist()}) > 12
    assert (np.asarray(expected) == 0).any()
    assert len({(row >= 0).sum() for row in np.asarray(expected)}) > 1

  def test_prefixes_are_read_in_both_directions(self, variables):
    examples = [(list(range(k, k + 5)), [_EOS]) for k in range(6)]
    batch = batches(seqio.PrefixLMFeatureConverter(pack=False), examples)
    model = self.model(inputs_bidirectional_attention=True)
    found = np.asarray(jax.jit(model.predict_batch)(variables['params'], batch))
    for (inputs, _), answer in zip(examples, found, strict=True):
      text, is_prefix = list(inputs), [True] * len(inputs)
      while len(text) < len(inputs) + _LENGTHS['targets']:
        logits = DecoderLM(_CONFIG).apply(
          {'params': variables['params']},
          np.array([text], np.int32),
          None,
          None,
          np.array([is_prefix]),
        )
        text.append(int(logits[0, -1].argmax()))
        is_prefix.append(False)
        if text[-1] == _EOS:
          break
      own = text[len(inputs) :]
      assert (answer[: len(own)] - 1).tolist() == own

  def test_the_loss_of_lm_batches_is_a_mean_over_their_tokens(self, variables):
    batch = batches(seqio.LMFeatureConverter(pack=True), lengths={'targets': 8})
    assert batch['decoder_segment_ids'].max() == 2
    model = self.model(loss_normalizing_factor='NUM_REAL_TARGET_TOKENS')
    loss, _ = model.loss_fn(variables['params'], batch, None)
    sums = [
      log_likelihoods(variables['params'], targets).sum()
      for _, targets in _EXAMPLES
    ]
    constant = len(_EXAMPLES) * np.log(_CONFIG.vocab_size)
    assert float(loss) == pytest.approx((constant - sum(sums)) / 6, rel=1e-5)
