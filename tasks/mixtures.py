"""Mixtures that combine conditions."""

import seqio

from it_study import conditions
from tasks import natinst  # noqa: F401  Registers what is mixed.

seqio.MixtureRegistry.add(
  'natinst_all_definitions',
  [condition.name for condition in conditions.definition_experiments()],
  default_rate=1.0,
)
seqio.MixtureRegistry.add(
  'natinst_all_examples',
  [condition.name for condition in conditions.example_experiments()],
  default_rate=1.0,
)
