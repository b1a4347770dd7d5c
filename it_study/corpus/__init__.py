"""Reads a corpus of Super-NaturalInstructions task files in pure Python."""

from it_study.corpus.adapter import (
  PromptFields as PromptFields,
  write_corpus as write_corpus,
)
from it_study.corpus.natinst import (
  CONTROL_CATEGORIES as CONTROL_CATEGORIES,
  SPLITS as SPLITS,
  Corpus as Corpus,
  Example as Example,
  Instance as Instance,
  Task as Task,
  TaskFile as TaskFile,
  check_split as check_split,
  open_corpus as open_corpus,
  survey_corpus as survey_corpus,
)
