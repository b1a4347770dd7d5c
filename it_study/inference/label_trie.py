"""Label spaces as a trie of tokens that a decoding loop can follow.

Shape letters, as in `it_study.models`:
  B rows     V vocab_size     X nodes     C choices
"""

from collections.abc import Iterable, Sequence
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int, Int32
import numpy as np

from it_study.models import AnyArray

# Node of rows without a label space.
FREE = 0
_NO_TOKEN = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LabelTrie:
  """Tries of several label spaces in the same two tables; a pytree.

  A node stands for the beginning of a label. Both tables are padded to powers
  of two, so that few distinct shapes are compiled.

  Attributes:
    tokens: Tokens that may come next, ascending, padded with -1.
    following: Node that each of these tokens leads to.
  """

  tokens: Int32[AnyArray, 'X C']
  following: Int32[AnyArray, 'X C']


def build(
  label_spaces: Iterable[Sequence[Sequence[int]]],
) -> tuple[LabelTrie, list[int]]:
  """Builds the trie of label spaces, and returns the root node of each.

  Args:
    label_spaces: Label spaces, each a sequence of labels as tokens with the end
      of sequence. An empty one allows any answer.

  >>> trie, roots = build([[[7, 1], [7, 8, 1]], []])
  >>> roots, trie.tokens[roots[0]].tolist(), trie.tokens[2].tolist()
  ([1, 0], [7, -1], [1, 8])
  """
  children: list[dict[int, int]] = [{}]
  roots = []
  for labels in label_spaces:
    if not labels:
      roots.append(FREE)
      continue
    roots.append(len(children))
    children.append({})
    for label in labels:
      node = roots[-1]
      for token in label:
        if token not in children[node]:
          children[node][token] = len(children)
          children.append({})
        node = children[node][token]
  shape = (
    power_of_two(len(children)),
    # At least 2, because a beam search needs twice as many candidates as beams.
    power_of_two(max(2, *map(len, children))),
  )
  tokens = np.full(shape, _NO_TOKEN, np.int32)
  following = np.zeros(shape, np.int32)
  for node, choices in enumerate(children):
    for place, token in enumerate(sorted(choices)):
      tokens[node, place] = token
      following[node, place] = choices[token]
  return LabelTrie(tokens, following), roots


def choose(
  trie: LabelTrie, nodes: Int[Array, ' B'], logits: Float32[Array, 'B V']
) -> tuple[Int32[Array, ' B'], Int32[Array, ' B']]:
  """Returns the most likely allowed token of each row, and the node after it.

  Of equally likely tokens it takes the smallest.

  Args:
    trie: Label spaces of all rows.
    nodes: Current node of each row.
    logits: Logits of the next token.
  """
  scores, allowed = allowed_scores(trie, nodes, logits)
  choice = jnp.argmax(scores, axis=-1)[:, None]  # [B, 1]
  token = jnp.take_along_axis(allowed, choice, axis=-1)[:, 0]
  after = jnp.take_along_axis(trie.following[nodes], choice, axis=-1)[:, 0]
  free = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  is_free = nodes == FREE
  return jnp.where(is_free, free, token), jnp.where(is_free, FREE, after)


def allowed_scores(
  trie: LabelTrie, nodes: Int[Array, ' B'], scores: Float32[Array, 'B V']
) -> tuple[Float32[Array, 'B C'], Int32[Array, 'B C']]:
  """Returns the scores and ids of the tokens that each row's node allows.

  Args:
    trie: Label spaces of all rows.
    nodes: Current node of each row, other than `FREE`.
    scores: Scores of the whole vocabulary.

  Returns:
    Scores and tokens, by token; -inf and 0 for a row's missing choices.
  """
  allowed = trie.tokens[nodes]
  tokens = jnp.maximum(allowed, 0)
  gathered = jnp.take_along_axis(scores, tokens, axis=-1)
  return jnp.where(allowed == _NO_TOKEN, -jnp.inf, gathered), tokens


def mask(
  trie: LabelTrie, nodes: Int[Array, ' B'], scores: Float32[Array, 'B V']
) -> Float32[Array, 'B V']:
  """Sets the scores of tokens that a row's node does not allow to -inf."""
  rows, size = scores.shape
  allowed = trie.tokens[nodes]  # [B, C]
  # The padding is written past the end, which drops it.
  allowed = jnp.where(allowed == _NO_TOKEN, size, allowed)
  is_allowed = jnp.zeros((rows, size), bool)
  is_allowed = is_allowed.at[jnp.arange(rows)[:, None], allowed].set(
    True, mode='drop'
  )
  return jnp.where(is_allowed | (nodes == FREE)[:, None], scores, -jnp.inf)


def follow(
  trie: LabelTrie,
  nodes: Int[Array, '*shape'],
  tokens: Int[Array, '*shape'],
) -> Int32[Array, '*shape']:
  """Returns the nodes that tokens lead to.

  A token that is not allowed leads to an arbitrary node; its sequence has a
  score of -inf.
  """
  choice = jnp.argmax(trie.tokens[nodes] == tokens[..., None], axis=-1)
  after = trie.following[nodes, choice]
  return jnp.where(nodes == FREE, FREE, after)


def power_of_two(number: int) -> int:
  """Returns the least power of two that is at least a positive number."""
  return 1 << max(number - 1, 0).bit_length()
