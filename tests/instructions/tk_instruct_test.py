"""Tests of tk_instruct: five encodings, one an instance."""

import collections

import fakes
import pytest

from it_study import seqio_lib
from it_study.conditions import Condition
from it_study.data import vocabularies
from it_study.errors import InputError
from it_study.instructions import tk_instruct
from it_study.instructions.tk_instruct import TkInstruct


def test_the_encodings_are_those_of_the_collator():
  assert [encoding.name for encoding in tk_instruct.ENCODINGS] == [
    'natinst_def_original_ex_empty0_trunctk',
    'natinst_def_empty_ex_original2_trunctk',
    'natinst_def_original_ex_original2_trunctk',
    'natinst_def_original_ex_original2_neg2_trunctk',
    'natinst_def_original_ex_original2_expl_trunctk',
  ]


@pytest.mark.parametrize(
  ('choice', 'name'),
  [
    (TkInstruct(), 'natinst_tk_instruct'),
    (TkInstruct(instances_per_task=10), 'natinst_tk_instruct_n10'),
    (TkInstruct(num_tasks=3, seed=2), 'natinst_tk_instruct_t3_s2'),
    (
      TkInstruct(instances_per_task=1, num_tasks=8, seed=1),
      'natinst_tk_instruct_n1_t8_s1',
    ),
  ],
)
def test_names_are_parsed_back(choice, name):
  assert choice.name == name
  assert TkInstruct.from_name(name) == choice
  assert tk_instruct.from_name(name) == choice


def test_a_condition_s_name_is_a_condition():
  name = 'natinst_def_empty_ex_delusive1_n5'
  assert tk_instruct.from_name(name) == Condition.from_name(name)


@pytest.mark.parametrize(
  'suffix', ['_n100', '_s1_n3', '_neg2', '_trunctk', '_n0', 's', '_n10_']
)
def test_malformed_names_are_refused(suffix):
  with pytest.raises(
    InputError,
    match=rf"'natinst_tk_instruct{suffix}' is not a mixture of "
    'encodings. A name reads natinst_tk_instruct, followed by suffixes',
  ):
    tk_instruct.from_name(f'natinst_tk_instruct{suffix}')


def test_values_are_checked_like_a_condition_s():
  with pytest.raises(InputError, match='instances_per_task is 0; expected'):
    TkInstruct(instances_per_task=0)


@pytest.mark.parametrize('seed', [0, 1])
def test_every_encoding_has_a_fifth_of_the_instances(seed):
  choice = TkInstruct(seed=seed)
  drawn = [choice.of_instance(f'task1-{i}') for i in range(5000)]
  counts = collections.Counter(drawn)
  assert set(counts) == set(choice.encodings)
  # Chi-square with 4 degrees of freedom exceeds 18.5 once in 1,000 times.
  assert sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 18.5
  assert drawn == [choice.of_instance(f'task1-{i}') for i in range(5000)]


def test_the_encoding_depends_on_seed_and_id():
  ids = [f'task1-{i}' for i in range(200)]
  by_seed = [
    [TkInstruct(seed=s).of_instance(i).name.removesuffix('_s1') for i in ids]
    for s in (0, 1)
  ]
  # A fifth agree by chance.
  assert 20 <= sum(map(str.__eq__, *by_seed)) <= 60
  assert TkInstruct().of_instance('mood-1').name == (
    'natinst_def_original_ex_original2_trunctk'
  )
  # Fewer instances have the same encodings.
  assert [TkInstruct(instances_per_task=2).of_instance(i) for i in ids] == [
    Condition(**{**vars(TkInstruct().of_instance(i)), 'instances_per_task': 2})
    for i in ids
  ]


def test_the_prompts_are_those_of_the_conditions(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))
  lengths = {'inputs': 180, 'targets': 12}

  def prompts_of(name, split):
    task = seqio_lib.find_task(name)
    dataset = task.get_dataset(lengths, split, shuffle=False)
    return {
      row['id'].decode(): row['inputs_pretokenized']
      for row in dataset.as_numpy_iterator()
    }

  choice = TkInstruct(instances_per_task=7, seed=2)
  for split, shown in (('train', choice), ('validation', TkInstruct())):
    found = prompts_of(choice.name, split)
    of_encoding = {
      encoding: prompts_of(encoding.name, split) for encoding in shown.encodings
    }
    used = {shown.of_instance(key) for key in found}
    assert len(used) == 5
    assert found == {
      key: of_encoding[shown.of_instance(key)][key] for key in found
    }
