"""A SeqIO task's training tokens on local disk, tokenised once."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

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
from typing import Any

import seqio

from it_study import conditions, seqio_lib
from it_study.data import (
  preprocessors,
  row_source,
  tfds_builder,
  vocabularies,
)
from it_study.data.seqio_tasks import examples, instances
from it_study.data.tokens import row_tokens
from it_study.errors import InputError
from it_study.input_pipeline import token_cache, token_mixture
from it_study.instructions import tk_instruct
from it_study.storage import local_folders

_logger = logging.getLogger(__name__)

# Called with the number of examples tokenised so far.
_OnProgress = Callable[[int], None]
_LIBRARY = __name__.partition('.')[0]


def training_tokens(
  *,
  mixture_or_task_name: str,
  task_feature_lengths: Mapping[str, int],
  fallback_directory: pathlib.Path,
  split: str = 'train',
  on_progress: _OnProgress | None = None,
) -> token_cache.TokenCache | token_mixture.TokenMixture:
  """Opens the token cache of a task's split; writes it on a cache miss.

  A cache that is damaged or of another format is rewritten. If several
  processes of a machine need the same cache, one writes it and the others wait.

  A condition's cache is shared by all trainings. Its key covers all that
  determines the tokens: rows, condition, vocabulary, lengths,
  `preprocessors.TOKENS_VERSION` for this library's code and the source of the
  user's own levels. For a task that `seqio_lib` did not make that is unknown,
  so each training keeps its own cache.

  For a mixture, each task has its own cache; `TokenMixture` mixes them as they
  are read.

  Args:
    mixture_or_task_name: Name of a task or mixture registered with SeqIO.
    task_feature_lengths: Maximum lengths of 'inputs' and 'targets' in tokens.
    fallback_directory: Directory of the training, for tasks that are not
      conditions.
    split: 'train', or 'validation' for the held-out instances.
    on_progress: Called with the number of examples tokenised so far.

  Raises:
    InputError: If there is no such task, or the task has no such split.
  """
  task = seqio_lib.find_task(mixture_or_task_name)
  splits = examples.splits_of(task)
  if split not in splits:
    raise InputError(
      f'{mixture_or_task_name} has no split {split}, only '
      f'{", ".join(splits)}: {_without(split)}.'
    )
  if isinstance(task, seqio.Mixture):
    return _mixture_tokens(
      task, task_feature_lengths, fallback_directory, split, on_progress
    )
  return _task_tokens(
    task, task_feature_lengths, fallback_directory, split, on_progress
  )


def _task_tokens(
  task: seqio.Task,
  lengths: Mapping[str, int],
  fallback_directory: pathlib.Path,
  split: str,
  on_progress: _OnProgress | None,
) -> token_cache.TokenCache:
  key = _condition_key(task, lengths, split)
  if key is None:
    settings = (
      task.name,
      vocabularies.fingerprint(seqio_lib.vocabulary_of(task.name)),
      sorted(lengths.items()),
      *_split_key(split),
    )
    path = fallback_directory / f'tokens_{_digest(settings)}'
  else:
    path = local_folders.cache_directory() / 'tokens' / key
  return _open_or_write(
    path, lambda: _some_rows_of(task, lengths, split), on_progress
  )


def _without(split: str) -> str:
  """What to do, or not, without examples of a split."""
  if split == 'train':
    return 'there is nothing to train on'
  return 'leave EVAL_PERIOD at None'


def _split_key(split: str) -> tuple[str, ...]:
  """The split's part of a key; empty for the training split."""
  return () if split == 'train' else (split,)


def _some_rows_of(
  task: seqio.Task, lengths: Mapping[str, int], split: str
) -> Iterator[Mapping]:
  """Yields `_rows_of` a task; raises `InputError` if there are none."""
  rows = _rows_of(task, lengths, split)
  first = next(rows, None)
  if first is None:
    raise InputError(
      f'{task.name} has no example in {split}: {_without(split)}.'
    )
  yield first
  yield from rows


def _rows_of(
  task: seqio.Task, lengths: Mapping[str, int], split: str
) -> Iterator[Mapping]:
  """Every example of a task's split, once, in the order of its source."""
  if isinstance(task, seqio_lib.ConditionTask):
    vocabularies.checked_vocabulary()
    return row_tokens.token_rows(
      task.source.get_dataset(split=split, shuffle=False),
      condition=task.source.choice,
      source=task.source.rows,
      vocabulary=task.output_features['inputs'].vocabulary,
      sequence_length=lengths,
    )
  rows = examples.read(task, lengths=lengths, split=split)
  if row_source.source_of(task) is not None:
    return rows
  return (_with_cut(row, task, lengths) for row in rows)


def _with_cut(
  example: Mapping[str, Any], task: seqio.Task, lengths: Mapping[str, int]
) -> Mapping[str, Any]:
  """Adds whether the target was truncated, None if that is unknown."""
  kept = instances.kept_share(example, task, 'targets', lengths)
  return {**example, 'is_target_cut': None if kept is None else kept < 1}


