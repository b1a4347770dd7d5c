"""A SLURM job: writes, submits, follows and stops it."""

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
# Queued or running; any other state is final.
_ALIVE = (
  *('PENDING', 'CONFIGURING', 'RUNNING', 'COMPLETING', 'STAGE_OUT'),
  *('SUSPENDED', 'REQUEUED', 'REQUEUE_HOLD', 'REQUEUE_FED', 'RESIZING'),
  *('SIGNALING', 'STOPPED', 'SPECIAL_EXIT', 'RESV_DEL_HOLD', 'PREEMPTED'),
)
_UNKNOWN = 'UNKNOWN'
# Maximum number of consecutive failures of squeue.
_MAX_FAILURES = 20
# Attempts to find a file that another machine wrote.
_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """A command and the resources to run it with.

  Attributes:
    words: Command of it-study, from 'train' on.
    name: Name of the job.
    nodes: Number of nodes.
    gpus_per_node: Number of GPUs of each node; 0 for none.
    process_per: 'gpu', JAX's own reading of SLURM tasks, or 'node'.
    hours: Time limit of the job in hours, after which it is requeued.
    partition: Partition of the cluster; None for its default.
    account: Account to charge; None for the user's default.
    options: Further options of sbatch.
    program: Path or name of it-study on the nodes.
    folder: Working directory; None for the directory of the submission.
    log_dir: Folder for the script, its output and its status; visible to all
      nodes.
    environment: Variables of every process, besides the launcher's own.
    lead_seconds: Seconds from SIGTERM to the time limit.
    max_restarts: Maximum number of times the job is requeued after a
      checkpoint.
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
    """Number of processes on a node."""
    return max(1, self.gpus_per_node) if self.process_per == 'gpu' else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Time limits and intervals.

  Attributes:
    ask: Time limit of a SLURM command, in seconds.
    poll: Interval between looks at the job, in seconds.
    grace: Time from a request to stop to the cancellation, in seconds.
  """

  ask: float = 60.0
  poll: float = 10.0
  grace: float = 300.0


def launch(
  job: Job,
  *,
  tools: Tools,
  limits: Limits | None = None,
  is_followed: bool = True,
  is_kept: bool = False,
) -> int:
  """Submits a job and shows its output until it ends.

  Args:
    job: Command and resources.
    tools: Tools to run sbatch, squeue and scancel with.
    limits: Time limits; None for the defaults.
    is_followed: Whether to wait for the end; otherwise only submits.
    is_kept: Whether the job keeps running when this process is stopped.

  Returns:
    0; 75 after a stop that resumes; the job's status if it failed.

  Raises:
    InputError: If the request is invalid.
    LaunchError: If the job ended without an exit status, or cannot be found.
  """
  return _Launch(job, tools, limits or Limits(), is_kept).launch(is_followed)


def script(job: Job) -> str:
  """Returns the batch script of a job."""
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
    # Keeps the output from before a restart.
    '--open-mode=append',
    '--requeue',
    # Sent to the processes, not to this script.
    f'--signal=TERM@{job.lead_seconds}',
    *job.options,
  ]
  environment = {
    # Otherwise NCCL does not say what it is waiting for.
    'NCCL_DEBUG': 'WARN',
    **job.environment,
  }
  if job.process_per == 'node' and job.gpus_per_node > 1 and job.nodes > 1:
    # JAX would use one GPU only, by the task's number on the node.
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
    '  # Resumes from the checkpoint. The requeue ends this script.',
    '  scontrol requeue "$SLURM_JOB_ID" && sleep 600',
    'fi',
    f'echo $status > {base}.status',
    'exit $status',
  ]
  return '\n'.join(lines) + '\n'


def check(job: Job) -> None:
  """Raises `InputError` if a job is invalid on any cluster."""
  if not _NAME.fullmatch(job.name):
    raise InputError(
      f'--name is {job.name!r}; it must start with a letter and consist of '
      'letters, digits, - and _.'
    )
  if job.process_per not in ('gpu', 'node'):
    raise InputError(
      f'--process_per is {job.process_per!r}; it must be gpu or node.'
    )
  for name, number, least in (
    ('--nodes', job.nodes, 1),
    ('--gpus_per_node', job.gpus_per_node, 0),
    ('--lead_seconds', job.lead_seconds, 0),
    ('--max_restarts', job.max_restarts, 0),
  ):
    if number < least:
      raise InputError(f'{name} is {number}; it must be at least {least}.')
  if 3600 * job.hours <= job.lead_seconds:
    raise InputError(
      f'--hours is {job.hours:g}, which is no more than the '
      f'{job.lead_seconds} s reserved for the last checkpoint (--lead_seconds).'
    )
  for option in job.options:
    if not _OPTION.fullmatch(option) or '\n' in option:
      raise InputError(
        f'--sbatch {option!r}: expected an option of sbatch, as in '
        '--sbatch=--constraint=h100.'
      )


