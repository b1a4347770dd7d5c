"""Tests of worker_pool: order, errors, and no process left behind."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import fakes
import psutil
import pytest

from it_study.corpus import natinst, worker_pool
from it_study.errors import InputError

NAMES = ('task1_mood', 'task2_echo', 'task3_few', 'task4_entail', 'task5_title')
_ROOT = pathlib.Path(__file__).parents[2]
# Works on each task for some seconds; prints a line when it has started.
_LONG = """
import functools
import sys
sys.path[:0] = ['tests', 'tests/corpus']
import worker_pool_test
from it_study.corpus import natinst, worker_pool
corpus = natinst.open_corpus(sys.argv[1])
seconds = int(sys.argv[2])
function = functools.partial(worker_pool_test.tell_pid, seconds=seconds)
pids = worker_pool.map_tasks(
  function, corpus=corpus, names=corpus.train_tasks, num_workers=2
)
next(pids)
print('working', flush=True)
list(pids)
"""


@pytest.fixture(name='corpus')
def _corpus(tmp_path):
  return natinst.open_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))


def count(corpus, name):
  return len(corpus.load(name).instances)


def imported(corpus, name):
  del corpus, name
  return sorted(
    {'jax', 'numpy', 'pytest', 'tensorflow', 'tensorflow_datasets'}
    & set(sys.modules)
  )


def die(corpus, name):
  del corpus
  if name == 'task2_echo':
    os.kill(os.getpid(), signal.SIGKILL)


def tell_pid(corpus, name, *, seconds):
  path = corpus.directory / f'{name}.pid'
  path.write_text(str(os.getpid()))
  if name != 'task1_mood':
    time.sleep(seconds)


@pytest.mark.parametrize('num_workers', [0, 1, 2, None])
def test_results_come_in_the_requested_order(corpus, num_workers):
  names = NAMES[::-1]
  results = worker_pool.map_tasks(
    count, corpus=corpus, names=names, num_workers=num_workers
  )
  assert list(results) == list(zip(names, (6, 105, 12, 14, 40), strict=True))


def test_workers_import_little(corpus):
  results = worker_pool.map_tasks(
    imported, corpus=corpus, names=NAMES[:1], num_workers=1
  )
  # The function's module imports pytest; nothing else is imported.
  assert list(results) == [('task1_mood', ['pytest'])]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_an_error_names_the_file_and_ends_the_workers(corpus, num_workers):
  path = corpus.directory / 'tasks/task2_echo.json'
  path.write_text('{"Definition": ')
  results = worker_pool.map_tasks(
    count, corpus=corpus, names=NAMES, num_workers=num_workers
  )
  assert next(results) == ('task1_mood', 40)
  with pytest.raises(InputError, match=r'tasks/task2_echo\.json: not JSON'):
    list(results)
  assert not workers()


def test_a_killed_worker_is_an_error(corpus):
  results = worker_pool.map_tasks(
    die, corpus=corpus, names=NAMES, num_workers=2
  )
  with pytest.raises(InputError, match='was killed, perhaps for lack of mem'):
    list(results)
  assert not workers()


def test_a_closed_iteration_ends_the_workers(corpus):
  results = worker_pool.map_tasks(
    count, corpus=corpus, names=NAMES, num_workers=2
  )
  next(results)
  results.close()
  assert not workers()


def test_a_script_needs_no_guard(corpus, tmp_path):
  script = tmp_path / 'script.py'
  script.write_text(
    'import sys\n'
    "sys.path[:0] = ['tests', 'tests/corpus']\n"
    'import worker_pool_test\n'
    'from it_study.corpus import natinst, worker_pool\n'
    'corpus = natinst.open_corpus(sys.argv[1])\n'
    'print(dict(worker_pool.map_tasks(worker_pool_test.count,\n'
    '  corpus=corpus,\n'
    '  names=corpus.train_tasks, num_workers=2)))\n'
    'print(__file__)\n'
  )
  result = subprocess.run(
    [sys.executable, script, corpus.directory],
    capture_output=True,
    check=True,
    cwd=_ROOT,
    text=True,
  )
  assert result.stdout == (
    f"{{'task1_mood': 40, 'task2_echo': 14, 'task3_few': 12}}\n{script}\n"
  )


def test_workers_end_with_a_killed_caller(corpus):
  process = long_work(corpus, seconds=60)
  pids = pids_of(corpus)
  process.kill()
  process.communicate()
  assert gone(pids)


def test_an_interrupt_leaves_no_process_and_one_traceback(corpus):
  process = long_work(corpus, seconds=1)
  pids = pids_of(corpus)
  # To the whole process group, as a terminal does.
  os.killpg(process.pid, signal.SIGINT)
  _, errors = process.communicate(timeout=20)
  assert process.returncode != 0
  assert errors.count('Traceback') == 1
  assert errors.endswith('KeyboardInterrupt\n')
  assert gone(pids)


def long_work(corpus, *, seconds) -> subprocess.Popen:
  process = subprocess.Popen(
    [sys.executable, '-c', _LONG, str(corpus.directory), str(seconds)],
    cwd=_ROOT,
    start_new_session=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'working\n', process.communicate()
  return process


def pids_of(corpus) -> list[int]:
  paths = [corpus.directory / f'{name}.pid' for name in NAMES[:3]]
  deadline = time.monotonic() + 20
  while not all(path.exists() for path in paths):
    assert time.monotonic() < deadline
    time.sleep(0.02)
  time.sleep(0.1)
  return sorted({json.loads(path.read_text()) for path in paths})


def gone(pids) -> bool:
  _, alive = psutil.wait_procs(
    [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10
  )
  return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def workers() -> list[psutil.Process]:
  """Returns running worker processes of this process."""
  return [child for child in psutil.Process().children() if is_worker(child)]


def is_worker(process) -> bool:
  # A child of another test may have ended without having been waited for.
  try:
    return 'spawn_main' in ' '.join(process.cmdline())
  except (psutil.NoSuchProcess, psutil.ZombieProcess):
    return False
