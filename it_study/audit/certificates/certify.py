"""Certifies the stored rows of a corpus and the prompts rendered from them."""

from collections.abc import Callable, Generator, Iterator, Sequence
import contextlib
import functools
import itertools
import os
import pathlib
import pickle
import tempfile

from it_study import instructions
from it_study.audit.certificates import (
  heads,
  judge,
  originals,
  stored,
  subject,
)
from it_study.audit.certificates.certificate import Certificate, Tally
from it_study.audit.certificates.failures import Failure
from it_study.audit.certificates.levels import (
  definitions,
  renaming,
  targets as target_rules,
  words,
)
from it_study.audit.certificates.levels.examples import Recorded
from it_study.conditions import DEFINITION_LEVELS, Condition
from it_study.corpus import natinst, worker_pool
from it_study.corpus.schema import Instance, LazyInstances, LazyTasks, Task
from it_study.errors import InputError
from it_study.instructions import prompts, targets

# Below this number of prompts, a second process takes longer to start than it
# saves.
_FEW_PROMPTS = 100_000

OnFailure = Callable[[Failure], None]
OnProgress = Callable[[int, int], None]
_TaskResult = tuple[Tally, list[Failure]]


def default_conditions() -> tuple[Condition, ...]:
  """Returns each definition with 0 to 2 examples, original and delusive.

  Those that only lose or reorder words, which no example depends on, come with
  2 original ones. Also altered targets, no instance, another surface, and
  the original definition with two negative examples and explanations.
  """
  examples = (
    ('empty', 0),
    *itertools.product(('original', 'delusive'), (1, 2)),
  )
  grid = tuple(
    Condition(definition=definition, examples=level, num_examples=count)
    for definition, (level, count) in itertools.product(
      (n for n in DEFINITION_LEVELS.names() if n not in words.LEVELS), examples
    )
  )
  reworded = tuple(Condition(definition=level) for level in words.LEVELS)
  return (
    *grid,
    *reworded,
    Condition(targets='swapped'),
    Condition(targets='random'),
    Condition(input_empty=True),
    Condition(surface=1),
    Condition(num_negative_examples=2, explanations=True),
  )


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
  """Judges stored rows and the prompts rendered from them.

  Reads rows from TFRecord and task texts from the dataset's metadata, as
  training does, and compares them and each prompt with the task files, which it
  parses independently.

  Args:
    corpus: Corpus whose files are the ground truth.
    data_dir: Folder of the stored rows.
    conditions: Conditions to render; None for `default_conditions`.
    splits: Splits to judge.
    max_tokens: Maximum prompt length in tokens of the current vocabulary; None
      for no limit.
    num_workers: Number of worker processes; None for two if there is enough to
      do. None start for custom levels and prefixes, unknown to them.
    on_failure: Called with every failure.
    on_progress: Called with the numbers of finished and of all tasks.

  Raises:
    InputError: If a task file cannot be read, or the rows are of other tasks.
  """
  from it_study.data import tfds_builder

  chosen = tuple(default_conditions() if conditions is None else conditions)
  names = sorted((*corpus.train_tasks, *corpus.test_tasks))
  metadata = tfds_builder.stored_metadata(data_dir)
  tally = Tally()
  with tempfile.TemporaryDirectory() as folder:
    sorter = stored.Sorter(pathlib.Path(folder), names)
    damaged = set()
    for split in splits:
      for row in stored.read_rows(data_dir, split):
        if isinstance(row, Failure):
          tally.fail([row], on_failure)
          damaged.add(split)
        else:
          tally.fail(sorter.add(row), on_failure)
    sorter.flush()
    tally.rows.update(sorter.counts)
    num_prompts = tally.rows.total() * len(chosen)
    num_workers = _num_workers(num_workers, chosen, num_prompts)
    judge_task = functools.partial(
      _certify_task,
      folder=folder,
      numbers={name: number for number, name in enumerate(names)},
      conditions=chosen,
      splits=tuple(splits),
      # Rows missing from a damaged file are not failures of their own.
      complete_splits=tuple(s for s in splits if s not in damaged),
      max_tokens=max_tokens,
    )
    results = _judge_tasks(
      judge_task, corpus, names, num_workers, folder, metadata
    )
    with contextlib.closing(results):
      for done, (_, (part, failures)) in enumerate(results, start=1):
        tally.merge(part)
        tally.fail(failures, on_failure)
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
  """Reads a task of a corpus independently of the parser."""
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
  """Returns the limits for rendering and judging in the current vocabulary."""
  if max_tokens is None:
    return None, None
  from it_study.data import tensorflow_setup

  tensorflow_setup.import_tensorflow()
  from it_study.data import vocabularies
  from it_study.data.tokens.token_limits import token_limit

  vocabulary = vocabularies.current_vocabulary()
  limit = token_limit(vocabulary=vocabulary, max_tokens=max_tokens)
  assert limit is not None, '`max_tokens` is not None'
  return limit, subject.Tokens(
    most=max_tokens,
    count=lambda text: len(vocabulary.encode(text)) + 1,
    round_trip=lambda text: limit.decode(vocabulary.encode(text)),
  )


