"""Which room may know of which: imports point down the data flow, never up."""

import ast
import collections
from collections.abc import Iterator
import functools
import graphlib
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
# Packages in the order in which data flows back to front: a module imports from
# its own package and from those below it, never from one above.
_ORDER = (
  'it_study.cli',
  'it_study.commands',
  'it_study.engines',
  'it_study.training',
  'it_study.input_pipeline',
  'it_study.study',
  'it_study.report',
  'it_study.audit',
  'it_study.seqio_lib',
  'it_study.inference',
  'it_study.evaluation',
  'it_study.data',
  'it_study.predictions',
  'it_study.instructions',
  'it_study.corpus',
  'it_study.checkpoints',
  'it_study.storage',
  'it_study.models',
  'it_study.gin_utils',
  'it_study.conditions',
  'it_study.distributed',
  'it_study.seeding',
  'it_study.timed_process',
  'it_study.errors',
  'it_study',
)
_DEVICE = {'jax', 'flax', 'optax', 'orbax'}
_CORPUS_READERS = {
  'it_study.corpus',
  'it_study.data',
  'it_study.input_pipeline',
  'it_study.instructions',
  'it_study.seqio_lib',
}
_DATA_LIBRARIES = {
  'array_record',
  'grain',
  'seqio',
  'tensorflow',
  'tensorflow_datasets',
}
# What a package does not know, by itself or through what it imports.
_KNOWS_NOTHING_OF = {
  'it_study.audit': _DEVICE,
  'it_study.corpus': {*_DEVICE, 'seqio', 'tensorflow'},
  'it_study.instructions': {*_DEVICE, 'seqio', 'tensorflow'},
  'it_study.data': _DEVICE,
  'it_study.seqio_lib': _DEVICE,
  'it_study.models': _CORPUS_READERS | _DATA_LIBRARIES,
  'it_study.checkpoints': _CORPUS_READERS | _DATA_LIBRARIES,
  'it_study.input_pipeline.feed': {'it_study.models', 'jax'},
  'it_study.training.trainer': {'it_study.corpus', 'it_study.seqio_lib'},
  'it_study.predictions': _DEVICE,
  'it_study.evaluation': {*_DEVICE, 'it_study.models', 'it_study.inference'},
  'it_study.study': _DEVICE,
  'it_study.report': _DEVICE,
}
# Packages and modules that are imported with nothing but Python.
_PURE = (
  'it_study.audit.corpus_check',
  'it_study.audit.leaks',
  'it_study.commands.doctor',
  'it_study.conditions',
  'it_study.corpus',
  'it_study.data.spooled_rows',
  'it_study.errors',
  'it_study.evaluation.label_rules',
  'it_study.instructions',
  'it_study.seeding',
  'it_study.storage.local_folders',
  'it_study.timed_process',
)
# Modules of such packages that need more.
_NOT_PURE = {
  'it_study.corpus.fetch.collection',
  'it_study.corpus.locate',
  'it_study.corpus.miniature.vocabulary',
}


@functools.cache
def _files() -> dict[str, pathlib.Path]:
  """Module name to file."""
  files = {}
  for folder in ('it_study', 'launch', 'tasks'):
    for path in sorted((_ROOT / folder).rglob('*.py')):
      parts = path.relative_to(_ROOT).with_suffix('').parts
      parts = parts[:-1] if parts[-1] == '__init__' else parts
      files['.'.join(parts)] = path
  return files


def _nodes(node: ast.AST, *, in_functions: bool) -> Iterator[ast.AST]:
  for child in ast.iter_child_nodes(node):
    if in_functions or not isinstance(child, ast.FunctionDef):
      yield child
      yield from _nodes(child, in_functions=in_functions)


@functools.cache
def _imports(module: str, *, in_functions: bool = True) -> frozenset[str]:
  """The modules of ours that a module imports, and the names of packages.

  Args:
    module: Name of a module of ours.
    in_functions: Whether to count imports that wait for a call.
  """
  found = set()
  tree = ast.parse(_files()[module].read_text())
  for node in _nodes(tree, in_functions=in_functions):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{module}: relative import'
      names = [f'{node.module}.{alias.name}' for alias in node.names]
      names = [n if n in _files() else node.module for n in names]
    else:
      continue
    found.update(n if n in _files() else n.partition('.')[0] for n in names)
  return frozenset(found - {module})


