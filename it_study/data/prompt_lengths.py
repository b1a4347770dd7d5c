"""Measures prompts and references: length, truncation and spelling."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from it_study import instructions
from it_study.conditions import Condition
from it_study.corpus import natinst, worker_pool
from it_study.corpus.natinst import Corpus, Instance
from it_study.corpus.schema import LazyInstances
from it_study.instructions import prompt_spans, prompts, targets
from it_study.instructions.tk_instruct import TkInstruct
from it_study.seeding import stable_hash

# The default of `corpus build`.
MAX_INSTANCES_PER_TASK = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
  """Lengths of the prompts and targets of a split under a condition.

  Token counts include end-of-sequence.

  Attributes:
    condition: Name of the condition.
    split: 'train', of which the condition takes a part, 'validation' or 'test'.
    max_tokens: Maximum prompt length in tokens; None for no limit.
    num_instances: Number of prompts measured.
    tokens_mean: Mean prompt length in tokens.
    tokens_median: Median prompt length in tokens.
    tokens_95: 95th percentile of the prompt lengths in tokens, interpolated
      linearly.
    tokens_max: Maximum prompt length in tokens.
    at_limit: Share of the prompts, 0 to 1, that lost an example, or a part of
      the instance or the definition, to the limit.
    num_dropped_examples: Number of examples that did not fit, over all prompts.
    num_shortened: Number of prompts whose instance or definition was truncated.
    input_kept: Share of the instance's characters, 0 to 1, that is left; the
      mean over instances.
    max_target_tokens: Maximum target length in tokens; None for no limit.
    target_tokens_mean: Mean length in tokens of the reference to train on.
    target_tokens_median: Median of these lengths.
    target_tokens_95: 95th percentile of these lengths.
    target_tokens_max: Maximum of these lengths.
    num_cut_targets: Number of references to train on that exceed the limit.
    num_unreachable: Number of instances all of whose references exceed the
      limit, so that no answer is one of them.
  """

  condition: str
  split: str
  max_tokens: int | None
  num_instances: int
  tokens_mean: float
  tokens_median: float
  tokens_95: float
  tokens_max: int
  at_limit: float
  num_dropped_examples: int
  num_shortened: int
  input_kept: float
  max_target_tokens: int | None
  target_tokens_mean: float
  target_tokens_median: float
  target_tokens_95: float
  target_tokens_max: int
  num_cut_targets: int
  num_unreachable: int

  def to_json(self) -> dict[str, object]:
    return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spelling:
  """Number of texts that the vocabulary can spell.

  Attributes:
    split: 'train', 'validation' or 'test'.
    texts: 'labels', each once per task, or 'references', each once per
      instance.
    num_texts: Number of texts.
    num_unknown: Number of texts with characters that the vocabulary lacks.
    num_normalized: Number of further texts that its normalisation (NFKC)
      changes.
    num_unmatched: Number of texts that no answer matches exactly, as a result.
  """

  split: str
  texts: str
  num_texts: int
  num_unknown: int
  num_normalized: int
  num_unmatched: int

  def to_json(self) -> dict[str, object]:
    return dataclasses.asdict(self)


def measure(
  *,
  corpus: Corpus,
  conditions: Sequence[Condition | TkInstruct],
  splits: Sequence[str] = natinst.SPLITS,
  max_tokens: int | None = None,
  max_target_tokens: int | None = None,
  max_instances_per_task: int = MAX_INSTANCES_PER_TASK,
  num_workers: int | None = None,
  on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Budget, ...]:
  """Renders and measures every prompt of some splits, in several processes.

  Tokens are those of the current vocabulary, `vocabularies.current_vocabulary`.

  Args:
    corpus: Corpus whose instances are rendered.
    conditions: Conditions to render; of train, each takes its own choice of
      tasks and instances.
    splits: Splits to measure.
    max_tokens: Maximum prompt length in tokens, end-of-sequence included; None
      for no limit.
    max_target_tokens: Maximum target length in tokens, end-of-sequence
      included; None for no limit.
    max_instances_per_task: Maximum number of instances per training task, from
      which a condition chooses.
    num_workers: Number of processes, as in `worker_pool.map_tasks`; 0 if only
      the calling script registers a level.
    on_progress: Called with the number of tasks done and their total.

  Returns:
    A budget for each condition and split, ordered by condition; none where a
    condition takes no instance.

  Raises:
    InputError: If a prompt cannot be rendered.
  """
  for split in splits:
    natinst.check_split(split)
  names = list(
    dict.fromkeys(itertools.chain.from_iterable(map(corpus.tasks_of, splits)))
  )
  function = functools.partial(
    _measure_task,
    conditions=tuple(conditions),
    splits=tuple(splits),
    max_tokens=max_tokens,
    max_instances_per_task=max_instances_per_task,
  )
  rows: dict[tuple[int, str], list[_Row]] = {}
  results: Iterator[tuple[str, Mapping[tuple[int, str], list[_Row]]]] = (
    worker_pool.map_tasks(
      function, corpus=corpus, names=names, num_workers=num_workers
    )
  )
  for number, (_, task_rows) in enumerate(results, start=1):
    for key, some_rows in task_rows.items():
      rows.setdefault(key, []).extend(some_rows)
    if on_progress is not None:
      on_progress(number, len(names))
  return tuple(
    _budget(
      condition.name, split, max_tokens, max_target_tokens, rows[index, split]
    )
    for index, condition in enumerate(conditions)
    for split in splits
    if (index, split) in rows
  )


def measure_spelling(
  *,
  corpus: Corpus,
  splits: Sequence[str] = natinst.SPLITS,
  max_instances_per_task: int = MAX_INSTANCES_PER_TASK,
  num_workers: int | None = None,
) -> tuple[Spelling, ...]:
  """Counts labels and references that the current vocabulary cannot spell.

  Arguments are those of `measure`. Returns counts for labels and references of
  each split that has any.
  """
  names = list(
    dict.fromkeys(itertools.chain.from_iterable(map(corpus.tasks_of, splits)))
  )
  function = functools.partial(
    _spell_task,
    splits=tuple(splits),
    max_instances_per_task=max_instances_per_task,
  )
  counts: dict[tuple[str, str], np.ndarray] = {}
  results: Iterator[tuple[str, Mapping[tuple[str, str], np.ndarray]]] = (
    worker_pool.map_tasks(
      function, corpus=corpus, names=names, num_workers=num_workers
    )
  )
  for _, of_task in results:
    for key, values in of_task.items():
      counts[key] = counts.get(key, 0) + values
  return tuple(
    Spelling(
      split=split,
      texts=texts,
      num_texts=int(values[0]),
      num_unknown=int(values[1]),
      num_normalized=int(values[2]),
      num_unmatched=int(values[3]),
    )
    for (split, texts), values in sorted(
      counts.items(), key=lambda item: (splits.index(item[0][0]), item[0][1])
    )
  )


def _spell_task(
  corpus: Corpus,
  name: str,
  *,
  splits: Sequence[str],
  max_instances_per_task: int,
) -> Mapping[tuple[str, str], np.ndarray]:
  """A task's numbers of texts by split and kind of text, int64 [4]."""
  _tokenizer(None)
  from it_study.data import vocabularies

  vocabulary = vocabularies.current_vocabulary()

  def count(texts: Sequence[str]) -> np.ndarray:
    pairs = [(text, vocabularies.spell(vocabulary, text)) for text in texts]
    return np.array(
      [
        len(pairs),
        sum(vocabularies.loses_characters(spelled) for _, spelled in pairs),
        sum(vocabularies.changes_characters(*pair) for pair in pairs),
        sum(not vocabularies.is_matched(*pair) for pair in pairs),
      ]
    )

  task = corpus.load(name).task
  counts: dict[tuple[str, str], np.ndarray] = {}
  for split in splits:
    if name not in corpus.tasks_of(split):
      continue
    instances = corpus.instances(name, split)[:max_instances_per_task]
    if task.label_space:
      counts[split, 'labels'] = count(task.label_space)
    counts[split, 'references'] = count(
      [output for instance in instances for output in instance.outputs]
    )
  return counts


