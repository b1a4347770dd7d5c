"""A run on a Cloud TPU slice: create, set up, run, restart, collect, delete."""

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
# Path of the command in the environment that `uv` creates.
_PROGRAM = '.venv/bin/it-study'
# Installs Python 3.11, which the system may lack. Safe to run twice.
_SET_UP = (
  'set -e; cd "$HOME"; mkdir -p {folder}; tar -xzf {archive} -C {folder}; '
  'cd {folder}; python3 -m pip install --quiet --user uv; '
  'PATH="$HOME/.local/bin:$PATH"; '
  'test -x .venv/bin/python || uv venv --quiet --python 3.11 .venv; '
  "uv pip install --quiet --python .venv/bin/python '.[tpu,gcs]'"
)
_DETECT = {'IT_STUDY_DISTRIBUTED': 'detect'}
_STOPPING = 'deleting the slice; please wait'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """A command for a slice, and the handling of slice and results.

  Attributes:
    words: Command of it-study, from 'train' on.
    ref: Commit of this checkout to run.
    environment: Variables of every process, besides the launcher's own.
    compile_cache: Bucket folder for compiled programs, None for none.
    outputs: Folders to collect, in a bucket or on the first host.
    results: Local folder to collect the outputs in, None for no collection.
    price_per_hour: Price of a chip per hour, None if unknown.
    is_kept: Whether to keep the slice after the run.
    is_reused: Whether the slice already exists.
    max_restarts: Maximum number of restarts after preemptions.
    grace_seconds: Seconds that processes have to stop before they are killed.
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
  """Runs a command on every host of a slice, and deletes the slice.

  Args:
    request: Request for the slice.
    run: Command to run.
    tools: Tools to run gcloud and git with.
    limits: Time limits; None for the defaults.

  Returns:
    0; 75 after a stop that resumes; the status of a process that failed.

  Raises:
    InputError: If the request is invalid; raised before anything is created.
    LaunchError: If a later step failed; the slice is deleted.
  """
  return _Launch(request, run, tools, limits or gcloud.Limits()).launch()


class _Launch:
  """One launch, from the creation of the slice to its deletion."""

  def __init__(
    self,
    request: gcloud.Request,
    run: Run,
    tools: Tools,
    limits: gcloud.Limits,
  ):
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
    self._show_cost()
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
      'gcloud', 'install the Google Cloud CLI, then run gcloud auth login.'
    )
    run = self._run
    if run.price_per_hour is not None and not run.price_per_hour >= 0:
      raise InputError(
        f'--price_per_hour is {run.price_per_hour:g}; it must be at least 0.'
      )
    if run.compile_cache and not run.compile_cache.startswith('gs://'):
      raise InputError(
        f'--compile_cache is {run.compile_cache!r}; it must be a bucket '
        'folder, such as gs://BUCKET/xla, to outlive the slice.'
      )
    if run.results is not None:
      _check_results(run.results)
    accelerator = self._request.accelerator
    for path in run.outputs:
      if path.startswith('gs://'):
        continue
      if accelerator.hosts > 1:
        self._tools.say(
          f'{path} is on the local disk of each host: unless it is a shared '
          f'mount, {accelerator.hosts} hosts cannot write one checkpoint there'
        )
        continue
      if self._run.results is None and not self._run.is_kept:
        raise InputError(
          f"{path} is on the slice's disk, which is deleted at the end. "
          'Collect it with --results DIR, or keep the slice with --keep.'
        )
      if self._request.is_spot:
        self._tools.say(
          f"{path} is on the slice's disk: after a preemption, the run starts "
          'from scratch'
        )

  def _show_cost(self) -> None:
    accelerator, price = self._request.accelerator, self._run.price_per_hour
    line = accelerator.describe()
    if price is not None:
      hour = price * accelerator.chips
      line += f', {hour:,.2f} per hour, {24 * hour:,.2f} per day'
    self._tools.say(line)

  def _run_until_done(self, archive: pathlib.Path) -> int:
    """Runs the command, again after preemptions; returns its status."""
    exists = self._run.is_reused
    is_set_up = False
    for restart in range(self._run.max_restarts + 1):
      outcome: workers.Outcome | None = None
      reason: LaunchError | None = None
      try:
        if not exists:
          # Even a creation that fails may leave something to delete.
          self._is_ours = True
          self._slice.create()
        exists = True
        if not is_set_up:
          self._slice.wait()
          self._set_up(archive)
        is_set_up = True
        outcome = self._run_once()
        if outcome.status == 0 or outcome.asked is not None:
          return outcome.status
      except gcloud.NameTakenError:
        self._is_ours = False
        raise
      except LaunchError as error:
        if not exists:
          raise
        reason = error
      is_lost = self._slice.is_lost()
      if not is_lost:
        if reason is not None:
          raise reason
        assert outcome is not None  # As there is no reason.
        if outcome.status != workers.PREEMPTED_STATUS:
          return outcome.status
      if restart < self._run.max_restarts:
        self._tools.say(
          f'{self._request.name} '
          + ('was preempted' if is_lost else 'was asked to stop')
          + f'; restart {restart + 1} of {self._run.max_restarts} from the '
          'last checkpoint'
        )
      if is_lost:
        # The remains of the slice occupy its name.
        exists = is_set_up = False
        if not self._slice.delete():
          raise LaunchError(
            f'{self._request.name} cannot be deleted, so not created again'
          )
    raise LaunchError(
      f'{self._request.name} was stopped {self._run.max_restarts + 1} times; '
      'run the same command to resume from the last checkpoint, or increase '
      '--max_restarts'
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
    hosts = [
      workers.Worker(
        name=str(index),
        words=self._slice.shell_words(line, worker=str(index)),
        is_shown=index == 0,
        ends_with_input=True,
      )
      for index in range(accelerator.hosts)
    ]
    if self._tools.is_dry:
      for worker in hosts:
        self._tools.show(worker.words)
      return workers.Outcome(
        statuses=[0], asked=None, failed=None, last_lines=[]
      )
    self._tools.say(f'running on {accelerator.hosts} host(s)')
    return workers.run(
      hosts,
      say=self._tools.say,
      warn=self._tools.warn,
      grace_seconds=self._run.grace_seconds,
    )

  def _collect(self, *, is_needed: bool) -> None:
    """Collects the outputs; after a failed run, as far as they exist."""
    if self._run.results is None:
      return
    try:
      self._fetch_all(self._run.results)
    except LaunchError as error:
      if is_needed:
        raise
      self._tools.warn(str(error))

  def _fetch_all(self, results: str) -> None:
    if not self._tools.is_dry:
      try:
        os.makedirs(results, exist_ok=True)
      except OSError as error:
        raise LaunchError(
          f'cannot write to {results}: {error.strerror}'
        ) from error
    for path in self._run.outputs:
      is_absolute = path.startswith(('/', 'gs://'))
      self._slice.fetch(path if is_absolute else f'{_FOLDER}/{path}', results)

  def _leave(self) -> None:
    """Deletes the slice, unless --keep is given or it is not ours."""
    if not self._is_ours:
      return
    if self._run.is_kept:
      self._tools.warn(
        f'{self._request.name} is kept and costs money until deleted: '
        f'{self._slice.delete_line()}'
      )
      return
    with unstoppable(self._tools.say, _STOPPING):
      if not self._slice.delete():
        # A warning, since an error here would hide an earlier one.
        self._tools.warn(
          f'{self._request.name} MAY STILL RUN AND COST MONEY. Delete it: '
          f'{self._slice.delete_line()}'
        )


def _check_results(folder: str) -> None:
  """Raises `InputError` unless results can be written to a folder."""
  path = os.path.abspath(folder)
  while not os.path.lexists(path):
    path = os.path.dirname(path)
  if not os.path.isdir(path) or not os.access(path, os.W_OK):
    raise InputError(
      f'--results is {folder!r}, but {path} is not a writable folder. Choose '
      'another.'
    )
