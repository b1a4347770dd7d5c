"""Mixtures that combine conditions."""

from it_study import conditions, seqio_lib
from it_study.tasks import natinst  # noqa: F401  Registers the tasks.

seqio_lib.add_mixture(
  'natinst_all_definitions',
  dict.fromkeys(conditions.definition_experiments(), 1),
)
seqio_lib.add_mixture(
  'natinst_all_examples',
  dict.fromkeys(conditions.example_experiments(), 1),
)
# With two levels that are not in the paper.
seqio_lib.add_mixture(
  'natinst_extended_definitions',
  dict.fromkeys(
    (
      *conditions.definition_experiments(),
      conditions.Condition(definition='shuffled'),
      conditions.Condition(definition='renamed'),
    ),
    1,
  ),
)
