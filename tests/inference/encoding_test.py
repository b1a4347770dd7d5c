"""Tests that encoding in parts gives the same as the whole batch at once."""

import jax
import numpy as np

from it_study.inference.beam import beam_decode
from it_study.inference.encoding import encode, whole
from it_study.inference.label_scores import score_labels
from it_study.inference.token_loop import decode_tokens
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config

# vocab_size, emb_dim, num_heads, head_dim, mlp_dim, number of layers.
MODEL = T5(T5Config(29, 16, 2, 8, 32, 2, 1))
PROMPTS = np.array(
  [
    [5, 6, 7, 8, 9, 1],
    [9, 3, 4, 2, 1, 0],
    [4, 1, 0, 0, 0, 0],
    [7, 1, 0, 0, 0, 0],
  ],
  np.int32,
)


def test_parts_give_the_same_result_as_the_whole_batch():
  params = partitioning.init_params(
    model=MODEL, seed=0, mesh=partitioning.make_mesh()
  )
  encoded = encode(
    model=MODEL,
    params=params,
    parts=[whole(PROMPTS[:2]), whole(PROMPTS[2:, :3])],
    length=6,
  )
  expected = jax.jit(
    lambda tokens: MODEL.apply({'params': params}, tokens, method='encode')
  )(PROMPTS)
  seen = PROMPTS > 0
  np.testing.assert_allclose(
    encoded[seen], expected[seen], rtol=1e-5, atol=1e-6
  )
  assert not encoded[2:, 3:].any()
  settings = {'model': MODEL, 'params': params, 'encoder_input_tokens': PROMPTS}
  for decode in (decode_tokens, beam_decode):
    np.testing.assert_array_equal(
      decode(**settings, max_decode_length=7, encoded=encoded),
      decode(**settings, max_decode_length=7),
    )
  labels = np.array([[[5, 1], [6, 0]]] * len(PROMPTS), np.int32)
  np.testing.assert_allclose(
    score_labels(**settings, labels=labels, encoded=encoded),
    score_labels(**settings, labels=labels),
    rtol=1e-5,
  )


def test_one_part_of_full_length_is_returned_as_it_is():
  params = partitioning.init_params(
    model=MODEL, seed=1, mesh=partitioning.make_mesh()
  )
  encoded = encode(model=MODEL, params=params, parts=[whole(PROMPTS)], length=6)
  assert encoded.shape == (4, 6, 16)
