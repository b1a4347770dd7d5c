"""Answers to prompts: decoded freely, kept to the label space, or ranked."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
import os
from typing import Any, NamedTuple

import numpy as np

from it_study import distributed
from it_study.data import vocabularies
from it_study.inference import (
  label_spaces as label_spaces_lib,
  param_hash,
  prompt_batches,
)
from it_study.inference.answer_store import AnswerStore
from it_study.inference.decoding import Decoding
from it_study.inference.label_spaces import Labels
from it_study.inference.prompt_batches import Batch, LoadedModel
from it_study.models.config import T5Config

# What a prompt is without a prompt: the end of an empty one.
NO_PROMPT = np.array([1], np.int32)
# Part of what an answer depends on; counted up when decoding changes.
_VERSION = 1
# Of the model's settings those that say how it trains or is computed; the same
# parameters answer the same under any of them.
_WITHOUT_EFFECT = (
  'dropout_rate',
  'remat_policy',
  'scan_layers',
  'attention_implementation',
)


class Answer(NamedTuple):
  """A prediction's text, and its labels' log-likelihoods where ranked."""

  text: str
  scores: dict[str, float] | None


@dataclasses.dataclass
class Count:
  """How far answering has come.

  Attributes:
    total: rows to answer.
    done: of them.
    kept: of those done, the ones that were answered before.
  """

  total: int
  done: int = 0
  kept: int = 0


def answer(
  rows: Sequence[Mapping[str, Any]],
  *,
  decoding: Decoding,
  loaded: LoadedModel,
  store_directory: str | os.PathLike | None = None,
  on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Answer], Count]:
  """Answers every row, in order.

  A ranked answer is a label as it stands in its space. Answers are kept, a
  batch at a time, by all that they depend on: prompt, labels, parameters,
  vocabulary, method and its settings. What is kept is not computed again, and
  rows with the same prompt are answered together.

  Args:
    rows: from `prediction_rows.load_instances`.
    decoding: how; see `label_spaces.rank` for the ranked ones.
    machine: to answer on.
    store_directory: where answers are kept; None keeps none. Of several
      processes the first one's counts.
    on_progress: called with the number of rows done and of all.

  Returns:
    The answers, none of them in other processes than the first; and how many
    rows were answered before.

  Raises:
    InputError: for a label that cannot be said, or a folder that cannot be
      used.
  """
  prompts = [row['inputs'] for row in rows]
  spaces: list[Labels] = [{}] * len(rows)
  if decoding.is_constrained or decoding.is_ranked:
    spaces = label_spaces_lib.encode(
      rows,
      vocabulary=vocabularies.current_vocabulary(),
      max_length=loaded.max_decode_length,
    )
  count = Count(total=len(rows))
  keeper = _AnswerCache(loaded, decoding, store_directory, count, on_progress)
  texts: dict[int, str] = {}
  scores: dict[int, dict[str, float]] = {}
  priors: dict[int, dict[str, float]] = {}
  free = [k for k in range(len(rows)) if not spaces[k]]
  bound = [k for k in range(len(rows)) if spaces[k]]
  texts |= keeper.decode(free, prompts, None)
  if decoding.is_ranked:
    scores = keeper.score(bound, prompts, spaces)
    if decoding.method == 'ranked_conditional':
      no_prompts = [NO_PROMPT] * len(rows)
      priors = keeper.score(bound, no_prompts, spaces, is_prior=True)
  else:
    texts |= keeper.decode(bound, prompts, spaces)
  if not distributed.is_first():
    return [], count
  for place, of_row in scores.items():
    texts[place] = label_spaces_lib.rank(
      spaces[place], of_row, by=decoding.method, prior=priors.get(place)
    )
  return [Answer(texts[k], scores.get(k)) for k in range(len(rows))], count


def identify(params: Any, config: T5Config) -> dict[str, Any]:
  """What of a model its answers depend on, as JSON has it."""
  fields = dataclasses.asdict(config)
  for name in _WITHOUT_EFFECT:
    del fields[name]
  return {
    'params': param_hash.fingerprint(params),
    'model': fields,
    'vocabulary': vocabularies.fingerprint(),
  }


class _AnswerCache:
  """Answers through what is kept, for some of the rows at a time."""

  def __init__(
    self,
    loaded: LoadedModel,
    decoding: Decoding,
    directory: str | os.PathLike | None,
    count: Count,
    on_progress: Callable[[int, int], None] | None,
  ):
    self._machine = loaded
    self._decoding = decoding
    self._directory = directory
    self._count = count
    self._on_progress = on_progress
    self._model = {
      'version': _VERSION,
      **identify(loaded.params, loaded.model.config),
    }

  def decode(
    self,
    places: Sequence[int],
    prompts: Sequence[np.ndarray],
    spaces: Sequence[Labels] | None,
  ) -> dict[int, str]:
    """Texts by place, kept to label spaces where there are any."""
    method = self._decoding.free_method
    vocabulary = vocabularies.current_vocabulary()

    def compute(chosen: list[int]) -> Iterator[Batch]:
      for indices, rows in prompt_batches.decode(
        self._machine,
        prompts=[prompts[k] for k in chosen],
        decoding=self._decoding,
        method=method,
        label_spaces=spaces and [spaces[k] for k in chosen],
      ):
        yield (
          indices,
          [prompt_batches.to_text(vocabulary, tokens) for tokens in rows],
        )

    settings = {
      'method': method,
      'is_constrained': spaces is not None,
      'max_decode_length': self._machine.max_decode_length,
      **self._decoding.settings(method),
    }
    keys = {
      k: _key(prompts[k], () if spaces is None else spaces[k].values())
      for k in places
    }
    return self._through(settings, keys, compute)

  def score(
    self,
    places: Sequence[int],
    prompts: Sequence[np.ndarray],
    spaces: Sequence[Labels],
    *,
    is_prior: bool = False,
  ) -> dict[int, dict[str, float]]:
    """Labels' log-likelihoods by place; priors do not count as progress."""

    def compute(chosen: list[int]) -> Iterator[Batch]:
      yield from prompt_batches.score(
        self._machine,
        prompts=[prompts[k] for k in chosen],
        label_spaces=[spaces[k] for k in chosen],
      )

    keys = {
      k: _key(prompts[k], spaces[k].values(), spaces[k].keys()) for k in places
    }
    return self._through({'method': 'score'}, keys, compute, not is_prior)

  def _through(
    self,
    settings: dict[str, Any],
    keys: Mapping[int, str],
    compute: Callable[[list[int]], Iterator[Batch]],
    is_counted: bool = True,
  ) -> dict[int, Any]:
    """Answers by place: what is kept, and the rest computed and kept."""
    if not keys:
      return {}
    store = AnswerStore(
      self._directory if distributed.is_first() else None,
      settings={**self._model, **settings},
    )
    is_kept = distributed.agree_on(
      np.array([key in store for key in keys.values()])
    )
    places_of: dict[str, list[int]] = {}
    for (place, key), kept in zip(keys.items(), is_kept, strict=True):
      if not kept:
        places_of.setdefault(key, []).append(place)
    if is_counted:
      self._count.kept += int(is_kept.sum())
      self._advance(int(is_kept.sum()))
    chosen = [places[0] for places in places_of.values()]
    for indices, values in compute(chosen):
      answers = {
        keys[chosen[index]]: value
        for index, value in zip(indices, values, strict=True)
      }
      store.commit(answers)
      if is_counted:
        self._advance(sum(len(places_of[key]) for key in answers))
    if not distributed.is_first():
      return {}
    return {place: store[key] for place, key in keys.items()}

  def _advance(self, number: int) -> None:
    self._count.done += number
    if self._on_progress is not None and number:
      self._on_progress(self._count.done, self._count.total)


def _key(
  prompt: np.ndarray,
  labels: Iterable[Sequence[int]],
  names: Iterable[str] = (),
) -> str:
  """What an answer is the answer to, by its content."""
  content = json.dumps(
    [prompt.tolist(), [list(label) for label in labels], list(names)]
  )
  return hashlib.sha256(content.encode()).hexdigest()[:32]
