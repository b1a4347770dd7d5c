"""Tests of cached, constrained and ranked answers, over a small corpus."""

import json

import fakes
import jax
import numpy as np
import pytest
import seqio

from it_study import predictions, seqio_lib
from it_study.data import vocabularies
from it_study.engines import model_setup, native, prediction_rows
from it_study.errors import InputError
from it_study.evaluation import metrics
from it_study.inference import answers, token_loop
from it_study.inference.decoding import Decoding
from it_study.inference.prompt_batches import LoadedModel
from it_study.models import partitioning
from it_study.models.t5 import T5
import tasks  # noqa: F401  Registers the conditions.

CONDITION = 'natinst_def_empty_ex_original1'


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('answers') / 'corpus')


@pytest.fixture(autouse=True)
def _use(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)


def infer(folder, decoding, **settings):
  if isinstance(decoding, str):
    decoding = Decoding(method=decoding)
  defaults = {
    'model_config': fakes.tiny_model(),
    'mixture_or_task_name': CONDITION,
    'task_feature_lengths': fakes.LENGTHS,
    'infer_output_dir': folder,
    'checkpoint_path': None,
    'batch_size': 32,
    'decoding': decoding,
  }
  path = native.predict(**{**defaults, **settings})
  return predictions.read_predictions(path)


@pytest.fixture(name='free', scope='module')
def _free(corpus, tmp_path_factory):
  patch = pytest.MonkeyPatch()
  patch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)
  yield infer(tmp_path_factory.mktemp('free'), 'greedy')
  patch.undo()


@pytest.mark.parametrize(
  'decoding',
  [
    'constrained',
    'constrained_beam',
    'ranked',
    'ranked_normalized',
    'ranked_conditional',
  ],
)
def test_an_answer_is_in_the_label_space_where_there_is_one(
  free, tmp_path, decoding
):
  rows = infer(tmp_path, decoding)
  assert [row.id for row in rows] == [row.id for row in free]
  kinds = set()
  for row, plain in zip(rows, free, strict=True):
    kinds.add(row.kind)
    if row.label_space is None:
      if decoding != 'constrained_beam':
        assert row.prediction == plain.prediction
      assert row.scores is None
      continue
    assert metrics.is_in_format(row.prediction, row.label_space)
    if decoding.startswith('constrained'):
      assert row.scores is None
    else:
      assert list(row.scores) == list(row.label_space)
    if decoding == 'ranked':
      assert row.scores[row.prediction] == max(row.scores.values())
  assert kinds == {'classification', 'generation'}


def test_a_label_that_is_too_long_is_named(tmp_path):
  with pytest.raises(InputError, match=r"label '.*' of .* takes \d+ tokens"):
    infer(
      tmp_path,
      'constrained',
      task_feature_lengths={**fakes.LENGTHS, 'targets': 2},
    )


def count_batches(monkeypatch):
  """A list that grows by the prompts of every batch that is computed."""
  batches = []
  decode = token_loop.decode_tokens

  def counted(**arguments):
    tokens = np.asarray(arguments['encoder_input_tokens'])
    batches.append(int(tokens.any(axis=1).sum()))
    return decode(**arguments)

  monkeypatch.setattr(token_loop, 'decode_tokens', counted)
  return batches


def num_cached(folder):
  return json.loads((folder / 'inference.json').read_text())['num_kept_answers']


def test_cached_answers_are_not_recomputed(free, tmp_path, monkeypatch, caplog):
  caplog.set_level('INFO', logger='it_study.inference.answers')
  batches = count_batches(monkeypatch)
  first = infer(tmp_path / 'a', 'greedy', answer_dir=tmp_path / 'answers')
  assert first == free
  assert num_cached(tmp_path / 'a') == 0
  assert sum(batches) == len({row.inputs for row in free})
  batches.clear()
  again = infer(tmp_path / 'b', 'greedy', answer_dir=tmp_path / 'answers')
  assert again == first
  assert num_cached(tmp_path / 'b') == len(free)
  assert batches == []
  assert [record.getMessage() for record in caplog.records] == [
    f'Answer cache (greedy): 0 hits, {len(free)} misses '
    f'({len({row.inputs for row in free})} distinct).',
    f'Answer cache (greedy): {len(free)} hits, 0 misses (0 distinct).',
  ]


