"""Tests of P3's prompts with the native engine: ranks as T0 computes them."""

import fakes
import jax
import numpy as np
import promptsource_fixture as fixture
from promptsource_fixture import p3_data, p3_folder  # noqa: F401  Fixtures.
import pytest
import seqio

from it_study import predictions, seqio_lib
from it_study.engines import model_setup, native
from it_study.errors import InputError
from it_study.inference.decoding import Decoding
from it_study.models import partitioning
from it_study.models.t5 import T5

LENGTHS = {'inputs': 128, 'targets': 32}


@pytest.fixture(autouse=True)
def _use(folder, p3_data):  # noqa: F811
  seqio_lib.add_p3_tasks(
    folder / 'checkout', data_sets=('super_glue_cb', 'super_glue_copa')
  )


def infer(folder, name):
  path = native.predict(
    model_config=fakes.tiny_model(),
    mixture_or_task_name=name,
    task_feature_lengths=LENGTHS,
    infer_output_dir=folder,
    split='validation',
    batch_size=4,
    dtype='float32',
    decoding=Decoding(method='ranked'),
  )
  return predictions.read_predictions(path)


def log_probabilities(model, params, rows) -> list[float]:
  """Sums log-softmax over the tokens of each choice and its end of sequence."""
  pairs = [(row.inputs, choice) for row in rows for choice in row.label_space]
  inputs = np.zeros((len(pairs), LENGTHS['inputs']), np.int32)
  targets = np.zeros((len(pairs), LENGTHS['targets']), np.int32)
  for place, texts in enumerate(pairs):
    prompt, choice = map(seqio.ByteVocabulary().encode, texts)
    inputs[place, : len(prompt)] = prompt
    targets[place, : len(choice) + 1] = [*choice, 1]
  shifted = np.pad(targets[:, :-1], ((0, 0), (1, 0)))
  logits = jax.jit(model.apply)({'params': params}, inputs, shifted, targets)
  likelihoods = np.asarray(jax.nn.log_softmax(logits))
  chosen = np.take_along_axis(likelihoods, targets[..., None], -1)[..., 0]
  return (chosen * (targets > 0)).sum(axis=1).tolist()


def test_choices_are_ranked_by_their_log_probability(tmp_path):
  rows = infer(tmp_path, 'p3_def_original')
  assert [(row.task, row.id) for row in rows] == [
    *(('super_glue_cb.can_we_infer', str(n)) for n in range(3)),
    *(('super_glue_cb.guess_it', str(n)) for n in range(3)),
    ('super_glue_copa.why', '1'),
  ]
  model = T5(model_setup.complete_config(fakes.tiny_model(), dtype='float32'))
  params = partitioning.init_params(
    model=model, seed=0, mesh=partitioning.make_mesh()
  )
  expected = log_probabilities(model, params, rows)
  for row in rows:
    scores, expected = np.split(expected, [len(row.label_space)])
    assert list(row.scores.values()) == pytest.approx(scores, abs=1e-3)
    # Without division by length.
    assert row.prediction == row.label_space[np.argmax(scores)]


def test_both_kinds_of_prompt_are_predicted_for_the_same_instances(tmp_path):
  rows = [
    infer(tmp_path / name, f'p3_def_{name}.super_glue_cb')
    for name in ('original', 'simplified')
  ]
  ids = [[(row.task, row.id, row.targets) for row in side] for side in rows]
  assert ids[0] == ids[1]
  assert rows[1][0].inputs == 'It rained.\nIt was wet.\nYes\nNo\nMaybe'
  assert {row.test_condition for row in rows[1]} == {
    'p3_def_simplified.super_glue_cb.can_we_infer',
    'p3_def_simplified.super_glue_cb.guess_it',
  }


@pytest.mark.parametrize(
  ('jinja', 'reason'),
  [
    (
      '{{premise.__class__}} ||| {{answer_choices[label]}}',
      "access to attribute '__class__' of 'str' object is unsafe.",
    ),
    (
      '{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}'
      '{% endfor %} {{premise}} ||| {{answer_choices[label]}}',
      'its loops visit more than 10000 items.',
    ),
    (
      '{{premise}} ||| perhaps',
      "the target is 'perhaps', which is none of the answer choices ['Yes', "
      "'No', 'Maybe'].",
    ),
  ],
)
def test_a_bad_template_ends_in_a_line(tmp_path, jinja, reason):
  fixture.write_templates(
    tmp_path,
    'super_glue/cb',
    {'bad': {'jinja': jinja, 'answer_choices': 'Yes ||| No ||| Maybe'}},
  )
  seqio_lib.add_p3_tasks(tmp_path, data_sets=['super_glue_cb'])
  with pytest.raises(InputError) as raised:
    infer(tmp_path / 'out', 'p3_def_original.super_glue_cb')
  assert str(raised.value) == (
    "SeqIO task 'p3_def_original.super_glue_cb.bad': template 'bad' of "
    f'super_glue/cb, row 0: {reason}'
  )
