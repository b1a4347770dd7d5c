"""Lengths and truncation of prompts and targets, as corpus stats shows them."""

import argparse
from collections.abc import Mapping, Sequence
import shutil
from typing import TYPE_CHECKING

from it_study.commands import flags
from it_study.commands.progress import CountProgress
from it_study.conditions import standard_grid
from it_study.corpus import natinst
from it_study.data import tensorflow_setup
from it_study.instructions import tk_instruct

if TYPE_CHECKING:
  from it_study.data.prompt_lengths import Budget, Spelling

# TASK_FEATURE_LENGTHS['targets'] of runs/common.gin.
TARGET_LENGTH = 128


def measure(
  corpus: natinst.Corpus, options: argparse.Namespace
) -> 'tuple[tuple[Budget, ...], tuple[Spelling, ...]] | None':
  """Measures prompts and references if any option requests it.

  Args:
    corpus: Corpus to render.
    options: Options of corpus stats.

  Returns:
    The budget of each condition on each split, and the spelling of labels and
    references; None if no option requests them.

  Raises:
    InputError: If an option is invalid.
  """
  if not (
    options.condition
    or options.vocabulary is not None
    or options.max_input_length is not None
    or options.max_target_length is not None
    or options.split is not None
  ):
    return None
  conditions = [tk_instruct.from_name(name) for name in options.condition]
  max_tokens = flags.input_length(options)
  max_target_tokens = flags.length_of(
    options, 'max_target_length', default=TARGET_LENGTH
  )
  if options.split is not None:
    corpus.check_has(options.split)
  tensorflow_setup.import_tensorflow()
  from it_study.data import prepare, prompt_lengths

  prepare.set_or_check_vocabulary(options.vocabulary, corpus=options.directory)
  splits = natinst.SPLITS if options.split is None else (options.split,)
  with CountProgress('tasks rendered', quiet=options.quiet) as on_progress:
    budgets = prompt_lengths.measure(
      corpus=corpus,
      conditions=conditions or standard_grid(),
      splits=splits,
      max_tokens=max_tokens,
      max_target_tokens=max_target_tokens,
      # Only this process has imported the module.
      num_workers=0 if options.module else None,
      on_progress=on_progress,
    )
  return budgets, prompt_lengths.measure_spelling(corpus=corpus, splits=splits)


def show(budgets: 'Sequence[Budget]', spellings: 'Sequence[Spelling]') -> None:
  """Prints a table of prompts and one of targets per split, and spelling."""
  for split in dict.fromkeys(budget.split for budget in budgets):
    rows = [budget for budget in budgets if budget.split == split]
    _print_table(
      f'{split} prompts, {_limit(rows[0].max_tokens)}',
      _HEADER,
      {row.condition: _prompt_columns(row) for row in rows},
    )
  for split in dict.fromkeys(budget.split for budget in budgets):
    rows = [budget for budget in budgets if budget.split == split]
    columns = {row.condition: _target_columns(row) for row in rows}
    # Most conditions do not alter the references.
    if len(rows) > 1 and len(set(columns.values())) == 1:
      columns = {'every condition': columns[rows[0].condition]}
    _print_table(
      f'{split} targets, {_limit(rows[0].max_target_tokens)}',
      _TARGET_HEADER,
      columns,
    )
  print(_LEGEND)
  print(f'\nTexts that the vocabulary can spell:\n{"":<23}{_SPELLING_HEADER}')
  for row in spellings:
    print(
      f'  {f"{row.split} {row.texts}":<21}{row.num_texts:>9,}'
      f'{row.num_unknown:>9,}{row.num_normalized:>12,}{row.num_unmatched:>11,}'
    )
  print(_SPELLING_LEGEND)


def _print_table(title: str, header: str, columns: Mapping[str, str]) -> None:
  """Prints a row of numbers for each name."""
  width = max(map(len, columns))
  # On a narrow terminal the numbers go below the name.
  terminal = shutil.get_terminal_size((120, 24)).columns
  is_wide = 2 + width + len(header) <= terminal
  print(f'\nTokens in {title}, end of sequence included:')
  print(f'  {"":<{width if is_wide else 0}}{header}')
  for name, numbers in columns.items():
    print(f'  {name:<{width}}{numbers if is_wide else ""}'.rstrip())
    if not is_wide:
      print(f'  {numbers}')


def _limit(max_tokens: int | None) -> str:
  return 'no limit' if max_tokens is None else f'limit {max_tokens:,}'


def _prompt_columns(row: 'Budget') -> str:
  return (
    f'{row.num_instances:>9,}{row.tokens_mean:>8,.1f}'
    f'{row.tokens_median:>8,.1f}{row.tokens_95:>8,.1f}'
    f'{row.tokens_max:>7,}{100 * row.at_limit:>7.1f}%'
    f'{row.num_dropped_examples:>9,}{row.num_shortened:>10,}'
    f'{100 * row.input_kept:>7.2f}%'
  )


def _target_columns(row: 'Budget') -> str:
  return (
    f'{row.num_instances:>9,}{row.target_tokens_mean:>8,.1f}'
    f'{row.target_tokens_median:>8,.1f}{row.target_tokens_95:>8,.1f}'
    f'{row.target_tokens_max:>7,}{row.num_cut_targets:>8,}'
    f'{row.num_unreachable:>13,}'
  )


_HEADER = (
  f'{"prompts":>9}{"mean":>8}{"median":>8}{"95%":>8}{"most":>7}{"cut":>8}'
  f'{"dropped":>9}{"shortened":>10}{"kept":>8}'
)
_TARGET_HEADER = (
  f'{"targets":>9}{"mean":>8}{"median":>8}{"95%":>8}{"most":>7}{"cut":>8}'
  f'{"unreachable":>13}'
)
_SPELLING_HEADER = (
  f'{"texts":>9}{"unknown":>9}{"normalised":>12}{"unmatched":>11}'
)
_SPELLING_LEGEND = """
unknown: number of texts with characters that the vocabulary lacks, which
answers leave out. normalised: number of further texts that its normalisation
(NFKC) changes. unmatched: number of texts that no answer matches exactly."""
_LEGEND = """
cut: share of prompts that lost text to the limit. dropped: number of examples.
shortened: number of prompts with a truncated instance or definition. kept:
share of the instance text that remains, mean over instances; conditions with
_budget in their name all keep the same text. Of targets, cut: number that
training truncates to the limit. unreachable: number of instances all of whose
references exceed the limit, so that no answer can be right."""
