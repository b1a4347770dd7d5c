"""When exact match takes two texts for the same."""

import string

_NO_PUNCTUATION = str.maketrans('', '', string.punctuation)


def normalize_answer(text: str) -> str:
  """Lower-cases, removes ASCII punctuation, collapses white space.

  The rule of Super-NaturalInstructions' scorer (Wang et al. 2022), which has it
  from SQuAD's, without SQuAD's removal of articles.

  >>> normalize_answer(' Yes,  it IS. ')
  'yes it is'
  """
  return ' '.join(text.lower().translate(_NO_PUNCTUATION).split())


def merge_labels(label_space: tuple[str, ...]) -> tuple[str, ...]:
  """Keeps the first of the labels that exact match cannot tell apart.

  >>> merge_labels(('He', 'he', 'she'))
  ('He', 'she')
  """
  merged: dict[str, str] = {}
  for label in label_space:
    merged.setdefault(normalize_answer(label), label)
  return tuple(merged.values())
