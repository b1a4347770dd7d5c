"""Tests of it_study.input_pipeline.training_tokens."""

import concurrent.futures
import dataclasses
import importlib
import inspect
import logging

import fakes
import numpy as np
from prompts_fixture import FAQ
import pytest
import seqio
import seqio_tasks_fixture

from it_study import conditions, seqio_lib
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.data import preprocessors, tfds_builder, vocabularies
from it_study.errors import InputError
from it_study.input_pipeline import token_cache, training_tokens
from it_study.input_pipeline.token_cache import FEATURES, TokenCache
from it_study.instructions import definitions
from it_study.storage import local_folders
import tasks  # noqa: F401  Registers the conditions.


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('tokens') / 'corpus')


@pytest.fixture(autouse=True)
def _use(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)


def tokens(folder, name=fakes.NAME, lengths=None, **kwargs):
  return training_tokens.training_tokens(
    mixture_or_task_name=name,
    task_feature_lengths=lengths or fakes.LENGTHS,
    fallback_directory=folder,
    **kwargs,
  )


def sequences(cache):
  return [
    tuple(row[feature].tolist() for feature in FEATURES)
    for row in cache.read(range(len(cache)))
  ]


@pytest.mark.parametrize(
  ('name', 'lengths', 'num_rows'),
  [
    (fakes.NAME, fakes.LENGTHS, 36),
    ('natinst_def_original_ex_delusive2', {'inputs': 120, 'targets': 4}, 36),
    ('natinst_def_renamed_ex_original2_trunctk_n5_s1', {'inputs': 90}, 11),
    ('natinst_def_renamed_ex_empty0_s1_tgtswapped', fakes.LENGTHS, 36),
    ('natinst_def_original_ex_original1_n5_tgtrandom', fakes.LENGTHS, 11),
    ('natinst_tk_instruct_n7_t2', {'inputs': 200, 'targets': 2}, 9),
  ],
)
def test_tokens_are_those_of_seqio(tmp_path, name, lengths, num_rows):
  cache = tokens(tmp_path, name, lengths)
  rows = list(
    seqio.get_mixture_or_task(name)
    .get_dataset(lengths, 'train', shuffle=False)
    .as_numpy_iterator()
  )
  assert len(cache) == len(rows) == num_rows
  for index, row in enumerate(rows):
    for feature in ('inputs', 'targets'):
      assert cache.sequence(feature, index).tolist() == row[feature].tolist()


def test_truncated_targets_are_counted(tmp_path):
  def count(name, longest):
    lengths = {'inputs': 256, 'targets': longest}
    return tokens(tmp_path, name, lengths).num_cut_targets

  targets = tokens(tmp_path, fakes.NAME).sequence_lengths('targets')
  longest = int(targets.max())
  assert count(fakes.NAME, longest) == 0
  assert count(fakes.NAME, longest - 1) == (targets == longest).sum() > 0
  assert count(fakes.NAME, 1) == len(targets)
  # The two parts of a mixture together.
  name = 'natinst_all_examples'
  assert count(name, 1) == len(tokens(tmp_path, name))


def test_a_condition_s_cache_is_shared_and_written_once(tmp_path, caplog):
  caplog.set_level(logging.INFO)
  counts = []
  name = f'{fakes.NAME}_n2'
  first = tokens(tmp_path / 'a', name, on_progress=counts.append)
  assert counts == [1, 2, 3, 4, 5, 6]
  second = tokens(tmp_path / 'b', name, on_progress=counts.append)
  assert len(counts) == 6
  assert second.path == first.path
  assert [m for m in caplog.messages if m.startswith('token cache')] == [
    f'token cache miss: writing {first.path}',
    f'token cache hit: {first.path}',
  ]
  assert first.path.parent == local_folders.cache_directory() / 'tokens'
  assert not list(tmp_path.iterdir())


