"""A section of the report as data, which every format renders."""

import dataclasses

from it_study.report.figures.score_figures import Figure
from it_study.report.results import Results, seeds_of
from it_study.report.tables.table import Table


@dataclasses.dataclass(frozen=True)
class Code:
  """Preformatted text."""

  text: str


Block = str | Table | Figure | Code


@dataclasses.dataclass(frozen=True)
class Section:
  """A section of the report.

  Attributes:
    name: Short name, also the anchor of links.
    title: Heading.
    blocks: Paragraphs, tables, figures and code, in order.
    is_folded: Whether the page shows the section folded at first.
  """

  name: str
  title: str
  blocks: tuple[Block, ...]
  is_folded: bool = False


def make_section(
  name: str, title: str, *blocks: Block | None, is_folded: bool = False
) -> Section | None:
  """Makes a section of the blocks that are not None; None if all are text."""
  present = tuple(block for block in blocks if block is not None)
  if all(isinstance(block, str) for block in present):
    return None
  return Section(name, title, present, is_folded)


def population(results: Results) -> str:
  """Returns what the intervals generalize over, in words."""
  cells = [cell for arm in results.arms for cell in arm.cells]
  is_one = any(cell.test_task for cell in cells) and all(
    len(cell.metrics['by_task']) < 2 for cell in cells
  )
  units = 'instances of this task' if is_one else 'tasks'
  return f'seeds and {units}' if len(seeds_of(cells)) > 1 else units
