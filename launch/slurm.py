"""A job of a SLURM cluster: written, submitted, followed, stopped."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import re
import shlex
import sys
import time

from it_study.errors import InputError
from launch import workers
from launch.tools import LaunchError, Tools, stoppable, unstoppable, why

_NAME = re.compile(r'[A-Za-z][\w-]{0,63}')
_OPTION = re.compile(r'--[a-z][a-z-]*(=.*)?')
# In the queue or at work; any other state is an end.
_ALIVE = (
  *('PENDING', 'CONFIGURING', 'RUNNING', 'COMPLETING', 'STAGE_OUT'),
  *('SUSPENDED', 'REQUEUED', 'REQUEUE_HOLD', 'REQUEUE_FED', 'RESIZING'),
  *('SIGNALING', 'STOPPED', 'SPECIAL_EXIT', 'RESV_DEL_HOLD', 'PREEMPTED'),
)
# After them the job may be queued anew, and is asked for once more.
_UNKNOWN = 'UNKNOWN'
# How often in a row squeue may not answer.
_PATIENCE = 20
# How often a file is looked for that another machine wrote.
_LOOKS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """What is to run, and on what.

  Attributes:
    words: the command of it-study, 'train' and all behind it.
    name: of the job.
    nodes: of the cluster.
    gpus_per_node: 0 is none.
    process_per: 'gpu', which is how JAX takes SLURM's tasks, or 'node'.
    hours: that the job may take before it is queued anew.
    partition: of the cluster; None is its default.
    account: to charge; None is the user's default.
    options: further ones of sbatch.
    program: it-study on the nodes.
    folder: to run in; None is where the job is submitted.
    log_dir: gets the script, its output and its status; all nodes see it.
    environment: of every process, besides what the launcher sets.
    lead_seconds: from SIGTERM to the end of the time.
    max_restarts: how often it is queued anew after a checkpoint.
  """

  words: Sequence[str]
  name: str = 'it-study'
  nodes: int = 1
  gpus_per_node: int = 1
  process_per: str = 'gpu'
  hours: float = 24.0
  partition: str | None = None
  account: str | None = None
  options: Sequence[str] = ()
  program: str = 'it-study'
  folder: str | None = None
  log_dir: str = 'it_study_slurm'
  environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
  lead_seconds: int = 300
  max_restarts: int = 20

  @property
  def tasks_per_node(self) -> int:
    """Processes on a node."""
    return max(1, self.gpus_per_node) if self.process_per == 'gpu' else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Seconds that things may take."""

  ask: float = 60.0
  poll: float = 10.0
  # From being asked to stop to being cancelled.
  grace: float = 300.0


def launch(
  job: Job,
  *,
  tools: Tools,
  limits: Limits | None = None,
  is_followed: bool = True,
  is_kept: bool = False,
) -> int:
  """Submits a job and shows what it writes until it ends.

  Args:
    job: what and where.
    tools: to run sbatch, squeue and scancel with.
    limits: of time.
    is_followed: whether to stay; else it is only submitted.
    is_kept: whether the job goes on when this process is stopped.

  Returns:
    0; 75 if it was stopped with a checkpoint; the job's status if it failed.

  Raises:
    InputError: the request cannot work.
    LaunchError: the job failed without a status of its own, or is lost.
  """
  return _Launch(job, tools, limits or Limits(), is_kept).launch(is_followed)