def test_the_key_covers_what_determines_the_tokens(
  tmp_path, corpus, monkeypatch
):
  name = f'{fakes.NAME}_n5'
  first = tokens(tmp_path, name)
  paths = {first.path}
  paths.add(tokens(tmp_path, f'{fakes.NAME}_n5_s1').path)
  paths.add(tokens(tmp_path, name, {'inputs': 200, 'targets': 12}).path)
  seqio_lib.use_corpus(
    corpus, data_dir=tmp_path / 'capped', max_instances_per_task=3
  )
  capped = tokens(tmp_path, name)
  assert (len(first), len(capped)) == (11, 8)
  paths.add(capped.path)
  other = fakes.write_small_corpus(tmp_path / 'other', mood='Good or bad?')
  seqio_lib.use_corpus(other)
  paths.add(tokens(tmp_path, name).path)
  monkeypatch.setattr(vocabularies, 'fingerprint', lambda _: 'another')
  paths.add(tokens(tmp_path, name).path)
  version = preprocessors.TOKENS_VERSION
  monkeypatch.setattr(preprocessors, 'TOKENS_VERSION', version + 1)
  paths.add(tokens(tmp_path, name).path)
  assert len(paths) == 7


def test_the_source_of_the_library_is_not_part_of_the_key(
  tmp_path, monkeypatch
):
  name = 'natinst_def_renamed_ex_delusive1_n1'
  path = tokens(tmp_path, name).path
  monkeypatch.setattr(inspect, 'getsource', pytest.fail)
  assert tokens(tmp_path, name).path == path


LEVEL = """
def _text():
  return 'One.'


def mine(*, task, instance, condition):
  return _text()
"""