def _mixture_tokens(
  mixture: seqio.Mixture,
  lengths: Mapping[str, int],
  fallback_directory: pathlib.Path,
  split: str,
  on_progress: _OnProgress | None,
) -> token_mixture.TokenMixture:
  counts = itertools.count(1)
  parts: dict[str, token_cache.TokenCache] = {}
  rates: dict[str, fractions.Fraction] = {}
  for task in mixture.tasks:
    # The rate as written: 0.3 is exactly three times 0.1.
    rate = fractions.Fraction(mixture.get_rate(task)).limit_denominator(10**9)
    if split not in task.splits or not rate:
      continue
    parts[task.name] = _task_tokens(
      task,
      lengths,
      fallback_directory,
      split,
      # One count over all parts.
      on_progress and (lambda _: on_progress(next(counts))),
    )
    rates[task.name] = rate
  if not parts:
    raise InputError(
      f'mixture {mixture.name}: no part has both a split {split} and a rate '
      'above 0: there is nothing to train on. Give a part a rate above 0.'
    )
  return token_mixture.TokenMixture(parts, rates=rates)


def _open_or_write(
  path: pathlib.Path,
  rows: Callable[[], Iterator[Mapping]],
  on_progress: _OnProgress | None,
) -> token_cache.TokenCache:
  cache = _open(path)
  if cache is not None:
    return cache
  local_folders.make_directory(path.parent)
  with local_folders.one_at_a_time(path.with_name(f'{path.name}.lock')):
    # Another process may have written it while this one waited.
    cache = _open(path)
    if cache is None:
      _logger.info('token cache miss: writing %s', path)
      # Left behind by killed processes.
      for partial in path.parent.glob(f'{path.name}.partial-*'):
        shutil.rmtree(partial)
      cache = token_cache.write_token_cache(path, _counted(rows(), on_progress))
  return cache


def _open(path: pathlib.Path) -> token_cache.TokenCache | None:
  """The cache, or None if it is missing or damaged."""
  if not (path / 'cache.json').exists():
    return None
  try:
    cache = token_cache.open_token_cache(path)
  except token_cache.DamagedCacheError as error:
    _logger.warning('%s Rewriting it.', error)
    return None
  _logger.info('token cache hit: %s', path)
  return cache


def _counted(
  rows: Iterator[Mapping], on_progress: _OnProgress | None
) -> Iterator[Mapping]:
  for count, row in enumerate(rows, start=1):
    if on_progress is not None:
      on_progress(count)
    yield row


def _condition_key(
  task: seqio.Task, lengths: Mapping[str, int], split: str
) -> str | None:
  """A hash of all that determines a task's tokens; None if unknown."""
  if not isinstance(task, seqio_lib.ConditionTask):
    return None
  choice = task.source.choice
  code = []
  for level in _levels(choice):
    known = _level_key(level)
    if known is None:
      return None
    code.append(known)
  template = conditions.PROMPT_TEMPLATES.get(
    getattr(choice, 'prefix', conditions.Condition().prefix)
  )
  if template is not None:
    code.append(repr(template))
  metadata = task.source.rows.metadata()
  parts = (
    metadata['fingerprint'],
    # Rows may hold fewer instances than the corpus.
    metadata['max_instances_per_task'],
    tfds_builder.VERSION,
    preprocessors.TOKENS_VERSION,
    choice.name,
    task.source.task,
    vocabularies.fingerprint(seqio_lib.vocabulary_of(task.name)),
    sorted(lengths.items()),
    *_split_key(split),
    *code,
  )
  return _digest(parts)


def _levels(
  choice: conditions.Condition | tk_instruct.TkInstruct,
) -> Iterator[conditions.Level]:
  """Every level whose code has a part in the prompts."""
  encodings = (
    (choice,) if isinstance(choice, conditions.Condition) else choice.encodings
  )
  for condition in encodings:
    yield conditions.EXAMPLE_LEVELS.get(condition.examples)
    yield conditions.DEFINITION_LEVELS.get(condition.definition)
    # Caches of other conditions keep their keys.
    if condition.targets != 'original':
      yield conditions.TARGET_LEVELS.get(condition.targets)
    # A matched budget looks at every definition.
    if condition.matched_budget:
      for other in conditions.DEFINITION_LEVELS.names():
        yield conditions.DEFINITION_LEVELS.get(other)


def _level_key(level: conditions.Level) -> str | None:
  """A text that identifies a level's code and values; None if there is none.

  Of a user's function that is the source of its whole module, as it may call
  other functions there; `TOKENS_VERSION` stands for this library's own code.
  Values that a function closes over, its defaults, and the fields of a
  dataclass count, too, if they can be written as JSON.
  """
  parts = []
  for function in (level.function, level.rewrite):
    if function is None:
      continue
    source: Any
    values: tuple
    if dataclasses.is_dataclass(function) and not isinstance(function, type):
      source, values = type(function), dataclasses.astuple(function)
    elif inspect.isfunction(function):
      cells = [cell.cell_contents for cell in function.__closure__ or ()]
      defaults = (function.__defaults__, function.__kwdefaults__)
      source, values = function, (*cells, *defaults)
    else:
      return None
    try:
      parts.append(_source_key(source) + json.dumps(values))
    except (OSError, TypeError):
      # Code typed in at a prompt has no source.
      return None
  return repr(parts)


def _source_key(code: Any) -> str:
  """The source of a function or class of the user's, or the name of ours."""
  if (code.__module__ or '').partition('.')[0] == _LIBRARY:
    return f'{code.__module__}.{code.__qualname__}'
  module = inspect.getmodule(code)
  if module is None:
    raise OSError('no module')
  return inspect.getsource(code) + inspect.getsource(module)


def _digest(parts: tuple) -> str:
  return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
