"""A feature with the vocabulary in use."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

import seqio

from it_study.data import vocabularies


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