class _Launch:
  """The life of one job, from its script to its end."""

  def __init__(self, job: Job, tools: Tools, limits: Limits, is_kept: bool):
    self._job = job
    self._tools = tools
    self._limits = limits
    self._is_kept = is_kept
    self._id = ''
    self._read = 0

  def launch(self, is_followed: bool) -> int:
    check(self._job)
    for program in ('sbatch', 'squeue', 'scancel'):
      self._tools.need(program, 'run this on a login node of the cluster.')
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
        f'--log_dir {self._job.log_dir}: {error.strerror}. Choose a folder '
        'that is visible to all nodes.'
      ) from error
    output = self._tools.run(
      words, what='submitting the job', seconds=self._limits.ask
    )
    self._id = output.strip().partition(';')[0]
    if not self._id.isdecimal():
      raise LaunchError(f'sbatch printed no job id: {output.strip()!r}')
    self._tools.say(f'job {self._id}, output in {self._file("log")}')
    if not is_followed:
      return 0
    with stoppable():
      try:
        return self._follow()
      except KeyboardInterrupt:
        if self._is_kept:
          self._tools.say(
            f'job {self._id} keeps running; stop it with scancel {self._id}'
          )
          raise
        with unstoppable(self._tools.say, f'stopping job {self._id}'):
          return self._stop()

  def _follow(self) -> int:
    """Shows the job's output until it ends, and returns its status."""
    last, num_failures = None, 0
    while True:
      state, reason = self._state()
      self._show()
      if state == _UNKNOWN:
        num_failures += 1
        if num_failures >= _MAX_FAILURES:
          raise LaunchError(
            f'squeue does not answer ({reason}); job {self._id} may still run: '
            f'squeue --jobs={self._id}, scancel {self._id}'
          )
      else:
        num_failures = 0
        if (state, reason) != last:
          last = (state, reason)
          self._tools.say(
            f'job {self._id} is {state}'
            + (f' ({reason})' if reason not in ('', 'None') else '')
          )
        if state not in _ALIVE:
          return self._end(state)
      time.sleep(self._limits.poll)

  def _state(self) -> tuple[str, str]:
    """Returns the job's state and its reason; UNKNOWN if squeue fails."""
    done = self._tools.try_run(
      ['squeue', f'--jobs={self._id}', '--noheader', '--format=%T|%r'],
      seconds=self._limits.ask,
    )
    if done.status != 0 and 'Invalid job id' not in done.errors:
      return _UNKNOWN, why(done, self._limits.ask)
    state, _, reason = done.output.strip().partition('|')
    # squeue soon forgets a job that has ended.
    return state or 'ENDED', reason

  def _end(self, state: str) -> int:
    file = self._file('status')
    for _ in range(_ATTEMPTS):
      if file.exists():
        break
      # The file may appear on a shared disk after squeue reports the end.
      time.sleep(self._limits.poll)
    self._show()
    if not file.exists():
      raise LaunchError(
        f'job {self._id} ended in state {state}, without an exit status: see '
        f'{self._file("log")} and sacct --jobs={self._id}'
      )
    status = int(file.read_text().strip() or 1)
    if status not in (0, workers.PREEMPTED_STATUS):
      self._tools.warn(
        f'job {self._id} ended with {workers.describe_status(status)}; see '
        f'{self._file("log")}'
      )
    return status

  def _stop(self) -> int:
    """Stops the job gracefully, else cancels it, and returns its status."""
    self._tools.say(
      f'stopping job {self._id}; it has {self._limits.grace:g} s to write a '
      'checkpoint'
    )
    # Tells the script not to requeue the job after its checkpoint.
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
    """Prints the output that the job has added."""
    try:
      with open(self._file('log'), encoding='utf-8', errors='replace') as log:
        log.seek(self._read)
        text = log.read()
        self._read = log.tell()
    except OSError:
      # Not written yet, or not visible from here yet.
      return
    sys.stdout.write(text)
    sys.stdout.flush()

  def _file(self, suffix: str) -> pathlib.Path:
    return pathlib.Path(f'{_base(self._job)}-{self._id}.{suffix}')


def _base(job: Job) -> str:
  return os.path.join(os.path.abspath(job.log_dir), job.name)
