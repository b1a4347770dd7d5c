"""Registers every standard condition under its own name."""

from it_study import conditions, seqio_lib

for _condition in conditions.common_grid():
  seqio_lib.add_task(_condition)
seqio_lib.add_task(seqio_lib.TkInstruct())
seqio_lib.resolve_on_first_use()
