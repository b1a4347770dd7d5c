"""A small corpus, a tiny model and a fake engine for tests."""

import functools
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

from it_study import predictions
from it_study.corpus import natinst
from it_study.storage import text_files

LENGTHS = {'inputs': 256, 'targets': 12}
NAME = 'natinst_def_original_ex_original1'
# Instances of each split of the small corpus.
NUM_ROWS = {'train': 36, 'validation': 30, 'test': 106}


def write_small_corpus(directory, *, mood='Say good or bad.') -> pathlib.Path:
  """Writes a corpus of three training and two test tasks, of both kinds."""
  directory = pathlib.Path(directory)
  tasks = {
    'task1_mood': _task(
      mood,
      'Sentiment Analysis',
      [('a sunny day', 'good'), ('a broken leg', 'bad')],
      [(f'day {i}', ['good', 'bad'][i % 2]) for i in range(40)],
    ),
    'task2_echo': _task(
      'Repeat the words.',
      'Text Completion',
      [('one', 'one'), ('two', 'two')],
      [(f'word {i}', [f'word {i}', f'Word {i}']) for i in range(14)],
    ),
    'task3_few': _task(
      'Count on.',
      'Text Completion',
      [('three', 'four'), ('five', 'six')],
      [(f'{i}', f'{i + 1}') for i in range(12)],
    ),
    'task4_entail': _task(
      'Answer yes or no.',
      'Textual Entailment',
      [('Is it wet?', 'yes'), ('Is it dry?', 'no')],
      [(f'Is it {i}?', ['yes', 'no'][i % 2]) for i in range(105)],
    ),
    'task5_title': _task(
      'Name it.',
      'Title Generation',
      [
        ('a red hat', 'Red Hat'),
        ('a blue cup', 'Blue Cup'),
        ('a big dog', 'Big Dog'),
        ('a wet tree', 'Wet Tree'),
        ('an old car', 'Old Car'),
      ],
      [(f'a thing {i}', [f'Thing {i}', f'The Thing {i}']) for i in range(6)],
    ),
  }
  (directory / 'tasks').mkdir(parents=True)
  (directory / 'splits/default').mkdir(parents=True)
  names = list(tasks)
  for split, chosen in (('train', names[:3]), ('test', names[3:])):
    path = directory / f'splits/default/{split}_tasks.txt'
    path.write_text('\n'.join(chosen) + '\n')
  for name, task in tasks.items():
    short = name.split('_')[1]
    for index, instance in enumerate(task['Instances']):
      instance['id'] = f'{short}-{index}'
    (directory / f'tasks/{name}.json').write_text(json.dumps(task))
  return directory


def run_command(*words) -> int:
  """Runs a command line and returns its exit status."""
  from it_study import cli

  try:
    return cli.main([os.fspath(word) for word in words])
  except SystemExit as error:
    return error.code


def refusal(capsys, *words) -> str:
  """Runs a command that fails, and returns its message without the prefix."""
  assert run_command(*words) == 2
  captured = capsys.readouterr()
  assert captured.out == ''
  assert captured.err.count('\n') == 1
  assert captured.err.startswith('it-study: ')
  return captured.err.removeprefix('it-study: ').rstrip('\n')


def _task(definition, category, examples, instances) -> dict:
  def shown(pairs):
    return [{'input': i, 'output': o, 'explanation': ''} for i, o in pairs]

  return {
    'Definition': [definition],
    'Categories': [category],
    'Positive Examples': shown(examples),
    'Negative Examples': shown([(examples[0][0], examples[1][1])]),
    'Instances': [{'input': i, 'output': o} for i, o in instances],
  }


def tiny_model(**fields):
  """Returns a `model_config` that is small enough to compile quickly."""
  from it_study.models.t5 import T5Config

  sizes = {
    'emb_dim': 16,
    'num_heads': 2,
    'head_dim': 8,
    'mlp_dim': 32,
    'num_encoder_layers': 1,
    'num_decoder_layers': 1,
  }
  return functools.partial(T5Config, **{**sizes, **fields})


class Engine:
  """Trains nothing and predicts the first reference of every other instance.

  It stops dead, as a killed process would, before call number `dies_at`.
  """

  def __init__(self, corpus, *, dies_at: int | None = None):
    self.corpus = natinst.open_corpus(corpus)
    self.dies_at = dies_at
    self.instances_per_test_task: int | None = None
    self.calls: list[str] = []

  def finetune(self, *, mixture_or_task_name, model_dir, seed, on_progress):
    self._count(f'train {mixture_or_task_name} {seed}')
    folder = pathlib.Path(model_dir)
    (folder / 'checkpoints').mkdir(exist_ok=True)
    summary = {
      'train_steps': 4,
      'train_seconds': 1.5,
      'seed': seed,
      'num_examples': 9,
      'num_cut_targets': 2,
    }
    text_files.write_json(folder / 'training.json', summary)
    return summary

  def predict(
    self,
    *,
    mixture_or_task_name,
    checkpoint_path,
    infer_output_dir,
    answer_dir,
    split,
    seed,
    on_progress,
  ):
    model = pathlib.Path(checkpoint_path).name if checkpoint_path else 'untuned'
    path = pathlib.Path(infer_output_dir) / 'predictions.jsonl'
    path.write_text('half a line of a process that was ki')
    assert pathlib.Path(answer_dir).name == 'answers'
    self._count(f'predict {model} {mixture_or_task_name} {split}')
    condition = model.rsplit('_seed', 1)[0] if checkpoint_path else None
    predictions.write_predictions(
      path,
      [
        predictions.Prediction.of_instance(
          task,
          instance,
          split=split,
          inputs=instance.input,
          prediction=instance.outputs[0] if instance.position % 2 else '',
          train_condition=condition,
          test_condition=mixture_or_task_name,
          seed=seed,
          engine='native',
        )
        for task, instance in self.corpus.rows(split)
      ],
    )
    summary = {'engine': 'native', 'num_shortened': 0, 'seconds': 2.5}
    summary |= {'num_dropped_examples': 1, 'input_kept': 0.75}
    summary |= {'num_unreachable': 3}
    path.with_name('inference.json').write_text(json.dumps(summary))
    on_progress(1, 1)
    return path

  def _count(self, call: str) -> None:
    if self.dies_at == len(self.calls):
      raise KeyboardInterrupt
    self.calls.append(call)


