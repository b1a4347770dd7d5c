"""launch: starts every process of a run, wherever they are to be."""

import argparse
from collections.abc import Callable, Iterator
import contextlib
import io
import json
import os
import re
import sys

from it_study.errors import InputError
from launch import (
  accelerators,
  gcloud,
  local as local_lib,
  remote,
  slurm as slurm_lib,
  ssh as ssh_lib,
  tpu_vm,
  workers,
)
from launch.tools import LaunchError, Tools

# What Google Cloud takes for the name of a machine.
_NAME = re.compile(r'[a-z]([-a-z0-9]{0,60}[a-z0-9])?')


def local(options: argparse.Namespace) -> int:
  """Several processes on this machine."""
  from it_study.commands.launch import checks

  _check_positive(options, 'grace_seconds')
  checks.check_processes(
    options.rest_options.command, options.processes, where='--processes'
  )
  planned = local_lib.plan(
    [sys.executable, '-P', '-m', 'it_study.cli', *options.rest],
    processes=options.processes,
    devices=options.devices,
    environment=os.environ,
  )
  if options.dry_run:
    with _shown(options):
      print(
        '\n'.join(local_lib.shell_lines(planned, environment=os.environ)),
      )
    return 0
  say = _speaker(options)
  return _told(
    local_lib.launch(
      planned, say=say, warn=_warn, grace_seconds=options.grace_seconds
    ),
    say,
  )


def tpu_slice(options: argparse.Namespace) -> int:
  """Every host of a Cloud TPU."""
  from it_study.commands.launch import checks

  _check_positive(options, 'grace_seconds', 'wait_hours')
  if options.max_restarts < 0:
    raise InputError(
      f'--max_restarts is {options.max_restarts}; give a number from 0 up.'
    )
  if not _NAME.fullmatch(options.name):
    raise InputError(
      f'--name is {options.name!r}; give lower-case letters, digits and '
      'hyphens, a letter first, such as t5-large.'
    )
  accelerator = accelerators.find(options.type)
  run = tpu_vm.Run(
    words=options.rest,
    ref=options.ref,
    environment=remote.parse_environment(options.env),
    compile_cache=options.compile_cache,
    outputs=checks.check_fits(
      options.rest_options,
      options.rest,
      accelerator=accelerator,
      say=_speaker(options),
      is_memory_checked=not options.skip_memory_check,
    ),
    results=options.results,
    price_per_hour=options.price_per_hour,
    is_kept=options.keep,
    is_reused=options.reuse,
    max_restarts=options.max_restarts,
    grace_seconds=options.grace_seconds,
  )
  request = gcloud.Request(
    name=options.name,
    accelerator=accelerator,
    zone=options.zone,
    project=options.project,
    is_spot=options.spot,
    is_queued=options.queued,
    runtime=options.runtime_version,
  )
  return _outside(
    options,
    lambda tools: tpu_vm.launch(
      request,
      run,
      tools=tools,
      limits=gcloud.Limits(wait=3600 * options.wait_hours),
    ),
  )


def slurm(options: argparse.Namespace) -> int:
  """A job of a SLURM cluster."""
  from it_study.commands.launch import checks

  _check_positive(options, 'grace_seconds', 'hours')
  job = slurm_lib.Job(
    words=options.rest,
    name=options.name,
    nodes=options.nodes,
    gpus_per_node=options.gpus_per_node,
    process_per=options.process_per,
    hours=options.hours,
    partition=options.partition,
    account=options.account,
    options=options.sbatch,
    program=options.program,
    folder=options.folder,
    log_dir=options.log_dir,
    environment=remote.parse_environment(options.env),
    lead_seconds=options.lead_seconds,
    max_restarts=options.max_restarts,
  )
  # What takes no reading of gin files comes first.
  slurm_lib.check(job)
  checks.check_gpus(
    options.rest_options,
    nodes=job.nodes,
    gpus_per_node=job.gpus_per_node,
    processes=job.nodes * job.tasks_per_node,
  )
  return _outside(
    options,
    lambda tools: slurm_lib.launch(
      job,
      tools=tools,
      limits=slurm_lib.Limits(grace=options.grace_seconds),
      is_followed=not options.detach,
      is_kept=options.keep,
    ),
  )


def ssh(options: argparse.Namespace) -> int:
  """Several machines that ssh reaches."""
  from it_study.commands.launch import checks

  _check_positive(options, 'grace_seconds')
  hosts = ssh_lib.parse_hosts(options.hosts)
  checks.check_processes(
    options.rest_options.command, len(hosts), where='the list of hosts'
  )
  return _outside(
    options,
    lambda tools: ssh_lib.launch(
      ssh_lib.Run(
        hosts=hosts,
        words=options.rest,
        program=options.program,
        folder=options.folder,
        port=options.port,
        environment=remote.parse_environment(options.env),
        grace_seconds=options.grace_seconds,
      ),
      tools=tools,
    ),
  )


def _outside(
  options: argparse.Namespace, launch: Callable[[Tools], int]
) -> int:
  """Runs what depends on others, whose failures are one line."""
  say = _speaker(options)
  try:
    with _shown(options):
      return _told(
        launch(Tools(say=say, warn=_warn, is_dry=options.dry_run)), say
      )
  except LaunchError as error:
    _warn(str(error))
    return 1


@contextlib.contextmanager
def _shown(options: argparse.Namespace) -> Iterator[None]:
  """Prints what a dry run prints in the block as the flags ask for it."""
  if not options.dry_run or not (options.json or options.quiet):
    yield
    return
  with contextlib.redirect_stdout(io.StringIO()) as printed:
    yield
  if options.json:
    print(json.dumps({'lines': printed.getvalue().splitlines()}))


def _told(status: int, say: Callable[[str], None]) -> int:
  if status == workers.PREEMPTED_STATUS:
    say('stopped with a checkpoint; the same command continues')
  return status


def _check_positive(options: argparse.Namespace, *names: str) -> None:
  for name in names:
    value = getattr(options, name)
    if not value > 0:  # So nan is refused as well.
      raise InputError(
        f'--{name} is {value:g}; give a number above 0, such as 60.'
      )


def _speaker(options: argparse.Namespace) -> Callable[[str], None]:
  """Says what happens, unless asked to be quiet."""
  return (lambda line: None) if options.quiet else _warn


def _warn(line: str) -> None:
  """Prints a line to the errors, not among the program's output."""
  # The terminal may be gone, and cleaning up must go on.
  with contextlib.suppress(OSError):
    print(f'it-study launch: {line}', file=sys.stderr, flush=True)
