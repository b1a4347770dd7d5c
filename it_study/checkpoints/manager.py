"""Checkpoints that are complete, verified, or not used."""

from collections.abc import Mapping
import concurrent.futures
import dataclasses
import logging
import os
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from it_study import distributed
from it_study.checkpoints.step_folders import (
  ITEMS,
  CheckpointFolder,
  find_best,
  steps_in,
)
from it_study.errors import InputError, nearest_path
from it_study.storage.manifest import MANIFEST, find_damage

# In place of a step.
_NONE = -1
_BEST = 'best'
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
  """What a checkpoint holds.

  Attributes:
    step: updates that the parameters have seen.
    params: nested dict of arrays.
    opt_state: the optimizer's state.
    metadata: what was saved along with them, from JSON.
  """

  step: int
  params: Any
  opt_state: Any
  metadata: dict[str, Any]


class Checkpoints:
  """The checkpoints of one training: `DIRECTORY/STEP/`, the last few kept.

  A save copies the arrays, returns, and goes on in the background. Orbax writes
  to a temporary folder and renames it, or in a bucket marks what is whole; then
  sizes and hashes of all files go to `manifest.json` in it, and only then are
  older checkpoints deleted. So whenever the process dies, a folder without a
  manifest was never finished, and one with a manifest can be checked byte by
  byte.
  """

  def __init__(
    self,
    folder: CheckpointFolder,
    *,
    keep: int = 2,
    keep_best: bool = False,
  ):
    """Makes the folder.

    Args:
      folder: where they lie; the same for all processes.
      keep: checkpoints to keep, the newest.
      keep_best: whether the one of lowest loss is kept besides.

    Raises:
      InputError: `keep` is below one.
    """
    if type(keep) is not int or keep < 1:
      raise InputError(
        f'checkpoints to keep: {keep!r}; give 1 or more, or a training that is'
        ' stopped cannot go on.'
      )
    self._folder = folder
    if distributed.is_first():
      folder.prepare()
    self._keep = keep
    self._keep_best = keep_best
    self._checkpointer = ocp.AsyncCheckpointer(
      ocp.CompositeCheckpointHandler(*ITEMS)
    )
    self._worker = concurrent.futures.ThreadPoolExecutor(1)
    self._saving: concurrent.futures.Future[None] | None = None

  def path(self, step: int) -> str:
    """Of a step's folder."""
    return self._folder.path(step)

  def save(
    self,
    *,
    step: int,
    params: Any,
    opt_state: Any,
    metadata: Mapping[str, Any],
    loss: float | None = None,
  ) -> None:
    """Starts a save; the arrays may be overwritten once this returns.

    Raises what the save before it failed with, if it did.

    Args:
      step: updates done.
      params: nested dict of arrays.
      opt_state: the optimizer's state.
      metadata: kept along with them.
      loss: what tells the best checkpoint from the others, the lowest; it
        stands in the manifest.
    """
    self.wait()
    self._checkpointer.save(
      self.path(step),
      args=ocp.args.Composite(
        params=ocp.args.StandardSave(params),
        opt_state=ocp.args.StandardSave(opt_state),
        metadata=ocp.args.JsonSave(dict(metadata)),
      ),
    )
    self._saving = self._worker.submit(self._finish, step, loss)

  def wait(self) -> None:
    """Returns when the last save is there, or raises what it failed with."""
    if self._saving is not None:
      saving, self._saving = self._saving, None
      saving.result()

  def newest(self) -> int | None:
    """Returns the newest step that is not damaged, None without one.

    Newer ones that are get named in a warning and put out of the way, so that
    the training can write these steps again: what was never finished is
    deleted, what was damaged is renamed to `damaged-STEP`.
    """
    self.wait()
    # Of several processes the first one looks and tidies up.
    found = self._find_newest() if distributed.is_first() else None
    found = distributed.broadcast_from_first(_NONE if found is None else found)
    return None if found == _NONE else found

  def _find_newest(self) -> int | None:
    for step in reversed(self._folder.steps()):
      damage = self._folder.find_damage(step)
      if damage is None:
        self._folder.make_restorable(step)
        return step
      _logger.warning(
        'checkpoint %s is not used: %s. Trying the one before it.',
        self.path(step),
        damage,
      )
      self._folder.set_aside(step)
    return None

  def metadata(self, step: int) -> dict[str, Any]:
    """Returns what was saved with a checkpoint besides its arrays."""
    restored = self._checkpointer.restore(
      self.path(step),
      args=ocp.args.Composite(metadata=ocp.args.JsonRestore()),
    )
    return restored.metadata

  def restore(self, step: int, *, params: Any, opt_state: Any) -> Restored:
    """Reads a step that `newest` returned.

    Args:
      step: of the checkpoint.
      params: tree of `jax.ShapeDtypeStruct` with the shardings wanted.
      opt_state: likewise.
    """
    restored = self._checkpointer.restore(
      self.path(step),
      args=ocp.args.Composite(
        params=ocp.args.StandardRestore(params),
        opt_state=ocp.args.StandardRestore(opt_state),
        metadata=ocp.args.JsonRestore(),
      ),
    )
    return Restored(
      step=step,
      params=restored.params,
      opt_state=restored.opt_state,
      metadata=restored.metadata,
    )

  def close(self) -> None:
    """Waits for the last save and frees the threads."""
    try:
      self.wait()
    finally:
      self._worker.shutdown()
      self._checkpointer.close()

  def _finish(self, step: int, loss: float | None) -> None:
    self._checkpointer.wait_until_finished()
    if not distributed.is_first():
      return
    self._folder.finish(step, loss=loss)
    # Read from disk, so that it is known again after a restart.
    best = self._folder.best() if self._keep_best else None
    for old in self._folder.steps()[: -self._keep]:
      if old != best:
        self._folder.delete(old)


