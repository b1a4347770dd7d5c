"""A T5 in Flax: its layers, their initialization and placement on a mesh.

Array shapes are jaxtyping annotations, which only the tests check. A letter
means the same in `it_study.models`, `it_study.inference` and
`it_study.training.losses`:

  B batch rows, one prompt each            V vocab_size
  L length of a prompt or any sequence     E emb_dim
  T length of a target                     H num_heads
  S decoding steps that fit the cache      D head_dim
  Q query length                           M mlp_dim
  K key length                             W num_beams
  R decoded rows per prompt                Y labels of a prompt
  N decoded rows, R for each of B          X nodes of a label trie
                                           C choices at a trie node
"""

import jax
import numpy as np

# What functions accept that may be called outside jit.
AnyArray = jax.Array | np.ndarray
