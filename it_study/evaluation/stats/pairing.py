"""Pairs the rows of two prediction files by instance."""

from collections.abc import Sequence

from it_study.errors import InputError
from it_study.predictions import Prediction

Keyed = dict[tuple[str, str], Prediction]


def by_instance(rows: Sequence[Prediction], name: str) -> Keyed:
  """Indexes the rows of the file `name` by (task, id).

  Raises:
    InputError: If a row has no id or an instance occurs twice.
  """
  keyed: Keyed = {}
  for row in rows:
    if row.id is None or row.task is None:
      raise InputError(
        f'{name}: a row has no id or task, which a paired comparison needs. '
        'Name the corpus, so that they can be looked up.'
      )
    if (row.task, row.id) in keyed:
      raise InputError(
        f'{name}: instance {row.id!r} of task {row.task!r} is predicted twice. '
        'A paired comparison needs one prediction for each instance.'
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
    sorted({row.split for row in rows.values() if row.split})
    for rows in (first, second)
  ]
  advice = 'Predict the same split of the same corpus for both.'
  if all(splits) and splits[0] != splits[1]:
    advice = (
      f'The first holds split {", ".join(splits[0])}, the second '
      f'{", ".join(splits[1])}: predict the same split for both.'
    )
  raise InputError(
    f'{first_name} and {second_name} hold different instances: '
    f'{", ".join(filter(None, missing))}. A paired comparison needs the same '
    f'instances. {advice}'
  )


def _missing(rows: Keyed, others: Keyed, name: str) -> str:
  """Says how many of `rows` the other file, called `name`, lacks, and which."""
  missing = sorted(rows.keys() - others.keys())
  if not missing:
    return ''
  shown = ', '.join(repr(row_id) for _, row_id in missing[:2])
  return (
    f'{name} lacks {len(missing):,} of {len(rows):,} ({shown}'
    f'{", …" if len(missing) > 2 else ""})'
  )