@pytest.mark.parametrize(
  'change',
  [
    {'seed': 1},
    {'dtype': 'bfloat16'},
    {'model_config': fakes.tiny_model(relative_attention_max_distance=64)},
    {'task_feature_lengths': {**fakes.LENGTHS, 'targets': 11}},
  ],
  ids=['weights', 'dtype', 'model', 'room'],
)
def test_any_change_is_a_cache_miss(tmp_path, change):
  folder = tmp_path / 'answers'
  infer(tmp_path / 'a', 'greedy', answer_dir=folder)
  infer(tmp_path / 'b', 'greedy', answer_dir=folder, **change)
  assert num_cached(tmp_path / 'b') == 0


@pytest.mark.parametrize(
  'change',
  [
    {'dropout_rate': 0.25},
    {'remat_policy': 'full'},
    {'scan_layers': True},
    {'attention_implementation': 'xla'},
  ],
  ids=lambda change: next(iter(change)),
)
def test_settings_without_effect_keep_the_cache_valid(free, tmp_path, change):
  folder = tmp_path / 'answers'
  infer(tmp_path / 'a', 'greedy', answer_dir=folder)
  rows = infer(
    tmp_path / 'b',
    'greedy',
    answer_dir=folder,
    model_config=fakes.tiny_model(**change),
  )
  assert rows == free
  assert num_cached(tmp_path / 'b') == len(free)


def test_another_method_is_a_cache_miss(tmp_path):
  folder = tmp_path / 'answers'
  for place, decoding in enumerate(
    [
      Decoding(),
      Decoding(method='beam', num_beams=2),
      Decoding(method='beam', num_beams=3),
      Decoding(method='sample'),
      Decoding(method='sample', seed=1),
    ]
  ):
    infer(tmp_path / str(place), decoding, answer_dir=folder)
    assert num_cached(tmp_path / str(place)) == 0


def test_only_uncached_prompts_are_computed(tmp_path, monkeypatch):
  folder = tmp_path / 'answers'
  before = infer(tmp_path / 'a', 'greedy', answer_dir=folder)
  batches = count_batches(monkeypatch)
  other = 'natinst_def_original_ex_original1'
  rows = infer(
    tmp_path / 'b', 'greedy', answer_dir=folder, mixture_or_task_name=other
  )
  same = {row.inputs for row in before} & {row.inputs for row in rows}
  new = {row.inputs for row in rows} - same
  assert sum(batches) == len(new)


def load_model(batch_size=32, **settings):
  model = T5(model_setup.complete_config(fakes.tiny_model(), dtype='float32'))
  mesh = partitioning.make_mesh()
  return LoadedModel(
    model=model,
    params=partitioning.init_params(model=model, seed=0, mesh=mesh),
    mesh=mesh,
    vocabulary=seqio.ByteVocabulary(),
    max_length=fakes.LENGTHS['inputs'],
    max_decode_length=fakes.LENGTHS['targets'],
    batch_size=batch_size,
    **settings,
  )


def load_rows():
  return prediction_rows.load_instances(
    name=CONDITION, lengths=fakes.LENGTHS, split='test'
  )


def test_rows_with_the_same_prompt_are_computed_once(free, monkeypatch):
  batches = count_batches(monkeypatch)
  by_id = {row['id'].decode(): row for row in load_rows()}
  texts = {row.prediction: row.id for row in free}
  rows = [by_id[name] for name in texts.values()]
  assert len(rows) > 1
  seen = []
  results, count = answers.answer(
    [*rows, *rows[::-1]],
    decoding=Decoding(),
    loaded=load_model(),
    on_progress=lambda *where: seen.append(where),
  )
  assert [answer.text for answer in results] == [*texts, *reversed(texts)]
  assert sum(batches) == len(rows)
  assert seen[-1] == (len(results), len(results))
  assert (count.total, count.done, count.kept) == (
    len(results),
    len(results),
    0,
  )