class _Row(NamedTuple):
  tokens: int
  num_dropped: int
  is_shortened: bool
  input_kept: float
  target_tokens: int
  # Of the shortest reference.
  fewest_tokens: int


def _measure_task(
  corpus: Corpus,
  name: str,
  *,
  conditions: Sequence[Condition | TkInstruct],
  splits: Sequence[str],
  max_tokens: int | None,
  max_instances_per_task: int,
) -> Mapping[tuple[int, str], list[_Row]]:
  """A task's rows by index of the condition and split."""
  encode, limit = _tokenizer(max_tokens)
  task = corpus.load(name).task
  training = LazyInstances(
    [name],
    lambda name: corpus.instances(name, 'train')[:max_instances_per_task],
  )
  rows: dict[tuple[int, str], list[_Row]] = {}
  for split in splits:
    if name not in corpus.tasks_of(split):
      continue
    instances = corpus.instances(name, split)
    for index, condition in enumerate(conditions):
      if split == 'train':
        chosen = _chosen(
          corpus, name, instances[:max_instances_per_task], condition
        )
      else:
        chosen, condition = instances, condition.for_test()
      for instance in chosen:
        shown = condition.of_instance(instance.id)
        prompt = prompts.render(
          task=task,
          instance=instance,
          condition=shown,
          limit=limit,
          tasks=corpus.lazy_tasks(split),
        )
        _, seen = instructions.rewrite(
          task=task, instance=instance, condition=shown
        )
        num_tokens = len(encode(prompt.text)) + 1
        target = targets.training_target(
          task=task, instance=instance, condition=shown, instances=training
        )
        row = _Row(
          # After Tk-Instruct's truncation SeqIO makes room for end-of-sequence.
          num_tokens if max_tokens is None else min(num_tokens, max_tokens),
          prompt.num_dropped_examples,
          prompt.shortened,
          prompt_spans.kept_input(prompt, instance=seen).share,
          len(encode(target)) + 1,
          min(len(encode(output)) + 1 for output in seen.outputs),
        )
        rows.setdefault((index, split), []).append(row)
  return rows


