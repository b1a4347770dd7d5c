"""A run on a Cloud TPU: create, set up, run, restart, collect, delete."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import tempfile

from it_study.errors import InputError
from launch import gcloud, remote, source, workers
from launch.tools import LaunchError, Tools, stoppable, unstoppable

_ARCHIVE = 'it_study.tar.gz'
_FOLDER = 'it_study_code'
# Where `uv` puts the command.
_PROGRAM = '.venv/bin/it-study'
# Python 3.11, which the machine's own system may not have; all of it may be run
# again.
_SET_UP = (
  'set -e; cd "$HOME"; mkdir -p {folder}; tar -xzf {archive} -C {folder}; '
  'cd {folder}; python3 -m pip install --quiet --user uv; '
  'PATH="$HOME/.local/bin:$PATH"; '
  'test -x .venv/bin/python || uv venv --quiet --python 3.11 .venv; '
  "uv pip install --quiet --python .venv/bin/python '.[tpu,gcs]'"
)
_DETECT = {'IT_STUDY_DISTRIBUTED': 'detect'}
_STOPPING = 'deleting what runs; it will not take long'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What is to run on a slice, and what becomes of it.

  Attributes:
    words: the command of it-study, 'train' and all behind it.
    ref: the commit that goes along.
    environment: of every process, besides what the launcher sets.
    compile_cache: a folder in a bucket for compiled programs, or None.
    outputs: folders to collect: in a bucket, or on the first host.
    results: where they are collected, or None.
    price_per_hour: of a chip, None if not given.
    is_kept: whether the slice stays when the run has ended.
    is_reused: whether it is there already.
    max_restarts: how often it may be taken away.
    grace_seconds: from being asked to stop to being ended.
  """

  words: Sequence[str]
  ref: str = 'HEAD'
  environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
  compile_cache: str | None = None
  outputs: Sequence[str] = ()
  results: str | None = None
  price_per_hour: float | None = None
  is_kept: bool = False
  is_reused: bool = False
  max_restarts: int = 20
  grace_seconds: float = 300.0


def launch(
  request: gcloud.Request,
  run: Run,
  *,
  tools: Tools,
  limits: gcloud.Limits | None = None,
) -> int:
  """Runs a command on every host of a slice, and leaves nothing behind.

  Args:
    request: the slice.
    run: what is to run.
    tools: to run gcloud and git with.
    limits: of time.

  Returns:
    0; 75 if it was stopped with a checkpoint; a process's status if it failed.

  Raises:
    InputError: something cannot work, told before anything is created.
    LaunchError: something failed on the way; the slice is deleted.
  """
  return _Launch(request, run, tools, limits or gcloud.Limits()).launch()


