"""Writes the miniature's task files in the layout of natural-instructions."""

import dataclasses
import json
import pathlib

from it_study.corpus.miniature.classification import (
  training_classification,
  unseen_classification,
)
from it_study.corpus.miniature.controls import (
  ControlSize,
  training_controls,
  unseen_controls,
)
from it_study.corpus.miniature.generation import (
  training_generation,
  unseen_generation,
)
from it_study.corpus.miniature.labels import LabelDealer
from it_study.corpus.miniature.recipes import TaskBuilder
from it_study.errors import InputError
from it_study.storage.storage_path import expanded
from it_study.storage.text_files import write_file

# Increased whenever the bytes for a seed change.
FORMAT_VERSION = 2
MARKER = 'miniature.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
  """Numbers of tasks, besides the tasks with free outputs.

  Attributes:
    training: Training tasks with labels, without controls.
    unseen: Test tasks with labels in each group, transfer and novel.
    controls: Control tasks.
  """

  training: int = 400
  unseen: int = 20
  controls: ControlSize = dataclasses.field(default_factory=ControlSize)


FULL = Size()
# For tests.
SMALL = Size(
  training=16,
  unseen=4,
  controls=ControlSize(
    training_pairs=4, unseen_pairs=1, training_negative=2, unseen_negative=1
  ),
)


def write_miniature(
  directory: str | pathlib.Path, *, seed: int = 0, size: Size = FULL
) -> pathlib.Path:
  """Writes the miniature; the same bytes for the same seed.

  An existing miniature of any seed or version is replaced file by file. Split
  files are written last, so that an interrupted directory is not a corpus; the
  next call completes it.

  Args:
    directory: Directory to write; created if missing.
    seed: Seed for all random choices.
    size: Numbers of tasks.

  Returns:
    The directory.

  Raises:
    InputError: If the directory holds something else or cannot be written.
  """
  directory = pathlib.Path(expanded(directory))
  try:
    _check_free(directory)
    contents = _contents(seed, size)
    _remove_stale(directory, contents)
    for path, content in contents.items():
      write_file(directory / path, content)
  except OSError as error:
    raise InputError(
      f'cannot write the miniature to {directory}: '
      f'{error.strerror or error}. Name a directory that can be written.'
    ) from None
  return directory


def is_miniature(directory: str | pathlib.Path) -> bool:
  """Returns whether `write_miniature` wrote this directory, even in part."""
  return (pathlib.Path(expanded(directory)) / MARKER).is_file()


def _contents(seed: int, size: Size) -> dict[str, bytes]:
  """Returns path to content, in the order to write them."""
  contents = {MARKER: _to_json({'miniature': FORMAT_VERSION, 'seed': seed})}
  dealer, builder = LabelDealer(seed), TaskBuilder(seed)
  recipes = {
    'train': [
      *training_controls(size.controls, seed=seed, dealer=dealer),
      *training_classification(size.training, seed=seed, dealer=dealer),
      *training_generation(),
    ],
    'test': [
      *unseen_controls(size.controls, seed=seed, dealer=dealer),
      *unseen_classification(size.unseen, seed=seed, dealer=dealer),
      *unseen_generation(),
    ],
  }
  splits = {'excluded': b''}
  for split in ('train', 'test'):
    names = []
    for recipe in recipes[split]:
      for name, task in builder.build(recipe, is_test=split == 'test').items():
        names.append(name)
        contents[f'tasks/{name}.json'] = _to_json(task)
    splits[split] = ''.join(f'{name}\n' for name in sorted(names)).encode()
  for split, content in splits.items():
    contents[f'splits/default/{split}_tasks.txt'] = content
  return contents


def _to_json(value: object) -> bytes:
  return (json.dumps(value, indent=1, ensure_ascii=True) + '\n').encode()


def _check_free(directory: pathlib.Path) -> None:
  if is_miniature(directory) or not directory.exists():
    return
  if not directory.is_dir():
    raise InputError(f'{directory} is a file. Name a new or empty directory.')
  held = sorted(path.name for path in directory.iterdir())
  if held:
    raise InputError(
      f'{directory} is not empty and not a miniature: it holds {held[0]!r}, '
      f'but no {MARKER}. Name a new or empty directory.'
    )


def _remove_stale(directory: pathlib.Path, contents: dict[str, bytes]) -> None:
  """Removes task and split files that this version does not write."""
  for pattern in ('splits/default/*_tasks.txt', 'tasks/*.json'):
    for path in sorted(directory.glob(pattern)):
      if path.relative_to(directory).as_posix() not in contents:
        path.unlink()