def script(job: Job) -> str:
  """The job as sbatch takes it."""
  minutes = max(1, round(60 * job.hours))
  directives = [
    f'--job-name={job.name}',
    f'--nodes={job.nodes}',
    f'--ntasks-per-node={job.tasks_per_node}',
    *([f'--gpus-per-node={job.gpus_per_node}'] if job.gpus_per_node else []),
    f'--time={minutes}',
    *([f'--partition={job.partition}'] if job.partition else []),
    *([f'--account={job.account}'] if job.account else []),
    f'--output={_base(job)}-%j.log',
    # What it wrote before it was queued anew stays.
    '--open-mode=append',
    '--requeue',
    # To the processes, not to this script.
    f'--signal=TERM@{job.lead_seconds}',
    *job.options,
  ]
  environment = {
    # NCCL says nothing of what it waits for otherwise.
    'NCCL_DEBUG': 'WARN',
    **job.environment,
  }
  if job.process_per == 'node' and job.gpus_per_node > 1 and job.nodes > 1:
    # JAX would take one of them, by the task's number on the node.
    ids = ','.join(map(str, range(job.gpus_per_node)))
    environment['JAX_LOCAL_DEVICE_IDS'] = ids
  base = f'{shlex.quote(_base(job))}-"$SLURM_JOB_ID"'
  lines = [
    '#!/bin/bash',
    *(f'#SBATCH {directive}' for directive in directives),
    'set -u',
    *([f'cd {shlex.quote(job.folder)} || exit 1'] if job.folder else []),
    *(f'export {n}={shlex.quote(v)}' for n, v in environment.items()),
    'restarts=${SLURM_RESTART_COUNT:-0}',
    'echo "job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, restart $restarts"',
    f'srun --kill-on-bad-exit=1 {shlex.join([job.program, *job.words])}',
    'status=$?',
    f'if [ $status -eq {workers.PREEMPTED_STATUS} ] && [ ! -e {base}.stop ] && '
    f'[ $restarts -lt {job.max_restarts} ]; then',
    '  # It goes on from its checkpoint. To be queued anew ends this script.',
    '  scontrol requeue "$SLURM_JOB_ID" && sleep 600',
    'fi',
    f'echo $status > {base}.status',
    'exit $status',
  ]
  return '\n'.join(lines) + '\n'


def check(job: Job) -> None:
  """Raises `InputError` for a request that no cluster can fulfil."""
  if not _NAME.fullmatch(job.name):
    raise InputError(
      f'--name is {job.name!r}; give letters, digits, - and _, a letter first.'
    )
  if job.process_per not in ('gpu', 'node'):
    raise InputError(f'--process_per is {job.process_per!r}; give gpu or node.')
  for name, number, least in (
    ('--nodes', job.nodes, 1),
    ('--gpus_per_node', job.gpus_per_node, 0),
    ('--lead_seconds', job.lead_seconds, 0),
    ('--max_restarts', job.max_restarts, 0),
  ):
    if number < least:
      raise InputError(f'{name} is {number}; give a number from {least} up.')
  if 3600 * job.hours <= job.lead_seconds:
    raise InputError(
      f'--hours is {job.hours:g}, which leaves nothing before the '
      f'{job.lead_seconds} s for the last checkpoint (--lead_seconds).'
    )
  for option in job.options:
    if not _OPTION.fullmatch(option) or '\n' in option:
      raise InputError(
        f'--sbatch {option!r}: give an option of sbatch, such as '
        '--sbatch=--constraint=h100.'
      )


