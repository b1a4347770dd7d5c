"""Tests of hints for folders that hold no weights themselves."""

import pathlib
import shutil

import pytest

from it_study.checkpoints import folder_hints, weights_source
from it_study.checkpoints.hf import params as hf
from it_study.checkpoints.t5x import tensors as t5x_tensors
from it_study.data import vocabularies
from it_study.errors import InputError
from it_study.storage.storage_path import StoragePath

_HF = pathlib.Path(__file__).parents[1] / 'golden/hf_golden/v1_1'
_POINTER = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n'
_EXPECTED = (
  'no weights; a Hugging Face folder holds config.json, and '
  'model.safetensors or pytorch_model.bin or an index of shards.'
)
_ADAPTER = (
  ' It is an adapter: merge it into its model first, with merge_and_unload of '
  'peft, and save the whole model.'
)


def make(folder, *files):
  for name in files:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  return folder


def below(names):
  return f' Weights are below it: {names}. Name that folder.'


@pytest.mark.parametrize(
  ('files', 'hint'),
  [
    ('', ''),
    ('config.json README.md logs/config.json', ''),
    ('adapter_config.json adapter_model.safetensors', _ADAPTER),
    (
      'trainer_state.json a-500/config.json a-500/model.safetensors',
      below('a-500'),
    ),
    (
      'm/snapshots/b/config.json m/snapshots/b/pytorch_model.bin.index.json',
      below('m/snapshots/b'),
    ),
    # Four levels down.
    ('a/b/c/d/config.json a/b/c/d/model.safetensors', ''),
    (
      'trainings/x/training.json trainings/x/checkpoints/a',
      below('trainings/x'),
    ),
    ('other/checkpoint_20/checkpoint', below('other')),
    ('run/4/params/a run/4/manifest.json', below('run/4')),
    ('config.json model.safetensors', ' It holds weights in the format hf.'),
    ('checkpoint_5/checkpoint', ' It holds weights in the format t5x.'),
    # Trainings whose checkpoints are damaged.
    ('checkpoints/4/params/a checkpoints/4/manifest.json', ''),
    ('4/params/a 4/manifest.json', ''),
  ],
)
def test_what_a_folder_holds_is_said(files, hint, tmp_path):
  assert folder_hints.hint(make(tmp_path, *files.split())) == hint


def test_a_missing_folder_has_no_hint(tmp_path):
  assert folder_hints.hint(tmp_path / 'none') == ''
  assert folder_hints.hint(make(tmp_path, 'file') / 'file') == ''


def test_only_so_many_folders_are_looked_at(tmp_path, monkeypatch):
  make(tmp_path, 'a/x', 'b/x', 'c/config.json', 'c/model.safetensors')
  assert folder_hints.hint(tmp_path) == below('c')
  monkeypatch.setattr(folder_hints, '_MAX_FOLDERS', 3)
  assert folder_hints.hint(tmp_path) == ''


def test_every_format_gives_the_hint(tmp_path):
  make(tmp_path, 'a-5/config.json', 'a-5/model.safetensors')
  for stored, message in (
    ('hf', f'{tmp_path}: {_EXPECTED}'),
    (
      't5x',
      f'{tmp_path}: no T5X checkpoint found. Name a folder checkpoint_STEP, or '
      'the one above it for the newest.',
    ),
    (
      None,
      f'no usable checkpoint at {tmp_path}: expected folders named by their '
      'step, each with a manifest.json. Train first, or name another folder.',
    ),
  ):
    source = weights_source.resolve(tmp_path, format=stored)
    with pytest.raises(InputError) as caught:
      _ = source.folder
    assert str(caught.value) == message + below('a-5')


@pytest.mark.parametrize('name', ['model.safetensors', 'config.json'])
def test_a_pointer_of_git_lfs_is_recognized(name, tmp_path):
  folder = shutil.copytree(_HF, tmp_path / 'hf')
  config = hf.read_model_config(folder)
  (folder / name).write_text(_POINTER)
  with (
    pytest.raises(InputError) as caught,
    hf.open_params(folder, config=config, target={}),
  ):
    pass
  assert str(caught.value) == (
    f'{folder}/{name}: a Git LFS pointer, not the file itself. Run git lfs '
    'pull in its folder, or download the file.'
  )


@pytest.mark.parametrize(
  'read',
  [
    vocabularies.pieces_of,
    vocabularies.check_model_file,
    lambda path: t5x_tensors.find_tensors(StoragePath(path.parent)),
  ],
)
def test_other_files_may_be_pointers_too(read, tmp_path):
  path = tmp_path / 'checkpoint'
  path.write_text(_POINTER)
  with pytest.raises(
    InputError, match='/checkpoint: a Git LFS pointer, not the file itself'
  ):
    read(path)
