"""Tests which packages may import which: always down the order, never up."""

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
# Packages from the command line down to the basics. A module imports only from
# its own package and from packages below it.
_ORDER = (
  'it_study.cli',
  'it_study.commands',
  'it_study.engines',
  'it_study.training',
  'it_study.input_pipeline',
  'it_study.study',
  'it_study.report',
  'it_study.audit',
  'it_study.tasks',
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
  'it_study.processes',
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
# Packages and libraries that a package must not import, even indirectly.
_FORBIDDEN = {
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
# Packages and modules that can be imported with the standard library alone.
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
  'it_study.processes',
  'it_study.storage.file_locks',
  'it_study.storage.leases',
)
# Modules of those packages that require other libraries.
_NOT_PURE = {
  'it_study.corpus.fetch.collection',
  'it_study.corpus.locate',
  'it_study.corpus.miniature.vocabulary',
}


@functools.cache
def _files() -> dict[str, pathlib.Path]:
  """Returns the file of each module by name."""
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
  """Returns the names of what a module imports: our modules, other packages.

  Args:
    module: Name of one of our modules.
    in_functions: Whether to include imports inside functions.
  """
  imported = set()
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
    imported.update(n if n in _files() else n.partition('.')[0] for n in names)
  return frozenset(imported - {module})


def _reachable(module: str, *, in_functions: bool = True) -> set[str]:
  """Returns what a module imports directly or indirectly."""
  reached: set[str] = set()
  pending = [module]
  while pending:
    for name in _imports(pending.pop(), in_functions=in_functions) - reached:
      reached.add(name)
      if name in _files():
        pending.append(name)
  return reached


def _modules(package: str) -> list[str]:
  """Returns a package's modules, or a module itself."""
  modules = [m for m in _files() if m == package or m.startswith(f'{package}.')]
  assert modules, f'no module {package}'
  return modules


def _is_in(name: str, packages: set[str]) -> bool:
  parts = name.split('.')
  return any('.'.join(parts[:n]) in packages for n in range(1, len(parts) + 1))


def _level(module: str) -> int:
  """Returns the index of a module's package in the order, 0 at the top."""
  if not _is_in(module, {'it_study'}):
    return len(_ORDER)
  return _ORDER.index('.'.join(module.split('.')[:2]))


@pytest.mark.parametrize('package', _FORBIDDEN)
def test_a_package_imports_nothing_forbidden(package):
  forbidden = {
    module: sorted(
      name for name in _reachable(module) if _is_in(name, _FORBIDDEN[package])
    )
    for module in _modules(package)
  }
  assert forbidden == {module: [] for module in forbidden}


@pytest.mark.parametrize('package', _PURE)
def test_a_package_requires_only_the_standard_library(package):
  for module in set(_modules(package)) - _NOT_PURE:
    reached = _reachable(module, in_functions=False)
    libraries = {name for name in reached if name not in _files()}
    assert libraries <= sys.stdlib_module_names, module


def test_conditions_import_only_errors():
  modules = set(_modules('it_study.conditions'))
  imported = set().union(*map(_imports, modules)) & set(_files())
  assert imported - modules == {'it_study.errors'}


def test_tasks_only_register():
  for module in (*_modules('it_study.tasks'), *_modules('tasks')):
    assert _imports(module) - {'sys'} <= {
      'it_study.conditions',
      'it_study.data.quiet_tensorflow',
      'it_study.seqio_lib',
      'it_study.tasks.mixtures',
      'it_study.tasks.natinst',
      'seqio',
    }


def test_the_launcher_is_independent_of_the_library():
  allowed = {
    'it_study.errors',
    'it_study.processes',
    'it_study.processes.timed_process',
  }
  for module in _modules('launch'):
    imported = {n for n in _imports(module) if not _is_in(n, {'launch'})}
    assert imported <= allowed | sys.stdlib_module_names, module
  for module in set(_files()) - set(_modules('launch')):
    if any(_is_in(name, {'launch'}) for name in _imports(module)):
      assert module.startswith('it_study.commands.launch'), module


def test_engines_do_not_import_scoring():
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
    if _level(name) < _level(module)
  ]
  assert upward == []


def test_there_are_no_import_cycles():
  graphlib.TopologicalSorter(
    {
      m: _imports(m) & set(_files()) - {'it_study', 'it_study.tasks'}
      for m in _files()
    }
  ).prepare()


def test_the_order_lists_every_package():
  entries = {'.'.join(module.split('.')[:2]) for module in _modules('it_study')}
  assert sorted(_ORDER) == sorted(entries)
  assert len(entries - {'it_study'}) <= 25


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
  output = subprocess.run(
    [sys.executable, '-c', script],
    capture_output=True,
    check=True,
    cwd=_ROOT,
    text=True,
  ).stdout
  assert output == '[]\n'