class _Launch:
  """One job, from its script to its end."""

  def __init__(self, job, tools, limits, is_kept):
    self._job = job
    self._tools = tools
    self._limits = limits
    self._is_kept = is_kept
    self._id = ''
    self._read = 0

  def launch(self, is_followed: bool) -> int:
    check(self._job)
    for program in ('sbatch', 'squeue', 'scancel'):
      self._tools.need(program, 'log in to a machine of the cluster.')
    path = pathlib.Path(f'{_base(self._job)}.sbatch')
    words = ['sbatch', '--parsable', os.fspath(path)]
    if self._tools.is_dry:
      print(f'# {path}:\n{script(self._job)}', end='')
      self._tools.show(words)
      return 0
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(script(self._job))
    except OSError as error:
      raise InputError(
        f'--log_dir {self._job.log_dir}: {error.strerror}; give a folder that '
        'all nodes see.'
      ) from error
    told = self._tools.run(
      words, what='submitting the job', seconds=self._limits.ask
    )
    self._id = told.strip().partition(';')[0]
    if not self._id.isdecimal():
      raise LaunchError(f'sbatch gave no number of a job: {told.strip()!r}')
    self._tools.say(f'job {self._id}, output in {self._file("log")}')
    if not is_followed:
      return 0
    with stoppable():
      try:
        return self._follow()
      except KeyboardInterrupt:
        if self._is_kept:
          self._tools.say(f'job {self._id} goes on; scancel {self._id} ends it')
          raise
        with unstoppable(self._tools.say, f'stopping job {self._id}'):
          return self._stop()

  def _follow(self) -> int:
    """Shows the job's output until it has ended, and returns its status."""
    told, silent = None, 0
    while True:
      state, reason = self._state()
      self._show()
      if state == _UNKNOWN:
        silent += 1
        if silent >= _PATIENCE:
          raise LaunchError(
            f'squeue does not answer ({reason}); job {self._id} may go on: '
            f'squeue --jobs={self._id}, scancel {self._id}'
          )
      else:
        silent = 0
        if (state, reason) != told:
          told = (state, reason)
          self._tools.say(
            f'job {self._id} is {state}'
            + (f' ({reason})' if reason not in ('', 'None') else '')
          )
        if state not in _ALIVE:
          return self._end(state)
      time.sleep(self._limits.poll)

  def _state(self) -> tuple[str, str]:
    """The job's state and why; UNKNOWN if squeue does not say."""
    done = self._tools.try_run(
      ['squeue', f'--jobs={self._id}', '--noheader', '--format=%T|%r'],
      seconds=self._limits.ask,
    )
    if done.status != 0 and 'Invalid job id' not in done.errors:
      return _UNKNOWN, why(done, self._limits.ask)
    state, _, reason = done.output.strip().partition('|')
    # A job that has ended is soon forgotten.
    return state or 'ENDED', reason

  def _end(self, state: str) -> int:
    file = self._file('status')
    for _ in range(_LOOKS):
      if file.exists():
        break
      # A shared disk may show it later than squeue tells of it.
      time.sleep(self._limits.poll)
    self._show()
    if not file.exists():
      raise LaunchError(
        f'job {self._id} ended without a status, {state}: its last words are '
        f'in {self._file("log")}; sacct --jobs={self._id} may tell more'
      )
    status = int(file.read_text().strip() or 1)
    if status not in (0, workers.PREEMPTED_STATUS):
      self._tools.warn(
        f'job {self._id} ended with {workers.describe_status(status)}; its '
        f'output is in {self._file("log")}'
      )
    return status

  def _stop(self) -> int:
    """Asks the job to stop, cancels it if it does not, returns its status."""
    self._tools.say(
      f'stopping job {self._id}, which may write a checkpoint within '
      f'{self._limits.grace:g} s'
    )
    # Not to be queued anew after its checkpoint.
    self._file('stop').touch()
    deadline = time.monotonic() + self._limits.grace
    state, _ = self._state()
    if state in ('RUNNING', _UNKNOWN):
      self._cancel('--signal=TERM')
      while state in (*_ALIVE, _UNKNOWN) and time.monotonic() < deadline:
        time.sleep(min(self._limits.poll, 1.0))
        state, _ = self._state()
    if state in (*_ALIVE, _UNKNOWN):
      self._cancel()
    self._show()
    file = self._file('status')
    return int(file.read_text().strip() or 1) if file.exists() else 130

  def _cancel(self, *options: str) -> None:
    done = self._tools.try_run(
      ['scancel', *options, self._id], seconds=self._limits.ask
    )
    if done.status != 0:
      self._tools.warn(
        f'scancel failed: {why(done, self._limits.ask)}. Job {self._id} MAY '
        f'STILL RUN: scancel {self._id}'
      )

  def _show(self) -> None:
    """Passes on what the job wrote since."""
    try:
      with open(self._file('log'), encoding='utf-8', errors='replace') as log:
        log.seek(self._read)
        text = log.read()
        self._read = log.tell()
    except OSError:
      # Not there yet, or not visible from here yet.
      return
    sys.stdout.write(text)
    sys.stdout.flush()

  def _file(self, suffix: str) -> pathlib.Path:
    return pathlib.Path(f'{_base(self._job)}-{self._id}.{suffix}')


def _base(job: Job) -> str:
  return os.path.join(os.path.abspath(job.log_dir), job.name)
