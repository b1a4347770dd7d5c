"""Prompt lengths and truncation, as corpus stats shows them."""

import argparse
from collections.abc import Sequence
import shutil
from typing import TYPE_CHECKING

from it_study.commands.progress import CountProgress
from it_study.conditions import standard_grid
from it_study.corpus import natinst
from it_study.data import tensorflow_setup
from it_study.errors import InputError
from it_study.instructions import tk_instruct

if TYPE_CHECKING:
  from it_study.data.prompt_lengths import Budget


def measure(
  corpus: natinst.Corpus, options: argparse.Namespace
) -> 'tuple[Budget, ...] | None':
  """Measures prompts if any option requests it.

  Args:
    corpus: Corpus to render.
    options: Options of corpus stats.

  Returns:
    The budget of each condition on each split; None if no option requests it.

  Raises:
    InputError: If an option is invalid.
  """
  if not (
    options.condition
    or options.vocabulary is not None
    or options.max_input_length is not None
    or options.split is not None
  ):
    return None
  conditions = [tk_instruct.from_name(name) for name in options.condition]
  if options.max_input_length is not None and options.max_input_length < 1:
    raise InputError(
      f'--max_input_length is {options.max_input_length}; it must be at least '
      '1.'
    )
  if options.split is not None:
    natinst.check_split(options.split)
  tensorflow_setup.import_tensorflow()
  from it_study.data import prepare, prompt_lengths

  prepare.set_or_check_vocabulary(options.vocabulary, corpus=options.directory)
  with CountProgress('tasks rendered', quiet=options.quiet) as on_progress:
    return prompt_lengths.measure(
      corpus=corpus,
      conditions=conditions or standard_grid(),
      splits=natinst.SPLITS if options.split is None else (options.split,),
      max_tokens=options.max_input_length,
      on_progress=on_progress,
    )


def show(budgets: 'Sequence[Budget]') -> None:
  """Prints budgets, one table per split."""
  max_tokens = budgets[0].max_tokens if budgets else None
  limit = 'no limit' if max_tokens is None else f'limit {max_tokens:,}'
  terminal = shutil.get_terminal_size((120, 24)).columns
  for split in dict.fromkeys(budget.split for budget in budgets):
    rows = [budget for budget in budgets if budget.split == split]
    width = max(len(row.condition) for row in rows)
    # On a narrow terminal the numbers go below the name.
    is_wide = 2 + width + len(_HEADER) <= terminal
    print(f'\nTokens in {split} prompts, {limit}, end of sequence included:')
    print(f'  {"":<{width if is_wide else 0}}{_HEADER}')
    for row in rows:
      end = '' if is_wide else '\n  '
      print(f'  {row.condition:<{width}}', end=end)
      print(
        f'{row.num_instances:>9,}{row.tokens_mean:>8,.1f}'
        f'{row.tokens_median:>8,.1f}{row.tokens_95:>8,.1f}'
        f'{row.tokens_max:>7,}{100 * row.at_limit:>7.1f}%'
        f'{row.num_dropped_examples:>9,}{row.num_shortened:>10,}'
        f'{100 * row.input_kept:>7.2f}%'
      )
  print(_LEGEND)


_HEADER = (
  f'{"prompts":>9}{"mean":>8}{"median":>8}{"95%":>8}{"most":>7}{"cut":>8}'
  f'{"dropped":>9}{"shortened":>10}{"kept":>8}'
)
_LEGEND = """
cut: share of prompts that lost text to the limit. dropped: number of examples.
shortened: number of prompts with a truncated instance or definition. kept:
share of the instance text that remains, mean over instances; conditions with
_budget in their name all keep the same text."""
