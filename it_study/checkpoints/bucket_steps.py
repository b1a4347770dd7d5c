"""Checkpoints that several processes write directly to a bucket.

Each process writes its own shards through Orbax and TensorStore; nothing is
copied to a local disk.
"""

from collections.abc import Callable
import concurrent.futures

from it_study.checkpoints.step_folders import ITEMS, best_of, manifests_of
from it_study.storage import buckets
from it_study.storage.manifest import MANIFEST, compare, to_text
from it_study.storage.storage_path import StoragePath

# Orbax's completion marker in a bucket, where nothing can be renamed: written
# last into a checkpoint and into each of its items.
_COMMITTED = 'commit_success.txt'
_THREADS = 8


class BucketCheckpoints:
  """A `CheckpointFolder` in a bucket, used by one run only."""

  def __init__(self, folder: StoragePath, *, before_finish: Callable[[], None]):
    """Creates a client; the bucket is not contacted yet.

    Args:
      folder: Folder in a bucket.
      before_finish: Function called before a checkpoint's manifest is written,
        to publish the files that belong to it.

    Raises:
      InputError: If the library is missing.
    """
    self._folder = folder
    self._bucket = buckets.Bucket(folder)
    self._before_finish = before_finish

  def path(self, step: int) -> str:
    return str(self._folder.child(str(step)))

  def prepare(self) -> None:
    # Steps without a manifest are set aside when the newest is looked for.
    pass

  def steps(self) -> list[int]:
    paths = (name.split('/') for name in self._bucket.files())
    return sorted({int(p[0]) for p in paths if p[0].isdecimal() and p[1:]})

  def find_damage(self, step: int) -> str | None:
    files = self._files(step)

    def hash_of(name: str, kind: str) -> str | None:
      # A checkpoint uploaded from a local disk has the hashes of a local one.
      if kind == 'sha256':
        return self._bucket.sha256(files[name].name)
      return files[name].crc32c

    return compare(
      self._manifest(step) if MANIFEST in files else None,
      {name: file.num_bytes for name, file in files.items()},
      hash_of,
    )

  def make_restorable(self, step: int) -> None:
    files = self._files(step)
    for folder in ('', *(f'{item}/' for item in ITEMS)):
      if f'{folder}{_COMMITTED}' not in files:
        name = f'{step}/{folder}{_COMMITTED}'
        self._bucket.write_small(name, 'copied', generation=0)

  def set_aside(self, step: int) -> None:
    files = self._files(step)
    if MANIFEST not in files:
      self.delete(step)
      return
    for name in files:
      self._bucket.rename(f'{step}/{name}', f'damaged-{step}/{name}')

  def finish(self, step: int, *, loss: float | None) -> None:
    entries = {
      name: {'bytes': file.num_bytes, 'crc32c': file.crc32c}
      for name, file in sorted(self._files(step).items())
      if name != MANIFEST
    }
    self._before_finish()
    self._bucket.write_small(
      f'{step}/{MANIFEST}', to_text(entries, loss=loss), generation=0
    )

  def best(self) -> int | None:
    steps = manifests_of(self._bucket.files())
    return best_of({step: self._manifest(step) for step in steps})

  def delete(self, step: int) -> None:
    files = self._files(step)
    if MANIFEST in files:
      self._delete(files.pop(MANIFEST))
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
      # The list makes errors surface here.
      list(pool.map(self._delete, files.values()))

  def _files(self, step: int) -> dict[str, buckets.StoredFile]:
    """Returns a step's files by their names in its folder."""
    return {
      name.removeprefix(f'{step}/'): file
      for name, file in self._bucket.files(str(step)).items()
    }

  def _manifest(self, step: int) -> str:
    return self._bucket.read_small(f'{step}/{MANIFEST}')[1]

  def _delete(self, file: buckets.StoredFile) -> None:
    self._bucket.delete(file.name, generation=file.generation)
