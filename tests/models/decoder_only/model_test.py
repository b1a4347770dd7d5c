"""DecoderLM: transformers' numbers from a file, packing, cache, gradients."""

import functools

from decoder_golden_fixture import golden, golden_model
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.checkpoints.hf import decoder_names
from it_study.models import dot_product_attention, partitioning
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.model import DecoderLM

variants = pytest.mark.parametrize('variant', list(golden.VARIANTS))
PAD = -1


def padded(texts, length=None) -> np.ndarray:
  length = length or max(map(len, texts))
  return np.array(
    [[*text, *[PAD] * (length - len(text))] for text in texts], np.int32
  )


@functools.partial(jax.jit, static_argnames=('model', 'method'))
def apply(model, params, *args, method=None):
  return model.apply({'params': params}, *args, method=method)


@functools.partial(jax.jit, static_argnames=('model', 'length', 'rows'))
def start(model, params, prompts, length, rows=1):
  variables = {'params': params}
  encoded = model.apply(variables, prompts, method='encode')
  first = model.apply(variables, prompts, method='first_tokens')
  return (
    encoded,
    first,
    model.apply(
      variables,
      encoded,
      prompts,
      length,
      rows_per_prompt=rows,
      method='start_decoding',
    ),
  )


@variants
def test_logits_are_those_of_transformers(variant):
  model, params, reference = golden_model(variant)
  logits = apply(model, params, golden.prompts()[13][None])
  assert logits.dtype == jnp.float32
  np.testing.assert_allclose(logits[0], reference['logits'], atol=1e-5, rtol=0)


@variants
def test_greedy_answers_are_those_of_transformers(variant):
  model, params, reference = golden_model(variant)
  prompts = padded(golden.prompts())
  length = golden.MAX_DECODE_LENGTH
  _, tokens, cache = start(model, params, prompts, length)
  ended = np.zeros(len(prompts), bool)
  answers = np.full((len(prompts), length), PAD)
  for step in range(length):
    logits, cache = apply(
      model, params, tokens, cache, step, method='decode_step'
    )
    tokens = np.asarray(logits).argmax(-1).astype(np.int32)
    answers[~ended, step] = tokens[~ended]
    ended |= tokens == golden._SIZES['eos_token_id']
  np.testing.assert_array_equal(answers, reference['answers'])


def test_some_of_these_answers_end_early():
  answers = [golden_model(variant)[2]['answers'] for variant in golden.VARIANTS]
  assert (np.stack(answers)[..., -1] == PAD).any()


@variants
def test_label_scores_are_those_of_transformers(variant):
  model, params, reference = golden_model(variant)
  prompts = padded(golden.prompts())
  encoded, first, _ = start(model, params, prompts, 1)
  longest = max(len(label) for row in golden.labels() for label in row)
  targets = np.stack([padded(row, longest) for row in golden.labels()])
  begin = np.broadcast_to(first[:, None, None], (*targets.shape[:2], 1))
  shifted = np.concatenate([begin, targets[..., :-1]], axis=-1)
  hidden = apply(
    model,
    params,
    encoded,
    prompts,
    shifted,
    targets,
    method='read_targets',
  )
  logits = apply(model, params, hidden, method='logits')
  chosen = np.take_along_axis(
    np.asarray(jax.nn.log_softmax(logits)),
    np.maximum(targets, 0)[..., None],
    axis=-1,
  )[..., 0]
  np.testing.assert_allclose(
    np.where(targets == PAD, 0, chosen).sum(-1),
    reference['scores'],
    atol=1e-4,
    rtol=0,
  )


