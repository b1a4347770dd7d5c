"""Mixtures that combine conditions."""

from it_study import conditions, seqio_lib
from tasks import natinst  # noqa: F401  Registers what is mixed.

seqio_lib.add_mixture(
  'natinst_all_definitions',
  dict.fromkeys(conditions.definition_experiments(), 1),
)
seqio_lib.add_mixture(
  'natinst_all_examples',
  dict.fromkeys(conditions.example_experiments(), 1),
)
# With the two levels that the paper does not have.
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
