"""Tests of it_study.data.build_folder: damage is detected and repaired."""

import json
import logging
import pathlib

import fakes
import pytest

from it_study.corpus import files, natinst
from it_study.data import build_folder, preprocessors, row_source, tfds_builder
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


def _flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


@pytest.mark.parametrize(
  'pattern', ['*-test.tfrecord*', '[!f]*.json', 'features.json']
)
def test_a_flipped_byte_is_found_on_opening(built, caplog, pattern):
  corpus, data_dir = built
  directory = pathlib.Path(tfds_builder.rows_directory(data_dir))
  for path in sorted(directory.glob(pattern)):
    whole = path.read_bytes()
    _flip(path)
    with pytest.raises(InputError) as error:
      row_source.RowsSource(data_dir).metadata()
    assert str(error.value) == (
      f'rows in {directory}: its {path.name} has changed since it was written. '
      "Build them again with 'it-study corpus build CORPUS --data_dir "
      f"{data_dir}'."
    )
    if path.name == 'metadata.json':
      # A task's text, or the fingerprint: not known to be of this corpus.
      path.write_bytes(whole)
      continue
    with caplog.at_level(logging.WARNING):
      tfds_builder.build_rows(corpus, data_dir=data_dir)
    assert (
      f'its {path.name} has changed since it was written; rebuilding it'
      in caplog.text
    )
    row_source.RowsSource(data_dir).metadata()


@pytest.fixture(name='failing_disk')
def _failing_disk(monkeypatch):
  """No file's times show that it has changed; hashes are kept at once."""
  monkeypatch.setattr(files, '_file_state', lambda status: [status.st_size])
  monkeypatch.setattr(files, 'RECENT_NS', -(10**18))


def _read_all(data_dir):
  source = row_source.RowsSource(data_dir)
  rows = source.get_dataset('test', shuffle=False)
  return list(preprocessors.numpy_rows(rows, source=source))


def test_a_byte_that_a_disk_flips_is_found_on_reading(built, failing_disk):
  _, data_dir = built
  directory = pathlib.Path(tfds_builder.rows_directory(data_dir))
  assert len(_read_all(data_dir)) == fakes.NUM_ROWS['test']
  (path,) = directory.glob('*-test.tfrecord*')
  _flip(path)
  row_source.RowsSource(data_dir).metadata()
  message = (
    f'rows in {directory}: its {path.name} has changed since it was written. '
    f"Build them again with 'it-study corpus build CORPUS --data_dir {data_dir}"
    "'."
  )
  for attempt in (
    lambda: _read_all(data_dir),
    # From now on, it is found on opening.
    lambda: row_source.RowsSource(data_dir).metadata(),
  ):
    with pytest.raises(InputError) as error:
      attempt()
    assert str(error.value) == message


def test_counting_rows_names_a_damaged_file(built, failing_disk):
  _, data_dir = built
  source = row_source.RowsSource(data_dir)
  source.metadata()
  (path,) = pathlib.Path(data_dir).rglob('*-validation.tfrecord*')
  _flip(path)
  with pytest.raises(InputError, match=rf'its {path.name} has changed'):
    source.counts('validation')


def test_a_build_can_look_for_what_a_disk_flips(built, failing_disk):
  corpus, data_dir = built
  row_source.RowsSource(data_dir).metadata()
  (path,) = pathlib.Path(data_dir).rglob('*-train.tfrecord*')
  whole = path.read_bytes()
  _flip(path)
  tfds_builder.build_rows(corpus, data_dir=data_dir)
  assert path.read_bytes() != whole
  tfds_builder.build_rows(corpus, data_dir=data_dir, reread=True)
  assert path.read_bytes() == whole


def test_unchanged_rows_are_not_read_again(built, failing_disk, monkeypatch):
  _, data_dir = built
  row_source.RowsSource(data_dir).metadata()
  monkeypatch.setattr(files, '_hash_file', None)
  row_source.RowsSource(data_dir).metadata()


