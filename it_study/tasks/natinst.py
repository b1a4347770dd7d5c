"""Registers every standard condition under its own name."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

import seqio

from it_study import conditions, seqio_lib

_conditions: list[conditions.Condition | seqio_lib.TkInstruct] = [
  *conditions.common_grid(),
  seqio_lib.TkInstruct(),
]
for _condition in _conditions:
  # SeqIO may have found a condition on its first use.
  if _condition.name not in seqio.TaskRegistry.names():
    seqio_lib.add_task(_condition)
seqio_lib.resolve_on_first_use()
