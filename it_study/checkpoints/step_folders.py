"""Where checkpoints lie: a folder for each step, on a local disk."""

from collections.abc import Mapping, Sequence
import contextlib
import os
import pathlib
import re
import shutil
from typing import Protocol, TypeVar

from it_study.storage.manifest import (
  MANIFEST,
  find_damage,
  loss_of,
  write_manifest,
)

# Of a checkpoint, each a folder in it.
ITEMS = ('params', 'opt_state', 'metadata')
_File = TypeVar('_File')
_STEP_MANIFEST = re.compile(r'(\d+)/' + re.escape(MANIFEST))


class CheckpointFolder(Protocol):
  """What `checkpoints.Checkpoints` needs of the place where they lie.

  But for `path`, only the first of several processes asks anything of it.
  """

  def path(self, step: int) -> str:
    """Of a step's folder, as Orbax takes it; there or not."""

  def prepare(self) -> None:
    """Makes the folder, and takes out what a save that died has left."""

  def steps(self) -> list[int]:
    """The steps that have a folder, ascending."""

  def find_damage(self, step: int) -> str | None:
    """What is wrong with a step's files, None if nothing is."""

  def make_restorable(self, step: int) -> None:
    """Adds what Orbax wants to see of a step that was written elsewhere."""

  def set_aside(self, step: int) -> None:
    """Puts a step that is damaged, or was never finished, out of the way."""

  def finish(self, step: int, *, loss: float | None) -> None:
    """Writes the manifest of a step."""

  def best(self) -> int | None:
    """The step of lowest loss, None if none has a loss."""

  def delete(self, step: int) -> None:
    """Deletes a step; what a kill leaves of it counts as never finished."""


class LocalCheckpoints:
  """A `CheckpointFolder` that all processes see alike, as files."""

  def __init__(self, directory: str | os.PathLike[str]):
    self._directory = pathlib.Path(directory).resolve()

  def path(self, step: int) -> str:
    return os.fspath(self._directory / str(step))

  def prepare(self) -> None:
    self._directory.mkdir(parents=True, exist_ok=True)
    for path in self._directory.glob('*.orbax-checkpoint-tmp*'):
      shutil.rmtree(path)

  def steps(self) -> list[int]:
    return steps_in(self._directory)

  def find_damage(self, step: int) -> str | None:
    return find_damage(self._directory / str(step))

  def make_restorable(self, step: int) -> None:
    del step

  def set_aside(self, step: int) -> None:
    path = self._directory / str(step)
    if not (path / MANIFEST).exists():
      shutil.rmtree(path)
      return
    aside = path.with_name(f'damaged-{step}')
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)

  def finish(self, step: int, *, loss: float | None) -> None:
    write_manifest(self._directory / str(step), loss=loss)

  def best(self) -> int | None:
    return find_best(self._directory)

  def delete(self, step: int) -> None:
    path = self._directory / str(step)
    # First, so that what is left after a kill counts as never finished.
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path)


def steps_in(directory: pathlib.Path) -> list[int]:
  """Returns the steps that have a folder, ascending."""
  if not directory.is_dir():
    return []
  return sorted(
    int(path.name)
    for path in directory.iterdir()
    if path.name.isdecimal() and path.is_dir()
  )


def find_best(
  directory: pathlib.Path, steps: Sequence[int] | None = None
) -> int | None:
  """Returns the step of lowest loss in a folder, None if none has a loss.

  Of equal ones it is the earliest.

  Args:
    directory: of checkpoints.
    steps: to choose from; all that are there without it.
  """
  manifests = {}
  for step in steps_in(directory) if steps is None else steps:
    # A training may be deleting it.
    with contextlib.suppress(FileNotFoundError):
      manifests[step] = (directory / str(step) / MANIFEST).read_text()
  return best_of(manifests)


def best_of(manifests: Mapping[int, str]) -> int | None:
  """As `find_best`, by the texts of the steps' manifests."""
  losses = {step: loss_of(text) for step, text in manifests.items()}
  found = [(loss, step) for step, loss in losses.items() if loss is not None]
  return min(found)[1] if found else None


def manifests_of(files: Mapping[str, _File]) -> dict[int, _File]:
  """Those of a folder's files, by name, that are manifests; by step."""
  return {
    int(match[1]): file
    for name, file in files.items()
    if (match := _STEP_MANIFEST.fullmatch(name))
  }
