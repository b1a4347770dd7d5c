"""Folders of checkpoints, one per step: the protocol, and local ones."""

from collections.abc import Mapping, Sequence
import os
import pathlib
import re
import shutil
from typing import Protocol, TypeVar

from it_study.storage.manifest import (
  MANIFEST,
  find_damage,
  loss_of,
  read_manifest,
  write_manifest,
)

# Folders inside a checkpoint.
ITEMS = ('params', 'opt_state', 'metadata')
_File = TypeVar('_File')
_STEP_MANIFEST = re.compile(r'(\d+)/' + re.escape(MANIFEST))


class CheckpointFolder(Protocol):
  """The operations that `manager.Checkpoints` needs on its folder.

  With several processes, only the first one calls methods other than `path`.
  """

  def path(self, step: int) -> str:
    """Returns the path of a step's folder for Orbax; it need not exist."""

  def prepare(self) -> None:
    """Creates the folder, and deletes the remains of interrupted saves."""

  def steps(self) -> list[int]:
    """Returns the steps that have a folder, ascending."""

  def find_damage(self, step: int) -> str | None:
    """Returns the first problem with a step's files, or None."""

  def make_restorable(self, step: int) -> None:
    """Adds the markers that Orbax expects to a step copied from elsewhere."""

  def set_aside(self, step: int) -> None:
    """Renames a damaged step; deletes one that was never finished."""

  def finish(self, step: int, *, loss: float | None) -> None:
    """Writes the manifest of a step, which makes it valid."""

  def best(self) -> int | None:
    """Returns the step of lowest loss; None if none has a loss."""

  def delete(self, step: int) -> None:
    """Deletes a step; one left half deleted counts as never finished."""


class LocalCheckpoints:
  """A `CheckpointFolder` on a file system that all processes share."""

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
    # First, so that a step left half deleted counts as never finished.
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
  """Returns the step of lowest loss in a folder; None if none has a loss.

  Ties go to the earliest step.

  Args:
    directory: Folder of checkpoints.
    steps: Steps to choose from; None for all that exist.
  """
  manifests = {}
  for step in steps_in(directory) if steps is None else steps:
    manifest = read_manifest(directory / str(step))
    # A running training may be deleting it.
    if manifest is not None:
      manifests[step] = manifest
  return best_of(manifests)


def best_of(manifests: Mapping[int, bytes | str]) -> int | None:
  """Like `find_best`, given the contents of the manifests by step."""
  losses = [(loss_of(content), step) for step, content in manifests.items()]
  known = [(loss, step) for loss, step in losses if loss is not None]
  return min(known)[1] if known else None


def manifests_of(files: Mapping[str, _File]) -> dict[int, _File]:
  """Returns the manifests among a folder's files, by step.

  Args:
    files: Files of a folder of checkpoints, by name.
  """
  return {
    int(match[1]): file
    for name, file in files.items()
    if (match := _STEP_MANIFEST.fullmatch(name))
  }
