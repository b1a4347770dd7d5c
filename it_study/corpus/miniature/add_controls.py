"""Adds the miniature's control tasks to a copy of a real corpus."""

import json
import os
import pathlib
import shutil

from it_study.corpus import natinst
from it_study.corpus.miniature.controls import (
  ControlSize,
  training_controls,
  unseen_controls,
)
from it_study.corpus.miniature.labels import LabelDealer
from it_study.corpus.miniature.recipes import TaskBuilder
from it_study.errors import InputError
from it_study.storage.storage_path import expanded
from it_study.storage.text_files import write_file

MARKER = 'controls.json'
FORMAT_VERSION = 2


def add_controls(
  source: str | pathlib.Path,
  directory: str | pathlib.Path,
  *,
  track: str = 'default',
  seed: int = 0,
) -> pathlib.Path:
  """Writes a copy of a corpus with control tasks in both splits.

  Task files are hard-linked if possible, else copied. Existing ones are kept,
  so that a call resumes an interrupted one. Split files are written last. The
  source is not changed. Control tasks have separate categories, which headline
  numbers never include.

  Args:
    source: Directory of a corpus without controls.
    directory: A new or empty directory, or one of an interrupted call.
    track: Folder in `splits` that is copied and gets the controls.
    seed: Seed for the texts of the control tasks.

  Returns:
    The directory.

  Raises:
    InputError: If the source is not a corpus with training tasks or has
      controls, or the directory holds something else or cannot be written.
  """
  source, directory = (
    pathlib.Path(expanded(path)) for path in (source, directory)
  )
  corpus = natinst.open_corpus(source, track=track)
  # The positive control must be learned in training.
  corpus.check_has('train')
  added = _control_tasks(seed)
  tasks = {name: task for one in added.values() for name, task in one.items()}
  names = (*corpus.train_tasks, *corpus.test_tasks)
  taken = sorted(tasks.keys() & set(names))
  if taken:
    raise InputError(
      f'{source} already has the control task {taken[0]!r}. Use this corpus as '
      'it is.'
    )
  _check_free(directory, source)
  try:
    write_file(
      directory / MARKER,
      _to_json(
        {
          'controls': FORMAT_VERSION,
          'seed': seed,
          'source_fingerprint': corpus.fingerprint(),
        }
      ),
    )
    for name in names:
      _link(
        source / 'tasks' / f'{name}.json', directory / 'tasks' / f'{name}.json'
      )
    for name, task in tasks.items():
      write_file(directory / 'tasks' / f'{name}.json', _to_json(task))
    for path in sorted((source / 'splits' / track).iterdir()):
      if not path.is_file():
        continue
      content = path.read_bytes()
      if path.name in added:
        lines = content.decode('utf-8-sig').split()
        lines += sorted(added[path.name])
        content = ''.join(f'{line}\n' for line in lines).encode()
      write_file(directory / 'splits' / track / path.name, content)
  except OSError as error:
    raise InputError(
      f'cannot write the corpus with controls to {directory}: '
      f'{error.strerror or error}. Name a directory that can be written.'
    ) from None
  return directory


def _control_tasks(seed: int) -> dict[str, dict[str, dict]]:
  """Returns the tasks to add to each split file, by its name."""
  size, dealer, builder = ControlSize(), LabelDealer(seed), TaskBuilder(seed)
  recipes = {
    'train': training_controls(size, seed=seed, dealer=dealer),
    'test': unseen_controls(size, seed=seed, dealer=dealer),
  }
  return {
    f'{split}_tasks.txt': {
      name: task
      for recipe in recipes[split]
      for name, task in builder.build(recipe, is_test=split == 'test').items()
    }
    for split in recipes
  }


def _check_free(directory: pathlib.Path, source: pathlib.Path) -> None:
  if directory.resolve() == source.resolve():
    raise InputError(
      f'{directory} is the corpus itself; controls are added to a copy. Name a '
      'new directory.'
    )
  if (directory / MARKER).is_file() or not directory.exists():
    return
  if not directory.is_dir() or any(directory.iterdir()):
    raise InputError(
      f'{directory} holds other files. Name a new or empty directory.'
    )


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
  if target.exists():
    return
  target.parent.mkdir(parents=True, exist_ok=True)
  try:
    os.link(source.resolve(), target)
  except OSError:
    # Another file system, or one without links. The copy must be atomic.
    partial = target.with_name(f'.copying-{target.name}')
    shutil.copyfile(source, partial)
    os.replace(partial, target)


def _to_json(value: object) -> bytes:
  return (json.dumps(value, indent=1, ensure_ascii=True) + '\n').encode()