def run_out_of_memory_above(size, monkeypatch, *, then='RESOURCE_EXHAUSTED'):
  decode = token_loop.decode_tokens

  def limited(**arguments):
    if arguments['encoder_input_tokens'].shape[0] > size:
      raise jax.errors.JaxRuntimeError(f'{then}: out of memory\nat length')
    return decode(**arguments)

  monkeypatch.setattr(token_loop, 'decode_tokens', limited)


def test_a_batch_that_does_not_fit_memory_is_halved(
  free, tmp_path, monkeypatch, caplog
):
  run_out_of_memory_above(7, monkeypatch)
  assert infer(tmp_path, 'greedy') == free
  lines = [r.getMessage() for r in caplog.records if 'INFER_BATCH' in r.msg]
  assert lines == [
    f'INFER_BATCH_SIZE=32 does not fit memory; {size} prompts at once now.'
    for size in (16, 8, 4)
  ]


def test_too_little_memory_for_any_batch_is_an_error(tmp_path, monkeypatch):
  run_out_of_memory_above(0, monkeypatch)
  with pytest.raises(InputError) as caught:
    infer(tmp_path, 'greedy')
  assert str(caught.value) == (
    'memory does not hold one prompt of 128 tokens per device: '
    'RESOURCE_EXHAUSTED: out of memory. Split the model over more devices '
    "(MESH_MODEL), or lower TASK_FEATURE_LENGTHS['inputs']."
  )


def test_other_errors_are_not_mistaken_for_lack_of_memory(
  tmp_path, monkeypatch
):
  run_out_of_memory_above(0, monkeypatch, then='INTERNAL')
  with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
    infer(tmp_path, 'greedy')


def test_jax_reports_lack_of_memory_as_expected():
  with pytest.raises(jax.errors.JaxRuntimeError, match='RESOURCE_EXHAUSTED'):
    jax.block_until_ready(jax.numpy.zeros(2**44, jax.numpy.float32))


def test_an_interrupted_prediction_resumes_after_its_last_batch(
  free, tmp_path, monkeypatch
):
  seen = []

  def stop(done, total):
    seen.append((done, total))
    if len(seen) == 3:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    infer(tmp_path, 'greedy', batch_size=16, on_progress=stop)
  assert not (tmp_path / 'predictions.jsonl').exists()
  done = seen[-1][0]
  assert 0 < done < len(free)
  seen.clear()
  rows = infer(
    tmp_path,
    'greedy',
    batch_size=16,
    on_progress=lambda *where: seen.append(where),
  )
  assert rows == free
  assert seen[0] == (done, len(free))
  assert seen[-1] == (len(free), len(free))
  assert num_cached(tmp_path) == done


def test_all_ranked_methods_share_their_scores(tmp_path):
  folder = tmp_path / 'answers'
  ranked = infer(tmp_path / 'a', 'ranked', answer_dir=folder)
  infer(tmp_path / 'b', 'ranked_normalized', answer_dir=folder)
  assert num_cached(tmp_path / 'b') == len(ranked)


def test_samples_depend_on_seed_and_prompt_alone(free, tmp_path):
  drawn = [
    infer(
      tmp_path / name, Decoding(method='sample', seed=seed), batch_size=size
    )
    for name, size, seed in (('a', 8, 3), ('b', 50, 3), ('c', 50, 4))
  ]
  texts = [[row.prediction for row in rows] for rows in drawn]
  assert texts[0] == texts[1]
  assert texts[1] != texts[2]
  assert texts[0] != [row.prediction for row in free]
