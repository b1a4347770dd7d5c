"""Tests of beam search, against a search of everything and peers."""

import functools
import itertools

import hf_models
import jax
import numpy as np
import pytest

from it_study.inference import label_trie
from it_study.inference.beam import STYLES, beam_decode
from it_study.inference.token_loop import decode_tokens
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config

MODEL = T5(
  T5Config(
    vocab_size=5,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=2,
  )
)
PROMPTS = np.array(
  [[2, 3, 4, 3, 1], [4, 3, 1, 0, 0], [4, 1, 0, 0, 0], [2, 2, 2, 4, 1]],
  np.int32,
)
ROOM = 4
styles = pytest.mark.parametrize('style', STYLES)


@pytest.fixture(name='params', scope='module')
def _params():
  params = partitioning.init_params(
    model=MODEL, seed=0, mesh=partitioning.make_mesh()
  )
  # Scores far apart, and prompts that matter.
  return jax.tree.map(lambda leaf: 1.7 * leaf, params)


def decode(params, prompts=PROMPTS, **settings):
  return np.asarray(
    beam_decode(
      model=MODEL,
      params=params,
      encoder_input_tokens=prompts,
      **{'max_decode_length': ROOM, **settings},
    )
  )


@styles
def test_any_of_several_tokens_ends_a_sequence(params, style):
  # All tokens but 0 end: the best one alone, whatever its length.
  decoded = decode(params, style=style, eos_id=1, other_ends=(2, 3, 4))
  assert ((decoded == 0) | (decoded == 1)).all()
  assert (decoded == 1).any()


@functools.cache
def sequences():
  """All of at most ROOM tokens with an end, and all of ROOM without."""
  going = [t for t in range(MODEL.config.vocab_size) if t != 1]
  ended = [
    (*tokens, 1)
    for length in range(ROOM)
    for tokens in itertools.product(going, repeat=length)
  ]
  return ended, list(itertools.product(going, repeat=ROOM))


def likelihoods(params, candidates):
  """Log-likelihood of each sequence after each prompt."""
  targets = np.zeros((len(candidates), ROOM), np.int32)
  for row, tokens in enumerate(candidates):
    targets[row, : len(tokens)] = tokens
  shifted = np.pad(targets[:, :-1], ((0, 0), (1, 0)))
  real = np.arange(ROOM) < np.array([[len(tokens)] for tokens in candidates])
  decoded = []
  for prompt in PROMPTS:
    logits = MODEL.apply(
      {'params': params},
      np.tile(prompt, (len(candidates), 1)),
      shifted,
      np.ones_like(targets),
    )
    chosen = np.take_along_axis(
      np.asarray(jax.nn.log_softmax(logits)), targets[..., None], axis=-1
    )[..., 0]
    decoded.append(np.where(real, chosen, 0.0).sum(axis=-1))
  return np.stack(decoded)


@styles
@pytest.mark.parametrize('alpha', [0.0, 0.6, 2.0])
def test_a_beam_of_everything_finds_the_best_of_all(params, style, alpha):
  ended, unended = sequences()
  candidates = ended if style == 't5x' else ended + unended
  length = np.array([len(tokens) for tokens in candidates], np.float64)
  penalty = (5 + length) / 6 if style == 't5x' else length
  scores = likelihoods(params, candidates) / penalty**alpha
  # As many beams as there are unended sequences at the last step.
  decoded = decode(params, num_beams=4**ROOM, length_alpha=alpha, style=style)
  for row in range(len(PROMPTS)):
    best = candidates[int(np.argmax(scores[row]))]
    assert decoded[row].tolist() == [*best, *[0] * (ROOM - len(best))]


@styles
def test_one_beam_is_greedy(params, style):
  greedy = np.asarray(
    decode_tokens(
      model=MODEL,
      params=params,
      encoder_input_tokens=PROMPTS,
      max_decode_length=9,
    )
  )
  # Without ends: in T5X even a second-best end ends a beam.
  result = decode(
    params, num_beams=1, max_decode_length=9, style=style, eos_id=-1
  )
  plain = np.asarray(
    decode_tokens(
      model=MODEL,
      params=params,
      encoder_input_tokens=PROMPTS,
      max_decode_length=9,
      eos_id=-1,
    )
  )
  np.testing.assert_array_equal(result, plain)
  if style == 'transformers':
    decoded = decode(params, num_beams=1, max_decode_length=9, style=style)
    np.testing.assert_array_equal(decoded, greedy)