class _Launch:
  """One launch, from nothing to nothing."""

  def __init__(self, request, run, tools, limits):
    self._request = request
    self._run = run
    self._tools = tools
    self._limits = limits
    self._slice = gcloud.Slice(request, tools=tools, limits=limits)
    self._is_ours = run.is_reused

  def launch(self) -> int:
    self._check()
    code = source.find(self._tools, ref=self._run.ref)
    if not self._run.is_reused:
      self._slice.check_free()
    self._tell_cost()
    with stoppable(), tempfile.TemporaryDirectory() as folder:
      archive = pathlib.Path(folder) / _ARCHIVE
      code.archive(self._tools, archive)
      try:
        status = self._run_until_done(archive)
        self._collect(is_needed=status in (0, workers.PREEMPTED_STATUS))
        return status
      finally:
        self._leave()

  def _check(self) -> None:
    self._tools.need(
      'gcloud', "install Google Cloud's command line, then gcloud auth login."
    )
    run = self._run
    if run.price_per_hour is not None and not run.price_per_hour >= 0:
      raise InputError(
        f'--price_per_hour is {run.price_per_hour:g}; give what a chip costs.'
      )
    if run.compile_cache and not run.compile_cache.startswith('gs://'):
      raise InputError(
        f'--compile_cache is {run.compile_cache!r}; give a folder in a bucket, '
        'such as gs://BUCKET/xla, which outlives the machine.'
      )
    if run.results is not None:
      _check_results(run.results)
    accelerator = self._request.accelerator
    for path in run.outputs:
      if path.startswith('gs://'):
        continue
      if accelerator.hosts > 1:
        self._tools.say(
          f"{path} is on each host's own disk: unless it is mounted from one "
          f'place, {accelerator.hosts} hosts cannot write one checkpoint there'
        )
        continue
      if self._run.results is None and not self._run.is_kept:
        raise InputError(
          f"{path} is on the machine's own disk, which is deleted at the end: "
          'collect it by --results DIR, or --keep the machine.'
        )
      if self._request.is_spot:
        self._tools.say(
          f"{path} is on the machine's own disk: when the machine is taken "
          'away, the run starts anew'
        )

  def _tell_cost(self) -> None:
    accelerator, price = self._request.accelerator, self._run.price_per_hour
    line = accelerator.describe()
    if price is not None:
      hour = price * accelerator.chips
      line += f', {hour:,.2f} an hour, {24 * hour:,.2f} a day'
    self._tools.say(line)

  def _run_until_done(self, archive: pathlib.Path) -> int:
    """Runs, again where the slice was taken away; returns the status."""
    is_there = self._run.is_reused
    is_set_up = False
    for restart in range(self._run.max_restarts + 1):
      try:
        if not is_there:
          # From here on there may be something to delete, even if it fails.
          self._is_ours = True
          self._slice.create()
        is_there = True
        if not is_set_up:
          self._slice.wait()
          self._set_up(archive)
        is_set_up = True
        outcome = self._run_once()
        if outcome.status == 0 or outcome.asked is not None:
          return outcome.status
        reason = None
      except gcloud.NameTakenError:
        self._is_ours = False
        raise
      except LaunchError as error:
        if not is_there:
          raise
        outcome, reason = None, error
      is_lost = self._slice.is_lost()
      if not is_lost:
        if reason is not None:
          raise reason
        if outcome.status != workers.PREEMPTED_STATUS:
          return outcome.status
      if restart < self._run.max_restarts:
        self._tools.say(
          f'{self._request.name} '
          + ('was taken away' if is_lost else 'was asked to stop')
          + f'; restart {restart + 1} of {self._run.max_restarts}, from the '
          'last checkpoint'
        )
      if is_lost:
        # What is left of it holds its name.
        is_there = is_set_up = False
        if not self._slice.delete():
          raise LaunchError(f'{self._request.name} cannot be created anew')
    raise LaunchError(
      f'{self._request.name} was stopped {self._run.max_restarts + 1} times; '
      'the same command goes on from the last checkpoint (--max_restarts)'
    )

  def _set_up(self, archive: pathlib.Path) -> None:
    self._tools.say(f'setting up {self._request.accelerator.hosts} host(s)')
    self._slice.copy(archive, _ARCHIVE)
    self._slice.set_up(_SET_UP.format(folder=_FOLDER, archive=_ARCHIVE))

  def _run_once(self) -> workers.Outcome:
    """Runs the command on all hosts at once."""
    accelerator = self._request.accelerator
    environment = dict(self._run.environment)
    if accelerator.hosts > 1:
      environment |= _DETECT
    if self._run.compile_cache:
      environment['JAX_COMPILATION_CACHE_DIR'] = self._run.compile_cache
    line = remote.run_line(
      [_PROGRAM, *self._run.words],
      label=self._request.name,
      folder=_FOLDER,
      environment=environment,
      grace_seconds=self._run.grace_seconds,
    )
    listed = [
      workers.Worker(
        name=str(index),
        words=self._slice.shell_words(line, worker=str(index)),
        is_shown=index == 0,
        ends_with_input=True,
      )
      for index in range(accelerator.hosts)
    ]
    if self._tools.is_dry:
      for worker in listed:
        self._tools.show(worker.words)
      return workers.Outcome(
        statuses=[0], asked=None, failed=None, last_lines=[]
      )
    self._tools.say(f'running on {accelerator.hosts} host(s)')
    return workers.run(
      listed,
      say=self._tools.say,
      warn=self._tools.warn,
      grace_seconds=self._run.grace_seconds,
    )

  def _collect(self, *, is_needed: bool) -> None:
    """Collects what was written; of a run that failed, what there is."""
    if self._run.results is None:
      return
    try:
      self._fetch_all()
    except LaunchError as error:
      if is_needed:
        raise
      self._tools.warn(str(error))

  def _fetch_all(self) -> None:
    if not self._tools.is_dry:
      try:
        os.makedirs(self._run.results, exist_ok=True)
      except OSError as error:
        raise LaunchError(
          f'cannot write to {self._run.results}: {error.strerror}'
        ) from error
    for path in self._run.outputs:
      is_absolute = path.startswith(('/', 'gs://'))
      self._slice.fetch(
        path if is_absolute else f'{_FOLDER}/{path}', self._run.results
      )

  def _leave(self) -> None:
    """Deletes the slice, unless it is to stay, or another's."""
    if not self._is_ours:
      return
    if self._run.is_kept:
      self._tools.warn(
        f'{self._request.name} is kept and costs money until it is deleted: '
        f'{self._slice.delete_line()}'
      )
      return
    with unstoppable(self._tools.say, _STOPPING):
      if not self._slice.delete():
        # Not an error of its own, which would hide the one before.
        self._tools.warn(
          f'{self._request.name} MAY STILL RUN AND COST MONEY. Delete it: '
          f'{self._slice.delete_line()}'
        )


def _check_results(folder: str) -> None:
  """Raises `InputError` if the results could not be collected in the end."""
  path = os.path.abspath(folder)
  while not os.path.lexists(path):
    path = os.path.dirname(path)
  if not os.path.isdir(path) or not os.access(path, os.W_OK):
    raise InputError(
      f'--results is {folder!r}, and {path} is no folder that can be written '
      'to; name another.'
    )
