"""Recognises a finished training, and names the command that comes next.

Without TensorFlow and JAX, so that repeating the command takes a second or two.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shlex
from typing import Any, NamedTuple

from it_study import gin_utils
from it_study.corpus import natinst
from it_study.errors import InputError
from it_study.storage import text_files
from it_study.storage.storage_path import StoragePath, expanded

RECORD = 'finished.json'
_FINETUNE, _PREDICT = 'runs/finetune.gin', 'runs/predict.gin'
_CHECKPOINTS = ('checkpoints/*/manifest.json', 'checkpoint_*')


class Finished(NamedTuple):
  """A finished training.

  Attributes:
    folder: Its folder, as the command names it.
    training: Content of its training.json.
  """

  folder: str
  training: dict[str, Any]


def find(options: argparse.Namespace) -> Finished | None:
  """Returns the training that this very command has finished before.

  None if that is not certain: then the training's own checks decide. It is
  certain if the statements, the vocabulary, the task files and the working
  folder are those of the run that finished.
  """
  try:
    statements = _statements(options)
    if not _is_known(statements):
      return None
    folder = expanded(str(gin_utils.literal('MODEL_DIR', statements)))
    record = _read(pathlib.Path(folder, RECORD))
    if (
      record['request'] != _digest(statements)
      or not any(any(pathlib.Path(folder).glob(p)) for p in _CHECKPOINTS)
      or record['fingerprint']
      != natinst.open_corpus(record['corpus']).fingerprint()
    ):
      return None
    return Finished(folder, _read(pathlib.Path(folder, 'training.json')))
  except (OSError, ValueError, LookupError, TypeError):
    # InputError is a ValueError.
    return None


def record(
  options: argparse.Namespace, folder: pathlib.Path, corpus: pathlib.Path
) -> None:
  """Records that a command has finished a training.

  Args:
    options: Options of the command.
    folder: Folder of the training.
    corpus: Folder of the task files.
  """
  statements = _statements(options)
  if not _is_known(statements):
    return
  path = corpus.resolve()
  content = {
    'request': _digest(statements),
    'corpus': os.fspath(path),
    'fingerprint': natinst.open_corpus(os.fspath(path)).fingerprint(),
  }
  text_files.write_text(folder / RECORD, json.dumps(content, indent=2) + '\n')


def prediction_command(
  options: argparse.Namespace, model_dir: str
) -> str | None:
  """Returns the `predict` command for the model that a `train` command made.

  None if the command does not use the shipped run file.

  Args:
    options: Options of the `train` command.
    model_dir: Folder of the training, local or `gs://…`.
  """
  if _FINETUNE not in options.gin_file:
    return None
  known = {
    *gin_utils.shipped_macros(_PREDICT),
    *('CHECKPOINT_PATH', 'INFER_OUTPUT_DIR'),
  }
  words = ['it-study', 'predict']
  for name in options.gin_file:
    words.append(f'--gin_file={_PREDICT if name == _FINETUNE else name}')
  if options.gin_search_paths:
    words.append(f'--gin_search_paths={options.gin_search_paths}')
  for binding in options.gin_bindings:
    name = binding.partition('=')[0].strip()
    if name in known or '.' in name:
      words.append(f'--gin.{binding}')
  if getattr(options, 'engine', None):
    words.append(f'--engine={options.engine}')
  out = f'{model_dir.rstrip("/")}_predictions'
  words += [
    f'--gin.CHECKPOINT_PATH={model_dir}',
    f'--gin.INFER_OUTPUT_DIR={out}',
  ]
  return shlex.join(words)


def _statements(options: argparse.Namespace) -> str:
  return gin_utils.sources(
    files=options.gin_file,
    bindings=options.gin_bindings,
    search_paths=[p for p in options.gin_search_paths.split(',') if p],
  )


def _is_known(statements: str) -> bool:
  """Returns whether all that the training depends on can be compared."""
  from it_study import distributed

  paths = [gin_utils.literal(n, statements) for n in ('CORPUS', 'MODEL_DIR')]
  return (
    # What another module registers may change.
    gin_utils.literal('MIXTURE_OR_TASK_MODULE', statements) == 'tasks'
    and all(
      isinstance(path, str) and StoragePath(path).local is not None
      for path in paths
    )
    # The others would wait for this one.
    and not distributed.is_expected()
  )


def _digest(statements: str) -> str:
  """Returns a hash of the statements, and of what they are read with."""
  vocabulary = gin_utils.literal('IT_STUDY_VOCABULARY', statements)
  vocabulary = vocabulary or os.environ.get('IT_STUDY_VOCABULARY')
  content = b''
  if vocabulary and os.path.isfile(str(vocabulary)):
    content = pathlib.Path(str(vocabulary)).read_bytes()
  parts = (os.getcwd(), statements, str(vocabulary).encode(), content)
  return hashlib.sha256(repr(parts).encode()).hexdigest()


def _read(path: pathlib.Path) -> dict[str, Any]:
  value = json.loads(path.read_text(encoding='utf-8'))
  if not isinstance(value, dict):
    raise InputError(f'{path}: expected one JSON object.')
  return value
