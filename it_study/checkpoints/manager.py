"""Saves and restores checkpoints; incomplete or damaged ones are not used."""

from collections.abc import Mapping
import concurrent.futures
import dataclasses
import logging
import os
import pathlib
import time
from typing import Any

import jax
import orbax.checkpoint as ocp

from it_study import distributed
from it_study.checkpoints import tensor_locks
from it_study.checkpoints.step_folders import (
  ITEMS,
  CheckpointFolder,
  find_best,
  steps_in,
)
from it_study.errors import InputError, nearest_path
from it_study.storage import write_errors
from it_study.storage.manifest import MANIFEST, find_damage
from it_study.storage.storage_path import expanded

# Sent to the other processes in place of a step.
_NONE = -1
_BEST = 'best'
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
  """The content of a checkpoint.

  Attributes:
    step: Number of updates that the parameters have seen.
    params: Nested dict of arrays.
    opt_state: State of the optimizer.
    metadata: Other data of the training, from JSON.
  """

  step: int
  params: Any
  opt_state: Any
  metadata: dict[str, Any]


class Checkpoints:
  """The checkpoints of one training, `DIRECTORY/STEP/`; keeps the newest ones.

  `save` copies the arrays and returns; writing continues in the background.
  Orbax writes to a temporary folder and renames it, or in a bucket marks it
  complete. Then sizes and hashes of all files go to its `manifest.json`, and
  only then are older checkpoints deleted. Whenever the process is killed, a
  folder without a manifest was never finished, and one with a manifest can be
  checked byte by byte.
  """

  def __init__(
    self,
    folder: CheckpointFolder,
    *,
    keep: int = 2,
    keep_best: bool = False,
  ):
    """Creates the folder.

    Args:
      folder: Folder of the checkpoints, shared by all processes.
      keep: Number of newest checkpoints to keep.
      keep_best: Whether to keep the checkpoint of lowest loss as well.

    Raises:
      InputError: If `keep` is less than one.
    """
    if type(keep) is not int or keep < 1:
      raise InputError(
        f'checkpoints to keep: expected 1 or more, got {keep!r}; without one, '
        'a stopped training cannot resume.'
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
    """Returns the path of a step's folder."""
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

    If the previous save failed, raises its error: an `InputError` if the disk
    is full.

    Args:
      step: Number of updates done.
      params: Nested dict of arrays.
      opt_state: State of the optimizer.
      metadata: Other data of the training, written as JSON.
      loss: Held-out loss for the manifest; the lowest marks the best
        checkpoint. None if unknown.
    """
    self.wait()
    _logger.info('saving checkpoint %s.', self.path(step))
    with write_errors.writing(self.path(step)):
      tensor_locks.make_writable(os.path.dirname(self.path(step)))
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
    """Waits for the last save, and raises its error if it failed."""
    if self._saving is not None:
      saving, self._saving = self._saving, None
      saving.result()

  def newest(self) -> int | None:
    """Returns the newest intact step; None if there is none.

    Newer steps are reported in a warning and moved out of the way, so that the
    training can write them again: unfinished ones are deleted, damaged ones
    renamed to `damaged-STEP`.
    """
    self.wait()
    # With several processes, the first one looks and tidies up.
    newest = self._find_newest() if distributed.is_first() else None
    step = distributed.broadcast_from_first(_NONE if newest is None else newest)
    return None if step == _NONE else step

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
    """Returns the metadata of a checkpoint."""
    restored = self._checkpointer.restore(
      self.path(step),
      args=ocp.args.Composite(metadata=ocp.args.JsonRestore()),
    )
    return restored.metadata

  def restore(self, step: int, *, params: Any, opt_state: Any) -> Restored:
    """Reads a step that `newest` returned.

    Args:
      step: Step of the checkpoint.
      params: Tree of `jax.ShapeDtypeStruct` with the desired shardings.
      opt_state: Tree of `jax.ShapeDtypeStruct` with the desired shardings.

    Returns:
      The content of the checkpoint.
    """
    _logger.info('restoring checkpoint %s.', self.path(step))
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
    started = time.monotonic()
    with write_errors.writing(self.path(step)):
      self._checkpointer.wait_until_finished()
      if not distributed.is_first():
        return
      self._folder.finish(step, loss=loss)
    _logger.info(
      'saved checkpoint %s in the background in %.1f s.',
      self.path(step),
      time.monotonic() - started,
    )
    # Read from disk, so that a resumed training finds it again.
    best = self._folder.best() if self._keep_best else None
    for old in self._folder.steps()[: -self._keep]:
      if old != best:
        _logger.info('deleting old checkpoint %s.', self.path(old))
        self._folder.delete(old)


def find_checkpoint(path: str | os.PathLike[str]) -> pathlib.Path:
  """Returns the newest intact checkpoint at a path.

  Newer checkpoints that are damaged are reported in a warning. Nothing is
  changed on disk.

  Args:
    path: Checkpoint `…/STEP`, folder of checkpoints, or training's folder with
      `checkpoints/` in it. `/best` after one of the last two selects the
      checkpoint of lowest loss on held-out instances.

  Raises:
    InputError: If there is no checkpoint, or the named one is damaged.
  """
  path = pathlib.Path(expanded(path)).resolve()
  if (path / ITEMS[0]).is_dir():
    damage = find_damage(path)
    if damage is not None:
      raise InputError(
        f'checkpoint {path} cannot be used: {damage}. Name another, or the '
        'folder above it for the newest intact one.'
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
        'KEEP_BEST=True and an EVAL_PERIOD, or omit /best for the newest.'
      )
    return find_checkpoint(directory / str(best))
  newest = None
  for step in reversed(steps_in(directory)):
    damage = find_damage(directory / str(step))
    if damage is None:
      return directory / str(step)
    newest = newest or f'{directory / str(step)} cannot be used: {damage}'
    _logger.warning(
      'checkpoint %s is not used: %s. Trying the one before it.',
      directory / str(step),
      damage,
    )
  if newest is not None:
    raise InputError(
      f'checkpoint {newest}, and there is no older one that can. Train again '
      'with the same settings; in a study, remove DONE from the folder of the '
      'training first.'
    )
  raise InputError(
    f'no usable checkpoint at {path}: expected folders named by their step, '
    f'each with a {MANIFEST}. Train first, or name another folder.'
    f'{nearest_path(path)}'
  )


def restore_params(
  path: str | os.PathLike[str], *, target: Any = None
) -> dict[str, Any]:
  """Reads the parameters of a checkpoint, without the optimizer's state.

  Args:
    path: Path in any form that `find_checkpoint` accepts.
    target: Tree of `jax.ShapeDtypeStruct` with the desired shardings; None
      reads arrays as they were saved, onto the first local device.

  Returns:
    Nested dict of arrays.

  Raises:
    InputError: If there is no usable checkpoint, or names or shapes differ from
      the target's.
  """
  return read_params(find_checkpoint(path), target=target)


def read_params(
  checkpoint: pathlib.Path, *, target: Any = None
) -> dict[str, Any]:
  """Like `restore_params`, for a checkpoint that has been verified.

  Args:
    checkpoint: Folder of one step, as returned by `find_checkpoint`.
    target: Tree of `jax.ShapeDtypeStruct` with the desired shardings, or None.

  Raises:
    InputError: If names or shapes differ from the target's.
  """
  item = checkpoint / 'params'
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
      check_shapes(saved, target, source=f'checkpoint {checkpoint}')
    return checkpointer.restore(item, target)


def stored_shapes(checkpoint: pathlib.Path) -> Any:
  """Returns the shapes and dtypes of a checkpoint's parameters, as a tree."""
  with ocp.StandardCheckpointer() as checkpointer:
    return checkpointer.metadata(checkpoint / 'params').item_metadata.tree


def check_shapes(found: Any, wanted: Any, *, source: str) -> None:
  """Compares names and shapes of two trees of arrays.

  Raises:
    InputError: If they differ; names the first array that does.
  """
  actual, expected = _shapes(found), _shapes(wanted)
  for name in sorted({*actual, *expected}):
    if actual.get(name) != expected.get(name):
      raise InputError(
        f'{source} does not fit the model: {name} is '
        f'{actual.get(name, "absent")} there and '
        f'{expected.get(name, "absent")} in the model. Use the model '
        'configuration that these parameters were trained with.'
      )


def _shapes(tree: Any) -> dict[str, str]:
  """Returns shapes as text, by 'encoder/layers_0/…'."""
  return {
    jax.tree_util.keystr(keys, simple=True, separator='/'): str(
      list(leaf.shape)
    )
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