@variants
@pytest.mark.parametrize('beginning', [0, 2])
def test_label_scores_in_one_pass_are_those_of_transformers(variant, beginning):
  model, params, reference = golden_model(variant)
  prompts = padded(golden.prompts())
  longest = max(len(label) for row in golden.labels() for label in row)
  targets = np.stack([padded(row, longest) for row in golden.labels()])
  # What follows its beginning is left of every prompt, also of short ones.
  texts = [text for text in golden.prompts() if len(text) > beginning]
  rows = [len(text) > beginning for text in golden.prompts()]
  encoded = ()
  if beginning:
    encoded = apply(
      model, params, prompts[rows][:, :beginning], method='encode'
    )
  hidden = apply(
    model,
    params,
    encoded,
    np.full(len(texts), beginning),
    padded([text[beginning:] for text in texts]),
    targets[rows],
    method='read_prompts_and_targets',
  )
  logits = apply(model, params, hidden, method='logits')
  chosen = np.take_along_axis(
    np.asarray(jax.nn.log_softmax(logits)),
    np.maximum(targets[rows], 0)[..., None],
    axis=-1,
  )[..., 0]
  np.testing.assert_allclose(
    np.where(targets[rows] == PAD, 0, chosen).sum(-1),
    reference['scores'][rows],
    atol=1e-4,
    rtol=0,
  )


@variants
def test_a_shared_beginning_is_read_like_one_for_each_prompt(variant):
  model, params, _ = golden_model(variant)
  text = max(golden.prompts(), key=len)
  (shared,) = apply(model, params, np.array([text]), method='encode')
  alone = jax.tree.map(lambda array: np.repeat(array, 3, axis=0), shared)
  # The last one sees nothing of it.
  lengths = np.array([len(text), len(text) - 2, 0])
  rests = padded([[9, 7], [5], [6, 8, 4]])
  targets = np.array([[[3, 4, 1], [7, 1, PAD]]] * 3)
  found, expected = [], []
  for beginning, results in (((shared,), found), ((alone,), expected)):
    settings = model, params, beginning, lengths
    extended = apply(*settings, rests, method='extend')
    appended = model.append(beginning, lengths, extended, length=len(text) + 3)
    read = apply(*settings, rests, targets, method='read_prompts_and_targets')
    results += jax.tree.leaves((extended, appended, read))
  for ours, theirs in zip(found, expected, strict=True):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize('variant', ['qwen2', 'gemma3'])
def test_rows_of_one_prompt_share_its_cache(variant):
  model, params, _ = golden_model(variant)
  prompts = padded(golden.prompts()[3:6])
  _, first, alone = start(model, params, prompts, 3)
  _, _, shared = start(model, params, prompts, 3, rows=2)
  # The second row of each prompt goes another way after the first step.
  tokens = np.stack([first, first], axis=1)  # [B, 2]
  for step in range(3):
    expected = []
    for column in range(2):
      if column == 0:
        logits, alone_next = apply(
          model, params, tokens[:, 0], alone, step, method='decode_step'
        )
        expected.append(logits)
    logits, shared = apply(
      model, params, tokens.reshape(-1), shared, step, method='decode_step'
    )
    np.testing.assert_allclose(logits[::2], expected[0], atol=1e-5, rtol=0)
    alone = alone_next
    if step:
      assert np.abs(np.asarray(logits[1::2] - logits[::2])).max() > 1e-3
    tokens = np.stack([np.full(3, 7 + step), np.full(3, 9 + step)], axis=1)


@pytest.mark.parametrize('variant', ['llama', 'gemma2'])
def test_texts_packed_in_a_row_do_not_see_each_other(variant):
  model, params, _ = golden_model(variant)
  first, second = golden.prompts()[6:8]
  packed = np.concatenate([first, second])[None]
  segments = np.array([[1] * len(first) + [2] * len(second)])
  positions = np.array([[*range(len(first)), *range(len(second))]])
  logits = apply(model, params, packed, segments, positions)[0]
  for text, part in (
    (first, logits[: len(first)]),
    (second, logits[len(first) :]),
  ):
    expected = apply(model, params, text[None])[0]
    np.testing.assert_allclose(part, expected, atol=1e-5, rtol=0)


