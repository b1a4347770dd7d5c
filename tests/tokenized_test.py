"""Tests of it_study.tokenized: a task's tokens, written once for their key."""

import fakes
import pytest
import seqio

from it_study import conditions, folders, seqio_lib, tokenized, vocabularies
from it_study.conditions import Condition
from it_study.errors import InputError
import tasks  # noqa: F401  Registers the conditions.


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('tokens') / 'corpus')


@pytest.fixture(autouse=True)
def _use(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)


def tokens(folder, name=fakes.NAME, lengths=None, **kwargs):
  return tokenized.training_tokens(
    mixture_or_task_name=name,
    task_feature_lengths=lengths or fakes.LENGTHS,
    fallback_directory=folder,
    **kwargs,
  )


def test_the_tokens_are_seqio_s(tmp_path):
  cache = tokens(tmp_path)
  rows = list(
    seqio.get_mixture_or_task(fakes.NAME)
    .get_dataset(fakes.LENGTHS, 'train', shuffle=False)
    .as_numpy_iterator()
  )
  assert len(cache) == len(rows) == 36
  for index, row in enumerate(rows):
    for feature in ('inputs', 'targets'):
      assert cache.sequence(feature, index).tolist() == row[feature].tolist()


def test_a_condition_s_cache_is_shared_and_written_once(tmp_path):
  counts = []
  name = f'{fakes.NAME}_n2'
  first = tokens(tmp_path / 'a', name, on_progress=counts.append)
  assert counts == [1, 2, 3, 4, 5, 6]
  second = tokens(tmp_path / 'b', name, on_progress=counts.append)
  assert len(counts) == 6
  assert second.path == first.path
  assert first.path.parent == folders.cache_directory() / 'tokens'
  assert not list(tmp_path.iterdir())


def test_the_key_is_all_that_makes_the_tokens(tmp_path, corpus, monkeypatch):
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
  monkeypatch.setattr(vocabularies, 'fingerprint', lambda: 'another')
  paths.add(tokens(tmp_path, name).path)
  assert len(paths) == 6


def test_a_task_of_one_s_own_keeps_its_tokens_with_the_training(tmp_path):
  seqio_lib.add_task(Condition(instances_per_task=1), name='own_tokens')
  cache = tokens(tmp_path, 'own_tokens')
  assert len(cache) == 3
  assert cache.path.parent == tmp_path
  assert tokens(tmp_path, 'own_tokens').path == cache.path
  longer = tokens(tmp_path, 'own_tokens', {'inputs': 300, 'targets': 12})
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


def test_a_mixture_gives_tokens(tmp_path):
  cache = tokens(tmp_path, 'natinst_all_examples')
  assert cache.path.parent == tmp_path
  # SeqIO stops when the first of three tasks of 36 is exhausted.
  assert 36 <= len(cache) <= 3 * 36


def test_an_unknown_condition_is_told_from_an_unknown_task():
  with pytest.raises(
    InputError,
    match=r"definition level 'orignal' is unknown; .* Did you mean 'original'",
  ):
    tokenized.find_task('natinst_def_orignal_ex_original2')
  with pytest.raises(
    InputError,
    match=r"no SeqIO task or mixture 'nat_all_definitions' is registered\. Did "
    r"you mean 'natinst_all_definitions'\? MIXTURE_OR_TASK_MODULE names",
  ):
    tokenized.find_task('nat_all_definitions')
  with pytest.raises(
    InputError, match=r'natinst_all_defs.* is not a condition'
  ):
    tokenized.find_task('natinst_all_defs')
