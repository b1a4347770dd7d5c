"""Tests of kept answers."""

import pytest

from it_study.errors import InputError
from it_study.inference.answer_store import AnswerStore

ANSWERS = {'k1': 'yes\u2028no', 'k2': {'good': -1.5, 'bad': -0.25}}


def files(folder):
  return sorted(folder.rglob('*.jsonl'))


def test_what_is_committed_is_there_when_opened_again(tmp_path):
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


def test_other_settings_are_another_store(tmp_path):
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
def test_a_damaged_commit_is_named_and_left_out(tmp_path, caplog, damage):
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


def test_a_commit_that_was_cut_off_is_not_there(tmp_path):
  AnswerStore(tmp_path, settings={}).commit(ANSWERS)
  (path,) = files(tmp_path)
  path.rename(path.with_name(f'.{path.name}.12.tmp'))
  assert len(AnswerStore(tmp_path, settings={})) == 0


def test_in_memory_nothing_is_written(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  store = AnswerStore(None, settings={})
  store.commit(ANSWERS)
  assert store['k1'] == ANSWERS['k1']
  assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match=r'cannot write to .*file'):
    AnswerStore(tmp_path / 'file', settings={})