def test_hidden_keys_of_a_prompt_are_not_computed(monkeypatch):
  model, params, _ = golden_model('llama')

  def num_flops():
    jax.clear_caches()  # Layers that are traced already.
    encode = jax.jit(functools.partial(model.apply, method='encode'))
    program = encode.lower({'params': params}, np.full((1, 9), 5)).compile()
    return program.cost_analysis()['flops']

  whole = num_flops()
  monkeypatch.setattr(dot_product_attention, '_SHORTEST_CAUSAL_BLOCK', 3)
  assert num_flops() < whole


def test_encoded_parts_of_other_lengths_are_joined():
  model, params, _ = golden_model('llama')
  prompts = padded([golden.prompts()[8], golden.prompts()[2]])
  whole, _, _ = start(model, params, prompts, 1)
  parts = [
    apply(model, params, rows, method='encode')
    for rows in (prompts[:1], prompts[1:, :3])
  ]
  joined = model.join(parts, length=prompts.shape[1])
  (whole,), (joined,) = whole, joined
  for name, axis in (('keys', 2), ('values', 1)):
    for expected, actual in zip(
      getattr(whole, name), getattr(joined, name), strict=True
    ):
      np.testing.assert_allclose(actual[0], expected[0], atol=1e-6, rtol=0)
      # Beyond a prompt's own tokens nothing is read.
      short, padding = np.split(np.asarray(actual[1]), [3], axis=axis)
      of_whole = np.split(np.asarray(expected[1]), [3], axis=axis)[0]
      np.testing.assert_allclose(short, of_whole, atol=1e-6, rtol=0)
      assert not padding.any()


@pytest.mark.parametrize(
  'changes',
  [
    {'scan_layers': True},
    {'remat_policy': 'full'},
    {'remat_policy': 'minimal', 'scan_layers': True},
  ],
  ids=str,
)
@pytest.mark.parametrize('variant', ['olmo2', 'gemma3'])
def test_gradients_do_not_depend_on_how_layers_are_run(variant, changes):
  model, params, _ = golden_model(variant)
  other = DecoderLM(type(model.config)(**{**vars(model.config), **changes}))
  tokens = golden.prompts()[13][None]

  def gradients(model):
    return jax.jit(
      jax.grad(lambda params: model.apply({'params': params}, tokens).var())
    )(params)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4),
    gradients(model),
    gradients(other),
  )


def test_initial_parameters_are_those_of_the_table_on_any_mesh():
  config = DecoderConfig(
    vocab_size=64,
    emb_dim=16,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_layers=2,
    norm_place='around',
    norm_offset=1.0,
    qk_norm='full',
    qkv_bias=True,
  )
  model = DecoderLM(config)
  params = partitioning.init_params(
    model=model, seed=0, mesh=partitioning.make_mesh()
  )
  flat = traverse_util.flatten_dict(params, sep='/')
  assert flat.keys() == decoder_names.tensors(config).keys()
  # 1 + scale is 1.
  assert not np.asarray(flat['decoder/decoder_norm/scale']).any()
  assert not np.asarray(flat['decoder/layers_0/self_attention/key/bias']).any()


def test_padding_and_id_0_are_told_apart():
  model, params, _ = golden_model('llama')
  prompts = padded([[0, 5, 0], [0]])
  _, first, cache = start(model, params, prompts, 1)
  assert np.asarray(first).tolist() == [0, 0]
  assert np.asarray(cache.prompt_lengths).tolist() == [2, 0]
  logits, _ = apply(model, params, first, cache, 0, method='decode_step')
  expected = apply(model, params, np.array([[0]]))[0, 0]
  np.testing.assert_allclose(logits[1], expected, atol=1e-5, rtol=0)


def test_segments_and_positions_come_together():
  model, params, _ = golden_model('llama')
  with pytest.raises(ValueError, match='decoder_positions, or neither'):
    model.apply(
      {'params': params}, np.zeros((1, 2), np.int32), np.ones((1, 2), np.int32)
    )
