"""Rows of two prediction files, paired by instance."""

from collections.abc import Sequence

from it_study.errors import InputError
from it_study.predictions import Prediction

Keyed = dict[tuple[str, str], Prediction]


def by_instance(rows: Sequence[Prediction], name: str) -> Keyed:
  """Rows of a file, called `name`, by (task, id).

  Raises:
    InputError: if a row has no id or comes twice.
  """
  keyed: Keyed = {}
  for row in rows:
    if row.id is None or row.task is None:
      raise InputError(
        f'{name}: a row names no instance; a paired comparison needs ids. Name '
        'the corpus, which can find them.'
      )
    if (row.task, row.id) in keyed:
      raise InputError(
        f'{name}: instance {row.id!r} of task {row.task!r} is predicted twice; '
        'a paired comparison needs it once.'
      )
    keyed[row.task, row.id] = row
  return keyed


def check_same(
  first: Keyed, second: Keyed, first_name: str, second_name: str
) -> None:
  """Raises `InputError` if two files hold different instances."""
  if first.keys() == second.keys():
    return
  missing = [
    _missing(first, second, second_name),
    _missing(second, first, first_name),
  ]
  splits = [
    {row.split for row in rows.values() if row.split}
    for rows in (first, second)
  ]
  advice = 'Predict the same split of the same corpus for both.'
  if all(splits) and splits[0] != splits[1]:
    advice = (
      f'The first is of split {", ".join(sorted(splits[0]))}, the second of '
      f'{", ".join(sorted(splits[1]))}: predict one split for both.'
    )
  raise InputError(
    f'{first_name} and {second_name} hold different instances: '
    f'{", ".join(filter(None, missing))}. A paired comparison needs the same '
    f'ones. {advice}'
  )


def _missing(rows: Keyed, others: Keyed, name: str) -> str:
  """How many of `rows` the other file, called `name`, lacks, and which."""
  alone = sorted(rows.keys() - others.keys())
  if not alone:
    return ''
  shown = ', '.join(repr(row_id) for _, row_id in alone[:2])
  return (
    f'{name} lacks {len(alone):,} of {len(rows):,} ({shown}'
    f'{", …" if len(alone) > 2 else ""})'
  )