def find_checkpoint(path: str | os.PathLike[str]) -> pathlib.Path:
  """Returns the newest checkpoint under a path that passes `find_damage`.

  Args:
    path: a checkpoint `…/STEP`, a folder of them, or a training's folder with
      `checkpoints/` in it; after any of the last two, `/best` names the one of
      lowest loss on held-out instances. Newer ones that do not pass are named
      in a warning; nothing is changed on disk.

  Raises:
    InputError: there is none, or the one named is not intact.
  """
  path = pathlib.Path(path).resolve()
  if (path / ITEMS[0]).is_dir():
    damage = find_damage(path)
    if damage is not None:
      raise InputError(
        f'checkpoint {path} cannot be used: {damage}. Name another, or the'
        ' folder above it to take the newest that is intact.'
      )
    return path
  wants_best = path.name == _BEST and not path.exists()
  if wants_best:
    path = path.parent
  directory = path / 'checkpoints' if (path / 'checkpoints').is_dir() else path
  if wants_best:
    best = find_best(directory)
    if best is None:
      raise InputError(
        f'no best checkpoint in {directory}: none has a loss. Train with '
        'KEEP_BEST=True and an EVAL_PERIOD, or leave /best out for the newest.'
      )
    return find_checkpoint(directory / str(best))
  for step in reversed(steps_in(directory)):
    damage = find_damage(directory / str(step))
    if damage is None:
      return directory / str(step)
    _logger.warning(
      'checkpoint %s is not used: %s. Trying the one before it.',
      directory / str(step),
      damage,
    )
  raise InputError(
    f'no usable checkpoint at {path}: looked for folders named by their step'
    f' with a {MANIFEST} in them. Train first, or name another folder.'
    f'{nearest_path(path)}'
  )


def restore_params(
  path: str | os.PathLike[str], *, target: Any = None
) -> dict[str, Any]:
  """Reads the parameters alone, for inference.

  Args:
    path: as `find_checkpoint` takes it.
    target: tree of `jax.ShapeDtypeStruct` with the shardings wanted; without
      it, arrays come as they were saved, on the first local device.

  Returns:
    Nested dict of arrays.

  Raises:
    InputError: no usable checkpoint, or not the target's names and shapes.
  """
  item = find_checkpoint(path) / 'params'
  with ocp.StandardCheckpointer() as checkpointer:
    saved = checkpointer.metadata(item).item_metadata.tree
    if target is None:
      sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
      target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
          leaf.shape, leaf.dtype, sharding=sharding
        ),
        saved,
      )
    else:
      check_shapes(saved, target, source=f'checkpoint {item.parent}')
    return checkpointer.restore(item, target)


def stored_shapes(checkpoint: pathlib.Path) -> Any:
  """Tree of the shapes and types of a checkpoint's parameters, none read."""
  with ocp.StandardCheckpointer() as checkpointer:
    return checkpointer.metadata(checkpoint / 'params').item_metadata.tree


def check_shapes(found: Any, wanted: Any, *, source: str) -> None:
  """Compares names and shapes of two trees of arrays.

  Raises:
    InputError: names the first array that differs.
  """
  found, wanted = _shapes(found), _shapes(wanted)
  for name in sorted({*found, *wanted}):
    if found.get(name) != wanted.get(name):
      raise InputError(
        f'{source} does not fit the model: {name} is'
        f' {found.get(name, "absent")} there and'
        f' {wanted.get(name, "absent")} in the model. Give the model the'
        ' configuration that these parameters were made with.'
      )


def _shapes(tree: Any) -> dict[str, str]:
  return {
    jax.tree_util.keystr(keys, simple=True, separator='/'): str(
      list(leaf.shape)
    )
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
