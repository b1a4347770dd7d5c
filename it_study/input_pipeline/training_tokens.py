"""A SeqIO task's training tokens on local disk, tokenised once."""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import fractions
import hashlib
import inspect
import itertools
import json
import logging
import pathlib
import shutil

import seqio

from it_study import conditions, instructions, seeding, seqio_lib
from it_study.corpus import normalization, parsing
from it_study.data import preprocessors, row_source, tfds_builder, vocabularies
from it_study.errors import InputError
from it_study.input_pipeline import token_cache, token_mixture
from it_study.instructions import prompts, tk_instruct
from it_study.storage import local_folders

_logger = logging.getLogger(__name__)


def training_tokens(
  *,
  mixture_or_task_name: str,
  task_feature_lengths: Mapping[str, int],
  fallback_directory: pathlib.Path,
  split: str = 'train',
  on_progress: Callable[[int], None] | None = None,
) -> token_cache.TokenCache | token_mixture.TokenMixture:
  """Opens the token cache of a task's split, written if not there.

  One that is damaged, or of another version, is made again. Processes of one
  machine that need the same cache wait for the first, which writes it.

  The cache of a condition is keyed by all that makes its tokens: rows,
  condition, alteration code, vocabulary and lengths. Of a task that was not
  made by `seqio_lib` that is not known, so each training keeps its own.

  Of a mixture, each task's tokens are cached for themselves and mixed as they
  are read; see `TokenMixture`.

  Args:
    mixture_or_task_name: registered with SeqIO.
    task_feature_lengths: 'inputs' and 'targets', in tokens.
    fallback_directory: of the training, for tasks that are no condition.
    split: 'train', or 'validation' for the held-out instances.
    on_progress: called with the number of examples tokenised so far.

  Raises:
    InputError: if there is no such task, or it has no such split.
  """
  task = seqio_lib.find_task(mixture_or_task_name)
  if split not in task.splits:
    what = (
      'there is nothing to train on'
      if split == 'train'
      else 'leave EVAL_PERIOD at None'
    )
    raise InputError(
      f'{mixture_or_task_name} has no split {split}, only '
      f'{", ".join(task.splits)}: {what}.'
    )
  if isinstance(task, seqio.Mixture):
    return _mixture_tokens(
      task, task_feature_lengths, fallback_directory, split, on_progress
    )
  key = _condition_key(task, task_feature_lengths, split)
  if key is None:
    settings = (
      task.name,
      vocabularies.fingerprint(),
      sorted(task_feature_lengths.items()),
      *_other_split(split),
    )
    path = fallback_directory / f'tokens_{_digest(settings)}'
  else:
    path = local_folders.cache_directory() / 'tokens' / key
  return _open_or_write(
    path, lambda: _rows_of(task, task_feature_lengths, split), on_progress
  )


def find_task(name: str) -> seqio.Task | seqio.Mixture:
  """A registered task or mixture. Raises `InputError` with the nearest name."""
  return seqio_lib.find_task(name)


def _other_split(split: str) -> tuple[str, ...]:
  """What tells a split's tokens from those of the training split."""
  return () if split == 'train' else (split,)


def _rows_of(
  task: seqio.Task, lengths: Mapping[str, int], split: str
) -> Iterator[Mapping]:
  """Every example of a task's split, once, in the order of its source."""
  if isinstance(task, seqio_lib.ConditionTask):
    vocabularies.checked_vocabulary()
    return preprocessors.token_rows(
      task.source.get_dataset(split=split, shuffle=False),
      condition=task.source.choice,
      source=task.source.rows,
      vocabulary=task.output_features['inputs'].vocabulary,
      sequence_length=lengths,
    )
  return seqio_lib.numpy_rows(
    task.get_dataset(
      sequence_length=dict(lengths),
      split=split,
      shuffle=False,
      num_epochs=1,
    )
  )


def _mixture_tokens(
  mixture: seqio.Mixture,
  lengths: Mapping[str, int],
  fallback_directory: pathlib.Path,
  split: str,
  on_progress: Callable[[int], None] | None,
) -> token_mixture.TokenMixture:
  count = itertools.count(1)
  parts, rates = {}, {}
  for task in mixture.tasks:
    # As it was written: 0.3 is three times 0.1.
    rate = fractions.Fraction(mixture.get_rate(task)).limit_denominator(10**9)
    if split not in task.splits or not rate:
      continue
    parts[task.name] = training_tokens(
      mixture_or_task_name=task.name,
      task_feature_lengths=lengths,
      fallback_directory=fallback_directory,
      split=split,
      # One count over all parts.
      on_progress=on_progress and (lambda _: on_progress(next(count))),
    )
    rates[task.name] = rate
  if not parts:
    raise InputError(
      f'mixture {mixture.name}: no part has both a split {split} and a rate '
      'above 0: there is nothing to train on. Give one a rate.'
    )
  return token_mixture.TokenMixture(parts, rates=rates)


