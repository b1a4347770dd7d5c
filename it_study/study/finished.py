"""Checks the files of finished work units, and repairs what they allow."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import functools
import logging
import pathlib
from typing import Any

from it_study.corpus.natinst import Corpus
from it_study.errors import InputError
from it_study.evaluation import score
from it_study.storage import manifest, text_files
from it_study.storage.manifest import DONE
from it_study.storage.shared_folder import SharedFolder
from it_study.study import grid
from it_study.study.subjects import Corpora

PREDICTIONS = 'predictions.jsonl'
METRICS = 'metrics.json'
INFERENCE = 'inference.json'
TRAINING = 'training.json'
# What DONE lists. That of a training also has the contents of training.json.
CELL_FILES = (PREDICTIONS, METRICS, INFERENCE)
TRAINING_FILES = (TRAINING, 'metrics.jsonl')
_logger = logging.getLogger(__name__)


def repair(
  folder: SharedFolder, cells: Sequence[grid.Cell], *, corpora: Corpora
) -> None:
  """Checks whatever is finished before anything else is run.

  A metrics.json that is missing or damaged is computed again from the
  predictions; training.json and the DONE of a training are restored from each
  other. If another file is missing, or DONE is damaged, the work unit loses its
  DONE and so is run again. Each is said in a warning.

  Args:
    folder: Folder of the study.
    cells: Cells of the study.
    corpora: Instances to score against.

  Raises:
    InputError: If a file has changed that could only be written again by
      overwriting it: predictions.jsonl, inference.json or training.json.
  """
  trainings = dict.fromkeys(
    cell.training for cell in cells if cell.training is not None
  )
  for training in trainings:
    if training.subject is not None:
      _repair(
        folder,
        training.folder,
        # Not the checkpoints.
        fetched=(f'{training.folder}/{DONE}', f'{training.folder}/{TRAINING}'),
        find_faults=_find_training_faults,
        derivable={TRAINING: _restore_training_record, DONE: _restore_done},
      )
  for cell in cells:
    names = CELL_FILES if cell.training is not None else CELL_FILES[:2]
    _repair(
      folder,
      cell.folder,
      fetched=(cell.folder,),
      find_faults=functools.partial(_find_cell_faults, names=names),
      derivable={
        METRICS: functools.partial(
          _compute_metrics,
          corpus=corpora.of(cell.tested),
          split=cell.split,
        )
      },
    )


def read_record(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON file of a finished work unit.

  Raises:
    InputError: If it cannot be read; says what to remove.
  """
  return text_files.read_json(
    path, advice=f'Remove the folder {path.parent} and run the study again.'
  )


def _repair(
  folder: SharedFolder,
  name: str,
  *,
  fetched: Sequence[str],
  find_faults: Callable[[pathlib.Path, str], dict[str, str]],
  derivable: Mapping[str, Callable[[pathlib.Path], None]],
) -> None:
  """Repairs a work unit if it is finished and no other worker is at it.

  Args:
    folder: Folder of the study.
    name: Folder of the work unit inside it.
    fetched: Files and folders that hold what is checked.
    find_faults: Function from the local folder and its name for messages to
      the faults by name of the file.
    derivable: Functions that write a file from the others, given the local
      folder, by name of the file.
  """
  if not folder.exists(f'{name}/{DONE}'):
    return
  path, where = folder.path / name, f'{folder.location}/{name}'
  folder.fetch(*fetched)
  # The copy of a bucket may hold what is no longer there; a claim mends that.
  with contextlib.suppress(InputError):
    if not find_faults(path, where):
      return
  with folder.claimed(name) as acquired:
    if not acquired or not (path / DONE).exists():
      return
    faults = find_faults(path, where)
    derive = derivable.get(*faults) if len(faults) == 1 else None
    step = f'running {name} again' if derive is None else 'writing it again'
    for file, fault in faults.items():
      _logger.warning('%s/%s %s; %s.', where, file, fault, step)
    if derive is not None:
      derive(path)
    elif faults:
      (path / DONE).unlink()


def _find_cell_faults(
  path: pathlib.Path, where: str, *, names: Sequence[str]
) -> dict[str, str]:
  """Returns the faults that can be repaired; raises `InputError` for others."""
  done = _read_done(path)
  if isinstance(done, str):
    return {DONE: done}
  faults = manifest.find_changes(path, done.files)
  for name in names:
    if name not in done.files:
      # A former version listed no hashes.
      faults |= _find_fault(path / name)
  for name, fault in faults.items():
    is_derived = name == METRICS and (path / name).is_file()
    if (path / name).exists() and not is_derived:
      raise InputError(
        f'{where}/{name} {fault}. Restore it, or remove the folder {where} and '
        'run the study again.'
      )
  return faults


def _find_training_faults(path: pathlib.Path, where: str) -> dict[str, str]:
  """Like `_find_cell_faults`; checkpoints have manifests of their own."""
  done = _read_done(path)
  faults = _find_fault(path / TRAINING)
  if isinstance(done, str):
    return {**faults, DONE: done}
  if faults or text_files.read_json(path / TRAINING) == done.record:
    return faults
  listed = {name: done.files[name] for name in done.files if name == TRAINING}
  if listed and not manifest.find_changes(path, listed):
    return {DONE: f'differs from {TRAINING}, which has not changed'}
  raise InputError(
    f'{where}/{TRAINING} has changed since {DONE} was written with the same '
    f'contents. Remove {where}/{TRAINING} to restore it, or the folder {where} '
    'to train again.'
  )


def _compute_metrics(path: pathlib.Path, *, corpus: Corpus, split: str) -> None:
  score.score_file(
    path / PREDICTIONS, corpus=corpus, split=split, out=path / METRICS
  )
  record, files = manifest.read_done(path)
  if files:
    # Another version may have computed them.
    manifest.write_done(path, record, names=CELL_FILES)


def _restore_training_record(path: pathlib.Path) -> None:
  text_files.write_json(path / TRAINING, manifest.read_done(path).record)


def _restore_done(path: pathlib.Path) -> None:
  record = text_files.read_json(path / TRAINING)
  manifest.write_done(path, record, names=TRAINING_FILES)


def _read_done(path: pathlib.Path) -> manifest.Done | str:
  """Returns the content of DONE, or why it is damaged."""
  # A folder of that name cannot be replaced by a file.
  text_files.read_bytes(path / DONE)
  try:
    return manifest.read_done(path)
  except InputError as error:
    return _reason(error, path / DONE)


def _find_fault(path: pathlib.Path) -> dict[str, str]:
  """Returns what is wrong with a file, by its name; empty if nothing is."""
  if not path.exists():
    return {path.name: 'is missing'}
  if not path.is_file():
    raise InputError(f'{path}: not a file.')
  if path.suffix == '.json':
    try:
      text_files.read_json(path)
    except InputError as error:
      return {path.name: _reason(error, path)}
  return {}


def _reason(error: InputError, path: pathlib.Path) -> str:
  reason = str(error).removeprefix(f'{path}: ').rstrip('.')
  return f'is damaged ({reason})'
