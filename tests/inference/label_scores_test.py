"""Tests of log-likelihoods of labels."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

from it_study.checkpoints.hf import params as hf
from it_study.inference.label_scores import score_labels
from it_study.models import partitioning
from it_study.models.t5 import T5

_GOLDEN_DIR = pathlib.Path(__file__).parents[1] / 'golden'
_SPEC = importlib.util.spec_from_file_location(
  'make_hf_golden', _GOLDEN_DIR / 'make_hf_golden.py'
)
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)

LABELS = np.array(
  [[[5, 1, 0], [7, 8, 1], [0, 0, 0]], [[9, 1, 0], [5, 1, 0], [4, 4, 1]]],
  np.int32,
)


@pytest.fixture(name='model', scope='module', params=['v1_0', 'v1_1'])
def _model(request):
  path = golden.PATH / request.param
  model = T5(hf.read_model_config(path))
  target = partitioning.abstract_params(
    model=model, mesh=partitioning.make_mesh()
  )
  return (
    request.param,
    model,
    hf.load_params(path, config=model.config, target=target),
  )


def score(model, params, labels=LABELS):
  return np.asarray(
    score_labels(
      model=model,
      params=params,
      encoder_input_tokens=golden.PROMPTS,
      labels=labels,
    )
  )


def test_scores_are_sums_over_the_tokens_of_a_label(model):
  _, model, params = model
  scores = score(model, params)
  assert scores.shape == (2, 3)
  assert scores[0, 2] == 0.0
  for place in range(3):
    targets = LABELS[:, place]
    shifted = np.pad(targets[:, :-1], ((0, 0), (1, 0)))
    logits = model.apply({'params': params}, golden.PROMPTS, shifted, targets)
    likelihoods = jax.nn.log_softmax(logits)
    for row in range(2):
      expected = sum(
        float(likelihoods[row, step, token])
        for step, token in enumerate(targets[row])
        if token
      )
      assert scores[row, place] == pytest.approx(expected, abs=1e-4)


def test_a_label_may_end_by_any_of_several_tokens(model):
  _, model, params = model
  first = np.array([[[5, 1]], [[5, 1]]], np.int32)
  ends = (1, 9, 4)
  merged, *alone = (
    np.asarray(
      score_labels(
        model=model,
        params=params,
        encoder_input_tokens=golden.PROMPTS,
        labels=np.where(first == 1, end, first),
        ends=several,
      )
    )
    for end, several in ((1, ends), *((end, ()) for end in ends))
  )
  np.testing.assert_allclose(
    np.exp(merged), sum(np.exp(scores) for scores in alone), rtol=1e-5
  )


def test_scores_do_not_depend_on_other_labels(model):
  _, model, params = model
  scores = score(model, params)
  turned = score(model, params, LABELS[:, ::-1])
  np.testing.assert_allclose(turned[:, ::-1], scores, atol=1e-5)
  alone = score(model, params, LABELS[:, :1])
  np.testing.assert_allclose(alone[:, 0], scores[:, 0], atol=1e-5)


def test_scores_are_those_of_transformers(model):
  torch = pytest.importorskip('torch', reason='needs the parity extra')
  pytest.importorskip('transformers', reason='needs the parity extra')
  variant, model, params = model
  theirs = golden.make_model(variant)
  scores = score(model, params)
  for place in range(3):
    targets = LABELS[:, place]
    with torch.no_grad():
      logits = theirs(
        input_ids=torch.tensor(golden.PROMPTS).long(),
        attention_mask=torch.tensor(golden.PROMPTS != 0).long(),
        decoder_input_ids=torch.tensor(
          np.pad(targets[:, :-1], ((0, 0), (1, 0)))
        ).long(),
      ).logits
    likelihoods = torch.log_softmax(logits, dim=-1).numpy()
    for row in range(2):
      expected = sum(
        likelihoods[row, step, token]
        for step, token in enumerate(targets[row])
        if token
      )
      assert scores[row, place] == pytest.approx(expected, abs=1e-4)
