"""Fake ssh: runs commands on this machine, with a home folder for each host."""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from scripted import FOLDER, act, note, refuse

OPTIONS = {
  '-oBatchMode=yes',
  '-oConnectTimeout=15',
  '-oServerAliveInterval=15',
  '-oServerAliveCountMax=4',
}


def main() -> None:
  options = [word for word in sys.argv[1:] if word.startswith('-o')]
  host, line = sys.argv[1 + len(options) :]
  if set(options) != OPTIONS:
    refuse(f'options {options}')
  note(f'ssh.{host}', [line])
  act(f'ssh.{host}')
  home = FOLDER / 'homes' / host
  home.mkdir(parents=True, exist_ok=True)
  # Like sshd: a user's shell, whose input is the connection.
  process = subprocess.run(
    ['/bin/sh', '-c', line],
    cwd=home,
    env={**os.environ, 'HOME': str(home)},
    check=False,
    # A signal to ssh does not reach the processes on another machine.
    start_new_session=True,
  )
  sys.exit(process.returncode if process.returncode >= 0 else 255)


if __name__ == '__main__':
  main()
