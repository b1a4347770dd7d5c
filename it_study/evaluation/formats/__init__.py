"""Prediction files of any known format."""

from it_study.evaluation.formats.identity import identify
from it_study.evaluation.formats.references import (
  References,
  attach,
  read_references,
)
from it_study.evaluation.formats.rows import (
  IT_STUDY,
  LEADERBOARD,
  LM_EVAL,
  T5X,
  TK_INSTRUCT,
  RowFile,
  read_rows,
)

__all__ = [
  'IT_STUDY',
  'LEADERBOARD',
  'LM_EVAL',
  'T5X',
  'TK_INSTRUCT',
  'References',
  'RowFile',
  'attach',
  'identify',
  'read_references',
  'read_rows',
]