def _tokenizer(
  max_tokens: int | None,
) -> tuple[Callable[[str], Sequence[int]], prompts.TokenLimit | None]:
  # Imported here, because workers must silence TensorFlow before its import.
  from it_study.data import tensorflow_setup

  tensorflow_setup.import_tensorflow()
  from it_study.data import vocabularies
  from it_study.data.tokens.token_limits import token_limit

  vocabulary = vocabularies.current_vocabulary()
  limit = token_limit(vocabulary=vocabulary, max_tokens=max_tokens)
  return vocabulary.encode, limit


def _chosen(
  corpus: Corpus,
  name: str,
  instances: Sequence[Instance],
  condition: Condition | TkInstruct,
) -> Sequence[Instance]:
  """A task's instances that a condition takes, as in `RowsSource.chosen`."""
  if name not in _chosen_tasks(
    corpus.train_tasks, condition.num_tasks, condition.seed
  ):
    return ()
  if condition.seed:
    instances = sorted(
      instances,
      key=lambda i: (stable_hash(condition.seed, i.id, 'instances'), i.id),
    )
  return instances[: condition.instances_per_task]


@functools.lru_cache(maxsize=64)
def _chosen_tasks(
  names: tuple[str, ...], num_tasks: int | None, seed: int
) -> frozenset[str]:
  natinst.check_num_tasks(num_tasks, len(names))
  ordered = sorted(
    names, key=lambda name: (stable_hash(seed, name, 'tasks'), name)
  )
  return frozenset(ordered[:num_tasks])


def _budget(
  condition: str,
  split: str,
  max_tokens: int | None,
  max_target_tokens: int | None,
  rows: Sequence[_Row],
) -> Budget:
  tokens, dropped, shortened, kept, targets, fewest = zip(*rows, strict=True)
  limit = math.inf if max_target_tokens is None else max_target_tokens
  return Budget(
    condition=condition,
    split=split,
    max_tokens=max_tokens,
    num_instances=len(rows),
    tokens_mean=float(np.mean(tokens)),
    tokens_median=float(np.median(tokens)),
    tokens_95=float(np.percentile(tokens, 95)),
    tokens_max=max(tokens),
    at_limit=float(np.mean(np.add(dropped, shortened) > 0)),
    num_dropped_examples=sum(dropped),
    num_shortened=sum(shortened),
    input_kept=float(np.mean(kept)),
    max_target_tokens=max_target_tokens,
    target_tokens_mean=float(np.mean(targets)),
    target_tokens_median=float(np.median(targets)),
    target_tokens_95=float(np.percentile(targets, 95)),
    target_tokens_max=max(targets),
    num_cut_targets=sum(length > limit for length in targets),
    num_unreachable=sum(length > limit for length in fewest),
  )
