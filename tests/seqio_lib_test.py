"""Tests of it_study.seqio_lib: rows to features, names to tasks."""

import importlib.metadata
import io

import fakes
import numpy as np
import pytest
import sentencepiece
import seqio
import tensorflow as tf

from it_study import seqio_lib
from it_study.conditions import EXAMPLE_LEVELS, Condition
from it_study.corpus import natinst
from it_study.data import row_source, vocabularies
from it_study.data.tokens.token_limits import token_limit
from it_study.errors import InputError
import tasks  # noqa: F401  Registers the conditions.

NAMES = {'train': fakes.NAME, 'test': 'natinst_def_original_ex_delusive1'}


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('seqio') / 'corpus')


@pytest.fixture(autouse=True)
def _use(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)


def rows_of(name, split, lengths=None):
  task = seqio.get_mixture_or_task(name)
  dataset = task.get_dataset(
    sequence_length=lengths or fakes.LENGTHS, split=split, shuffle=False
  )
  return {row['id'].decode(): row for row in dataset.as_numpy_iterator()}


@pytest.mark.parametrize('split', natinst.SPLITS)
def test_every_split_is_complete(split):
  assert len(rows_of(fakes.NAME, split)) == fakes.NUM_ROWS[split]


def test_features_of_a_test_row():
  row = rows_of(fakes.NAME, 'test')['title-3']
  prompt = (
    'Definition: Name it.\n\n'
    ' Positive Example 1 -\nInput: a red hat.\n Output: Red Hat.\n\n'
    'Now complete the following example -\nInput: a thing 3.\nOutput: '
  )
  assert row['inputs_pretokenized'].decode() == prompt
  # Bytes have their value and 3; 1 ends a sequence.
  assert row['inputs'].tolist() == [byte + 3 for byte in prompt.encode()] + [1]
  assert row['inputs'].dtype == np.int32
  assert row['targets_pretokenized'] in (b'Thing 3', b'The Thing 3')
  assert row['targets'][-1] == 1
  assert row['task'] == b'task5_title'
  assert row['position'] == 3
  assert row['references'].tolist() == [b'Thing 3', b'The Thing 3']
  assert row['num_dropped_examples'] == 0
  assert not row['shortened']


def test_lengths_hold_and_truncation_is_counted():
  definition = 'Definition: Name it.\n\n'
  cue = 'Now complete the following example -\nInput: .\nOutput: '
  # Room for four characters of the input, with the end of sequence.
  lengths = {'inputs': len(definition) + len(cue) + 4 + 1, 'targets': 5}
  row = rows_of(fakes.NAME, 'test', lengths)['title-3']
  assert len(row['inputs']) <= lengths['inputs']
  text = row['inputs_pretokenized'].decode()
  assert text.startswith(definition)
  assert text.endswith('\nOutput: ')
  assert row['shortened']
  assert row['num_dropped_examples'] == 1
  assert row['targets'].tolist() == [ord(c) + 3 for c in 'Thin'] + [1] or row[
    'targets'
  ].tolist() == [ord(c) + 3 for c in 'The '] + [1]


def test_the_position_in_the_data_can_be_saved(tmp_path):
  task = seqio.get_mixture_or_task(fakes.NAME)
  before, after = (
    iter(task.get_dataset(fakes.LENGTHS, 'train', seed=3)) for _ in range(2)
  )
  for _ in range(5):
    next(before)
  path = tf.train.Checkpoint(rows=before).write(str(tmp_path / 'place'))
  # As T5X does when it resumes.
  tf.train.Checkpoint(rows=after).read(path).assert_consumed()
  ids = [[row['id'].numpy() for row in rows] for rows in (before, after)]
  assert ids[0] == ids[1]
  assert len(ids[0]) == fakes.NUM_ROWS['train'] - 5


def test_without_lengths_nothing_is_truncated():
  task = seqio.get_mixture_or_task(fakes.NAME)
  dataset = task.get_dataset(None, 'test', shuffle=False)
  rows = list(dataset.as_numpy_iterator())
  assert len(rows) == 106
  assert not any(row['shortened'] for row in rows)


@pytest.mark.parametrize(
  'name',
  [
    'natinst_def_original_ex_original2_n3',
    'natinst_def_original_ex_original2_n3_t2_s1',
    'natinst_def_simplified_ex_delusive1_neg1_expl_srcswap_n7',
    'natinst_def_empty_ex_empty0_trunctk_t1',
  ],
)
def test_a_name_resolves_on_first_use(name):
  """SeqIO 0.0.20 looks names up in `TaskRegistry._REGISTRY`, a private dict."""
  hook = 'SeqIO changed: look at seqio_lib.resolve_on_first_use again'
  assert importlib.metadata.version('seqio') == '0.0.20', hook
  assert type(seqio.TaskRegistry._REGISTRY) is seqio_lib._ConditionDict, hook
  assert name in seqio.TaskRegistry.names()
  assert seqio.get_mixture_or_task(name).name == name
  assert seqio.TaskRegistry.get(name).name == name
  assert name in list(seqio.TaskRegistry.names())


