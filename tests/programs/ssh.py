"""An ssh whose machines are this one, with a home folder each."""

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
  # As sshd does: the shell of a user, the connection as its input.
  done = subprocess.run(
    ['/bin/sh', '-c', line],
    cwd=home,
    env={**os.environ, 'HOME': str(home)},
    check=False,
    # Another machine's processes are out of reach of a signal here.
    start_new_session=True,
  )
  sys.exit(done.returncode if done.returncode >= 0 else 255)


if __name__ == '__main__':
  main()
