"""sbatch, squeue, scancel, srun and scontrol, by the name it is called.

The job's number is 7; its files are those that the script names.
"""

import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from scripted import FOLDER, act, note, refuse

DIRECTIVES = {
  *('--job-name', '--nodes', '--ntasks-per-node', '--gpus-per-node', '--time'),
  *('--partition', '--account', '--output', '--open-mode', '--requeue'),
  *('--signal', '--constraint'),
}


def main() -> None:
  name = os.environ['FAKE_NAME']
  words = sys.argv[1:]
  note(name, words)
  globals()[name](words)


def sbatch(words):
  if words[0] != '--parsable' or len(words) != 2:
    refuse(f'sbatch {words}')
  text = pathlib.Path(words[1]).read_text()
  if not text.startswith('#!'):
    refuse('This does not look like a batch script.')
  found = re.findall(r'^#SBATCH (--[a-z-]+)', text, re.MULTILINE)
  if not set(found) <= DIRECTIVES:
    refuse(f'unrecognized option {set(found) - DIRECTIVES}')
  act('sbatch')
  print('7;cluster')


def squeue(words):
  if words != ['--jobs=7', '--noheader', '--format=%T|%r']:
    refuse(f'squeue {words}')
  act('squeue')
  # Forgotten.
  print('slurm_load_jobs error: Invalid job id specified', file=sys.stderr)
  sys.exit(1)


def scancel(words):
  if words[-1] != '7' or words[:-1] not in ([], ['--signal=TERM']):
    refuse(f'scancel {words}')
  act('scancel')


def srun(words):
  if words[0] != '--kill-on-bad-exit=1':
    refuse(f'srun {words}')
  (FOLDER / 'srun_environment').write_text(
    '\n'.join(f'{name}={value}' for name, value in os.environ.items())
  )
  act('srun')


def scontrol(words):
  if words != ['requeue', '7']:
    refuse(f'scontrol {words}')
  act('scontrol')


if __name__ == '__main__':
  main()
