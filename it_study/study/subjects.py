"""What a study trains on and tests: conditions, and users' own SeqIO tasks."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import TYPE_CHECKING, Any

from it_study.conditions import Condition, check_several, is_condition_name
from it_study.corpus import natinst
from it_study.corpus.natinst import Corpus
from it_study.errors import InputError, shown
from it_study.evaluation import baselines

if TYPE_CHECKING:
  from it_study.data.seqio_tasks.corpus import SeqioCorpus
# Settings that name what to train on, and what to test besides.
TRAINED = 'run_study.conditions or TRAIN_TASKS'
TESTED = 'TEST_CONDITIONS or TEST_TASKS'


@dataclasses.dataclass(frozen=True)
class OwnTask:
  """A SeqIO task or mixture that is not a condition.

  It has no instructions to alter, so that it is tested as it is.

  Attributes:
    name: Name in SeqIO's registry.
  """

  name: str

  def with_original_instructions(self) -> 'OwnTask':
    return self

  def for_test(self) -> 'OwnTask':
    return self

  def check_test(self) -> None:
    """Does nothing; `open_corpora` checks its instances."""


Subject = Condition | OwnTask


def find(names: Sequence[str | Condition], *, setting: str) -> list[Subject]:
  """Returns the conditions and SeqIO tasks of these names.

  Args:
    names: Names, or conditions themselves.
    setting: Setting that holds them, for messages.

  Raises:
    InputError: If a name is neither a condition's nor registered with SeqIO.
  """
  check_several(names, setting=setting)
  return [_find(name, setting) for name in names]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpora:
  """The instances that a study tests on.

  Attributes:
    conditions: Corpus that conditions read; None if there is none.
    own: Instances of own tasks, by name.
  """

  conditions: Corpus | None
  own: Mapping[str, 'SeqioCorpus']

  def of(self, tested: Subject | None) -> Corpus:
    """Returns the instances of a test; None stands for any condition."""
    if isinstance(tested, OwnTask):
      return self.own[tested.name]
    assert self.conditions is not None, '`open_corpora` has checked it'
    return self.conditions

  def baselines(self, tested: Subject | None, split: str) -> tuple[str, ...]:
    """Returns the names of the baselines that have an answer to a test."""
    if not isinstance(tested, OwnTask):
      return baselines.BASELINES
    return baselines.with_answers(self.of(tested), split=split)

  def describe(self, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns what run.json says of own tasks, by name and split."""
    return {
      name: {
        split: {
          'num_tasks': len(corpus.tasks_of(split)),
          'num_instances': sum(1 for _ in corpus.rows(split)),
          'fingerprint': corpus.fingerprint((split,)),
        }
        for split in splits
      }
      for name, corpus in self.own.items()
    }


def open_corpora(
  path: str | os.PathLike[str] | None,
  *,
  trained: Sequence[Subject],
  tested: Sequence[Subject | None],
  splits: Sequence[str],
  instances_per_test_task: int | None,
) -> Corpora:
  """Opens the corpus of conditions, and reads the instances of own tasks.

  Args:
    path: Directory of task files; None if there are no conditions.
    trained: Conditions and own tasks to train on.
    tested: Conditions and own tasks to test on; None for what baselines answer
      of conditions.
    splits: Splits to test on.
    instances_per_test_task: Number of instances to test of each task; None for
      all.

  Raises:
    InputError: If a split is missing or empty, an instance is not valid, or
      tasks have different vocabularies.
  """
  number = natinst.check_test_instances(instances_per_test_task)
  of_conditions = None
  if path is not None:
    of_conditions = dataclasses.replace(
      natinst.open_corpus(os.fspath(path)), test_instances=number
    )
  for subject in (*trained, *tested):
    if path is None and isinstance(subject, Condition):
      raise InputError(
        f'CORPUS is None, and {subject.name} reads a corpus. Name its folder: '
        '--gin.CORPUS=DIR.'
      )
  if path is None and None in tested:
    raise InputError(
      'nothing to train on or to test: name tasks in TRAIN_TASKS or TEST_TASKS.'
    )
  own = [task.name for task in tested if isinstance(task, OwnTask)]
  _check_own(trained, tested)
  return Corpora(
    conditions=of_conditions,
    own={
      name: _open_own(name, splits, instances_per_test_task)
      for name in dict.fromkeys(own)
    },
  )


def _find(name: str | Condition, setting: str) -> Subject:
  if isinstance(name, Condition | OwnTask):
    return name
  if not isinstance(name, str):
    raise InputError(f'{setting}: {shown(name)} is not a name.')
  if is_condition_name(name):
    return Condition.from_name(name)
  # It imports TensorFlow, which a study of conditions need not wait for.
  from it_study import seqio_lib

  seqio_lib.find_task(name)
  return OwnTask(name)


def _open_own(
  name: str, splits: Sequence[str], number: int | None
) -> 'SeqioCorpus':
  """Returns the instances of an own task, read and checked."""
  from it_study import seqio_lib
  from it_study.data.seqio_tasks import corpus as corpus_lib

  corpus = corpus_lib.make(seqio_lib.find_task(name), max_instances=number)
  for split in splits:
    # Of an empty split, it says so.
    next(corpus.rows(split))
  return corpus


def _check_own(
  trained: Sequence[Subject], tested: Sequence[Subject | None]
) -> None:
  """Checks that own tasks can be trained on, and that one model fits all."""
  every = dict.fromkeys(s for s in (*trained, *tested) if s is not None)
  if not any(isinstance(subject, OwnTask) for subject in every):
    return
  from it_study import seqio_lib
  from it_study.data.seqio_tasks import examples

  vocabularies = {
    subject.name: seqio_lib.vocabulary_of(subject.name) for subject in every
  }
  first = next(iter(vocabularies))
  for name, vocabulary in vocabularies.items():
    if vocabulary != vocabularies[first]:
      raise InputError(
        f'{first} and {name} have different vocabularies. All tasks of a study '
        'need the same one, as the untuned model is tested on all of them.'
      )
  for subject in trained:
    splits = examples.splits_of(seqio_lib.find_task(subject.name))
    if 'train' not in splits:
      raise InputError(
        f'{subject.name} has no split train, only {", ".join(splits)}: there '
        'is nothing to train on.'
      )
