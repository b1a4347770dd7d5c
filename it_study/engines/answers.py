"""Answers to prompts: decoded freely, kept to the label space, or ranked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from it_study import vocabularies
from it_study.engines import label_spaces as label_spaces_lib
from it_study.engines import prompt_batches
from it_study.errors import InputError, nearest
from it_study.models.t5 import T5

# What a prompt is without a prompt: the end of an empty one.
_NO_PROMPT = np.array([1], np.int32)
DECODINGS = (
  'greedy',
  'constrained',
  'ranked',
  'ranked_normalized',
  'ranked_conditional',
)


class Answer(NamedTuple):
  """A prediction's text, and its labels' log-likelihoods where ranked."""

  text: str
  scores: dict[str, float] | None


def check_decoding(name: object) -> None:
  """Raises `InputError` for a decoding that there is not."""
  if name not in DECODINGS:
    raise InputError(
      f'DECODING is {name!r}; there are {", ".join(DECODINGS)}.'
      f'{nearest(str(name), DECODINGS)}'
    )


def answer(
  rows: Sequence[Mapping[str, Any]],
  *,
  decoding: str,
  model: T5,
  params: Any,
  mesh: jax.sharding.Mesh,
  lengths: Mapping[str, int],
  batch_size: int,
  on_progress: Callable[[int, int], None] | None,
) -> list[Answer]:
  """Answers every row, in order.

  Rows without a label space are decoded freely, whatever the decoding. A
  ranked answer is a label as it stands in its space.

  Args:
    rows: from `instances.load`.
    decoding: one of `DECODINGS`; see `label_spaces.rank` for the last three.
    model: the model.
    params: its parameters, on the mesh.
    mesh: of the devices.
    lengths: 'inputs' and 'targets', in tokens.
    batch_size: prompts at once.
    on_progress: called with the number of rows done and of all.

  Raises:
    InputError: for an unknown decoding, or a label that cannot be said.
  """
  check_decoding(decoding)
  shared = {
    'model': model,
    'params': params,
    'mesh': mesh,
    'max_length': lengths['inputs'],
    'batch_size': batch_size,
  }
  vocabulary = vocabularies.current_vocabulary()
  spaces = None
  if decoding != 'greedy':
    spaces = label_spaces_lib.encode(
      rows, vocabulary=vocabulary, max_length=lengths['targets']
    )
  is_ranked = decoding.startswith('ranked')
  ranked = [k for k in range(len(rows)) if is_ranked and spaces[k]]
  free = sorted(set(range(len(rows))) - set(ranked))
  answers: list[Answer | None] = [None] * len(rows)

  def report(before: int) -> Callable[[int, int], None] | None:
    if on_progress is None:
      return None
    return lambda done, total: on_progress(before + done, len(rows))

  if free:
    decoded = prompt_batches.decode(
      prompts=[rows[k]['inputs'] for k in free],
      max_decode_length=lengths['targets'],
      label_spaces=[spaces[k] for k in free]
      if decoding == 'constrained'
      else None,
      on_progress=report(0),
      **shared,
    )
    for place, tokens in zip(free, decoded, strict=True):
      text = prompt_batches.to_text(vocabulary, tokens)
      answers[place] = Answer(text, None)
  if ranked:
    scores = prompt_batches.score(
      prompts=[rows[k]['inputs'] for k in ranked],
      label_spaces=[spaces[k] for k in ranked],
      on_progress=report(len(free)),
      **shared,
    )
    priors = {}
    if decoding == 'ranked_conditional':
      unique = {tuple(spaces[k].items()): spaces[k] for k in ranked}
      found = prompt_batches.score(
        prompts=[_NO_PROMPT] * len(unique),
        label_spaces=list(unique.values()),
        on_progress=None,
        **shared,
      )
      priors = dict(zip(unique, found, strict=True))
    for place, of_row in zip(ranked, scores, strict=True):
      text = label_spaces_lib.rank(
        spaces[place],
        of_row,
        by=decoding,
        prior=priors.get(tuple(spaces[place].items())),
      )
      answers[place] = Answer(text, of_row)
  return answers
