"""The files of a build and their sizes, so that a damaged one is noticed."""

import json
import os

from etils import epath

from it_study.errors import InputError

# Written last: a directory without it is not finished.
NAME = 'files.json'


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
