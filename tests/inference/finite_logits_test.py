"""Tests of logits that are not finite, in every way of decoding."""

import jax
import numpy as np
import pytest
import seqio

from it_study.errors import InputError
from it_study.inference import label_trie, prompt_batches
from it_study.inference.beam import STYLES, beam_decode
from it_study.inference.decoding import Decoding
from it_study.inference.prompt_batches import LoadedModel
from it_study.inference.token_loop import NOT_FINITE, decode_tokens
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config

MODEL = T5(
  T5Config(
    vocab_size=29,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
)
# Only the second has the token 20; the last fills up the batch.
PROMPTS = np.array(
  [[5, 6, 7, 1], [20, 3, 1, 0], [4, 1, 0, 0], [0, 0, 0, 0]], np.int32
)
LABELS = {'a': (5, 1), 'b': (7, 8, 1)}
MESSAGE = (
  'the logits of 1 of 3 prompts are not finite (NaN or infinity), the first '
  'with 3 tokens: its activations overflow. Set DTYPE to float32, or use other '
  'weights.'
)
METHODS = (
  'greedy',
  'beam',
  'sample',
  'constrained',
  'constrained_beam',
)


@pytest.fixture(name='params', scope='module')
def _params():
  return partitioning.init_params(
    model=MODEL, seed=0, mesh=partitioning.make_mesh()
  )


def with_value(params, value):
  """Parameters in which one token's embedding has a value."""
  changed = jax.tree.map(lambda leaf: leaf, params)
  table = params['token_embedder']['embedding']
  changed['token_embedder']['embedding'] = table.at[20, 2].set(value)
  return changed


def run(params, method):
  """Decodes the prompts that are not padding."""
  loaded = LoadedModel(
    model=MODEL,
    params=params,
    mesh=partitioning.make_mesh(),
    vocabulary=seqio.ByteVocabulary(),
    max_length=4,
    max_decode_length=4,
    batch_size=4,
  )
  prompts = [prompt[prompt != 0] for prompt in PROMPTS[:3]]
  if method == 'ranked':
    batches = prompt_batches.score(
      loaded, prompts=prompts, label_spaces=[LABELS] * 3
    )
  else:
    decoding = Decoding(method=method)
    batches = prompt_batches.decode(
      loaded,
      prompts=prompts,
      decoding=decoding,
      method=decoding.free_method,
      label_spaces=[LABELS, LABELS, {}] if decoding.is_constrained else None,
    )
  return {
    index: row
    for indices, rows in batches
    for index, row in zip(indices, rows, strict=True)
  }


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize('method', [*METHODS, 'ranked'])
def test_a_prompt_whose_logits_are_not_finite_is_refused(params, method, value):
  assert len(run(params, method)) == 3
  # The model's logits come from another table.
  with pytest.raises(InputError) as caught:
    run(with_value(params, value), method)
  assert str(caught.value) == MESSAGE


def test_other_rows_are_decoded_as_before(params):
  trie, (root,) = label_trie.build([list(LABELS.values())])
  restricted = {
    'trie': trie,
    'roots': np.array([root, root, label_trie.FREE, label_trie.FREE]),
  }
  for limits in ({}, restricted):
    for decode, settings in (
      (decode_tokens, {}),
      *((beam_decode, {'style': style}) for style in STYLES),
    ):

      def decoded(changed, decode=decode, settings=settings, limits=limits):
        return np.asarray(
          decode(
            model=MODEL,
            params=changed,
            encoder_input_tokens=PROMPTS,
            max_decode_length=4,
            **settings,
            **limits,
          )
        )

      expected = decoded(params)
      found = decoded(with_value(params, np.nan))
      assert (expected >= 0).all()
      np.testing.assert_array_equal(found[[0, 2, 3]], expected[[0, 2, 3]])
      assert found[1, 0] == NOT_FINITE
