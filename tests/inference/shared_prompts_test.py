"""Tests that prompts which share their beginning get the same answers."""

import random

from decoder_golden_fixture import golden, golden_model
import numpy as np
import pytest
import seqio

from it_study.inference import encoding, label_scores, prompt_batches
from it_study.inference.decoding import Decoding
from it_study.inference.encoding import Beginning, find_beginnings
from it_study.models import partitioning

variants = pytest.mark.parametrize('variant', list(golden.VARIANTS))
# Of 3 tasks with prompts of two lengths, in no order, and one of its own.
_TASKS = ((20, 7, (1, 9, 3, 3, 6)), (11, 5, (2, 4)), (2, 8, (15, 1, 7)))


def prompts_of_tasks():
  draw = random.Random(0).choices
  prompts = [draw(range(3, 64), k=18)]
  for beginning, _, rests in _TASKS:
    start = draw(range(3, 64), k=beginning)
    prompts += [start + draw(range(3, 64), k=rest) for rest in rests]
  random.Random(1).shuffle(prompts)
  return [np.array(prompt, np.int32) for prompt in prompts]


def load(variant, *, batch_size):
  model, params, _ = golden_model(variant)
  return prompt_batches.LoadedModel(
    model=model,
    params=params,
    mesh=partitioning.make_mesh(),
    vocabulary=seqio.ByteVocabulary(),
    max_length=40,
    max_decode_length=6,
    batch_size=batch_size,
  )


def decode(loaded, **settings):
  decoding = Decoding(**settings)
  return gather(
    prompt_batches.decode(
      loaded,
      prompts=prompts_of_tasks(),
      decoding=decoding,
      method=decoding.method,
    )
  )


def score(loaded):
  prompts = prompts_of_tasks()
  spaces = [
    {'a': (5, 1), 'b': (7, 9, 1), 'c': (k % 60 + 3, 1)}
    for k in range(len(prompts))
  ]
  return gather(
    prompt_batches.score(loaded, prompts=prompts, label_spaces=spaces)
  )


def gather(batches):
  found = {}
  for indices, results in batches:
    found |= dict(zip(indices, results, strict=True))
  assert sorted(found) == list(range(len(prompts_of_tasks())))
  return [found[k] for k in sorted(found)]


def without_sharing(monkeypatch):
  monkeypatch.setattr(
    encoding,
    'find_beginnings',
    lambda prompts: [Beginning(k, 0) for k in range(len(prompts))],
  )


@variants
@pytest.mark.parametrize('batch_size', [4, 16])
def test_answers_and_scores_are_those_of_whole_prompts(
  variant, batch_size, monkeypatch
):
  loaded = load(variant, batch_size=batch_size)
  counted = []
  padded = encoding._padded_beginnings

  def count(part, *settings):
    counted.append(len(part.tokens))
    return padded(part, *settings)

  monkeypatch.setattr(encoding, '_padded_beginnings', count)
  shared = decode(loaded), score(loaded)
  assert sum(counted) >= 2 * sum(len(rests) for _, _, rests in _TASKS)
  without_sharing(monkeypatch)
  counted.clear()
  whole = decode(loaded), score(loaded)
  assert not counted
  np.testing.assert_array_equal(shared[0], whole[0])
  assert len({tuple(answer) for answer in whole[0]}) > 3
  for ours, theirs in zip(shared[1], whole[1], strict=True):
    assert ours == pytest.approx(theirs, abs=1e-5, rel=0)


def test_a_beginning_is_encoded_once_although_batches_divide_its_prompts(
  monkeypatch,
):
  loaded = load('llama', batch_size=4)
  encoded = []
  encode = prompt_batches._Encoder._beginning

  def record(encoder, tokens):
    encoded.append(len(tokens))
    return encode(encoder, tokens)

  monkeypatch.setattr(prompt_batches._Encoder, '_beginning', record)
  decode(loaded)
  assert sorted(encoded) == [2, 11, 20]
  encoded.clear()
  score(loaded)
  assert sorted(encoded) == [2, 11, 20]


