"""Normalises answers for exact match."""

import string

_NO_PUNCTUATION = str.maketrans('', '', string.punctuation)


def normalize_answer(text: str) -> str:
  """Lower-cases, removes ASCII punctuation, collapses white space.

  This is the rule of Super-NaturalInstructions' scorer (Wang et al. 2022): that
  of SQuAD without the removal of articles.

  >>> normalize_answer(' Yes,  it IS. ')
  'yes it is'
  """
  return ' '.join(text.lower().translate(_NO_PUNCTUATION).split())


def merge_labels(label_space: tuple[str, ...]) -> tuple[str, ...]:
  """Keeps the first of the labels that exact match does not distinguish.

  >>> merge_labels(('He', 'he', 'she'))
  ('He', 'she')
  """
  merged: dict[str, str] = {}
  for label in label_space:
    merged.setdefault(normalize_answer(label), label)
  return tuple(merged.values())