def test_rows_in_the_cache_are_rebuilt(tmp_path, monkeypatch, caplog):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  corpus = natinst.open_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))
  data_dir = tfds_builder.build_rows(corpus)
  directory = pathlib.Path(tfds_builder.rows_directory(data_dir))
  path = directory / 'metadata.json'
  whole = path.read_text()
  path.write_text(whole.replace(corpus.fingerprint(), '0' * 64))
  with pytest.raises(InputError) as error:
    row_source.RowsSource(data_dir).metadata()
  assert str(error.value) == (
    f'rows in {directory}: its metadata.json has changed since it was written. '
    'Run the same command again, which rebuilds them.'
  )
  with caplog.at_level(logging.WARNING):
    assert tfds_builder.build_rows(corpus) == data_dir
  assert 'metadata.json has changed since it was written; rebuil' in caplog.text
  assert path.read_text() == whole


def _list_sizes_alone(directory) -> dict[str, int]:
  """Makes the file list one of a former version."""
  path = directory / build_folder.FILE_LIST
  sizes = {
    name: entry['bytes'] for name, entry in json.loads(path.read_text()).items()
  }
  path.write_text(json.dumps(sizes))
  return sizes


def test_a_list_of_sizes_alone_is_read(built):
  _, data_dir = built
  directory = tfds_builder.rows_directory(data_dir)
  sizes = _list_sizes_alone(directory)
  assert build_folder.find_damage(directory, reread=True) is None
  _cut(pathlib.Path(directory / 'LICENSE'))
  assert build_folder.find_damage(directory) == (
    f'its LICENSE has {sizes["LICENSE"] - 3} bytes, not {sizes["LICENSE"]}'
  )


def test_records_of_a_former_version_are_checked_by_their_checksums(
  built, caplog
):
  corpus, data_dir = built
  directory = pathlib.Path(tfds_builder.rows_directory(data_dir))
  _list_sizes_alone(directory)
  (path,) = directory.glob('*-test.tfrecord*')
  whole = path.read_bytes()
  _flip(path)
  with pytest.raises(InputError) as error:
    row_source.RowsSource(data_dir).metadata()
  assert str(error.value) == (
    f'rows in {directory}: its {path.name} has a damaged record. Build them '
    f"again with 'it-study corpus build CORPUS --data_dir {data_dir}'."
  )
  with caplog.at_level(logging.WARNING):
    tfds_builder.build_rows(corpus, data_dir=data_dir)
  assert 'has a damaged record; rebuilding it' in caplog.text
  assert path.read_bytes() == whole


def test_rows_in_a_bucket_are_read_only_in_search_of_damage(built, monkeypatch):
  _, data_dir = built
  directory = tfds_builder.rows_directory(data_dir)
  monkeypatch.setattr(build_folder, '_is_in_bucket', lambda directory: True)
  build_folder.write_file_list(directory)
  listed = json.loads((directory / build_folder.FILE_LIST).read_text())
  assert {name for name, entry in listed.items() if 'sha256' in entry} == {
    'LICENSE',
    'dataset_info.json',
    'features.json',
    'metadata.json',
  }
  assert build_folder.find_damage(directory, reread=True) is None
  (path,) = pathlib.Path(directory).glob('*-train.tfrecord*')
  whole = path.read_bytes()
  _flip(path)
  assert build_folder.find_damage(directory) is None
  assert build_folder.find_damage(directory, reread=True) == (
    f'its {path.name} has a damaged record'
  )
  path.write_bytes(whole)
  _flip(pathlib.Path(directory) / 'metadata.json')
  assert build_folder.find_damage(directory) == (
    'its metadata.json has changed since it was written'
  )


def test_a_list_cannot_name_a_path(built):
  _, data_dir = built
  path = tfds_builder.rows_directory(data_dir) / build_folder.FILE_LIST
  path.write_text(path.read_text().replace('LICENSE', '../LICENSE'))
  assert build_folder.find_damage(path.parent) == (
    'its files.json is missing or damaged'
  )


def test_metadata_that_cannot_be_parsed_is_named(built):
  _, data_dir = built
  (path,) = pathlib.Path(data_dir).rglob('metadata.json')
  for old, new in (('"', ''), ('"definition"', '"defenition"')):
    whole = path.read_text()
    path.write_text(whole.replace(old, new, 1))
    with pytest.raises(InputError, match=r'its metadata\.json has'):
      tfds_builder.stored_metadata(data_dir)
    path.write_text(whole)


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
