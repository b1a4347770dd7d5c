"""Conditions: the levels of the instruction axes, and names for them."""

from it_study.conditions.condition import (
  DELUSIVE_SOURCES,
  INSTANCES_PER_TASK,
  NUM_SURFACES,
  PROMPT_FORMATS,
  Condition,
  common_grid,
  is_condition_name,
)
from it_study.conditions.grids import (
  check_several,
  definition_experiments,
  example_experiments,
  named_conditions,
  standard_grid,
  sweep,
)
from it_study.conditions.levels import (
  DEFINITION_LEVELS,
  EXAMPLE_LEVELS,
  TARGET_LEVELS,
  Level,
  LevelRegistry,
)
from it_study.conditions.templates import (
  PROMPT_TEMPLATES,
  PromptTemplate,
  TemplateRegistry,
)

__all__ = [
  'DEFINITION_LEVELS',
  'DELUSIVE_SOURCES',
  'EXAMPLE_LEVELS',
  'INSTANCES_PER_TASK',
  'NUM_SURFACES',
  'PROMPT_FORMATS',
  'PROMPT_TEMPLATES',
  'TARGET_LEVELS',
  'Condition',
  'Level',
  'LevelRegistry',
  'PromptTemplate',
  'TemplateRegistry',
  'check_several',
  'common_grid',
  'definition_experiments',
  'example_experiments',
  'is_condition_name',
  'named_conditions',
  'standard_grid',
  'sweep',
]
