"""Which room may know of which: imports point down the data flow, never up."""

import ast
import functools
import graphlib
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_DEVICE_LIBRARIES = {'jax', 'flax', 'optax', 'orbax'}
_DATA = {
  f'it_study.{name}'
  for name in (
    'audit',
    'certificates',
    'conditions',
    'corpora',
    'feed',
    'fetch',
    'mini',
    'natinst',
    'natinst_tfds',
    'packing',
    'perturb',
    'prompt_features',
    'prompts',
    'row_source',
    'rows',
    'seqio_lib',
    'task_files',
    'token_cache',
    'token_mixture',
    'tokenized',
    'vocabularies',
  )
} | {'array_record', 'grain', 'seqio', 'tensorflow', 'tensorflow_datasets'}
_TRAINING = {
  f'it_study.{name}'
  for name in (
    'bucket_checkpoints',
    'checkpoint_folder',
    'checkpoints',
    'losses',
    'optimizers',
    'output_folder',
    'train_step',
    'trainer',
  )
}
_ENGINES = {'it_study.engines', 'it_study.decode', 'it_study.models'}
_TOP = {
  'it_study.cli',
  'it_study.commands',
  'it_study.progress',
  'it_study.study',
  'launch',
  'tasks',
}

# Room: what it knows nothing of, by itself or through what it imports.
_KNOWS_NOTHING_OF = {
  'it_study.audit': _DEVICE_LIBRARIES | _ENGINES | _TRAINING,
  'it_study.certificates': _DEVICE_LIBRARIES | _ENGINES | _TRAINING,
  'it_study.natinst_tfds': _DEVICE_LIBRARIES | _ENGINES,
  'it_study.seqio_lib': _DEVICE_LIBRARIES | _ENGINES | _TRAINING,
  'it_study.models': _DATA,
  'it_study.partitioning': _DATA | {'it_study.models'},
  'it_study.feed': {'it_study.models', 'jax'},
  'it_study.trainer': {'it_study.natinst', 'it_study.seqio_lib'},
  'it_study.checkpoints': {'it_study.natinst', 'it_study.models'},
  'it_study.convert': _DATA,
  'it_study.decode': {'it_study.natinst', 'it_study.seqio_lib'},
  'it_study.predict': _TRAINING | _DEVICE_LIBRARIES,
  'it_study.evaluation': _ENGINES | _TRAINING | _DEVICE_LIBRARIES,
  'it_study.study': _ENGINES | _TRAINING | _DEVICE_LIBRARIES,
  'it_study.report': _ENGINES | _TRAINING | _DEVICE_LIBRARIES,
  'it_study.browser': _ENGINES | _TRAINING | _DEVICE_LIBRARIES,
}
# Rooms that need nothing but Python.
_PURE = (
  'it_study.audit.corpus_check',
  'it_study.audit.leaks',
  'it_study.cache_folder',
  'it_study.conditions',
  'it_study.corpus_files',
  'it_study.doctor',
  'it_study.errors',
  'it_study.evaluation.label_rules',
  'it_study.exclusions',
  'it_study.file_hashes',
  'it_study.findings',
  'it_study.natinst',
  'it_study.normalization',
  'it_study.perturb',
  'it_study.prompt_spans',
  'it_study.prompts',
  'it_study.row_spool',
  'it_study.seeding',
  'it_study.task_files',
  'it_study.task_json',
  'it_study.task_kinds',
  'it_study.task_pool',
  'it_study.task_table',
  'it_study.timed_process',
  'it_study.tk_instruct',
)


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


@functools.cache
def _imports(module: str) -> frozenset[str]:
  """What a module imports, wherever in the file: our modules, others' names."""
  found = set()
  for node in ast.walk(ast.parse(_files()[module].read_text())):
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


def _reachable(module: str) -> set[str]:
  """What a module imports, and what that imports, and so on."""
  found: set[str] = set()
  pending = [module]
  while pending:
    for name in _imports(pending.pop()) - found:
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
  for module in _modules(room):
    others = {name for name in _reachable(module) if name not in _files()}
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


def test_nothing_imports_what_stands_above_it():
  importers = {
    module: [name for name in _imports(module) if _is_in(name, _TOP)]
    for module in _files()
    if not _is_in(module, _TOP)
  }
  assert {m: names for m, names in importers.items() if names} == {}


def test_modules_and_rooms_import_in_no_circle():
  rooms: dict[str, set[str]] = {}
  for module in _files():
    ours = {name for name in _imports(module) if name in _files()}
    room = '.'.join(module.split('.')[:2])
    rooms.setdefault(room, set()).update(
      '.'.join(name.split('.')[:2]) for name in ours
    )
  for room, known in rooms.items():
    known -= {room, 'it_study', 'tasks'}
  order = list(graphlib.TopologicalSorter(rooms).static_order())
  assert order.index('it_study.errors') < order.index('it_study.natinst')
  graphlib.TopologicalSorter(
    {m: _imports(m) & set(_files()) - {'it_study', 'tasks'} for m in _files()}
  ).prepare()


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
