"""Label spaces as a trie of tokens that a decoding loop can follow."""

from collections.abc import Iterable, Sequence
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

# The node of rows that may say anything.
FREE = 0
_NO_TOKEN = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LabelTrie:
  """Tries of several label spaces, in the same two tables; a pytree.

  A node is how much of a label has been said. Both tables are padded to powers
  of two, so that other label spaces seldom make another program.

  Attributes:
    tokens: what may come next; int32 [nodes, choices], ascending, -1 where
      there are no more.
    following: the node after each of them; int32 [nodes, choices].
  """

  tokens: jax.Array | np.ndarray
  following: jax.Array | np.ndarray


def build(
  label_spaces: Iterable[Sequence[Sequence[int]]],
) -> tuple[LabelTrie, list[int]]:
  """Makes the trie of label spaces, and the node at which each begins.

  Args:
    label_spaces: for each, its labels as tokens, end of sequence included. An
      empty one may say anything.

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
    # Two at least: a beam search wants twice as many sequences as it has.
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
  trie: LabelTrie, nodes: jax.Array, logits: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The likeliest token that each row may say, and where that leads.

  Args:
    trie: of all rows' label spaces.
    nodes: int32 `[B]`, where each row stands.
    logits: float32 `[B, V]`.

  Returns:
    int32 `[B]` tokens, of equally likely ones the smallest, and nodes.
  """
  scores, allowed = allowed_scores(trie, nodes, logits)
  choice = jnp.argmax(scores, axis=-1)[:, None]  # [B, 1]
  token = jnp.take_along_axis(allowed, choice, axis=-1)[:, 0]
  after = jnp.take_along_axis(trie.following[nodes], choice, axis=-1)[:, 0]
  free = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  is_free = nodes == FREE
  return jnp.where(is_free, free, token), jnp.where(is_free, FREE, after)


def allowed_scores(
  trie: LabelTrie, nodes: jax.Array, scores: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """What each row may say at its node, which is not `FREE`.

  Args:
    trie: of all rows' label spaces.
    nodes: int32 `[B]`.
    scores: float32 `[B, V]`.

  Returns:
    Scores and int32 tokens, `[B, C]` each, by token; -inf and 0 where a row has
    fewer than C to choose from.
  """
  allowed = trie.tokens[nodes]
  tokens = jnp.maximum(allowed, 0)
  gathered = jnp.take_along_axis(scores, tokens, axis=-1)
  return jnp.where(allowed == _NO_TOKEN, -jnp.inf, gathered), tokens


def mask(trie: LabelTrie, nodes: jax.Array, scores: jax.Array) -> jax.Array:
  """Scores `[B, V]`, -inf for what a row at its node `[B]` may not say."""
  rows, size = scores.shape
  allowed = trie.tokens[nodes]  # [B, choices]
  # What stands for no token is written past the end, which drops it.
  allowed = jnp.where(allowed == _NO_TOKEN, size, allowed)
  may = jnp.zeros((rows, size), bool)
  may = may.at[jnp.arange(rows)[:, None], allowed].set(True, mode='drop')
  return jnp.where(may | (nodes == FREE)[:, None], scores, -jnp.inf)


def follow(trie: LabelTrie, nodes: jax.Array, tokens: jax.Array) -> jax.Array:
  """The nodes after `tokens`, of any shape that `nodes` has too.

  A token that may not be said there leads anywhere: whoever said it scores
  -inf.
  """
  choice = jnp.argmax(trie.tokens[nodes] == tokens[..., None], axis=-1)
  after = trie.following[nodes, choice]
  return jnp.where(nodes == FREE, FREE, after)


def power_of_two(number: int) -> int:
  """The least power of two that is not below a number from 1 up."""
  return 1 << max(number - 1, 0).bit_length()
