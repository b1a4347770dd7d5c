"""Fake gcloud with one TPU slice, which follows a script (scripted.py).

It accepts the flags that gcloud 528 lists for each command.
"""

import os
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from scripted import FOLDER, act, note, refuse, split

STATE = FOLDER / 'state'
PLACE = {'--zone', '--project', '--quiet', '--format'}
SPOT = {'--spot', '--accelerator-type'}
FLAGS = {
  'tpu-vm create': {'--version', *SPOT},
  'tpu-vm describe': set(),
  'tpu-vm delete': {'--async'},
  'tpu-vm ssh': {'--worker', '--command', '--ssh-flag'},
  'tpu-vm scp': {'--worker', '--recurse'},
  'queued-resources create': {'--node-id', '--runtime-version', *SPOT},
  'queued-resources describe': set(),
  'queued-resources delete': {'--force', '--async'},
}
REQUIRED = {
  'tpu-vm create': {'--version'},
  'queued-resources create': {'--runtime-version', '--node-id'},
}
RUN = re.compile(r'f="\$HOME"/\.it_study_[\w-]+\.pid; .*exit \$s$')


def main() -> None:
  words = sys.argv[1:]
  if words[:2] == ['storage', 'rsync']:
    positional, _ = split(words[2:], {'--recursive'})
    note('storage', positional)
    act('storage')
    pathlib.Path(positional[1], 'metrics.jsonl').write_text('collected')
    return
  command = ' '.join(words[2:4])
  if words[:2] != ['compute', 'tpus'] or command not in FLAGS:
    refuse(f'invalid choice: {command}')
  positional, flags = split(words[4:], FLAGS[command] | PLACE)
  for flag in {'--zone', '--quiet'} | REQUIRED.get(command, set()):
    if flag not in flags:
      refuse(f'{command} requires {flag}')
  globals()[command.replace(' ', '_').replace('-', '_')](positional, flags)


def tpu_vm_create(positional, flags):
  note('create', sys.argv[1:])
  if STATE.exists():
    refuse('ALREADY_EXISTS')
  # The slice exists even if this call is killed before it returns.
  STATE.write_text('READY')
  act('create')


def tpu_vm_describe(positional, flags):
  note('describe', positional)
  act('describe')
  require_slice(positional[0])
  print(STATE.read_text())


def tpu_vm_delete(positional, flags):
  note('delete', positional)
  act('delete')
  require_slice(positional[0])
  STATE.unlink()


def require_slice(name):
  if not STATE.exists():
    print(f'ERROR: NOT_FOUND: {name} was not found', file=sys.stderr)
    sys.exit(1)


def tpu_vm_ssh(positional, flags):
  require_slice(positional[0])
  (line,), (worker,) = flags['--command'], flags['--worker']
  if RUN.match(line):
    note(f'run.{worker}', [line])
    act(f'run.{worker}')
  else:
    if worker != 'all':
      refuse('setting up requires --worker=all')
    note('set_up', [line])
    act('set_up')


def tpu_vm_scp(positional, flags):
  note('scp', positional)
  act('scp')
  source, target = positional
  if ':' in target:
    shutil.copy(source, FOLDER / 'copied')
    assert flags['--worker'] == ['all']
  else:
    pathlib.Path(target, 'metrics.jsonl').write_text('collected')


def queued_resources_create(positional, flags):
  note('queue_create', sys.argv[1:])
  act('queue_create')
  (FOLDER / 'queued').write_text('')
  STATE.write_text('READY')


def queued_resources_describe(positional, flags):
  note('queue_describe', positional)
  act('queue_describe')
  print('ACTIVE')


def queued_resources_delete(positional, flags):
  note('queue_delete', positional)
  if '--force' not in flags:
    refuse('deleting a queued resource with a slice requires --force')
  STATE.unlink(missing_ok=True)
  (FOLDER / 'queued').unlink(missing_ok=True)


if __name__ == '__main__':
  os.umask(0o077)
  main()