def write_program(path, code: str) -> pathlib.Path:
  """Writes an executable Python program."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(f'#!{sys.executable}\n{code}')
  path.chmod(0o755)
  return path


class FakeTools:
  """Fake programs on PATH that follow a script and record their calls."""

  def __init__(self, folder: pathlib.Path, *names: str):
    self.folder = folder
    (folder / 'script').mkdir(parents=True)
    for name in names:
      programs = pathlib.Path(__file__).parent / 'programs'
      path = programs / f'{name}.py'
      path = path if path.exists() else programs / 'slurm.py'
      write_program(
        folder / 'bin' / name,
        f'import os, runpy\nos.environ["FAKE_NAME"] = {name!r}\n'
        f'runpy.run_path({str(path)!r}, run_name="__main__")\n',
      )

  def use(self, monkeypatch) -> None:
    """Puts the programs first on PATH."""
    monkeypatch.setenv('FAKE_TOOLS', str(self.folder))
    path = f'{self.folder / "bin"}{os.pathsep}{os.environ["PATH"]}'
    monkeypatch.setenv('PATH', path)

  def script(self, **answers) -> None:
    """What to answer, by key, one after another."""
    for key, lines in answers.items():
      lines = [lines] if isinstance(lines, str) else lines
      name = key.replace('_0', '.0').replace('_1', '.1')
      (self.folder / 'script' / name).write_text('\n'.join(lines))

  def calls(self, key: str | None = None) -> list:
    """The keys of all calls, or what the calls of one key were given."""
    path = self.folder / 'calls.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    if key is None:
      return [name for name, _ in found]
    return [words for name, words in found if name == key]

  def refused(self) -> str:
    """What a real tool would not have understood."""
    path = self.folder / 'refused'
    return path.read_text() if path.exists() else ''


def start_script(
  script: str,
  *words: object,
  streams: tuple[Any, Any] = (subprocess.PIPE, subprocess.PIPE),
  **environment: str,
):
  """Starts Python on a script that may import this module."""
  return subprocess.Popen(
    [sys.executable, '-c', script, *map(str, words)],
    env={
      **os.environ,
      'PYTHONPATH': os.pathsep.join(
        (os.path.dirname(__file__), os.environ.get('PYTHONPATH', ''))
      ),
      **environment,
    },
    stdout=streams[0],
    stderr=streams[1],
    text=True,
  )


def start_in_two_processes(
  script: str, *words: object, folder: pathlib.Path, **environment: str
) -> list[tuple[subprocess.Popen, pathlib.Path]]:
  """Starts a script in two JAX processes, for `finish`.

  Returns:
    Each process with its output file; its errors are in `.errors` beside it.
  """
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  folder.mkdir(parents=True, exist_ok=True)
  started = []
  for index in range(2):
    said = folder / f'{index}.out'
    # Files, since a full pipe would block both processes.
    with (
      said.open('w') as stdout,
      said.with_suffix('.errors').open('w') as stderr,
    ):
      process = start_script(
        script,
        *words,
        streams=(stdout, stderr),
        JAX_PLATFORMS='cpu',
        JAX_COORDINATOR_ADDRESS=f'127.0.0.1:{port}',
        JAX_NUM_PROCESSES='2',
        JAX_PROCESS_ID=str(index),
        **environment,
      )
    started.append((process, said))
  return started


def finish(
  started: list[tuple[subprocess.Popen, pathlib.Path]], status: int = 0
) -> list[str]:
  """Waits for processes to end with a status; returns their output."""
  for process, said in started:
    errors = said.with_suffix('.errors')
    assert process.wait(timeout=900) == status, errors.read_text()[-3000:]
  return [said.read_text() for _, said in started]


def run_in_two_processes(
  script: str, *words: object, folder: pathlib.Path, **environment: str
) -> list[str]:
  """Runs a script in two JAX processes; returns their output."""
  return finish(
    start_in_two_processes(script, *words, folder=folder, **environment)
  )


def is_running(pid: int) -> bool:
  """Returns whether a process is running, and not a zombie."""
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  # A zombie: dead, its status not read.
  stat = pathlib.Path(f'/proc/{pid}/stat')
  return stat.exists() and stat.read_text().rpartition(')')[2].split()[0] != 'Z'
