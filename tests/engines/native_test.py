"""Tests of it_study.engines.native: a few steps, then every instance once."""

import json

import fakes
import jax
import numpy as np
import pytest
import safetensors.numpy

from it_study import predictions, seqio_lib
from it_study.checkpoints import manager, weights
from it_study.corpus import natinst
from it_study.data import vocabularies
from it_study.engines import native, training_inputs
from it_study.errors import InputError
from it_study.training import optimizers
import tasks  # noqa: F401  Registers the conditions.

STEPS = 4


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('native') / 'corpus')


@pytest.fixture(autouse=True)
def _use(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)


def finetune(model_dir, **settings):
  defaults = {
    'model_config': fakes.tiny_model(),
    'optimizer': optimizers.adamw(learning_rate=1e-3),
    'mixture_or_task_name': f'{fakes.NAME}_n10',
    'task_feature_lengths': fakes.LENGTHS,
    'model_dir': model_dir,
    'batch_size': 4,
    'train_steps': STEPS,
    'seed': 3,
    'log_period': 2,
  }
  return native.finetune(**{**defaults, **settings})


def infer(folder, **settings):
  defaults = {
    'model_config': fakes.tiny_model(),
    'mixture_or_task_name': 'natinst_def_empty_ex_original1',
    'task_feature_lengths': fakes.LENGTHS,
    'infer_output_dir': folder,
    'batch_size': 32,
  }
  path = native.predict(**{**defaults, **settings})
  return predictions.read_predictions(path)


@pytest.fixture(name='trained', scope='module')
def _trained(corpus, tmp_path_factory):
  folder = tmp_path_factory.mktemp('trained')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(vocabularies.VARIABLE, 'byte')
    seqio_lib.use_corpus(corpus)
    seen = []
    finetune(folder, on_progress=seen.append)
  assert [(p.phase, p.step) for p in seen] == [
    ('compiling', 0),
    ('training', 2),
    ('training', 4),
  ]
  return folder


