"""Shared code of the fake tools: records calls and follows a script.

The variable `FAKE_TOOLS` names a folder. Each call appends a line to its
`calls.jsonl`. `script/KEY` holds the answers for KEY, one per line, each used
once; an answer is a list of actions such as `out:text;sleep:1;exit:3`.
"""

import fcntl
import json
import os
import pathlib
import signal
import sys
import time

FOLDER = pathlib.Path(os.environ.get('FAKE_TOOLS', '/nonexistent'))


def note(key: str, words: list[str]) -> None:
  """Records a call."""
  with open(FOLDER / 'calls.jsonl', 'a') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(json.dumps([key, words]) + '\n')


def refuse(message: str) -> None:
  """Exits as the real tool does on invalid arguments, and records why."""
  with open(FOLDER / 'refused', 'a') as file:
    file.write(f'{message}: {sys.argv}\n')
  print(f'ERROR: {message}', file=sys.stderr)
  sys.exit(2)


def split(words: list[str], known: set[str]) -> tuple[list[str], dict]:
  """Splits positional words from flags; refuses flags that are not `known`."""
  positional: list[str] = []
  flags: dict[str, list[str]] = {}
  for word in words:
    if not word.startswith('-'):
      positional.append(word)
      continue
    name, _, value = word.partition('=')
    if name not in known:
      refuse(f'unrecognized arguments: {word}')
    flags.setdefault(name, []).append(value)
  return positional, flags


def act(key: str) -> None:
  """Performs the next answer in the script for this key, if there is one."""
  path = FOLDER / 'script' / key
  if not path.exists():
    return
  with open(path, 'r+') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    answers = file.read().splitlines()
    file.seek(0)
    file.truncate()
    file.write('\n'.join(answers[1:]))
  for word in (answers or [''])[0].split(';'):
    _do(*word.partition(':')[::2])


def _caller() -> int:
  """Returns the process ID of the shell that runs this program."""
  return os.getppid()


def _do(kind: str, value: str) -> None:
  if kind == 'out':
    print(value, flush=True)
  elif kind == 'err':
    print(value, file=sys.stderr, flush=True)
  elif kind == 'sleep':
    time.sleep(float(value))
  elif kind in ('log', 'status'):
    # The fake Slurm's only job is number 7.
    with open(FOLDER / 'logs' / f'it-study-7.{kind}', 'a') as file:
      file.write(f'{value}\n')
  elif kind == 'hang':
    time.sleep(600)
  elif kind == 'state':
    (FOLDER / 'state').write_text(value)
  elif kind == 'gone':
    (FOLDER / 'state').unlink()
  elif kind == 'until_asked':
    # Waits for the end of the input, which comes when the caller closes it.
    sys.stdin.read()
    with open(FOLDER / 'asked', 'a') as file:
      file.write('.')
    sys.exit(int(value))
  elif kind == 'end_caller':
    os.kill(_caller(), signal.SIGTERM)
  elif kind == 'exit':
    sys.exit(int(value))
