"""The code that a run takes along: this checkout at a commit."""

import dataclasses
import os
import pathlib
import re

from it_study.errors import InputError
from launch.tools import Tools

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A commit of a checkout."""

  root: pathlib.Path
  commit: str

  def archive(self, tools: Tools, path: str | os.PathLike) -> None:
    """Writes the commit's files as a compressed tar archive."""
    tools.run(
      [
        *('git', '-C', os.fspath(self.root), 'archive', '--format=tar.gz'),
        *(f'--output={os.fspath(path)}', self.commit),
      ],
      what=f'packing commit {self.commit[:12]}',
      seconds=_SECONDS,
    )


def find(tools: Tools, *, ref: str, root: pathlib.Path = _ROOT) -> Source:
  """The commit that a name stands for.

  Args:
    tools: to run git with; what it looks up is looked up in a dry run too.
    ref: a commit, branch or tag.
    root: of the checkout.

  Raises:
    InputError: there is no checkout, or no such commit in it.
  """
  asking = Tools(say=tools.say)
  asking.need('git', 'install it; the code goes along at a commit.')
  git = ('git', '-C', os.fspath(root))
  if not (root / '.git').exists():
    raise InputError(
      f'{root} is no git checkout, and what runs elsewhere is a commit of one: '
      "clone the project, pip install -e '.' there, and launch from it."
    )
  done = asking.try_run(
    [*git, 'rev-parse', '--verify', '--quiet', f'{ref}^{{commit}}'],
    seconds=_SECONDS,
  )
  commit = done.output.strip()
  if done.status != 0 or not re.fullmatch('[0-9a-f]{40,64}', commit):
    raise InputError(
      f'--ref is {ref!r}, which is no commit of {root}; git log lists them.'
    )
  changed = asking.try_run(
    [*git, 'status', '--porcelain', '--untracked-files=no'], seconds=_SECONDS
  )
  if changed.output.strip():
    tools.say(
      f'what is not committed stays here: {commit[:12]} goes along without it'
    )
  return Source(root=root, commit=commit)
