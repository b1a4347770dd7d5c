"""How the random baseline depends on the rule that selects CLS tasks."""

from collections.abc import Callable, Iterable
import re

from it_study.corpus import task_kinds
from it_study.corpus.natinst import CONTROL_CATEGORIES, Corpus, Task
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.schema import TEST_INSTANCES
from it_study.evaluation.chance import uniform_chance

THRESHOLDS = range(9, 16)
# A family of test tasks with open answers, one of which has few enough distinct
# answers to count as classification. Members with fewer answers than the lowest
# threshold are closed by definition.
_ANALOGY_FAMILY = re.compile(r'task\d+_bard_analogical_reasoning_')
_QUOTED = re.compile(
  r"""(?<!\w)["'`“‘](?P<word>[^"'`“”‘’]{1,40})["'`”’](?!\w)"""
)
# Separator of two words in a list.
_LISTED = re.compile(r'[\s,;/|&]*((or|and|versus|vs\.?)[\s,]+)?')


def expectations(corpus: Corpus) -> list[dict]:
  """Counts CLS test tasks and computes the expected score of guessing, by rule.

  The rules: at most 9 to 15 distinct outputs, each with and without open
  analogies, and at most 12 with every label named in the definition (the rule
  of Active-IT, Kung et al. 2023).

  Returns:
    One row for each rule: `rule`, `num_tasks` and `expected_exact_match`, the
    mean over instances in percent, None without tasks.
  """
  rows = []
  for threshold in THRESHOLDS:
    rows.append(_expectation(corpus, f'at most {threshold} labels', threshold))
    rows.append(
      _expectation(
        corpus,
        f'at most {threshold} labels, no open analogies',
        threshold,
        lambda task, labels: (
          len(labels) < THRESHOLDS.start or not _ANALOGY_FAMILY.match(task.name)
        ),
      )
    )
  rows.append(
    _expectation(
      corpus,
      'every label in the definition',
      task_kinds.MAX_LABELS,
      lambda task, labels: names_every_label(task.definition, labels),
    )
  )
  return rows


def labels_missing_from_data(task: Task) -> tuple[str, ...]:
  """Returns quoted words of a definition that should be labels but are not.

  These are short quoted words in a list with a label, with only commas,
  slashes, 'or' and 'and' between them; definitions quote much else. A
  definition with "yes", "no" or "maybe" and the labels yes and no gives
  ('maybe',).
  """
  if task.label_space is None:
    return ()
  known = {normalize_answer(label) for label in task.label_space}
  missing: dict[str, None] = {}
  for words in _quoted_lists(task.definition):
    unknown = [word for word in words if normalize_answer(word) not in known]
    if len(unknown) < len(words):
      missing.update(dict.fromkeys(filter(normalize_answer, unknown)))
  return tuple(missing)


def names_every_label(definition: str, labels: Iterable[str]) -> bool:
  """Returns whether a definition holds every label as words, normalised.

  >>> names_every_label('Answer "Yes" or "No".', ['yes', 'no.'])
  True
  """
  text = f' {normalize_answer(definition)} '
  return all(f' {normalize_answer(label)} ' in text for label in labels)


def _quoted_lists(definition: str) -> list[list[str]]:
  """Returns the quoted words of a definition, grouped by list."""
  lists: list[list[str]] = []
  end = None
  for match in _QUOTED.finditer(definition):
    if end is None or not _LISTED.fullmatch(definition, end, match.start()):
      lists.append([])
    lists[-1].append(match['word'])
    end = match.end()
  return lists


def _expectation(
  corpus: Corpus,
  rule: str,
  max_labels: int,
  keep: Callable[[Task, tuple[str, ...]], bool] = lambda task, labels: True,
) -> dict:
  chances: list[float] = []
  num_tasks = 0
  for name in corpus.test_tasks:
    file = corpus.load(name)
    if file.task.category in CONTROL_CATEGORIES:
      continue
    instances = [i for i in file.instances if i.position < TEST_INSTANCES]
    kind, labels = task_kinds.judge(
      instance_outputs=[instance.outputs for instance in instances],
      example_outputs=[e.output for e in file.task.positive_examples],
      override=corpus.overrides.get(name),
      max_labels=max_labels,
    )
    if kind != task_kinds.CLASSIFICATION:
      continue
    assert labels is not None, 'a classification task has labels'
    if keep(file.task, labels):
      num_tasks += 1
      for instance in instances:
        chance = uniform_chance(labels, instance.outputs)
        assert chance is not None, 'there are labels'
        chances.append(chance)
  return {
    'rule': rule,
    'num_tasks': num_tasks,
    'expected_exact_match': (
      100 * sum(chances) / len(chances) if chances else None
    ),
  }