@variants
def test_labels_are_scored_in_one_pass_as_after_encoded_prompts(
  variant, monkeypatch
):
  loaded = load(variant, batch_size=16)
  encoded = []
  gather_parts = encoding._gather

  def record(parts, **settings):
    encoded.append([len(part[0][0].keys[0]) for part in parts])
    return gather_parts(parts, **settings)

  monkeypatch.setattr(encoding, '_gather', record)
  found = score(loaded)
  # The beginnings alone.
  assert encoded == [[1]] * len(_TASKS)
  monkeypatch.setattr(label_scores, 'is_one_pass', lambda *arguments: False)
  expected = score(loaded)
  assert len(encoded) > 2 * len(_TASKS)
  for ours, theirs in zip(found, expected, strict=True):
    assert ours == pytest.approx(theirs, abs=1e-5, rel=0)


def test_many_labels_are_scored_in_several_passes(monkeypatch):
  loaded = load('llama', batch_size=4)
  found = score(loaded)
  # 3 labels of up to 3 tokens are padded to 16.
  monkeypatch.setattr(label_scores, '_CHUNK_TOKENS', 15)
  called = []
  score_labels = label_scores.score_labels

  def record(**settings):
    called.append(settings)
    return score_labels(**settings)

  monkeypatch.setattr(label_scores, 'score_labels', record)
  expected = score(loaded)
  assert called
  for ours, theirs in zip(found, expected, strict=True):
    assert ours == pytest.approx(theirs, abs=1e-5, rel=0)


@pytest.mark.parametrize(
  ('prompts', 'expected'),
  [
    ([], []),
    ([[5, 6, 7]], [(0, 0)]),
    ([[], [5, 6, 7], []], [(0, 0), (1, 0), (2, 0)]),
    # One token is left of each prompt, also of the same one.
    ([[5, 6], [5, 6], [5, 6, 7]], [(0, 1)] * 3),
    ([[5], [5, 6]], [(0, 0), (1, 0)]),
    # Two pairs that share 3 tokens save more than four prompts that share 1.
    (
      [[5, 8, 8, 1], [5, 7, 7, 1], [5, 8, 8, 2], [5, 7, 7, 2]],
      [(0, 3), (1, 3), (0, 3), (1, 3)],
    ),
    # Four that share 2 save more than one pair that shares 4.
    (
      [[5, 6, 1], [5, 6, 2, 2, 1], [5, 6, 2, 2, 3], [5, 6, 4], [9, 6]],
      [(0, 2)] * 4 + [(4, 0)],
    ),
    # 2 of 18 tokens are too few to be worth it, 2 of 16 are not.
    ([[5, *[6] * 8], [5, *[7] * 8]], [(0, 0), (1, 0)]),
    ([[5, *[6] * 7], [5, *[7] * 7]], [(0, 1)] * 2),
  ],
)
def test_prompts_are_grouped_so_that_the_most_tokens_are_saved(
  prompts, expected
):
  arrays = [np.array(prompt, np.int32) for prompt in prompts]
  assert find_beginnings(arrays) == [Beginning(*pair) for pair in expected]


@pytest.mark.parametrize('variant', ['llama', 'gemma2'])
def test_prompts_in_groups_of_other_lengths_are_read_as_alone(
  variant, monkeypatch
):
  groups = []
  gather_parts = encoding._gather

  def record(parts, **settings):
    encoded = gather_parts(parts, **settings)
    groups.append([group.shape for group in encoded])
    return encoded

  monkeypatch.setattr(encoding, '_gather', record)
  without_sharing(monkeypatch)
  together = load(variant, batch_size=16)
  beams = {'num_beams': 3, 'method': 'beam'}
  found = decode(together), decode(together, **beams), score(together)
  # Eleven prompts and padding, in parts of two rows; two parts are a group, and
  # its longest prompt has 30, 25, 15 or no tokens.
  assert groups[0] == [(4, 30), (4, 30), (4, 15), (4, 8)]
  alone = load(variant, batch_size=1)
  expected = decode(alone), decode(alone, **beams), score(alone)
  np.testing.assert_array_equal(found[0], expected[0])
  np.testing.assert_array_equal(found[1], expected[1])
  for ours, theirs in zip(found[2], expected[2], strict=True):
    assert ours == pytest.approx(theirs, abs=1e-5, rel=0)
