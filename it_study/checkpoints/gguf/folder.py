"""Writes a GGUF file as a folder in Hugging Face's format."""

import json
import os
import pathlib

from it_study.checkpoints.gguf import reading, tokenizer
from it_study.checkpoints.gguf.known_models import CONFIG
from it_study.checkpoints.hf import files
from it_study.errors import InputError
from it_study.storage import text_files

_Path = str | os.PathLike[str]


def write_folder(path: _Path, directory: _Path) -> pathlib.Path:
  """Writes weights in float32, the configuration and the tokenizer.

  Tensors are dequantised, written and freed one by one. The configuration is
  written last: a folder without it was never finished.

  Args:
    path: Path of a GGUF file.
    directory: New or empty folder.

  Returns:
    The folder.

  Raises:
    InputError: If the file cannot be used, or the folder is not empty or cannot
      be written.
  """
  directory = pathlib.Path(directory)
  model = reading.read_gguf(path)
  texts = tokenizer.tokenizer_files(model.tokenizer, source=os.fspath(path))
  try:
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
      raise InputError(
        f'{directory} is not empty; weights are written to a new folder.'
      )
    tensors = dict(sorted(model.tensors.items()))
    files.write_safetensors(directory / files.FORMATS[0][0], tensors)
    for name, text in texts.items():
      text_files.write_file(directory / name, text.encode())
    config = json.dumps(model.config, indent=2) + '\n'
    text_files.write_file(directory / CONFIG, config.encode())
  except OSError as error:
    raise InputError(
      f'{directory}: cannot be written: {error.strerror or error}.'
    ) from None
  return directory
