"""The files of a build and their sizes, so that a damaged one is noticed."""

import json
import logging
import os
import re

from etils import epath

from it_study.errors import InputError

# Written last: a directory without it is not finished.
NAME = 'files.json'
# What else is in a build's directory.
_OURS = re.compile(
  rf'LICENSE|(dataset_info|features|metadata)\.json|{re.escape(NAME)}.*|'
  r'.+\.tfrecord-\d+-of-\d+'
)


def write(directory: epath.Path) -> None:
  """Lists the files of a finished directory in it."""
  sizes = {
    path.name: path.stat().length
    for path in directory.iterdir()
    if path.name != NAME
  }
  partial = directory / f'{NAME}.{os.getpid()}.tmp'
  partial.write_text(json.dumps(sizes, indent=2, sort_keys=True) + '\n')
  partial.replace(directory / NAME)


def damage(directory: epath.Path, *, sizes: bool = True) -> str | None:
  """What is wrong with a directory: a sentence without its end, or None.

  Args:
    directory: of a build.
    sizes: whether to compare them, too; `corpus verify`, which names what is
      wrong with a record, does not need it. Contents are not looked at.
  """
  try:
    listed = json.loads((directory / NAME).read_text())
  except (OSError, ValueError):
    return f'its {NAME} is missing or damaged'
  for name, size in listed.items():
    path = directory / name
    if not path.exists():
      return f'its {name} is missing'
    if sizes and path.stat().length != size:
      return f'its {name} has {path.stat().length} bytes, not {size}'
  return None


def check(
  directory: epath.Path, *, data_dir: str | os.PathLike, sizes: bool = True
) -> None:
  """Raises `InputError` if there is a build in a directory, but damaged."""
  if not directory.exists():
    return
  found = damage(directory, sizes=sizes)
  if found:
    raise InputError(
      f'rows in {directory}: {found}. Build them again with '
      f"'it-study corpus build CORPUS --data_dir {os.fspath(data_dir)}'."
    )


def clear(
  directory: epath.Path, *, fingerprint: str, max_instances_per_task: int
) -> None:
  """Removes a build that is damaged or not finished, for it to be made again.

  Args:
    directory: of the build; nothing happens to one that is whole.
    fingerprint: of the corpus that will be built there.
    max_instances_per_task: cap that it will be built with.

  Raises:
    InputError: if it is a build of something else, or has files that no build
      writes.
  """
  found = damage(directory) if directory.exists() else None
  if found is None:
    return
  foreign = [p.name for p in directory.iterdir() if not _OURS.fullmatch(p.name)]
  if foreign:
    raise InputError(
      f'{directory} is no whole build ({found}) and has {foreign[0]!r}, which '
      'no build writes. Move that away, or name another directory.'
    )
  try:
    stored = json.loads((directory / 'metadata.json').read_text())
  except (OSError, ValueError):
    stored = {}
  wanted = {
    'fingerprint': fingerprint,
    'max_instances_per_task': max_instances_per_task,
  }
  if any(stored.get(name, value) != value for name, value in wanted.items()):
    raise InputError(
      f'{directory} holds a damaged build ({found}) of another corpus or with '
      'another cap of instances. Name another directory or remove it.'
    )
  logging.warning('%s: %s; building it again', directory, found)
  directory.rmtree()