def _reachable(module: str, *, in_functions: bool = True) -> set[str]:
  """What a module imports, and what that imports, and so on."""
  found: set[str] = set()
  pending = [module]
  while pending:
    for name in _imports(pending.pop(), in_functions=in_functions) - found:
      found.add(name)
      if name in _files():
        pending.append(name)
  return found


def _modules(room: str) -> list[str]:
  modules = [m for m in _files() if m == room or m.startswith(f'{room}.')]
  assert modules, f'no module {room}'
  return modules


def _is_in(name: str, rooms: set[str]) -> bool:
  parts = name.split('.')
  return any('.'.join(parts[:n]) in rooms for n in range(1, len(parts) + 1))


def _place(module: str) -> int:
  """Where a module's package stands in the order, from the top."""
  if not _is_in(module, {'it_study'}):
    return len(_ORDER)
  return _ORDER.index('.'.join(module.split('.')[:2]))


@pytest.mark.parametrize('room', _KNOWS_NOTHING_OF)
def test_a_room_knows_nothing_of(room):
  known = {
    module: sorted(
      name
      for name in _reachable(module)
      if _is_in(name, _KNOWS_NOTHING_OF[room])
    )
    for module in _modules(room)
  }
  assert known == {module: [] for module in known}


@pytest.mark.parametrize('room', _PURE)
def test_a_room_needs_nothing_but_python(room):
  for module in set(_modules(room)) - _NOT_PURE:
    reached = _reachable(module, in_functions=False)
    others = {name for name in reached if name not in _files()}
    assert others <= sys.stdlib_module_names, module


def test_conditions_know_only_errors():
  ours = _imports('it_study.conditions') & set(_files())
  assert ours == {'it_study.errors'}


def test_tasks_only_register():
  for module in _modules('tasks'):
    assert _imports(module) <= {
      'it_study.conditions',
      'it_study.seqio_lib',
      'seqio',
      'tasks.mixtures',
      'tasks.natinst',
    }


def test_the_launcher_knows_nothing_of_the_library():
  known = {'it_study.errors', 'it_study.timed_process'}
  for module in _modules('launch'):
    others = {n for n in _imports(module) if not _is_in(n, {'launch'})}
    assert others <= known | sys.stdlib_module_names, module
  for module in set(_files()) - set(_modules('launch')):
    if any(_is_in(name, {'launch'}) for name in _imports(module)):
      assert module.startswith('it_study.commands.launch'), module


def test_engines_know_nothing_of_scoring():
  for module in _modules('it_study.engines'):
    assert not [
      n
      for n in _imports(module)
      if _is_in(n, {'it_study.evaluation', 'it_study.report', 'it_study.study'})
    ]


def test_one_file_imports_gin():
  assert [m for m in _files() if 'gin' in _imports(m)] == ['it_study.gin_utils']


def test_imports_point_down_the_order():
  upward = [
    f'{module} imports {name}'
    for module in _modules('it_study')
    for name in _imports(module)
    if name in _files()
    if _place(name) < _place(module)
  ]
  assert upward == []


def test_modules_import_in_no_circle():
  graphlib.TopologicalSorter(
    {m: _imports(m) & set(_files()) - {'it_study', 'tasks'} for m in _files()}
  ).prepare()


def test_the_order_names_what_there_is():
  entries = {'.'.join(module.split('.')[:2]) for module in _modules('it_study')}
  assert sorted(_ORDER) == sorted(entries)
  assert len(entries) <= 25


def test_no_folder_has_more_than_twelve_modules():
  folders = collections.Counter(
    path.parent for path in _files().values() if path.name != '__init__.py'
  )
  assert {f: n for f, n in folders.items() if n > 12} == {}


def test_the_command_line_starts_without_the_heavy_libraries():
  script = (
    'import sys; import it_study.cli;'
    "heavy = {'jax', 'tensorflow', 'numpy', 'scipy', 'seqio', 'gin', 'flax'};"
    'print(sorted(heavy & set(sys.modules)))'
  )
  told = subprocess.run(
    [sys.executable, '-c', script],
    capture_output=True,
    check=True,
    cwd=_ROOT,
    text=True,
  ).stdout
  assert told == '[]\n'
