"""Tests of it_study.data.build_folder: damage is detected and repaired."""

import logging
import pathlib

import fakes
import pytest

from it_study.corpus import natinst
from it_study.data import build_folder, row_source, tfds_builder
from it_study.errors import InputError


@pytest.fixture(name='built')
def _built(tmp_path):
  corpus = natinst.open_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))
  return corpus, tfds_builder.build_rows(corpus, data_dir=tmp_path / 'rows')


def _files(data_dir) -> dict[str, bytes]:
  directory = pathlib.Path(tfds_builder.rows_directory(data_dir))
  return {path.name: path.read_bytes() for path in directory.iterdir()}


def _remove(path):
  path.unlink()


def _cut(path):
  path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize('harm', [_remove, _cut])
@pytest.mark.parametrize(
  'pattern', ['*-test.tfrecord*', '*-train.tfrecord*', '*.json']
)
def test_damage_to_every_file_is_detected(built, caplog, harm, pattern):
  corpus, data_dir = built
  directory = pathlib.Path(tfds_builder.rows_directory(data_dir))
  whole = _files(data_dir)
  paths = sorted(directory.glob(pattern))
  assert paths
  for path in paths:
    harm(path)
    if harm is _remove:
      with pytest.raises(InputError, match='corpus build CORPUS --data_dir'):
        tfds_builder.stored_metadata(data_dir)
    source = row_source.RowsSource(data_dir)
    with pytest.raises(InputError, match='Build them again with'):
      source.metadata()
    with caplog.at_level(logging.WARNING):
      tfds_builder.build_rows(corpus, data_dir=data_dir)
    assert f'its {path.name}' in caplog.text
    assert _files(data_dir).keys() == whole.keys()
    assert (
      build_folder.find_damage(tfds_builder.rows_directory(data_dir)) is None
    )
  rows = {n: b for n, b in _files(data_dir).items() if 'tfrecord' in n}
  assert rows == {n: b for n, b in whole.items() if 'tfrecord' in n}


def test_a_missing_build_is_not_damaged(tmp_path):
  build_folder.check_files(
    tfds_builder.rows_directory(tmp_path), data_dir=tmp_path
  )


def test_a_message_names_file_and_sizes(built):
  _, data_dir = built
  directory = pathlib.Path(tfds_builder.rows_directory(data_dir))
  path = next(directory.glob('*-test.tfrecord*'))
  size = path.stat().st_size
  _cut(path)
  # A check of records continues.
  assert tfds_builder.stored_metadata(data_dir)['train_tasks']
  with pytest.raises(InputError) as error:
    row_source.RowsSource(data_dir).metadata()
  assert str(error.value) == (
    f'rows in {directory}: its {path.name} has {size - 3} bytes, not {size}. '
    f"Build them again with 'it-study corpus build CORPUS --data_dir "
    f"{data_dir}'."
  )


def test_files_of_others_are_not_removed(built, tmp_path):
  corpus, data_dir = built
  directory = pathlib.Path(tfds_builder.rows_directory(data_dir))
  _remove(next(directory.glob('*-test.tfrecord*')))
  other = natinst.open_corpus(
    fakes.write_small_corpus(tmp_path / 'other', mood='Good or bad?')
  )
  with pytest.raises(InputError, match=r'damaged build .* of another corpus'):
    tfds_builder.build_rows(other, data_dir=data_dir)
  (directory / 'mine.txt').write_text('text')
  with pytest.raises(
    InputError, match=r"build .* holds 'mine\.txt', which no build"
  ):
    tfds_builder.build_rows(corpus, data_dir=data_dir)
  assert (directory / 'mine.txt').read_text() == 'text'
