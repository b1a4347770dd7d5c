"""Reads code blocks from the user pages."""

import pathlib
import re

_ROOT = pathlib.Path(__file__).parents[1]
_BLOCK = re.compile(r'^```(\w+)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
  """Returns the blocks of one language on a page, in order.

  Args:
    page: Path of the page, relative to the repository.
    language: Language named after the opening fence.
  """
  text = (_ROOT / page).read_text()
  return [code for name, code in _BLOCK.findall(text) if name == language]