def _num_workers(
  requested: int | None, conditions: Sequence[Condition], num_prompts: int
) -> int:
  are_shipped = all(
    condition.prefix == Condition().prefix
    and condition.definition in heads.DEFINITION_RULES
    and condition.examples in heads.EXAMPLE_RULES
    and condition.targets in target_rules.LEVELS
    for condition in conditions
  )
  if not are_shipped:
    # Only this process knows them.
    return 0
  if requested is not None:
    return requested
  return 2 if num_prompts > _FEW_PROMPTS else 0


def _outline(corpus: natinst.Corpus, name: str) -> originals.Outline:
  return originals.outline(read_original(corpus, name))


def _judge_tasks(
  judge_task: Callable[[natinst.Corpus, str], _TaskResult],
  corpus: natinst.Corpus,
  names: Sequence[str],
  num_workers: int,
  folder: str,
  metadata: dict,
) -> Generator[tuple[str, _TaskResult], None, None]:
  """Yields the name, tally and failures of each task, in order."""
  outlines: Iterator[tuple[str, originals.Outline]] = worker_pool.map_tasks(
    _outline, corpus=corpus, names=names, num_workers=num_workers
  )
  # Shared by file: too large to send with every task.
  with open(os.path.join(folder, 'shared'), 'wb') as file:
    shared = {'outlines': [o for _, o in outlines], 'metadata': metadata}
    pickle.dump(shared, file)
  yield from worker_pool.map_tasks(
    judge_task, corpus=corpus, names=names, num_workers=num_workers
  )


@functools.lru_cache(maxsize=1)
def _shared(
  folder: str,
) -> tuple[definitions.Definitions, dict, dict[bool, LazyTasks]]:
  """Returns definitions of the files, stored metadata, and tasks by side."""
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
  complete_splits: Sequence[str],
  max_tokens: int | None,
) -> _TaskResult:
  """Judges the rows and prompts of one task, in any process."""
  all_definitions, metadata, tables = _shared(folder)
  max_instances_per_task = metadata['max_instances_per_task']
  task = read_original(corpus, name)
  rows = stored.sorted_rows(pathlib.Path(folder) / str(numbers[name]))
  failures = stored.judge_rows(
    rows,
    task,
    splits=complete_splits,
    max_instances_per_task=max_instances_per_task,
  )
  tally = Tally()
  if name not in metadata['tasks'] or name not in tables[task.is_test]:
    failures.append(
      Failure(
        'stored-task',
        f'stored among {"test" if task.is_test else "training"} tasks',
        'not stored',
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
        Failure('stored-count', str(expected), str(found), task=name)
      )
  limit, tokens = token_limits(max_tokens)
  task_judge = judge.TaskJudge(
    task,
    all_definitions,
    tokens=tokens,
    max_instances_per_task=max_instances_per_task,
  )
  table = tables[task.is_test]
  for condition, split in itertools.product(conditions, splits):
    render = functools.partial(
      _subjects, rows, task, condition, split, table=table
    )
    if tokens is not None and condition.definition in renaming.LEVELS:
      # A limit may cut off the new names: take them from a whole prompt.
      for uncut in itertools.islice(render(limit=None, tally=Tally()), 1):
        task_judge.learn_names(uncut)
    for prompt in render(limit=limit, tally=tally):
      verdict = task_judge.judge(prompt)
      tally.add_verdict(
        verdict, condition=condition.name, split=split, kind=task.kind
      )
      failures += verdict.failures
    problems, num_right = task_judge.finish(condition)
    failures += problems
    if num_right:
      tally.prompts[condition.name, split, 'right targets'] += num_right
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
  """Renders the rows of a split as the SeqIO task of a condition does."""
  shown = condition if split == 'train' else condition.for_test()
  stored_task = table[task.name]
  training = LazyInstances(
    [task.name],
    lambda _: tuple(_instance(r) for r in rows if r.stored_in == 'train'),
  )
  for row in rows:
    original = task.instances.get(row.id)
    if row.stored_in != split or original is None:
      continue
    instance = _instance(row)
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
      target=targets.training_target(
        task=stored_task,
        instance=instance,
        condition=shown,
        instances=training,
      ),
      label_space=seen_task.label_space or (),
    )


def _instance(row: stored.StoredRow) -> Instance:
  return Instance(
    id=row.id, input=row.input, outputs=row.outputs, position=row.position
  )
