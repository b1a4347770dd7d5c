"""Tests of paths that users give, and of folders in a bucket."""

import os
import pathlib
import subprocess
import sys

import fake_bucket
import pytest
import t5x_fixture as fixture

from it_study.errors import InputError
from it_study.storage.storage_path import StoragePath, expanded, reason

# In a process of its own, since TensorStore reads the server's address once.
_FROM_A_BUCKET = """
import pathlib, sys
import jax, numpy as np
import fake_bucket
from it_study.checkpoints import weights, weights_source
from it_study.checkpoints.t5x import reading
from it_study.errors import InputError
from it_study.models import partitioning
from it_study.models.t5 import T5
def target_of(path):
  return partitioning.abstract_params(
    model=T5(reading.read_model_config(path)), mesh=partitioning.make_mesh())
for name in ('v1_1_msgpack', 'v1_1_orbax'):
  here = f'{sys.argv[1]}/{name}'
  for there in (f'gs://bucket/{name}', f'gs://bucket/{name}/checkpoint_1000/'):
    target = target_of(here)
    jax.tree.map(
      np.testing.assert_array_equal,
      weights.restore(
        weights_source.resolve(there), config=None, target=target),
      reading.load_params(here, target=target))
for missing in ('gs://bucket/nothing', 'gs://bucket/v1_1_orbax/checkpoint_1'):
  try:
    weights_source.resolve(missing, format='t5x').folder
  except InputError as error:
    print(error)
"""


def test_checkpoints_are_read_from_a_bucket():
  with fake_bucket.serve(fixture.theirs()) as url:
    done = subprocess.run(
      [sys.executable, '-c', _FROM_A_BUCKET, str(fixture.theirs())],
      env={
        **os.environ,
        **fake_bucket.environment(url, fixture.theirs()),
        'PYTHONPATH': os.pathsep.join(
          (os.path.dirname(fixture.__file__), os.environ.get('PYTHONPATH', ''))
        ),
      },
      capture_output=True,
      text=True,
    )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == [
    'gs://bucket/nothing: no T5X checkpoint found. Name a folder '
    'checkpoint_STEP, or the one above it for the newest.',
    'gs://bucket/v1_1_orbax/checkpoint_1: no such folder; expected a T5X '
    "checkpoint. Did you mean 'checkpoint_1000'?",
  ]


def test_paths_become_tensorstore_specifications():
  folder = StoragePath('gs://bucket/a/b/')
  assert str(folder) == 'gs://bucket/a/b'
  assert folder.local is None
  assert folder.child('c').name == 'c'
  assert folder.child('c').kvstore('d') == {
    'driver': 'gcs',
    'bucket': 'bucket',
    'path': 'a/b/c/d/',
  }
  assert StoragePath('gs://bucket').kvstore()['path'] == ''
  assert StoragePath('/x').kvstore('y') == {'driver': 'file', 'path': '/x/y/'}


def test_files_of_a_local_folder_are_read(tmp_path):
  (tmp_path / 'file').write_bytes(b'content')
  (tmp_path / 'folder').mkdir()
  folder = StoragePath(tmp_path)
  assert folder.names() == {'file', 'folder'}
  assert folder.read('file') == b'content'
  assert folder.read('nothing') is None
  assert folder.child('nothing').names() == set()
  with pytest.raises(InputError, match='folder: cannot be read: not a file'):
    folder.read('folder')


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path, monkeypatch):
  def forbid(_):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr('os.listdir', forbid)
  with pytest.raises(InputError, match='cannot be listed: Permission denied'):
    StoragePath(tmp_path).names()


def test_the_reason_for_an_error_is_short():
  error = ValueError("NOT_FOUND: Metadata\nis missing. [tensorstore_spec='{}']")
  assert reason(error) == 'Metadata is missing'
  assert reason(FileNotFoundError(2, 'No such file', 'x')) == 'No such file'


@pytest.mark.parametrize(
  ('path', 'whole'),
  [
    ('~', '/home/me'),
    ('~/a/~', '/home/me/a/~'),
    (pathlib.Path('~/a'), '/home/me/a'),
    ('~root', '/root'),
    ('./~/a', '/here/~/a'),
    ('a/~', 'a/~'),
    ('/a', '/a'),
    ('gs://bucket/~', 'gs://bucket/~'),
    ('', ''),
  ],
)
def test_the_home_folder_replaces_the_tilde(monkeypatch, path, whole):
  monkeypatch.setenv('HOME', '/home/me')
  monkeypatch.setattr(os, 'getcwd', lambda: '/here')
  assert expanded(path) == whole


def test_the_tilde_of_nobody_is_refused():
  with pytest.raises(InputError) as caught:
    expanded('~no-such-user/a')
  assert str(caught.value) == (
    '~no-such-user/a: ~no-such-user is not the home folder of a user. Write '
    './~no-such-user/a for a file or folder of that name.'
  )


def test_a_number_is_no_path():
  with pytest.raises(InputError) as caught:
    expanded(20240115)
  assert str(caught.value) == (
    "20240115 is not a path. Write a path in quotation marks: '20240115'."
  )