def _open_or_write(
  path: pathlib.Path,
  rows: Callable[[], Iterator[Mapping]],
  on_progress: Callable[[int], None] | None,
) -> token_cache.TokenCache:
  cache = _open(path)
  if cache is None:
    local_folders.make_directory(path.parent)
    with local_folders.one_at_a_time(path.with_name(f'{path.name}.lock')):
      # Another process may have written it meanwhile.
      cache = _open(path)
      if cache is None:
        # What killed processes have left.
        for partial in path.parent.glob(f'{path.name}.partial-*'):
          shutil.rmtree(partial)
        cache = token_cache.write_token_cache(
          path, _counted(rows(), on_progress)
        )
  return cache


def _open(path: pathlib.Path) -> token_cache.TokenCache | None:
  """The cache, or None where it has to be made."""
  if not (path / 'cache.json').exists():
    return None
  try:
    return token_cache.open_token_cache(path)
  except token_cache.DamagedCacheError as error:
    _logger.warning('%s Making it again.', error)
    return None


def _counted(
  rows: Iterator[Mapping], on_progress: Callable[[int], None] | None
) -> Iterator[Mapping]:
  for count, row in enumerate(rows, start=1):
    if on_progress is not None:
      on_progress(count)
    yield row


def _condition_key(
  task: seqio.Task, lengths: Mapping[str, int], split: str
) -> str | None:
  """What tells a task's tokens from all others; None if nothing does."""
  if not isinstance(task, seqio_lib.ConditionTask):
    return None
  made_of = task.source.choice
  code = [
    inspect.getsource(module)
    for module in (
      preprocessors,
      prompts,
      row_source,
      seqio_lib,
      normalization,
      seeding,
      parsing,
      instructions,
      tk_instruct,
    )
  ]
  for level in _levels(made_of):
    known = _known_by(level)
    if known is None:
      return None
    code.append(known)
  metadata = task.source.rows.metadata()
  parts = (
    metadata['fingerprint'],
    # Rows may hold fewer instances than the corpus.
    metadata['max_instances_per_task'],
    tfds_builder.VERSION,
    made_of.name,
    task.source.task,
    vocabularies.fingerprint(),
    sorted(lengths.items()),
    *_other_split(split),
    *code,
  )
  return _digest(parts)


def _levels(
  made_of: conditions.Condition | tk_instruct.TkInstruct,
) -> Iterator[conditions.Level]:
  """Every level whose code has a part in the prompts."""
  encodings = getattr(made_of, 'encodings', (made_of,))
  for condition in encodings:
    yield conditions.EXAMPLE_LEVELS.get(condition.examples)
    yield conditions.DEFINITION_LEVELS.get(condition.definition)
    # A matched budget looks at every definition.
    if condition.matched_budget:
      for other in conditions.DEFINITION_LEVELS.names():
        yield conditions.DEFINITION_LEVELS.get(other)


def _known_by(level: conditions.Level) -> str | None:
  """What tells a level's code from another's; None if nothing does.

  The source of a function is that of its whole module, as it may call others
  there. What a function has closed over, and what an object was made with,
  counts too, where it can be written down.
  """
  parts = []
  for function in (level.function, level.rewrite):
    if function is None:
      continue
    if dataclasses.is_dataclass(function):
      source, values = type(function), dataclasses.astuple(function)
    elif inspect.isfunction(function):
      cells = [cell.cell_contents for cell in function.__closure__ or ()]
      defaults = (function.__defaults__, function.__kwdefaults__)
      source, values = function, (*cells, *defaults)
    else:
      return None
    try:
      module = inspect.getmodule(source)
      parts.append(inspect.getsource(source) + inspect.getsource(module))
      parts.append(json.dumps(values))
    except (OSError, TypeError):
      # One typed in at a prompt has no source to be known by.
      return None
  return repr(parts)


def _digest(parts: tuple) -> str:
  return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
