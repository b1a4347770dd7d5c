"""What every test stands on: quick compiling, a cache of its own."""

import atexit
import json
import logging
import os
import pathlib
import shutil
import signal
import tempfile

import hypothesis
import pytest
import shape_checks

# Before JAX is imported: programs here are compiled more than they are run.
os.environ['XLA_FLAGS'] = ' '.join(
  (
    os.environ.get('XLA_FLAGS', ''),
    '--xla_backend_optimization_level=0',
    '--xla_llvm_disable_expensive_passes=true',
    '--xla_cpu_use_fusion_emitters=false',
    '--xla_cpu_parallel_codegen_split_count=2',
  )
)
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# Nothing that a user has built is used or touched.
_CACHE = tempfile.mkdtemp(prefix='it_study_tests_')
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ['IT_STUDY_CACHE'] = _CACHE
os.environ.pop('IT_STUDY_VOCABULARY', None)

# Before the modules are imported: shape annotations are checked in this process
# and in the workers of pytest-xdist, but not in processes that a test starts.
shape_checks.install()

# Where the tests run in the background a shell has it ignored, and whatever
# they start and interrupt would ignore it too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every machine, however slow it is.
hypothesis.settings.register_profile(
  'it_study', deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile('it_study')


def _raw_task(num_instances: int = 3, **fields) -> dict:
  instances = [
    {'id': f't-{i}', 'input': f'text {i}', 'output': [f'out {i}']}
    for i in range(num_instances)
  ]
  raw = {
    'Definition': ['Say what comes next.'],
    'Categories': ['Title Generation'],
    'Positive Examples': [
      {'input': 'one', 'output': 'two', 'explanation': 'It comes next.'},
      {'input': 'two', 'output': 'three', 'explanation': ''},
    ],
    'Negative Examples': [
      {'input': 'one', 'output': 'nine', 'explanation': 'It does not.'}
    ],
    'Instances': instances,
  }
  for name, value in fields.items():
    raw[name.replace('_', ' ')] = value
  return {name: value for name, value in raw.items() if value is not ...}


@pytest.fixture(name='raw_task', scope='session')
def _make_raw_task():
  """Makes a task file's JSON object; a field given as ... is left out.

  `raw_task(num_instances=5, Positive_Examples=[])`
  """
  return _raw_task


@pytest.fixture(name='write_corpus')
def _write_corpus(tmp_path):
  """Writes a corpus of such objects, by task name, and returns its folder."""

  def write(
    *, train: dict[str, dict], test: dict[str, dict], folder: str = 'corpus'
  ) -> pathlib.Path:
    directory = tmp_path / folder
    (directory / 'tasks').mkdir(parents=True)
    (directory / 'splits' / 'default').mkdir(parents=True)
    for split, tasks in (('train', train), ('test', test)):
      path = directory / 'splits' / 'default' / f'{split}_tasks.txt'
      path.write_text(''.join(f'{name}\n' for name in tasks))
      for name, raw in tasks.items():
        (directory / 'tasks' / f'{name}.json').write_text(json.dumps(raw))
    return directory

  return write


@pytest.fixture(name='natinst_dir', scope='session')
def _natinst_dir():
  """Real task files, named by the environment."""
  if not os.environ.get('NATINST_DIR'):
    pytest.skip('needs NATINST_DIR')
  return pathlib.Path(os.environ['NATINST_DIR'])


@pytest.fixture(name='t5_vocabulary', scope='session')
def _t5_vocabulary():
  """T5's own SentencePiece model of 32,000 pieces, named by the environment."""
  if not os.environ.get('T5_VOCABULARY'):
    pytest.skip('needs T5_VOCABULARY')
  return os.environ['T5_VOCABULARY']


@pytest.fixture(name='fake_tools')
def _fake_tools(tmp_path, monkeypatch):
  """Puts programs of the names given on PATH; see `fakes.FakeTools`."""
  import fakes

  made = []

  def make(*names):
    made.append(fakes.FakeTools(tmp_path / 'tools', *names))
    made[-1].use(monkeypatch)
    return made[-1]

  yield make
  # What a real one would not have understood.
  assert [tools.refused() for tools in made] == ['' for _ in made]


@pytest.fixture(autouse=True)
def _warnings_are_logged():
  """Whatever a command with `--quiet` has set before."""
  logging.root.setLevel(logging.WARNING)


@pytest.fixture(name='said')
def _said():
  """Where a test gathers what was said."""
  return []