@pytest.mark.parametrize(
  'name',
  [
    'natinst_def_orignal_ex_original2',
    'natinst_def_original_ex_original2_n100',
    'natinst_def_original_ex_original2_n03',
    'natinst_def_original_ex_original2_s1_n3',
    'natinst_def_original_ex_original2_n3_',
    'natinst_def_original_ex_empty2',
    'natinst_def_original_ex_original0',
    'natinst_def_original_ex_original2_srcswap',
    'Natinst_def_original_ex_original2',
  ],
)
def test_a_near_miss_does_not_resolve(name):
  assert name not in seqio.TaskRegistry.names()
  with pytest.raises(ValueError, match='No Task or Mixture found with name'):
    seqio.get_mixture_or_task(name)


def test_installing_the_hook_again_changes_nothing():
  before = seqio.TaskRegistry._REGISTRY
  seqio_lib.resolve_on_first_use()
  assert seqio.TaskRegistry._REGISTRY is before


def test_a_condition_is_added_once():
  condition = Condition(instances_per_task=61)
  task = seqio_lib.add_task(condition)
  assert seqio.get_mixture_or_task(condition.name) is task
  with pytest.raises(ValueError, match='duplicate provider'):
    seqio_lib.add_task(condition)


def test_a_condition_under_another_name():
  seqio_lib.add_task(Condition(instances_per_task=2), name='my_own_task')
  assert len(rows_of('my_own_task', 'train')) == 6


@pytest.mark.parametrize('split', ['validation', 'test'])
def test_other_splits_ignore_the_choice_of_training_instances(split, corpus):
  name = 'natinst_def_original_ex_delusive2_srcrepair'
  # The seed would show: it gives this task other examples.
  conditions = [Condition.from_name(n) for n in (name, f'{name}_s3')]
  task = natinst.open_corpus(corpus).load('task5_title').task
  zero, three = (
    EXAMPLE_LEVELS.get('delusive')(task=task, instance=None, condition=c)
    for c in conditions
  )
  assert zero != three
  plain = rows_of(name, split)
  chosen = rows_of(f'{name}_n1_t1_s3', split)
  assert list(chosen) == list(plain)
  for key, row in plain.items():
    np.testing.assert_array_equal(chosen[key]['inputs'], row['inputs'])
    np.testing.assert_array_equal(chosen[key]['targets'], row['targets'])


def test_the_corpus_can_be_switched_in_one_process(corpus, tmp_path):
  other = fakes.write_small_corpus(tmp_path / 'other', mood='Good or bad?')
  data_dir = seqio_lib.use_corpus(other, data_dir=tmp_path / 'rows')
  assert data_dir == str(tmp_path / 'rows')
  row = rows_of(fakes.NAME, 'train')['mood-0']
  assert row['inputs_pretokenized'].startswith(b'Definition: Good or bad?')
  seqio_lib.use_corpus(corpus)
  row = rows_of(fakes.NAME, 'train')['mood-0']
  assert row['inputs_pretokenized'].startswith(b'Definition: Say good or bad.')


def test_without_a_corpus_the_message_says_what_to_do(tmp_path):
  source = seqio_lib.RowsSource()
  source.use(tmp_path)
  task = seqio_lib.add_task(Condition(), name='no_corpus', source=source)
  with pytest.raises(
    InputError,
    match=f'no corpus is in use: no rows of .* in {tmp_path}. Call '
    r'it_study.seqio_lib.use_corpus\(DIR\), or give T5X --tfds_data_dir=DIR',
  ):
    task.get_dataset(fakes.LENGTHS, 'test')


def test_the_vocabulary_is_read_at_look_up(monkeypatch):
  task = seqio.get_mixture_or_task(fakes.NAME)
  vocabulary = task.output_features['inputs'].vocabulary
  assert isinstance(vocabulary, seqio.ByteVocabulary)
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  t5 = seqio.SentencePieceVocabulary(
    'gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model'
  )
  for feature in ('inputs', 'targets'):
    assert task.output_features[feature].vocabulary == t5
    assert task.output_features[feature].add_eos
  mixture = seqio.get_mixture_or_task('natinst_all_definitions')
  assert mixture.output_features['inputs'].vocabulary == t5


def test_a_vocabulary_that_cannot_be_read(monkeypatch, tmp_path):
  path = tmp_path / 'none.model'
  monkeypatch.setenv(vocabularies.VARIABLE, str(path))
  task = seqio.get_mixture_or_task(fakes.NAME)
  mixture = seqio.get_mixture_or_task('natinst_all_definitions')
  for provider in (task, mixture):
    with pytest.raises(
      InputError, match=f'vocabulary {path}: cannot be read .* Allowed are the'
    ):
      provider.get_dataset(fakes.LENGTHS, 'train')
  with pytest.raises(InputError, match=r'none\.model: cannot be read'):
    vocabularies.fingerprint()


