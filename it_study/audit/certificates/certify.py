"""Certifies what the library renders from a corpus's stored rows."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import itertools
import os
import pathlib
import pickle
import tempfile

from it_study import instructions
from it_study.audit.certificates import (
  definitions,
  heads,
  judge,
  originals,
  stored,
  subject,
)
from it_study.audit.certificates.certificate import Certificate, Tally
from it_study.audit.certificates.examples import Recorded
from it_study.audit.certificates.failures import Failure
from it_study.conditions import DEFINITION_LEVELS, Condition
from it_study.corpus import natinst, worker_pool
from it_study.corpus.schema import Instance, LazyTasks, Task
from it_study.errors import InputError
from it_study.instructions import prompts

# Below this many prompts a second process is not worth its start.
_FEW_PROMPTS = 100_000

OnFailure = Callable[[Failure], None]
OnProgress = Callable[[int, int], None]


def default_conditions() -> tuple[Condition, ...]:
  """Every registered definition with 0, 1, 2 examples, real and delusive.

  And the original with two negative examples and explanations.
  """
  examples = (
    ('empty', 0),
    *itertools.product(('original', 'delusive'), (1, 2)),
  )
  grid = tuple(
    Condition(definition=definition, examples=level, num_examples=count)
    for definition, (level, count) in itertools.product(
      DEFINITION_LEVELS.names(), examples
    )
  )
  return (*grid, Condition(num_negative_examples=2, explanations=True))


def certify(
  *,
  corpus: natinst.Corpus,
  data_dir: str | os.PathLike,
  conditions: Sequence[Condition] | None = None,
  splits: Sequence[str] = natinst.SPLITS,
  max_tokens: int | None = None,
  num_workers: int | None = None,
  on_failure: OnFailure | None = None,
  on_progress: OnProgress | None = None,
) -> Certificate:
  """Judges stored rows and what the renderer makes of them.

  Rows are read from TFRecord and task texts from the dataset's metadata, as
  training reads them; both, and each prompt, are compared with the task files,
  which are read anew.

  Args:
    corpus: whose files are the truth.
    data_dir: of its rows.
    conditions: to render under; None takes `default_conditions`.
    splits: to judge.
    max_tokens: limit of a prompt under the current vocabulary; None renders
      whole prompts.
    num_workers: processes; None takes two where there is much to do. Levels of
      a user's own are known to this process alone, and need 0.
    on_failure: called with every failure.
    on_progress: called with the number of tasks done and of all.

  Raises:
    InputError: if a task file cannot be used, or the rows are of other tasks.
  """
  from it_study.data import tfds_builder

  chosen = tuple(default_conditions() if conditions is None else conditions)
  names = sorted((*corpus.train_tasks, *corpus.test_tasks))
  metadata = tfds_builder.stored_metadata(data_dir)
  cap = metadata['max_instances_per_task']
  tally = Tally()

  def fail(failures: Sequence[Failure]) -> None:
    tally.fail(failures)
    for failure in failures if on_failure else ():
      on_failure(failure)

  with tempfile.TemporaryDirectory() as folder:
    sorter = stored.Sorter(pathlib.Path(folder), names)
    # Of a file that cannot be read, not every row is a failure of its own.
    whole = dict.fromkeys(splits)
    for split in splits:
      for row in stored.read_rows(data_dir, split):
        if isinstance(row, Failure):
          fail([row])
          whole.pop(split, None)
        else:
          fail(sorter.add(row))
    sorter.flush()
    tally.rows.update(sorter.counts)
    if num_workers is None:
      num_workers = _num_workers(chosen, sum(sorter.counts.values()))
    workers = {'corpus': corpus, 'names': names, 'num_workers': num_workers}
    _write_shared(
      folder,
      outlines=[o for _, o in worker_pool.map_tasks(_outline, **workers)],
      metadata=metadata,
    )
    results = worker_pool.map_tasks(
      functools.partial(
        _certify_task,
        folder=folder,
        numbers={name: number for number, name in enumerate(names)},
        conditions=chosen,
        splits=tuple(splits),
        whole=tuple(whole),
        max_instances_per_task=cap,
        max_tokens=max_tokens,
      ),
      **workers,
    )
    with contextlib.closing(results):
      for done, (_, (part, failures)) in enumerate(results, start=1):
        tally.merge(part)
        fail(failures)
        if on_progress is not None:
          on_progress(done, len(names))
  return Certificate(
    fingerprint=corpus.fingerprint(),
    conditions=tuple(condition.name for condition in chosen),
    max_tokens=max_tokens,
    tally=tally,
    overlap=metadata.get('overlap'),
  )


def read_original(corpus: natinst.Corpus, name: str) -> originals.RawTask:
  """A task of a corpus, read anew."""
  return originals.read_task(
    corpus.directory / 'tasks' / f'{name}.json',
    is_test=name in corpus.test_tasks,
    override=corpus.overrides.get(name),
    excluded=corpus.exclusions.instances_of(name),
  )


@functools.lru_cache(maxsize=2)
def token_limits(
  max_tokens: int | None,
) -> tuple[prompts.TokenLimit | None, subject.Tokens | None]:
  """The limit to render under, and to judge by, in the current vocabulary."""
  if max_tokens is None:
    return None, None
  from it_study.data import tensorflow_setup

  tensorflow_setup.import_tensorflow()
  from it_study.data import preprocessors, vocabularies

  vocabulary = vocabularies.current_vocabulary()
  limit = preprocessors.token_limit(
    vocabulary=vocabulary, max_tokens=max_tokens
  )
  return limit, subject.Tokens(
    most=max_tokens,
    count=lambda text: len(vocabulary.encode(text)) + 1,
    round_trip=lambda text: limit.decode(vocabulary.encode(text)),
  )


def _num_workers(conditions: Sequence[Condition], num_rows: int) -> int:
  known = all(
    condition.definition in heads.DEFINITION_RULES
    and condition.examples in heads.EXAMPLE_RULES
    for condition in conditions
  )
  return 2 if known and num_rows * len(conditions) > _FEW_PROMPTS else 0


def _outline(corpus: natinst.Corpus, name: str) -> originals.Outline:
  return originals.outline(read_original(corpus, name))


def _write_shared(folder: str, **shared) -> None:
  with open(os.path.join(folder, 'shared'), 'wb') as file:
    pickle.dump(shared, file)


@functools.lru_cache(maxsize=1)
def _shared(
  folder: str,
) -> tuple[definitions.Definitions, dict, dict[bool, LazyTasks]]:
  """Definitions as the files have them; stored metadata; tables by side."""
  with open(os.path.join(folder, 'shared'), 'rb') as file:
    shared = pickle.load(file)
  metadata = shared['metadata']
  train = set(metadata['train_tasks'])

  @functools.cache
  def load(name: str) -> Task:
    return Task.from_json(metadata['tasks'][name])

  tables = {
    False: LazyTasks(sorted(train), load),
    True: LazyTasks(sorted(set(metadata['tasks']) - train), load),
  }
  return definitions.Definitions(shared['outlines']), metadata, tables


def _certify_task(
  corpus: natinst.Corpus,
  name: str,
  *,
  folder: str,
  numbers: dict[str, int],
  conditions: Sequence[Condition],
  splits: Sequence[str],
  whole: Sequence[str],
  max_instances_per_task: int,
  max_tokens: int | None,
) -> tuple[Tally, list[Failure]]:
  """All prompts of one task, in whatever process."""
  all_definitions, metadata, tables = _shared(folder)
  task = read_original(corpus, name)
  rows = stored.sorted_rows(pathlib.Path(folder) / str(numbers[name]))
  failures = stored.judge_rows(
    rows,
    task,
    splits=whole,
    max_instances_per_task=max_instances_per_task,
  )
  tally = Tally()
  if name not in metadata['tasks'] or name not in tables[task.is_test]:
    failures.append(
      Failure(
        code='stored-task',
        expected=f'stored among {"test" if task.is_test else "training"} tasks',
        found='not there',
        task=name,
      )
    )
    return tally, failures
  failures += stored.judge_stored_task(metadata['tasks'][name], task)
  if not task.is_test:
    expected = min(len(task.rows('train')), max_instances_per_task)
    found = metadata['num_train_instances'].get(name)
    if found != expected:
      failures.append(
        Failure(
          code='stored-count',
          expected=str(expected),
          found=str(found),
          task=name,
        )
      )
  limit, tokens = token_limits(max_tokens)
  task_judge = judge.TaskJudge(task, all_definitions, tokens=tokens)
  table = tables[task.is_test]
  for condition, split in itertools.product(conditions, splits):
    render = functools.partial(
      _subjects, rows, task, condition, split, table=table
    )
    if tokens is not None and condition.definition == 'renamed':
      # What each label is called now, where a limit may cut it off.
      for whole in itertools.islice(render(limit=None, tally=Tally()), 1):
        task_judge.learn_names(condition, split, whole.text, whole.instance)
    for prompt in render(limit=limit, tally=tally):
      verdict = task_judge.judge(prompt)
      tally.add_verdict(
        verdict, condition=condition.name, split=split, kind=task.kind
      )
      failures += verdict.failures
  return tally, failures


def _subjects(
  rows: Sequence[stored.StoredRow],
  task: originals.RawTask,
  condition: Condition,
  split: str,
  *,
  limit: prompts.TokenLimit | None,
  table: LazyTasks,
  tally: Tally,
) -> Iterator[subject.Subject]:
  """Renders rows as the SeqIO task of a condition does."""
  shown = condition if split == 'train' else condition.for_test()
  stored_task = table[task.name]
  for row in rows:
    original = task.instances.get(row.id)
    if row.stored_in != split or original is None:
      continue
    instance = Instance(
      id=row.id, input=row.input, outputs=row.outputs, position=row.position
    )
    try:
      prompt = prompts.render(
        task=stored_task,
        instance=instance,
        condition=shown,
        limit=limit,
        tasks=table,
      )
      seen_task, seen = instructions.rewrite(
        task=stored_task, instance=instance, condition=shown
      )
    except InputError as error:
      tally.refuse(condition=condition.name, split=split, reason=str(error))
      continue
    yield subject.Subject(
      condition=condition,
      split=split,
      instance=original,
      text=prompt.text,
      references=seen.outputs,
      record=subject.Record(
        examples=tuple(
          Recorded(e.input, e.output, e.explanation, e.source)
          for e in prompt.examples
        ),
        num_dropped=prompt.num_dropped_examples,
        shortened=prompt.shortened,
        pieces=prompt.pieces,
      ),
      target=prompts.choose_target(instance=seen, condition=shown),
      label_space=seen_task.label_space or (),
    )
