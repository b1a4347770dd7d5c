"""Several machines that ssh reaches, a process on each."""

from collections.abc import Mapping, Sequence
from concurrent import futures
import dataclasses
import re
import shlex

from it_study.errors import InputError
from launch import remote, workers
from launch.tools import LaunchError, Tools, why

# No question that nobody answers; a dead connection is noticed in a minute.
_OPTIONS = (
  '-oBatchMode=yes',
  '-oConnectTimeout=15',
  '-oServerAliveInterval=15',
  '-oServerAliveCountMax=4',
)
_HOST = re.compile(r'(?:\w[\w.-]*@)?\w(?:[\w.:-]*\w)?')
_CHECK_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What is to run, and where.

  Attributes:
    hosts: as ssh takes them; the first one coordinates.
    words: the command of it-study, 'train' and all behind it.
    program: it-study on those machines.
    folder: to run in, below the home folder or absolute.
    port: of the first host, by which the others find it.
    environment: of every process, besides what the launcher sets.
    grace_seconds: from being asked to stop to being ended.
    label: that tells runs on the same machines apart.
  """

  hosts: Sequence[str]
  words: Sequence[str]
  program: str = 'it-study'
  folder: str = '.'
  port: int = 12_321
  environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
  grace_seconds: float = 60.0
  label: str = 'it-study'


def launch(
  run: Run, *, tools: Tools, check_seconds: float = _CHECK_SECONDS
) -> int:
  """Runs a command on all machines at once, and leaves it running on none.

  Args:
    run: what and where.
    tools: to run ssh with.
    check_seconds: that a machine has to say whether it can run it.

  Returns:
    0; 75 if it was stopped with a checkpoint; a process's status if it failed.

  Raises:
    InputError: the request cannot work.
    LaunchError: a machine cannot be reached, or lacks the program.
  """
  _check(run)
  tools.need('ssh', 'install an OpenSSH client.')
  _check_hosts(run, tools, check_seconds)
  listed = [
    workers.Worker(
      name=host,
      words=[
        *('ssh', *_OPTIONS, host),
        remote.run_line(
          [run.program, *run.words],
          label=run.label,
          folder=run.folder,
          environment=_environment(run, index),
          grace_seconds=run.grace_seconds,
        ),
      ],
      is_shown=index == 0,
      ends_with_input=True,
    )
    for index, host in enumerate(run.hosts)
  ]
  if tools.is_dry:
    for worker in listed:
      tools.show(worker.words)
    return 0
  tools.say(f'running on {", ".join(run.hosts)}')
  return workers.run(
    listed, say=tools.say, warn=tools.warn, grace_seconds=run.grace_seconds
  ).status


def parse_hosts(text: str) -> list[str]:
  """The machines of a list such as 'a,me@b'.

  Raises:
    InputError: a name is none, or is there twice.
  """
  hosts = [host.strip() for host in text.split(',')]
  for host in hosts:
    if not _HOST.fullmatch(host):
      raise InputError(
        f'--hosts {text!r}: {host!r} is no machine; give them as ssh takes '
        'them, with commas, such as node1,me@node2.'
      )
    if hosts.count(host) > 1:
      raise InputError(f'--hosts {text!r}: {host} is named twice.')
  return hosts


def _check(run: Run) -> None:
  if not 1024 <= run.port <= 65_535:
    raise InputError(
      f'--port is {run.port}; give one from 1024 to 65535 that the other hosts '
      'can reach.'
    )


def _environment(run: Run, index: int) -> dict[str, str]:
  # NCCL says nothing of what it waits for otherwise.
  environment = {'NCCL_DEBUG': 'WARN', **run.environment}
  if len(run.hosts) > 1:
    first = run.hosts[0].rpartition('@')[2]
    environment |= {
      'JAX_COORDINATOR_ADDRESS': f'{first}:{run.port}',
      'JAX_NUM_PROCESSES': str(len(run.hosts)),
      'JAX_PROCESS_ID': str(index),
    }
  return environment


def _check_hosts(run: Run, tools: Tools, seconds: float) -> None:
  """Raises `LaunchError` unless every machine has the program."""
  line = (
    f'cd {shlex.quote(run.folder)} && {shlex.join([run.program, "--version"])}'
  )
  if tools.is_dry:
    for host in run.hosts:
      tools.show(['ssh', *_OPTIONS, host, line])
    return

  def ask(host: str) -> str | None:
    done = tools.try_run(['ssh', *_OPTIONS, host, line], seconds=seconds)
    return None if done.status == 0 else f'{host}: {why(done, seconds)}'

  with futures.ThreadPoolExecutor(len(run.hosts)) as pool:
    failures = [failure for failure in pool.map(ask, run.hosts) if failure]
  if failures:
    raise LaunchError(
      f'{"; ".join(failures)}. Every machine needs {run.program} in '
      f'{run.folder} (--program, --folder), and ssh must reach it without a '
      'question'
    )
