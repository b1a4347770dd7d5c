"""launch tpu_vm: every host of a Cloud TPU slice."""

import argparse
import re

from it_study.commands.flags import Command
from it_study.commands.launch import common
from it_study.errors import InputError

# Google Cloud's rule for names of machines.
_NAME = re.compile(r'[a-z]([-a-z0-9]{0,60}[a-z0-9])?')


def _add_flags(parser: argparse.ArgumentParser) -> None:
  common.add_remote_flags(parser)
  parser.set_defaults(grace_seconds=300.0)
  _add_slice_flags(parser)
  parser.add_argument(
    '--ref',
    default='HEAD',
    metavar='COMMIT',
    help='commit of this checkout to run; default %(default)s',
  )
  parser.add_argument(
    '--compile_cache',
    metavar='gs://B/D',
    help='bucket folder for compiled programs; outlives the slice',
  )
  parser.add_argument(
    '--results', metavar='DIR', help='local folder to copy the results to'
  )
  parser.add_argument(
    '--max_restarts',
    type=int,
    default=20,
    metavar='N',
    help='maximum number of restarts after preemptions; default %(default)s',
  )
  parser.add_argument(
    '--skip_memory_check',
    action='store_true',
    help='do not compile for the slice first to see whether a step fits',
  )


def _add_slice_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say which slice, at what price, and what after it."""
  parser.add_argument(
    '--type',
    required=True,
    metavar='T',
    help='accelerator type, such as v5litepod-16',
  )
  parser.add_argument(
    '--zone', required=True, metavar='Z', help='zone, such as us-west4-a'
  )
  parser.add_argument(
    '--name',
    default='it-study',
    metavar='N',
    help='name of the slice; default %(default)s',
  )
  parser.add_argument(
    '--project', metavar='P', help='project; default: that of gcloud'
  )
  parser.add_argument(
    '--spot', action='store_true', help='use a cheaper, preemptible slice'
  )
  parser.add_argument(
    '--queued',
    action='store_true',
    help='request the slice as a queued resource, which waits for capacity',
  )
  parser.add_argument(
    '--wait_hours',
    type=float,
    default=24.0,
    metavar='N',
    help='maximum hours to wait for the slice; default %(default)g',
  )
  parser.add_argument(
    '--runtime_version',
    metavar='V',
    help='TPU software version; default: the one for the type',
  )
  parser.add_argument(
    '--price_per_hour',
    type=float,
    metavar='X',
    help='price of one chip; shows the cost of the slice before creating it',
  )
  parser.add_argument(
    '--keep', action='store_true', help='do not delete the slice at the end'
  )
  parser.add_argument(
    '--reuse', action='store_true', help='use a slice left by --keep'
  )


def tpu_slice(options: argparse.Namespace) -> int:
  """Runs a command on every host of a Cloud TPU slice."""
  from it_study.commands.launch import checks, running
  from launch import accelerators, gcloud, remote, tpu_vm

  running.check_positive(options, 'grace_seconds', 'wait_hours')
  if options.max_restarts < 0:
    raise InputError(
      f'--max_restarts is {options.max_restarts}; it must be at least 0.'
    )
  if not _NAME.fullmatch(options.name):
    raise InputError(
      f'--name is {options.name!r}; it must start with a letter and consist of '
      'lower-case letters, digits and hyphens, such as t5-large.'
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
      say=running.speaker(options),
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
  return running.run_outside(
    options,
    lambda tools: tpu_vm.launch(
      request,
      run,
      tools=tools,
      limits=gcloud.Limits(wait=3600 * options.wait_hours),
    ),
  )


COMMAND = Command(
  name='tpu_vm',
  run=tpu_slice,
  summary='run on every host of a Cloud TPU: create, run, collect, delete '
  '(experimental)',
  example='it-study launch tpu_vm --type v5litepod-8 --zone us-west4-a '
  f'--results /tmp/it_study_results --dry_run -- {common.EXAMPLE_COMMAND}',
  add_flags=_add_flags,
  details=(
    f'{common.EXPERIMENTAL.format(target="TPU slice")} {common.DETAILS} The '
    'slice is deleted at the end, also after a failure, unless --keep is '
    'given. If it is preempted, the run resumes from the last checkpoint on a '
    'new slice, provided that MODEL_DIR still exists.'
  ),
  continues=True,
  runs_another=True,
)
