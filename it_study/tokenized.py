"""A SeqIO task's training tokens on local disk, tokenised once."""

from collections.abc import Callable, Iterator, Mapping
import hashlib
import inspect
import pathlib

import seqio

from it_study import (
  conditions,
  folders,
  natinst_tfds,
  normalization,
  prompts,
  seeding,
  seqio_lib,
  task_files,
  token_cache,
  vocabularies,
)
from it_study.errors import InputError, nearest
from it_study.perturb import definitions, examples


def training_tokens(
  *,
  mixture_or_task_name: str,
  task_feature_lengths: Mapping[str, int],
  fallback_directory: pathlib.Path,
  on_progress: Callable[[int], None] | None = None,
) -> token_cache.TokenCache:
  """Opens the token cache of a task's train split, written if not there.

  The cache of a condition is keyed by all that makes its tokens: rows,
  condition, alteration code, vocabulary and lengths. Of a user's own task or of
  a mixture that is not known, so each training keeps its own. A mixture is read
  until the first of its tasks is exhausted, as SeqIO does.

  Args:
    mixture_or_task_name: registered with SeqIO.
    task_feature_lengths: 'inputs' and 'targets', in tokens.
    fallback_directory: of the training, for tasks that are no condition.
    on_progress: called with the number of examples so far.
  """
  key = _condition_key(mixture_or_task_name, task_feature_lengths)
  if key is None:
    settings = (
      mixture_or_task_name,
      vocabularies.fingerprint(),
      sorted(task_feature_lengths.items()),
    )
    path = fallback_directory / f'tokens_{_digest(settings)}'
  else:
    path = folders.cache_directory() / 'tokens' / key
  if (path / 'cache.json').exists():
    return token_cache.open_token_cache(path)
  folders.make_directory(path.parent)
  task = find_task(mixture_or_task_name)
  dataset = task.get_dataset(
    sequence_length=dict(task_feature_lengths),
    split='train',
    shuffle=False,
    num_epochs=1,
  )
  rows = seqio_lib.numpy_rows(dataset)
  return token_cache.write_token_cache(path, _counted(rows, on_progress))


def find_task(name: str) -> seqio.Task | seqio.Mixture:
  """A registered task or mixture. Raises `InputError` with the nearest name."""
  try:
    return seqio.get_mixture_or_task(name)
  except ValueError:
    pass
  if name.startswith('natinst_'):
    conditions.Condition.from_name(name)
  names = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
  raise InputError(
    f'no SeqIO task or mixture {name!r} is registered.{nearest(name, names)} '
    'MIXTURE_OR_TASK_MODULE names the module that registers it.'
  )


def _counted(
  rows: Iterator[Mapping], on_progress: Callable[[int], None] | None
) -> Iterator[Mapping]:
  for count, row in enumerate(rows, start=1):
    if on_progress is not None:
      on_progress(count)
    yield row


def _condition_key(name: str, lengths: Mapping[str, int]) -> str | None:
  try:
    condition = conditions.Condition.from_name(name)
  except InputError:
    return None
  code = [
    inspect.getsource(module)
    for module in (
      prompts,
      seqio_lib,
      normalization,
      seeding,
      task_files,
      definitions,
      examples,
    )
  ]
  # A matched budget looks at every definition.
  others = conditions.DEFINITION_LEVELS.names()
  for registry, level in (
    (conditions.EXAMPLE_LEVELS, condition.examples),
    (conditions.DEFINITION_LEVELS, condition.definition),
    *(
      (conditions.DEFINITION_LEVELS, other)
      for other in others
      if condition.matched_budget
    ),
  ):
    try:
      code.append(inspect.getsource(registry.get(level)))
    except (OSError, TypeError):
      # A level typed in at a prompt has no source to be known by.
      return None
  metadata = seqio_lib.SOURCE.metadata()
  parts = (
    metadata['fingerprint'],
    # Rows may hold fewer instances than the corpus.
    metadata['max_instances_per_task'],
    natinst_tfds.VERSION,
    condition.name,
    vocabularies.fingerprint(),
    sorted(lengths.items()),
    *code,
  )
  return _digest(parts)


def _digest(parts: tuple) -> str:
  return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
