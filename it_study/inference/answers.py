"""Answers prompts by free, constrained or ranked decoding, through a cache."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
import logging
import os
from typing import Any, NamedTuple

from jaxtyping import Int
import numpy as np
import seqio

from it_study import distributed
from it_study.data import vocabularies
from it_study.data.vocabularies import Decoded
from it_study.inference import (
  label_spaces as label_spaces_lib,
  param_hash,
  prompt_batches,
)
from it_study.inference.answer_store import AnswerStore
from it_study.inference.decoding import Decoding
from it_study.inference.label_spaces import Labels
from it_study.inference.prompt_batches import Batch, LoadedModel
from it_study.models import ModelConfig

# Part of what an answer depends on; raised whenever decoding changes. Version 1
# also kept answers from logits that were not finite; version 2 kept no raw
# texts.
_VERSION = 3
# Settings of the model that do not change its answers, given its parameters.
_WITHOUT_EFFECT = (
  'dropout_rate',
  'remat_policy',
  'scan_layers',
  'attention_implementation',
)

_logger = logging.getLogger(__name__)


class Answer(NamedTuple):
  """A predicted text.

  Attributes:
    text: Text without special and unknown tokens.
    raw: Text with them; None if there are none.
    scores: Log-likelihoods of the labels in nats, if they are ranked.
  """

  text: str
  raw: str | None = None
  scores: dict[str, float] | None = None


@dataclasses.dataclass
class Count:
  """Progress of answering.

  Attributes:
    total: Number of rows to answer.
    done: Number of rows answered so far.
    kept: Number of answered rows whose answer was cached.
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

  Ranked answers are labels, spelled as in their label space. Answers are cached
  batch by batch, by everything that they depend on: prompt, labels, parameters,
  vocabulary, method and its settings. Rows with the same prompt are computed
  once.

  Args:
    rows: Rows from `prediction_rows.load_instances`.
    decoding: Decoding method and settings; see `label_spaces.rank` for ranked
      methods.
    loaded: Model to answer with.
    store_directory: Folder of the answer cache; None for no cache on disk. With
      several processes, the first one's folder is used.
    on_progress: Function called with the number of answered and of all rows.

  Returns:
    The answers, empty in processes other than the first; and the progress,
    which says how many answers were cached.

  Raises:
    InputError: If a label cannot be represented, or the folder cannot be used.
  """
  prompts = [row['inputs'] for row in rows]
  spaces: list[Labels] = [{}] * len(rows)
  if decoding.is_constrained or decoding.is_ranked:
    spaces = label_spaces_lib.encode(
      rows,
      vocabulary=loaded.vocabulary,
      max_length=loaded.max_decode_length,
      on_unspellable=decoding.unspellable_labels,
    )
  count = Count(total=len(rows))
  cache = _AnswerCache(loaded, decoding, store_directory, count, on_progress)
  decoded: dict[int, Decoded] = {}
  scores: dict[int, dict[str, float]] = {}
  priors: dict[int, dict[str, float]] = {}
  unconstrained = [k for k in range(len(rows)) if not spaces[k]]
  constrained = [k for k in range(len(rows)) if spaces[k]]
  decoded |= cache.decode(unconstrained, prompts, None)
  if decoding.is_ranked:
    scores = cache.score(constrained, prompts, spaces)
    if decoding.method == 'ranked_conditional':
      no_prompts = [no_prompt(loaded.vocabulary)] * len(rows)
      priors = cache.score(constrained, no_prompts, spaces, is_prior=True)
  else:
    decoded |= cache.decode(constrained, prompts, spaces)
  if not distributed.is_first():
    return [], count
  answered = {k: Answer(*value) for k, value in decoded.items()}
  if decoding.is_constrained:
    for place in constrained:
      label = label_spaces_lib.label_of(
        decoded[place], spaces[place], vocabulary=loaded.vocabulary
      )
      if label is not None:
        answered[place] = answered[place]._replace(text=label)
  for place, row_scores in scores.items():
    label = label_spaces_lib.rank(
      spaces[place], row_scores, by=decoding.method, prior=priors.get(place)
    )
    answered[place] = Answer(label, scores=row_scores)
  return [answered[place] for place in range(len(rows))], count


def no_prompt(vocabulary: seqio.Vocabulary) -> Int[np.ndarray, '1']:
  """Returns the prompt for scores without a prompt.

  It is an empty one: its end of sequence, or the token that begins a text.
  """
  begin = None if vocabularies.ends_inputs(vocabulary) else vocabulary.bos_id
  return np.array([vocabulary.eos_id if begin is None else begin], np.int32)


def identify(
  params: Any, config: ModelConfig, vocabulary: seqio.Vocabulary
) -> dict[str, Any]:
  """Returns what answers depend on of a model, as JSON-serialisable values."""
  fields = dataclasses.asdict(config)
  for name in _WITHOUT_EFFECT:
    del fields[name]
  return {
    'params': param_hash.fingerprint(params),
    'model': fields,
    'vocabulary': vocabularies.fingerprint(vocabulary),
  }


class _AnswerCache:
  """Computes answers through the cache, for some of the rows at a time."""

  def __init__(
    self,
    loaded: LoadedModel,
    decoding: Decoding,
    directory: str | os.PathLike | None,
    count: Count,
    on_progress: Callable[[int, int], None] | None,
  ):
    self._loaded = loaded
    self._decoding = decoding
    self._directory = directory
    self._count = count
    self._on_progress = on_progress
    self._model = {
      'version': _VERSION,
      **identify(loaded.params, loaded.model.config, loaded.vocabulary),
    }

  def decode(
    self,
    places: Sequence[int],
    prompts: Sequence[Int[np.ndarray, ' _']],
    spaces: Sequence[Labels] | None,
  ) -> dict[int, Decoded]:
    """Returns answers by row, restricted to label spaces if there are any."""
    method = self._decoding.free_method
    vocabulary = self._loaded.vocabulary

    def compute(chosen: list[int]) -> Iterator[Batch]:
      for indices, rows in prompt_batches.decode(
        self._loaded,
        prompts=[prompts[k] for k in chosen],
        decoding=self._decoding,
        method=method,
        label_spaces=spaces and [spaces[k] for k in chosen],
      ):
        yield (
          indices,
          [_stored(vocabularies.decode(vocabulary, tokens)) for tokens in rows],
        )

    settings = {
      'method': method,
      'is_constrained': spaces is not None,
      'max_decode_length': self._loaded.max_decode_length,
      **self._decoding.settings(method),
    }
    keys = {
      k: _key(prompts[k], () if spaces is None else spaces[k].values())
      for k in places
    }
    found = self._through(settings, keys, compute)
    return {place: _restored(value) for place, value in found.items()}

  def score(
    self,
    places: Sequence[int],
    prompts: Sequence[Int[np.ndarray, ' _']],
    spaces: Sequence[Labels],
    *,
    is_prior: bool = False,
  ) -> dict[int, dict[str, float]]:
    """Returns labels' log-likelihoods by row; priors are not progress."""

    def compute(chosen: list[int]) -> Iterator[Batch]:
      yield from prompt_batches.score(
        self._loaded,
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
    """Returns answers by row, computing and storing those not yet cached."""
    if not keys:
      return {}
    store = AnswerStore(
      self._directory if distributed.is_first() else None,
      settings={**self._model, **settings},
    )
    is_hit = distributed.agree_on(
      np.array([key in store for key in keys.values()])
    )
    num_hits = int(is_hit.sum())
    places_of: dict[str, list[int]] = {}
    for (place, key), hit in zip(keys.items(), is_hit, strict=True):
      if not hit:
        places_of.setdefault(key, []).append(place)
    _logger.info(
      'Answer cache (%s): %d hits, %d misses (%d distinct).',
      settings['method'],
      num_hits,
      len(keys) - num_hits,
      len(places_of),
    )
    if is_counted:
      self._count.kept += num_hits
      self._advance(num_hits)
    chosen = [places[0] for places in places_of.values()]
    for indices, values in compute(chosen):
      answers = {
        keys[chosen[index]]: value
        for index, value in zip(indices, values, strict=True)
      }
      store.commit(answers)
      if is_counted:
        self._advance(sum(len(places_of[key]) for key in answers))
      distributed.exit_if_preempted()
    if not distributed.is_first():
      return {}
    return {place: store[key] for place, key in keys.items()}

  def _advance(self, number: int) -> None:
    self._count.done += number
    if self._on_progress is not None and number:
      self._on_progress(self._count.done, self._count.total)


def _stored(decoded: Decoded) -> str | list[str]:
  """Returns the value that the cache holds: a text, or text and raw text."""
  if decoded.raw is None:
    return decoded.text
  return [decoded.text, decoded.raw]


def _restored(value: str | list[str]) -> Decoded:
  return Decoded(value, None) if isinstance(value, str) else Decoded(*value)


def _key(
  prompt: Int[np.ndarray, ' L'],
  labels: Iterable[Sequence[int]],
  names: Iterable[str] = (),
) -> str:
  """Returns a hash of a prompt and its labels."""
  content = json.dumps(
    [prompt.tolist(), [list(label) for label in labels], list(names)]
  )
  return hashlib.sha256(content.encode()).hexdigest()[:32]
