"""A process on each of several machines, over ssh."""

from collections.abc import Mapping, Sequence
from concurrent import futures
import dataclasses
import re
import shlex

from it_study.errors import InputError
from launch import remote, workers
from launch.tools import LaunchError, Tools, why

# Never asks for a password; notices a dead connection within a minute.
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
  """A command and the machines to run it on.

  Attributes:
    hosts: Machines, as ssh names them; the first one coordinates.
    words: Command of it-study, from 'train' on.
    program: Path or name of it-study on the machines.
    folder: Working directory, absolute or relative to the home folder.
    port: Port of the first host that the others connect to.
    environment: Variables of every process, besides the launcher's own.
    grace_seconds: Seconds that processes have to stop before they are killed.
    label: Name that distinguishes runs on the same machines.
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
  """Runs a command on all machines at once, and stops it on all of them.

  Args:
    run: Command and machines.
    tools: Tools to run ssh with.
    check_seconds: Time limit of the check of a machine, in seconds.

  Returns:
    0; 75 after a stop that resumes; the status of a process that failed.

  Raises:
    InputError: If the request is invalid.
    LaunchError: If a machine cannot be reached, or lacks the program.
  """
  _check(run)
  tools.need('ssh', 'install an OpenSSH client.')
  _check_hosts(run, tools, check_seconds)
  hosts = [
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
    for worker in hosts:
      tools.show(worker.words)
    return 0
  tools.say(f'running on {", ".join(run.hosts)}')
  return workers.run(
    hosts, say=tools.say, warn=tools.warn, grace_seconds=run.grace_seconds
  ).status


def parse_hosts(text: str) -> list[str]:
  """Returns the machines of a list such as 'a,me@b'.

  Raises:
    InputError: If a name is invalid or repeated.
  """
  hosts = [host.strip() for host in text.split(',')]
  for host in hosts:
    if not _HOST.fullmatch(host):
      raise InputError(
        f'--hosts {text!r}: {host!r} is not a valid host. Separate hosts by '
        'commas, such as node1,me@node2.'
      )
    if hosts.count(host) > 1:
      raise InputError(f'--hosts {text!r}: {host} is listed twice.')
  return hosts


def _check(run: Run) -> None:
  if not 1024 <= run.port <= 65_535:
    raise InputError(
      f'--port is {run.port}; it must be from 1024 to 65535, and reachable '
      'from the other hosts.'
    )


def _environment(run: Run, index: int) -> dict[str, str]:
  # Otherwise NCCL does not say what it is waiting for.
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
      f'{run.folder} (--program, --folder), and ssh must connect without a '
      'prompt'
    )
