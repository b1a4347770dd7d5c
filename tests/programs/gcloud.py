"""A gcloud that knows one slice and does as it is told.

Its flags are those that gcloud 528 lists for each command.
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
NEEDED = {
  'tpu-vm create': {'--version'},
  'queued-resources create': {'--runtime-version', '--node-id'},
}
RUN = re.compile(r'f="\$HOME"/\.it_study_[\w-]+\.pid; .*exit \$s$')


def main() -> None:
  words = sys.argv[1:]
  if words[:2] == ['storage', 'rsync']:
    given, _ = split(words[2:], {'--recursive'})
    note('storage', given)
    act('storage')
    pathlib.Path(given[1], 'metrics.jsonl').write_text('collected')
    return
  command = ' '.join(words[2:4])
  if words[:2] != ['compute', 'tpus'] or command not in FLAGS:
    refuse(f'invalid choice: {command}')
  given, flags = split(words[4:], FLAGS[command] | PLACE)
  for flag in {'--zone', '--quiet'} | NEEDED.get(command, set()):
    if flag not in flags:
      refuse(f'{command} needs {flag}')
  globals()[command.replace(' ', '_').replace('-', '_')](given, flags)


def tpu_vm_create(given, flags):
  note('create', sys.argv[1:])
  if STATE.exists():
    refuse('ALREADY_EXISTS')
  # It is asked for whether or not this call lives to hear of it.
  STATE.write_text('READY')
  act('create')


def tpu_vm_describe(given, flags):
  note('describe', given)
  act('describe')
  need_slice(given[0])
  print(STATE.read_text())


def tpu_vm_delete(given, flags):
  note('delete', given)
  act('delete')
  need_slice(given[0])
  STATE.unlink()


def need_slice(name):
  if not STATE.exists():
    print(f'ERROR: NOT_FOUND: {name} was not found', file=sys.stderr)
    sys.exit(1)


def tpu_vm_ssh(given, flags):
  need_slice(given[0])
  (line,), (worker,) = flags['--command'], flags['--worker']
  if RUN.match(line):
    note(f'run.{worker}', [line])
    act(f'run.{worker}')
  else:
    if worker != 'all':
      refuse('set up on every host')
    note('set_up', [line])
    act('set_up')


def tpu_vm_scp(given, flags):
  note('scp', given)
  act('scp')
  source, target = given
  if ':' in target:
    shutil.copy(source, FOLDER / 'copied')
    assert flags['--worker'] == ['all']
  else:
    pathlib.Path(target, 'metrics.jsonl').write_text('collected')


def queued_resources_create(given, flags):
  note('queue_create', sys.argv[1:])
  act('queue_create')
  (FOLDER / 'queued').write_text('')
  STATE.write_text('READY')


def queued_resources_describe(given, flags):
  note('queue_describe', given)
  act('queue_describe')
  print('ACTIVE')


def queued_resources_delete(given, flags):
  note('queue_delete', given)
  if '--force' not in flags:
    refuse('a queued resource with a slice is deleted with --force')
  STATE.unlink(missing_ok=True)
  (FOLDER / 'queued').unlink(missing_ok=True)


if __name__ == '__main__':
  os.umask(0o077)
  main()
