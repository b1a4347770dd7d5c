"""What the fake tools share: calls are written down, answers come by a script.

`FAKE_TOOLS` is a folder. `script/KEY` holds an answer a line, used up one by
one; an answer is a list of words such as `out:text;sleep:1;exit:3`.
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
  """Writes a call down."""
  with open(FOLDER / 'calls.jsonl', 'a') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(json.dumps([key, words]) + '\n')


def refuse(message: str) -> None:
  """Ends as a tool does that does not know what it was given."""
  with open(FOLDER / 'refused', 'a') as file:
    file.write(f'{message}: {sys.argv}\n')
  print(f'ERROR: {message}', file=sys.stderr)
  sys.exit(2)


def split(words: list[str], known: set[str]) -> tuple[list[str], dict]:
  """Positional words and flags; refuses those that the real tool lacks."""
  given: list[str] = []
  flags: dict[str, list[str]] = {}
  for word in words:
    if not word.startswith('-'):
      given.append(word)
      continue
    name, _, value = word.partition('=')
    if name not in known:
      refuse(f'unrecognized arguments: {word}')
    flags.setdefault(name, []).append(value)
  return given, flags


def act(key: str) -> None:
  """Does what the script says for this key; nothing if it says nothing."""
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
  """The shell that runs this program."""
  return os.getppid()


def _do(kind: str, value: str) -> None:
  if kind == 'out':
    print(value, flush=True)
  elif kind == 'err':
    print(value, file=sys.stderr, flush=True)
  elif kind == 'sleep':
    time.sleep(float(value))
  elif kind in ('log', 'status'):
    # Of the job of number 7.
    with open(FOLDER / 'logs' / f'it-study-7.{kind}', 'a') as file:
      file.write(f'{value}\n')
  elif kind == 'hang':
    time.sleep(600)
  elif kind == 'state':
    (FOLDER / 'state').write_text(value)
  elif kind == 'gone':
    (FOLDER / 'state').unlink()
  elif kind == 'until_asked':
    # By the end of the input, which comes when nobody is there any more.
    sys.stdin.read()
    with open(FOLDER / 'asked', 'a') as file:
      file.write('.')
    sys.exit(int(value))
  elif kind == 'end_caller':
    os.kill(_caller(), signal.SIGTERM)
  elif kind == 'exit':
    sys.exit(int(value))
