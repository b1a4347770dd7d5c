"""Checks a corpus for unusable, suspicious and noteworthy content."""

import array
import collections
from collections.abc import Callable, Iterator, Mapping
import functools
import itertools
import pathlib

from it_study.audit import leaks
from it_study.audit.task_checks import check_task
from it_study.corpus import files, natinst, worker_pool
from it_study.corpus.exclusions import Exclusions
from it_study.corpus.files import UnreadableError
from it_study.corpus.findings import ERROR, CorpusFinding, merge, plural
from it_study.corpus.natinst import Corpus
from it_study.corpus.parsing import TaskFileError
from it_study.instructions.definitions import OutputSpace
from it_study.seeding import stable_hash


def check(
  directory: str | pathlib.Path,
  *,
  track: str = 'default',
  exclusions: str | pathlib.Path | Exclusions | None = None,
  num_workers: int | None = None,
  with_vocabulary: bool = False,
  on_task: Callable[[int, int], None] | None = None,
) -> tuple[Corpus, list[CorpusFinding]]:
  """Checks every task of a corpus, including those that cannot be used.

  Args:
    directory: Folder of the corpus.
    track: Name of the folder in `splits`.
    exclusions: Tasks and instances to leave out, or the path of a file that
      lists them.
    num_workers: Number of worker processes, as for `worker_pool.map_tasks`.
    with_vocabulary: Whether to check what the current vocabulary can spell.
    on_task: Called after each task with the numbers of finished and of all
      tasks.

  Returns:
    The corpus of the tasks that have a file, and the findings.

  Raises:
    InputError: If there is no corpus, or the exclusions cannot be read.
  """
  corpus, findings = natinst.survey_corpus(
    directory, track=track, exclusions=exclusions
  )
  names = (*corpus.train_tasks, *corpus.test_tasks)
  ids: dict[str, array.array] = {}
  results: Iterator[tuple[str, _FileResult]] = worker_pool.map_tasks(
    # Passed because workers do not know the levels that a user has registered.
    functools.partial(
      _check_file,
      levels=leaks.output_space_levels(),
      with_vocabulary=with_vocabulary,
    ),
    corpus=corpus,
    names=names,
    num_workers=num_workers,
  )
  for name, (file_findings, hashes) in results:
    findings += file_findings
    ids[name] = hashes
    if on_task is not None:
      on_task(len(ids), len(names))
  findings += _shared_ids(corpus, ids)
  return corpus, findings


# Findings of a file, and the stable hashes of its instances' ids.
_FileResult = tuple[list[CorpusFinding], array.array]


def _check_file(
  corpus: Corpus,
  name: str,
  *,
  levels: Mapping[str, OutputSpace],
  with_vocabulary: bool,
) -> _FileResult:
  try:
    file, faults = corpus.load_broken(name)
  except (TaskFileError, UnreadableError) as error:
    return [_fault(corpus, name, error)], array.array('Q')
  is_test = name in corpus.test_tasks
  findings = [
    *merge(_fault(corpus, name, fault) for fault in faults),
    *merge(file.warnings),
    *check_task(
      task=file.task,
      instances=file.instances,
      is_test=is_test,
      levels=levels,
      with_vocabulary=with_vocabulary,
    ),
  ]
  return findings, array.array('Q', (stable_hash(i.id) for i in file.instances))


def _fault(
  corpus: Corpus, task: str, error: TaskFileError | UnreadableError
) -> CorpusFinding:
  path = str(files.task_path(corpus.directory, task))
  instance = getattr(error, 'instance', None)
  return CorpusFinding(
    severity=ERROR,
    code=getattr(error, 'code', 'unreadable-file'),
    task=task,
    where=path,
    message=str(error).removeprefix(f'{path}: '),
    instances=() if instance is None else (instance,),
  )


def _shared_ids(
  corpus: Corpus, ids: dict[str, array.array]
) -> Iterator[CorpusFinding]:
  """Yields an error for each pair of tasks that share instance ids."""
  keys = sorted(key for hashes in ids.values() for key in hashes)
  repeated = {a for a, b in itertools.pairwise(keys) if a == b}
  if not repeated:
    return
  owners: dict[str, str] = {}
  pairs: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
  for name, hashes in ids.items():
    if repeated.isdisjoint(hashes):
      continue
    for instance in corpus.load_broken(name)[0].instances:
      if stable_hash(instance.id) in repeated:
        owner = owners.setdefault(instance.id, name)
        if owner != name:
          pairs[owner, name].append(instance.id)
  for (owner, name), shared in pairs.items():
    rest = f' and {plural(len(shared) - 1, "other")}' if shared[1:] else ''
    # Names the training task: excluding its instances keeps the published test
    # set intact.
    yield CorpusFinding(
      severity=ERROR,
      code='duplicate-id-across-tasks',
      task=owner if owner in corpus.train_tasks else name,
      where='Instances',
      message=f'instance id {shared[0]!r}{rest}: in both {owner} and {name}; '
      'ids must be unique in a corpus',
      instances=tuple(shared),
      count=len(shared),
    )
