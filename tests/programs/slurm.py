"""Fake sbatch, squeue, scancel, srun and scontrol, chosen by `FAKE_NAME`.

The only job is number 7. Answers follow a script (scripted.py).
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
  options = set(re.findall(r'^#SBATCH (--[a-z-]+)', text, re.MULTILINE))
  if not options <= DIRECTIVES:
    refuse(f'unrecognized option {options - DIRECTIVES}')
  act('sbatch')
  print('7;cluster')


def squeue(words):
  if words != ['--jobs=7', '--noheader', '--format=%T|%r']:
    refuse(f'squeue {words}')
  act('squeue')
  # Without an answer in the script, Slurm no longer knows the job.
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
