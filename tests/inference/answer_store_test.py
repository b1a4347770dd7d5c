"""Tests of the answer cache on disk."""

import pytest

from it_study.errors import InputError
from it_study.inference.answer_store import AnswerStore

ANSWERS = {'k1': 'yes\u2028no', 'k2': {'good': -1.5, 'bad': -0.25}}


def files(folder):
  return sorted(folder.rglob('*.jsonl'))


def test_committed_answers_are_there_after_reopening(tmp_path):
  store = AnswerStore(tmp_path, settings={'a': 1})
  assert 'k1' not in store
  store.commit(ANSWERS)
  store.commit({'k3': ''})
  again = AnswerStore(tmp_path, settings={'a': 1})
  assert {key: again[key] for key in ('k1', 'k2', 'k3')} == {
    **ANSWERS,
    'k3': '',
  }
  assert len(again) == 3
  assert 'k4' not in again


def test_different_settings_use_different_stores(tmp_path):
  AnswerStore(tmp_path, settings={'a': 1}).commit(ANSWERS)
  assert len(AnswerStore(tmp_path, settings={'a': 2})) == 0


def test_two_writers_add_to_each_other(tmp_path):
  first = AnswerStore(tmp_path, settings={})
  second = AnswerStore(tmp_path, settings={})
  first.commit({'k1': 'a'})
  second.commit({'k2': 'b'})
  second.commit({'k1': 'a'})
  assert len(AnswerStore(tmp_path, settings={})) == 2
  assert len(files(tmp_path)) == 2


@pytest.mark.parametrize(
  'damage',
  [
    lambda content: content[:-3],
    lambda content: content.replace(b'yes', b'yet'),
    lambda content: b'',
  ],
  ids=['cut', 'flipped', 'empty'],
)
def test_a_damaged_commit_is_reported_and_skipped(tmp_path, caplog, damage):
  store = AnswerStore(tmp_path, settings={})
  store.commit(ANSWERS)
  store.commit({'k3': 'fine'})
  for path in files(tmp_path):
    if b'yes' in path.read_bytes():
      path.write_bytes(damage(path.read_bytes()))
      damaged = path
  again = AnswerStore(tmp_path, settings={})
  assert len(again) == 1
  assert again['k3'] == 'fine'
  assert f'{damaged} is damaged; its answers will be recomputed.' in caplog.text
  assert not damaged.exists()


def test_a_partial_commit_is_not_visible(tmp_path):
  AnswerStore(tmp_path, settings={}).commit(ANSWERS)
  (path,) = files(tmp_path)
  path.rename(path.with_name(f'.{path.name}.12.tmp'))
  assert len(AnswerStore(tmp_path, settings={})) == 0


def test_a_store_in_memory_writes_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  store = AnswerStore(None, settings={})
  store.commit(ANSWERS)
  assert store['k1'] == ANSWERS['k1']
  assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_created_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match=r'cannot write to .*file'):
    AnswerStore(tmp_path / 'file', settings={})