@styles
def test_a_row_does_not_depend_on_the_others_or_on_padding(params, style):
  whole = decode(params, num_beams=3, style=style)
  longer = np.pad(PROMPTS, ((0, 2), (0, 6)))
  padded = decode(params, longer, num_beams=3, style=style)
  np.testing.assert_array_equal(padded[:4], whole)
  assert not padded[4:].any()
  for row in range(len(PROMPTS)):
    alone = decode(params, PROMPTS[row : row + 1], num_beams=3, style=style)
    np.testing.assert_array_equal(alone[0], whole[row])


@styles
def test_constrained_beam_finds_the_best_label(params, style):
  spaces = [
    [(2, 1), (3, 3, 1), (4, 2, 1)],
    [(4, 4, 4, 1)],
    [],
    [(3, 1), (3, 2, 1), (2, 2, 2, 1), (4, 1)],
  ]
  trie, roots = label_trie.build(spaces)
  decoded = decode(
    params,
    num_beams=6,
    length_alpha=0.0,
    style=style,
    trie=trie,
    roots=np.array(roots, np.int32),
  )
  free = decode(params, num_beams=6, length_alpha=0.0, style=style)
  np.testing.assert_array_equal(decoded[2], free[2])
  for row in (0, 1, 3):
    scores = likelihoods(params, spaces[row])[row]
    best = spaces[row][int(np.argmax(scores))]
    assert decoded[row].tolist() == [*best, *[0] * (ROOM - len(best))]
  # Without an unrestricted row, only allowed tokens are considered.
  result = decode(
    params,
    PROMPTS[[0, 1, 3]],
    num_beams=6,
    length_alpha=0.0,
    style=style,
    trie=trie,
    roots=np.array(roots, np.int32)[[0, 1, 3]],
  )
  np.testing.assert_array_equal(result, decoded[[0, 1, 3]])


@styles
@pytest.mark.parametrize('num_beams', [1, 2])
def test_few_beams_stay_in_the_label_space(params, style, num_beams):
  spaces = [[(2, 3, 4, 1), (2, 3, 3, 1)], [(3, 1), (4, 4, 4, 1)]] * 2
  trie, roots = label_trie.build(spaces)
  decoded = decode(
    params,
    num_beams=num_beams,
    style=style,
    trie=trie,
    roots=np.array(roots, np.int32),
  )
  for tokens, labels in zip(decoded, spaces, strict=True):
    assert tuple(t for t in tokens.tolist() if t) in labels


@pytest.mark.parametrize('variant', hf_models.VARIANTS)
@pytest.mark.parametrize('alpha', [0.0, 1.0, 2.0])
def test_tokens_are_those_of_transformers(tmp_path, variant, alpha):
  pytest.importorskip('torch', reason='needs the parity extra')
  pytest.importorskip('transformers', reason='needs the parity extra')
  theirs, model, params = hf_models.both(variant, tmp_path)
  prompts = hf_models.golden.mixed_prompts(200)
  for num_beams in (1, 4):
    np.testing.assert_array_equal(
      as_transformers(model, params, prompts, num_beams, alpha),
      hf_models.golden.generate(
        theirs, prompts, num_beams=num_beams, length_penalty=alpha
      ),
    )


@pytest.mark.parametrize('variant', hf_models.VARIANTS)
@pytest.mark.parametrize(('name', 'num_beams'), [('greedy', 1), ('beam', 4)])
def test_tokens_are_those_recorded_from_transformers(variant, name, num_beams):
  golden = hf_models.golden
  model, params = hf_models.ours(golden.PATH / variant)
  prompts = golden.mixed_prompts(golden.NUM_PROMPTS)
  # Optimised as for users: in one row, rounding in unoptimised code decides a
  # tie the other way.
  decode = jax.jit(
    lambda *given: as_transformers(model, *given, num_beams, 1.0),
    compiler_options={'xla_backend_optimization_level': 3},
  )
  expected = np.load(golden.PATH / f'{variant}_{name}.npy')
  np.testing.assert_array_equal(decode(params, prompts), expected)


def as_transformers(model, params, prompts, num_beams, alpha):
  settings = {
    'model': model,
    'params': params,
    'encoder_input_tokens': prompts,
    'max_decode_length': hf_models.golden.ROOM,
  }
  if num_beams == 1:
    return decode_tokens(**settings)
  return beam_decode(
    num_beams=num_beams, length_alpha=alpha, style='transformers', **settings
  )