def test_the_miniature_is_a_corpus_by_name(corpus):
  seqio_lib.use_corpus('miniature')
  names = row_source.SOURCE.metadata()['tasks']
  assert len(names) > 40
  assert 'task1_mood' not in names
  rows = rows_of('natinst_def_empty_ex_empty0_n1', 'train')
  assert len(rows) == len(row_source.SOURCE.metadata()['train_tasks'])


@pytest.mark.parametrize('argument', [None, 'miniature'])
def test_the_miniature_s_vocabulary_is_a_name_too(
  argument, corpus, monkeypatch
):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte' if argument else 'miniature')
  data_dir = seqio_lib.use_corpus('miniature', vocabulary=argument)
  assert vocabularies.current_vocabulary().sentencepiece_model_file == (
    f'{data_dir}/vocabulary.model'
  )


def test_seqio_s_evaluator_scores_against_every_reference():
  evaluator = seqio.Evaluator(
    fakes.NAME,
    feature_converter=seqio.EncDecFeatureConverter(pack=False),
    eval_split='test',
    sequence_length=fakes.LENGTHS,
  )
  # Right for every other instance of the first hundred, and for one title, by
  # its second reference but for case and punctuation.
  answers = {'Is it': 'YES.', 'a thing 3': 'the thing 3!'}
  vocabulary = vocabularies.current_vocabulary()

  def predict(dataset):
    outputs = []
    for index, row in dataset.as_numpy_iterator():
      prompt = vocabulary.decode(row['encoder_input_tokens'].tolist())
      query = prompt.split('Now complete')[1]
      text = next((t for key, t in answers.items() if key in query), 'none')
      tokens = vocabulary.encode(text)
      outputs.append((index, tokens + [0] * (12 - len(tokens))))
    return outputs

  all_metrics, _ = evaluator.evaluate(
    compute_metrics=True, predict_fn=predict, step=0
  )
  values = all_metrics.result()[fakes.NAME]
  assert values['exact_match'] == pytest.approx(100 * 51 / 106)
  # 'none' and a title share no word; every hit counts in full.
  assert values['rouge_l'] == pytest.approx(100 * 51 / 106)


def test_real_task_files(natinst_dir):
  seqio_lib.use_corpus(natinst_dir)
  lengths = {'inputs': 512, 'targets': 32}
  rows = rows_of('natinst_def_original_ex_original2', 'test', lengths)
  corpus = natinst.open_corpus(natinst_dir)
  assert set(rows) == {instance.id for _, instance in corpus.rows('test')}
  assert max(len(row['inputs']) for row in rows.values()) <= 512
  assert all(
    row['inputs_pretokenized'].endswith(b'\nOutput: ') for row in rows.values()
  )


def test_postprocess():
  example = {'references': np.array([b'a', 'é'.encode()], object)}
  assert seqio_lib.postprocess('a', example=example) == 'a'
  # SeqIO decodes an unknown token so, and T5X evaluates the text.
  assert seqio_lib.postprocess(' ⁇ a ⁇ ', example=example) == 'a'
  assert seqio_lib.postprocess('a', example=example, is_target=True) == [
    'a',
    'é',
  ]


def test_metrics_are_percentages_over_the_best_reference():
  assert seqio_lib.exact_match_and_rouge(
    [['one two'], ['three', 'four five'], ['six'], ['seven']],
    ['One two.', 'four', 'six', ''],
  ) == {
    'exact_match': pytest.approx(50.0),
    'rouge_l': pytest.approx(100 * (1 + 2 / 3 + 1) / 4),
  }


def test_a_prompt_s_limit():
  assert token_limit(vocabulary=seqio.ByteVocabulary(), max_tokens=None) is None
  limit = token_limit(vocabulary=seqio.ByteVocabulary(), max_tokens=4)
  assert limit.fits('abc')
  assert not limit.fits('abcd')


def test_a_truncated_prompt_has_no_mark_for_unknown_tokens():
  # 2 is unknown, 100 the byte of 'a'; Tk-Instruct skips special tokens.
  limit = token_limit(vocabulary=seqio.ByteVocabulary(), max_tokens=4)
  assert limit.decode([100, 2, 100]) == 'aa'


def test_an_unknown_piece_is_left_out(tmp_path):
  path = tmp_path / 'model'
  _train_without_bytes(path)
  vocabulary = seqio.SentencePieceVocabulary(str(path))
  assert vocabulary.unk_id in vocabulary.encode('one ☃ two')
  assert '⁇' in vocabulary.decode(vocabulary.encode('one ☃ two'))
  limit = token_limit(vocabulary=vocabulary, max_tokens=64)
  # The piece for the space before it stays.
  assert limit.decode(limit.encode('one ☃ two')) == 'one  two'


def _train_without_bytes(path):
  stem = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(['one two three four'] * 50),
    model_writer=stem,
    vocab_size=20,
    hard_vocab_limit=False,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
  )
  path.write_bytes(stem.getvalue())