def test_the_source_of_a_user_s_level_is_part_of_the_key(tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(tmp_path)
  paths = []
  for number, source in enumerate((LEVEL, LEVEL, LEVEL.replace('One', 'Two'))):
    # Fresh names, as Python caches modules and their source lines.
    (tmp_path / f'user_level{number}.py').write_text(source)
    module = importlib.import_module(f'user_level{number}')
    conditions.DEFINITION_LEVELS.register('mine', module.mine)
    try:
      cache = tokens(tmp_path / 'run', 'natinst_def_mine_ex_empty0_n1')
    finally:
      conditions.DEFINITION_LEVELS.unregister('mine')
    text = vocabularies.current_vocabulary().decode(
      cache.sequence('inputs', 0).tolist()
    )
    assert text.startswith(
      'Definition: Two' if number == 2 else 'Definition: O'
    )
    paths.append(cache.path)
  assert paths[0] == paths[1] != paths[2]
  assert paths[0].parent == local_folders.cache_directory() / 'tokens'


def test_the_fields_of_a_level_of_ours_are_part_of_the_key(tmp_path):
  paths = []
  for text in ('One of: {labels}', 'Any of: {labels}'):
    conditions.DEFINITION_LEVELS.register(
      'oneof', definitions.OutputSpace(text)
    )
    try:
      paths.append(tokens(tmp_path, 'natinst_def_oneof_ex_empty0_n1').path)
    finally:
      conditions.DEFINITION_LEVELS.unregister('oneof')
  assert paths[0] != paths[1]


def test_the_template_of_a_prefix_is_part_of_the_key(tmp_path):
  paths = []
  for template in (FAQ, FAQ, dataclasses.replace(FAQ, cue=' = ')):
    conditions.PROMPT_TEMPLATES.register('keyed', template)
    try:
      paths.append(tokens(tmp_path, 'keyed_def_empty_ex_empty0_n1').path)
    finally:
      conditions.PROMPT_TEMPLATES.unregister('keyed')
      seqio.TaskRegistry.remove('keyed_def_empty_ex_empty0_n1')
  assert paths[0] == paths[1] != paths[2]
  assert paths[0].parent == local_folders.cache_directory() / 'tokens'


def test_a_condition_s_cache_does_not_depend_on_the_task_s_name(tmp_path):
  seqio_lib.add_task(Condition(instances_per_task=1), name='own_tokens')
  cache = tokens(tmp_path, 'own_tokens')
  assert len(cache) == 3
  named = tokens(tmp_path, 'natinst_def_original_ex_original2_n1')
  assert cache.path == named.path
  mixture = seqio_lib.add_natinst_tasks(Condition(instances_per_task=1))
  part = tokens(tmp_path, f'{mixture.name.removesuffix("all_tasks")}task1_mood')
  assert len(part) == 1
  assert part.path != named.path
  assert not list(tmp_path.iterdir())


def test_another_source_of_rows_has_another_cache(tmp_path):
  name = f'{fakes.NAME}_n3'
  first = tokens(tmp_path, name)
  other = fakes.write_small_corpus(tmp_path / 'other', mood='Good or bad?')
  data_dir = tfds_builder.build_rows(natinst.open_corpus(other))
  seqio_lib.add_task(
    Condition.from_name(name),
    name='own_rows',
    source=seqio_lib.RowsSource(data_dir),
  )
  second = tokens(tmp_path, 'own_rows')
  assert len(first) == len(second) == 8
  assert first.path != second.path
  assert first.fingerprint != second.fingerprint


def test_a_task_made_elsewhere_keeps_its_tokens_with_the_training(tmp_path):
  made = seqio_lib.find_task(f'{fakes.NAME}_n1')
  seqio.TaskRegistry.add(
    'others_tokens',
    source=made.source,
    preprocessors=list(made.preprocessors),
    output_features=made.output_features,
  )
  cache = tokens(tmp_path, 'others_tokens')
  assert len(cache) == 3
  assert cache.num_cut_targets is None
  assert cache.path.parent == tmp_path
  assert tokens(tmp_path, 'others_tokens').path == cache.path
  longer = tokens(tmp_path, 'others_tokens', {'inputs': 300, 'targets': 12})
  assert longer.path != cache.path


def test_a_level_without_source_keeps_its_tokens_with_the_training(tmp_path):
  namespace = {}
  exec('def typed(*, task, instance, condition): return "Typed."', namespace)
  conditions.DEFINITION_LEVELS.register('typed', namespace['typed'])
  try:
    cache = tokens(tmp_path, 'natinst_def_typed_ex_empty0_n1')
  finally:
    conditions.DEFINITION_LEVELS.unregister('typed')
  assert cache.path.parent == tmp_path
  text = vocabularies.current_vocabulary().decode(
    cache.sequence('inputs', 0).tolist()
  )
  assert text.startswith('Definition: Typed.\n\nNow complete')


def test_a_mixture_reads_its_parts_and_writes_nothing(tmp_path):
  counts = []
  mixture = tokens(tmp_path, 'natinst_all_examples', on_progress=counts.append)
  assert not list(tmp_path.iterdir())
  # An earlier test may have written some of the parts.
  assert counts == list(range(1, len(counts) + 1))
  names = [
    task.name for task in seqio_lib.find_task('natinst_all_examples').tasks
  ]
  parts = [tokens(tmp_path, name) for name in names]
  assert {part.path.parent for part in parts} == {
    local_folders.cache_directory() / 'tokens'
  }
  assert len(mixture) == 3 * 36
  assert sequences(mixture) == [s for part in parts for s in sequences(part)]
  order = mixture.epoch_order(seed=0, epoch=0)
  assert sorted(order) == list(range(3 * 36))
  assert sorted(order[:3] // 36) == [0, 1, 2]
  assert mixture.metadata()['parts'] == {
    name: {'cache': part.fingerprint, 'rate': '1/3'}
    for name, part in zip(names, parts, strict=True)
  }


def test_progress_counts_over_all_parts_of_a_mixture(tmp_path):
  names = [f'{fakes.NAME}_n{n}_s7' for n in (1, 2)]
  seqio_lib.add_mixture('counted', dict.fromkeys(names, 1))
  counts = []
  mixture = tokens(tmp_path, 'counted', on_progress=counts.append)
  assert len(mixture) == 3 + 6
  assert counts == list(range(1, 10))


def test_a_mixture_keeps_to_its_rates(tmp_path):
  one, three = f'{fakes.NAME}_n1', f'{fakes.NAME}_n3'
  seqio_lib.add_mixture('one_to_three', {one: 0.1, three: 0.3})
  mixture = tokens(tmp_path, 'one_to_three')
  # 3 and 8 examples.
  assert len(mixture) == 11
  order = np.concatenate(
    [mixture.epoch_order(seed=0, epoch=epoch) for epoch in range(4)]
  )
  assert (order.reshape(-1, 4) < 3).sum(axis=1).tolist() == [1] * 11
  shares = [part['rate'] for part in mixture.metadata()['parts'].values()]
  assert shares == ['1/4', '3/4']


def test_a_mixture_without_parts_is_refused(tmp_path):
  name = f'{fakes.NAME}_n1'
  seqio_lib.find_task(name)
  seqio.MixtureRegistry.add('no_rates', [(name, 0.0)])
  with pytest.raises(
    InputError, match='mixture no_rates: no part has both a split train and a'
  ):
    tokens(tmp_path, 'no_rates')


@pytest.mark.parametrize(
  'damage',
  [
    lambda path: (path / 'tokens.arrayrecord').unlink(),
    lambda path: (path / 'lengths.npy').write_bytes(b''),
    lambda path: (path / 'cache.json').write_text('{'),
    lambda path: (path / 'cache.json').write_text('{"format": 1}'),
    lambda path: (path / 'cache.json').unlink(),
  ],
)
def test_damaged_tokens_are_rewritten(tmp_path, caplog, damage):
  name = f'{fakes.NAME}_n2_s6'
  first = tokens(tmp_path, name)
  expected = sequences(first)
  damage(first.path)
  counts = []
  again = tokens(tmp_path, name, on_progress=counts.append)
  assert (again.path, again.fingerprint) == (first.path, first.fingerprint)
  assert sequences(again) == expected
  assert counts == [1, 2, 3, 4, 5, 6]
  for record in caplog.records:
    assert record.getMessage().startswith(f'token cache {first.path} ')
    assert record.getMessage().endswith(' Rewriting it.')
  assert tokens(tmp_path, name, on_progress=pytest.fail).path == first.path


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
  name = f'{fakes.NAME}_n2_s6'
  path = tokens(tmp_path, name).path
  (path / 'cache.json').unlink()
  left = path.with_name(f'{path.name}.partial-1')
  left.mkdir()
  (left / 'tokens.arrayrecord').write_bytes(b'half')
  assert tokens(tmp_path, name).path == path
  assert not left.exists()


def test_another_process_waits_for_the_same_tokens(tmp_path, monkeypatch):
  name, counts = f'{fakes.NAME}_n4_s6', []
  write = token_cache.write_token_cache
  with concurrent.futures.ThreadPoolExecutor(1) as pool:

    def write_while_another_asks(path, rows):
      # A lock belongs to an open file, so threads wait like processes.
      other.append(pool.submit(tokens, tmp_path, name, on_progress=pytest.fail))
      assert not concurrent.futures.wait(other, timeout=0.3).done
      return write(path, rows)

    other = []
    monkeypatch.setattr(
      token_cache, 'write_token_cache', write_while_another_asks
    )
    cache = tokens(tmp_path, name, on_progress=counts.append)
    assert isinstance(cache, TokenCache)
    assert len(counts) == len(cache) == len(other[0].result(timeout=60))


def test_a_mixture_leaves_out_tasks_without_a_train_split(tmp_path):
  mixture = seqio_lib.add_natinst_tasks(Condition(instances_per_task=2))
  cache = tokens(tmp_path, mixture.name)
  assert len(cache) == 6
  with pytest.raises(
    InputError, match='task5_title has no split train, only test: there is no'
  ):
    tokens(tmp_path, f'{mixture.name.removesuffix("all_tasks")}task5_title')


def test_unknown_conditions_and_unknown_tasks_differ_in_the_message():
  with pytest.raises(
    InputError,
    match=r"definition level 'orignal' is unknown; .* Did you mean 'original'",
  ):
    seqio_lib.find_task('natinst_def_orignal_ex_original2')
  with pytest.raises(
    InputError,
    match=r"no SeqIO task or mixture 'nat_all_definitions' is registered\. Did "
    r"you mean 'natinst_all_definitions'\? MIXTURE_OR_TASK_MODULE names",
  ):
    seqio_lib.find_task('nat_all_definitions')
  with pytest.raises(
    InputError,
    match=r"'natinst_all_defs' is registered\. Did you mean 'natinst_all_def",
  ):
    seqio_lib.find_task('natinst_all_defs')


@pytest.mark.parametrize(
  ('split', 'advice'),
  [
    ('train', 'there is nothing to train on'),
    ('validation', 'leave EVAL_PERIOD at None'),
  ],
)
def test_an_empty_split_leaves_nothing_behind(tmp_path, split, advice):
  seqio_tasks_fixture.add_task(
    'void',
    dict.fromkeys(('train', 'validation'), seqio_tasks_fixture.questions(2)),
    preprocessors=[
      lambda dataset: dataset.take(0),
      seqio.preprocessors.tokenize,
    ],
  )
  with pytest.raises(InputError) as error:
    tokens(tmp_path, 'void', split=split)
  assert str(error.value) == f'void has no example in {split}: {advice}.'
  # What a corrected task would take for its own.
  assert not list(tmp_path.glob('tokens_*[!k]'))
