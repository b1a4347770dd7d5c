"""Finds the tensors of a T5X checkpoint, in any layout T5X has written."""

from collections.abc import Mapping
import re
from typing import Any

from flax import serialization
import numpy as np

from it_study.errors import InputError
from it_study.storage import git_lfs, text_files
from it_study.storage.storage_path import StoragePath, reason

# File of the older layout, and Orbax's folder of the model's state.
MSGPACK = 'checkpoint'
STATE = 'state'
# Start of the file named `checkpoint` in a TensorFlow checkpoint.
_TENSORFLOW = b'model_checkpoint_path'
_OCDBT = 'manifest.ocdbt'
_METADATA = '_METADATA'
_PLACEHOLDER = 'PLACEHOLDER://'
# TensorStore drivers, by the file that describes an array.
_DRIVERS = {'.zarray': 'zarr', 'zarr.json': 'zarr3'}


def is_layout(names: set[str], state: set[str]) -> bool:
  """Returns whether a folder is a T5X checkpoint.

  Args:
    names: Names in the folder.
    state: Names in its folder `state`.
  """
  return MSGPACK in names or bool(state & {_OCDBT, _METADATA, MSGPACK})


def find_tensors(folder: StoragePath) -> dict[str, np.ndarray | dict]:
  """Returns the tensors of a checkpoint by name, without reading them.

  T5X has stored them in three layouts, all of which are read here:
  - a msgpack file `checkpoint` of a tree `{'version', 'optimizer': {'state',
    'target'}}`, whose leaves are small arrays, or TensorStore specifications
    for arrays in folders beside it;
  - Orbax's first, in `state`: the same file without the two upper levels, or
    with `PLACEHOLDER://NAME` for the array in the folder NAME, or no file, and
    the names in `_METADATA`;
  - Orbax's current one: one OCDBT database in `state`.

  Args:
    folder: Folder `checkpoint_STEP`.

  Returns:
    `{'target/encoder/…': …, 'state/step': …}`: an array, or a TensorStore
    specification to open.

  Raises:
    InputError: If there is no checkpoint, or it is damaged.
  """
  root = folder.child(STATE) if STATE in folder.names() else folder
  names = root.names()
  if _OCDBT in names:
    return _from_database(root)
  if MSGPACK in names:
    return _from_msgpack(root)
  if _METADATA in names:
    return _from_metadata(root)
  shown = ', '.join(sorted(names)[:3]) or 'nothing'
  raise InputError(
    f'{folder}: not a T5X checkpoint: expected a file {MSGPACK}, or a folder '
    f'{STATE} with {_OCDBT}, got {shown}. The copy may be incomplete; download '
    'the folder again.'
  )


def _from_msgpack(root: StoragePath) -> dict[str, Any]:
  content = root.read(MSGPACK) or b''
  where = f'{root}/{MSGPACK}'
  git_lfs.check(where, content)
  if content.startswith(_TENSORFLOW):
    raise InputError(
      f'{where}: a TensorFlow checkpoint. Convert it with T5X first: '
      't5x/scripts/convert_tf_checkpoint.py.'
    )
  try:
    tree = serialization.msgpack_restore(content)
  # Both libraries raise their own types; corrupt bytes can raise any other.
  except Exception as error:
    raise InputError(
      f'{where}: cannot be read: {reason(error) or type(error).__name__}. It '
      'may be truncated; download it again.'
    ) from None
  top = sorted(map(str, tree)) if isinstance(tree, dict) else [str(type(tree))]
  for level in ('optimizer', 'state_dict'):
    if isinstance(tree, dict) and level in tree:
      tree = tree[level]
  if not isinstance(tree, dict) or not isinstance(tree.get('target'), dict):
    raise InputError(
      f'{where}: not a T5X checkpoint: expected optimizer at the top level, '
      'and the parameters in its target, got '
      f'{", ".join(top[:3]) or "nothing"}.'
    )
  return {
    name: _leaf(root, where, name, leaf)
    for name, leaf in _flatten(tree).items()
    if leaf is not None
  }


def _leaf(root: StoragePath, where: str, name: str, leaf: Any) -> Any:
  """Returns an array, or the specification of one in a sibling folder."""
  if isinstance(leaf, str) and leaf.startswith(_PLACEHOLDER):
    folder = leaf.removeprefix(_PLACEHOLDER)
  elif isinstance(leaf, dict):
    # TensorStore before 0.1.14 kept the path outside the key-value store.
    stored = leaf['kvstore'] if isinstance(leaf['kvstore'], dict) else {}
    folder = str(stored.get('path', leaf.get('path', ''))).strip('/')
  else:
    return leaf
  # The stored driver and bucket refer to where it was written, so only the
  # folder is used.
  if not re.fullmatch(r'[\w-][\w.-]*', folder):
    raise InputError(
      f'{where}: {name} is stored in {folder!r:.60}; expected the name of a '
      'folder beside the file.'
    )
  return {'driver': 'zarr', 'kvstore': root.kvstore(folder)}


def _flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  flat: dict[str, Any] = {}
  for key, value in tree.items():
    name = f'{prefix}{key}'
    if isinstance(value, dict) and not {'driver', 'kvstore'} <= value.keys():
      flat |= _flatten(value, f'{name}/')
    else:
      flat[name] = value
  return flat


def _from_database(root: StoragePath) -> dict[str, Any]:
  import tensorstore as ts

  database = {'driver': 'ocdbt', 'base': root.kvstore()}
  try:
    keys = ts.KvStore.open(database).result().list().result()
  except ValueError as error:
    raise InputError(
      f'{root}/{_OCDBT}: cannot be read: {reason(error)}. Download the '
      'folder again.'
    ) from None
  tensors = {}
  for key in keys:
    folder, _, file = key.decode().rpartition('/')
    if file in _DRIVERS:
      # T5X's parameter names contain no dots.
      tensors[folder.replace('.', '/')] = {
        'driver': _DRIVERS[file],
        'kvstore': {**database, 'path': f'{folder}/'},
      }
  return tensors


def _from_metadata(root: StoragePath) -> dict[str, Any]:
  where = f'{root}/{_METADATA}'
  try:
    metadata = text_files.parse_object(root.read(_METADATA) or b'', where=where)
    driver = 'zarr3' if metadata.get('use_zarr3') else 'zarr'
    tree = [
      [str(part['key']) for part in entry['key_metadata']]
      for entry in metadata['tree_metadata'].values()
    ]
  except (AttributeError, KeyError, TypeError, ValueError):
    raise InputError(
      f'{where}: no list of tensor names. It may be truncated; download it '
      'again.'
    ) from None
  return {
    '/'.join(keys): {'driver': driver, 'kvstore': root.kvstore('.'.join(keys))}
    for keys in tree
  }