@pytest.fixture(name='rows', scope='module')
def _rows(trained, corpus, tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(vocabularies.VARIABLE, 'byte')
    seqio_lib.use_corpus(corpus)
    return infer(tmp_path_factory.mktemp('rows'), checkpoint_path=trained)


def test_a_training_writes_its_record(trained):
  record = json.loads((trained / 'training.json').read_text())
  assert record['mixture_or_task_name'] == f'{fakes.NAME}_n10'
  assert (record['seed'], record['train_steps']) == (3, 4)
  # At most 10 instances of each of three tasks with 30, 4 and 2.
  assert record['num_examples'] == 16
  assert record['num_cut_targets'] == 0
  assert record['engine'] == 'native'
  assert record['vocabulary'].startswith('byte, 259 tokens')
  # 259 bytes and special tokens, rounded up to a multiple of 128.
  assert record['model']['vocab_size'] == 384
  assert record['model']['dtype'] == 'float32'
  assert (trained / 'checkpoints' / '4').is_dir()
  lines = (trained / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == [2, 4]


def test_every_instance_is_predicted_once_in_order(rows, corpus):
  opened = natinst.open_corpus(corpus)
  assert [(row.task, row.position) for row in rows] == [
    *[('task4_entail', position) for position in range(100)],
    *[('task5_title', position) for position in range(6)],
  ]
  predictions.check_complete(rows, corpus=opened, split='test')


def test_a_row_carries_its_provenance(rows):
  row = rows[1]
  assert row.id == 'entail-1'
  assert row.category == 'Textual Entailment'
  assert row.kind == 'classification'
  assert row.label_space == ('yes', 'no')
  assert row.targets == ('no',)
  assert row.split == 'test'
  assert row.inputs == (
    ' Positive Example 1 -\nInput: Is it wet?\n Output: yes.\n\n'
    'Now complete the following example -\nInput: Is it 1?\nOutput: '
  )
  assert row.train_condition == f'{fakes.NAME}_n10'
  assert row.test_condition == 'natinst_def_empty_ex_original1'
  assert row.seed == 3
  assert row.engine == 'native'
  assert rows[-1].targets == ('Thing 5', 'The Thing 5')
  assert rows[-1].label_space is None


def test_the_record_counts_truncated_prompts(trained, tmp_path):
  infer(
    tmp_path,
    checkpoint_path=trained,
    task_feature_lengths={'inputs': 90, 'targets': 2},
  )
  record = json.loads((tmp_path / 'inference.json').read_text())
  assert record['num_instances'] == 106
  # No example fits, every query does.
  assert record['num_dropped_examples'] == 106
  assert record['num_shortened'] == 0
  assert record['input_kept'] == 1.0
  # Every reference is longer than one byte, 'Thing 5' and 'yes' alike.
  assert record['num_unreachable'] == 106


def test_answers_do_not_depend_on_the_batch_size(rows, trained, tmp_path):
  done = []
  again = infer(
    tmp_path,
    checkpoint_path=trained / 'checkpoints' / '4',
    batch_size=50,
    on_progress=lambda count, total: done.append((count, total)),
  )
  assert again == rows
  assert done[-1] == (106, 106)
  assert done == sorted(done)


def test_examples_are_counted_while_they_are_tokenised(tmp_path, monkeypatch):
  monkeypatch.setattr(training_inputs, '_TOKENISED_PERIOD', 3)
  seen = []
  finetune(
    tmp_path,
    # A task that no other test uses, so that its tokens are not cached.
    mixture_or_task_name=f'{fakes.NAME}_n3_s9',
    train_steps=1,
    on_progress=seen.append,
  )
  assert [(p.phase, p.step, p.train_steps) for p in seen[:3]] == [
    ('tokenising', 3, 0),
    ('tokenising', 6, 0),
    ('compiling', 0, 1),
  ]


def test_a_training_resumes_where_it_stopped(trained, tmp_path):
  finetune(tmp_path, train_steps=2)
  seen = []
  record = finetune(tmp_path, on_progress=seen.append)
  assert seen[0].step == 2
  assert record['train_steps'] == STEPS
  params = [manager.restore_params(folder) for folder in (tmp_path, trained)]
  for resumed, whole in zip(*map(jax.tree.leaves, params), strict=True):
    np.testing.assert_array_equal(resumed, whole)


def test_a_training_starts_from_a_checkpoint(trained, tmp_path):
  finetune(
    tmp_path,
    optimizer=optimizers.adamw(learning_rate=0.0),
    initial_checkpoint_path=str(trained),
    train_steps=1,
  )
  params = [manager.restore_params(folder) for folder in (tmp_path, trained)]
  for copy, original in zip(*map(jax.tree.leaves, params), strict=True):
    np.testing.assert_array_equal(copy, original)


@pytest.mark.parametrize('to', ['hf', 't5x', 't5x_orbax'])
def test_converted_weights_train_and_predict(trained, to, tmp_path):
  folder = weights.convert(
    trained, tmp_path / to, source_format='it_study', to=to
  )
  finetune(
    tmp_path / 'training',
    optimizer=optimizers.adamw(learning_rate=0.0),
    initial_checkpoint_path=str(folder),
    train_steps=1,
  )
  params = [
    manager.restore_params(path) for path in (tmp_path / 'training', trained)
  ]
  for copy, original in zip(*map(jax.tree.leaves, params), strict=True):
    np.testing.assert_array_equal(copy, original)
  answers = [
    [row.prediction for row in infer(tmp_path / name, checkpoint_path=path)]
    for name, path in (('theirs', folder), ('ours', trained))
  ]
  assert answers[0] == answers[1]


def test_a_table_with_more_rows_than_tokens_keeps_its_size(trained, tmp_path):
  folder = weights.convert(
    trained, tmp_path / 'hf', source_format='it_study', to='hf'
  )
  name = 'model.safetensors'
  tensors = safetensors.numpy.load_file(folder / name)
  for table in ('shared.weight', 'lm_head.weight'):
    rows = tensors[table]
    # Rows that stand for no token, so that no prompt uses them.
    tensors[table] = np.concatenate([rows, np.zeros((64, rows.shape[1]), 'f')])
  safetensors.numpy.save_file(tensors, folder / name)
  config = json.loads((folder / 'config.json').read_text())
  config['vocab_size'] += 64
  (folder / 'config.json').write_text(json.dumps(config))
  record = finetune(
    tmp_path / 'training',
    optimizer=optimizers.adamw(learning_rate=0.0),
    initial_checkpoint_path=str(folder),
    train_steps=1,
  )
  assert record['model']['vocab_size'] == config['vocab_size']
  texts = [
    [row.prediction for row in infer(tmp_path / name, checkpoint_path=path)]
    for name, path in (
      ('theirs', folder),
      ('further', tmp_path / 'training'),
      ('ours', trained),
    )
  ]
  assert texts[0] == texts[1] == texts[2]


def test_a_damaged_vocabulary_beside_weights_is_refused(trained, tmp_path):
  folder = weights.convert(
    trained, tmp_path / 'hf', source_format='it_study', to='hf'
  )
  (folder / 'spiece.model').write_bytes(b'not this one')
  with pytest.raises(
    InputError, match=r'spiece\.model: not a SentencePiece model; it may be'
  ):
    finetune(tmp_path / 'training', initial_checkpoint_path=str(folder))


def test_epochs_become_steps(tmp_path):
  # 16 examples, three per batch, twice.
  record = finetune(
    tmp_path, train_steps=None, epochs=2, batch_size=3, pack=False
  )
  assert record['train_steps'] == 11


def test_untuned_parameters_depend_on_the_seed(tmp_path):
  short = {'task_feature_lengths': {'inputs': 256, 'targets': 3}}
  one, same, other = (
    infer(tmp_path, split='validation', seed=seed, **short)
    for seed in (0, 0, 1)
  )
  assert len(one) == 30
  assert {row.train_condition for row in one} == {None}
  assert [row.seed for row in (one[0], other[0])] == [0, 1]
  texts = [[row.prediction for row in rows] for rows in (one, same, other)]
  assert texts[0] == texts[1] != texts[2]


def test_a_checkpoint_of_another_size_is_refused(trained, tmp_path):
  with pytest.raises(
    InputError,
    match='does not fit the model: emb_dim was 16 in its training and is 24 ',
  ):
    infer(
      tmp_path,
      checkpoint_path=trained,
      model_config=fakes.tiny_model(emb_dim=24),
    )


def test_a_checkpoint_of_another_vocabulary_is_refused(
  trained, tmp_path, monkeypatch
):
  monkeypatch.setattr(vocabularies, 'fingerprint', lambda *_: 'f' * 64)
  with pytest.raises(
    InputError,
    match=r'was trained with the vocabulary byte, 259 tokens.*; in use is '
    r'byte, 259 tokens, SHA-256 ffff.*Set IT_STUDY_VOCABULARY to the one it',
  ):
    infer(tmp_path, checkpoint_path=trained)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
  with pytest.raises(InputError, match='no usable checkpoint at'):
    infer(tmp_path, checkpoint_path=tmp_path)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (
      {'train_steps': None},
      'TRAIN_STEPS is None and EPOCHS is None: set one of them, the other to',
    ),
    ({'epochs': 1}, 'TRAIN_STEPS is 4 and EPOCHS is 1: set one of them'),
    (
      {'train_steps': None, 'epochs': 0.5},
      r'EPOCHS is 0\.5: give a whole number from 1 up',
    ),
    ({'train_steps': 0}, 'TRAIN_STEPS is 0: give a whole number from 1 up'),
    (
      {'train_steps': None, 'epochs': 10**12},
      r'EPOCHS is 1000000000000: some [\d,]+ steps; at most 2147483647 can be',
    ),
    (
      {'batch_size': 99_999_999_999},
      r'BATCH_SIZE is 99999999999: the tokens of one batch take [\d,]+ GiB,',
    ),
    ({'batch_size': '8'}, "BATCH_SIZE is '8': give a whole number"),
    ({'seed': -1}, 'SEED is -1: give a whole number from 0 up'),
    (
      {'task_feature_lengths': {'inputs': 64}},
      r'TASK_FEATURE_LENGTHS is .*: give both lengths',
    ),
    (
      {'task_feature_lengths': {'inputs': 64, 'targets': 0}},
      r"TASK_FEATURE_LENGTHS\['targets'\] is 0: give a whole number",
    ),
    (
      {'mixture_or_task_module': 'tsaks'},
      r"MIXTURE_OR_TASK_MODULE is 'tsaks': No module named 'tsaks'\. Name a",
    ),
    (
      {'mixture_or_task_name': 'natinst_def_orignal_ex_original1'},
      r"'orignal' is unknown; .*Did you mean 'original'\?",
    ),
    ({'dtype': 'float61'}, r"T5Config\.dtype is 'float61'"),
    ({'mesh_model': 5}, 'model=5 does not fit 1 cpu device'),
  ],
)
def test_invalid_arguments_of_a_training_are_refused(
  tmp_path, settings, message
):
  with pytest.raises(InputError, match=message):
    finetune(tmp_path, **settings)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (
      {'split': 'tset'},
      "has no split 'tset'; there are train, validation, test. Did you mean "
      "'test'",
    ),
    (
      {'mixture_or_task_name': 'natinst_all_examples'},
      'natinst_all_examples: its tasks natinst_def_original_ex_delusive1 and '
      'natinst_def_original_ex_empty0 have the same instances',
    ),
    ({'batch_size': 0}, 'INFER_BATCH_SIZE is 0: give a whole number from 1 up'),
    (
      {'mixture_or_task_name': f'{fakes.NAME}_tgtswapped'},
      r"_tgtswapped' cannot be tested: _tgtswapped alters training targets",
    ),
    (
      {'task_feature_lengths': {'inputs': 20, 'targets': 4}},
      'the limit of 20 input tokens has no room for the cue',
    ),
  ],
)
def test_invalid_arguments_of_a_prediction_are_refused(
  tmp_path, settings, message
):
  with pytest.raises(InputError, match=message):
    infer(tmp_path, **settings)


def test_rows_under_a_renaming_say_what_was_right_without(
  trained, tmp_path, corpus
):
  rows = infer(
    tmp_path,
    mixture_or_task_name='natinst_def_flipped_ex_empty0',
    checkpoint_path=trained,
  )
  opened = natinst.open_corpus(corpus)
  for row in rows:
    (original,) = [
      i for i in opened.instances(row.task, 'test') if i.id == row.id
    ]
    if row.label_space is None:
      assert row.prior_targets is None
    else:
      assert row.prior_targets == original.outputs
      assert not set(row.targets) & set(row.prior_targets)
