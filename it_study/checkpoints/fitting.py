"""What weights of any format are held to before a model takes them."""

from collections.abc import Collection

import numpy as np

# Said of a mismatch; the rest is counted.
_NAMES_SHOWN = 3
# Axis of the vocabulary.
_VOCABULARY_AXES = {
  'token_embedder/embedding': 0,
  'decoder/logits_dense/kernel': 1,
}


def listed(names: Collection[str]) -> str:
  """The first names of some, and a verb.

  >>> listed({'d', 'c', 'b', 'a'})
  'a, b, c and 1 more are'
  """
  if not names:
    return 'nothing is'
  shown = ', '.join(sorted(names)[:_NAMES_SHOWN])
  rest = len(names) - _NAMES_SHOWN
  if rest > 0:
    return f'{shown} and {rest} more are'
  return f'{shown} {"is" if len(names) == 1 else "are"}'


def fits(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
  """Whether a parameter can be filled up to the shape that is wanted."""
  if len(shape) != len(wanted):
    return False
  axis = _VOCABULARY_AXES.get(name)
  return all(
    found <= size if number == axis else found == size
    for number, (found, size) in enumerate(zip(shape, wanted, strict=True))
  )


def fill_vocabulary(
  name: str, value: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
  """Copies the last row of a table of tokens until there are enough.

  The model's vocabulary is rounded up; the last row is a sentinel's, and no
  padding can be likelier than that. Other parameters are returned as they are.

  Args:
    name: of the parameter.
    value: all of it: a part's last row is not the table's.
    shape: wanted.
  """
  if name not in _VOCABULARY_AXES or value.ndim != len(shape):
    return value
  axis = _VOCABULARY_AXES[name]
  lacking = shape[axis] - value.shape[axis]
  if lacking <= 0:
    return value
  last = np.take(value, [-1], axis=axis)
  return np.concatenate([value, np.repeat(last, lacking, axis=axis)], axis=axis)
