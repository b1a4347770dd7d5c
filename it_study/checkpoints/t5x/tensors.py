"""Finds the tensors of a T5X checkpoint, in any layout T5X has written."""

from collections.abc import Mapping
import json
import re
from typing import Any

from flax import serialization
import numpy as np

from it_study.errors import InputError
from it_study.storage.storage_path import StoragePath, reason

# File of the older layout, and where Orbax puts what belongs to the model.
MSGPACK = 'checkpoint'
STATE = 'state'
# What TensorFlow's checkpoints have in a file of that name.
_TENSORFLOW = b'model_checkpoint_path'
_OCDBT = 'manifest.ocdbt'
_METADATA = '_METADATA'
_PLACEHOLDER = 'PLACEHOLDER://'
# By the file that describes an array.
_DRIVERS = {'.zarray': 'zarr', 'zarr.json': 'zarr3'}


def is_layout(names: set[str], state: set[str]) -> bool:
  """Whether a folder is one of T5X's, by names in it and in its `state`."""
  return MSGPACK in names or bool(state & {_OCDBT, _METADATA, MSGPACK})


def find_tensors(folder: StoragePath) -> dict[str, np.ndarray | dict]:
  """The tensors of a checkpoint, by name, none of them read.

  T5X has had three ways to store them, all read here:
  - a msgpack file `checkpoint` of a tree `{'version', 'optimizer': {'state',
    'target'}}`, whose leaves are small arrays, or specifications of TensorStore
    for arrays in folders beside it;
  - Orbax's first, in `state`: the same file without the two upper levels, or
    with `PLACEHOLDER://NAME` for the array in the folder NAME, or no file, and
    the names in `_METADATA`;
  - Orbax's now: one database, OCDBT, in `state`.

  Args:
    folder: a `checkpoint_STEP`.

  Returns:
    `{'target/encoder/…': …, 'state/step': …}`: an array, or a TensorStore
    specification to open.

  Raises:
    InputError: nothing of the kind is there, or it is damaged.
  """
  root = folder.child(STATE) if STATE in folder.names() else folder
  names = root.names()
  if _OCDBT in names:
    return _from_database(root)
  if MSGPACK in names:
    return _from_msgpack(root)
  if _METADATA in names:
    return _from_metadata(root)
  found = ', '.join(sorted(names)[:3]) or 'nothing'
  raise InputError(
    f'{folder}: no T5X checkpoint: found {found}; it holds a file {MSGPACK}, '
    f'or a folder {STATE} with {_OCDBT} in it. The copy may have been broken '
    'off; fetch the folder again.'
  )


def _from_msgpack(root: StoragePath) -> dict[str, Any]:
  content = root.read(MSGPACK) or b''
  where = f'{root}/{MSGPACK}'
  if content.startswith(_TENSORFLOW):
    raise InputError(
      f"{where}: a checkpoint of TensorFlow. Convert it by T5X's "
      't5x/scripts/convert_tf_checkpoint.py first.'
    )
  try:
    tree = serialization.msgpack_restore(content)
  # Both libraries raise types of their own, and any other on random bytes.
  except Exception as error:
    raise InputError(
      f'{where}: cannot be read: {reason(error) or type(error).__name__}. It '
      'may be cut off; fetch it again.'
    ) from None
  found = (
    sorted(map(str, tree)) if isinstance(tree, dict) else [str(type(tree))]
  )
  for level in ('optimizer', 'state_dict'):
    if isinstance(tree, dict) and level in tree:
      tree = tree[level]
  if not isinstance(tree, dict) or not isinstance(tree.get('target'), dict):
    raise InputError(
      f'{where}: found {", ".join(found[:3]) or "nothing"} at its top; a T5X '
      'checkpoint has optimizer, and in it target, the parameters.'
    )
  return {
    name: _leaf(root, where, name, leaf)
    for name, leaf in _flatten(tree).items()
    if leaf is not None
  }


def _leaf(root: StoragePath, where: str, name: str, leaf: Any) -> Any:
  """An array, or the specification of one in a folder of the checkpoint."""
  if isinstance(leaf, str) and leaf.startswith(_PLACEHOLDER):
    folder = leaf.removeprefix(_PLACEHOLDER)
  elif isinstance(leaf, dict):
    # TensorStore before 0.1.14 had the path beside the key-value store.
    stored = leaf['kvstore'] if isinstance(leaf['kvstore'], dict) else {}
    folder = str(stored.get('path', leaf.get('path', ''))).strip('/')
  else:
    return leaf
  # The driver and the bucket are those of where it was written.
  if not re.fullmatch(r'[\w-][\w.-]*', folder):
    raise InputError(
      f'{where}: {name} is said to lie in {folder!r:.60}; allowed is the name '
      'of a folder beside the file.'
    )
  return {'driver': 'zarr', 'kvstore': root.kvstore(folder)}


def _flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  flat = {}
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
      f'{root}/{_OCDBT}: cannot be read: {reason(error)}. Fetch the folder '
      'again.'
    ) from None
  tensors = {}
  for key in keys:
    folder, _, file = key.decode().rpartition('/')
    if file in _DRIVERS:
      # Parameters of T5X have no dots in their names.
      tensors[folder.replace('.', '/')] = {
        'driver': _DRIVERS[file],
        'kvstore': {**database, 'path': f'{folder}/'},
      }
  return tensors


def _from_metadata(root: StoragePath) -> dict[str, Any]:
  where = f'{root}/{_METADATA}'
  try:
    metadata = json.loads(root.read(_METADATA) or b'')
    driver = 'zarr3' if metadata.get('use_zarr3') else 'zarr'
    tree = [
      [str(part['key']) for part in entry['key_metadata']]
      for entry in metadata['tree_metadata'].values()
    ]
  except (AttributeError, KeyError, TypeError, ValueError):
    raise InputError(
      f'{where}: found no list of names in it. It may be cut off; fetch it '
      'again.'
    ) from None
  return {
    '/'.join(keys): {'driver': driver, 'kvstore': root.kvstore('.'.join(keys))}
    for keys in tree
  }
