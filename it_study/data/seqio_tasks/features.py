"""The features of a task, and one with the vocabulary in use."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

import seqio

from it_study.data import vocabularies
from it_study.errors import InputError


class CurrentFeature(seqio.Feature):
  """A feature that looks the vocabulary up at each use.

  A module that registers tasks is imported before the vocabulary is set.
  """

  def __init__(self, name: str):
    """Initialises the feature 'inputs' or 'targets'."""
    object.__setattr__(self, '_name', name)

  @property
  def vocabulary(self) -> seqio.Vocabulary:
    return vocabularies.current_vocabulary()

  @property
  def add_eos(self) -> bool:
    return self._name == 'targets' or vocabularies.ends_inputs(self.vocabulary)


def check_inputs_and_targets(task: seqio.Task | seqio.Mixture) -> None:
  """Raises `InputError` for a task that lacks one of these features."""
  for name in ('inputs', 'targets'):
    if name not in task.output_features:
      raise InputError(
        f'{task.name} has no feature {name!r}, only '
        f"{', '.join(task.output_features)}. A model reads 'inputs' and writes "
        "'targets'."
      )
