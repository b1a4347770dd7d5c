"""The prompts of P3 that T0 is evaluated with; needs IT_STUDY_PROMPTSOURCE."""

from it_study import seqio_lib

seqio_lib.add_p3_tasks()
