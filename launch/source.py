"""The code to run elsewhere: a commit of this checkout."""

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
  """A commit of a checkout.

  Attributes:
    root: Folder of the checkout.
    commit: Full commit id.
  """

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
  """Returns the commit that a name stands for.

  Args:
    tools: Tools to run git with. Git also runs in a dry run, as it only reads.
    ref: Commit, branch or tag.
    root: Folder of the checkout.

  Raises:
    InputError: If there is no checkout, or no such commit in it.
  """
  reading = Tools(say=tools.say)
  reading.need('git', 'install it; remote machines get a commit of the code.')
  git = ('git', '-C', os.fspath(root))
  if not (root / '.git').exists():
    raise InputError(
      f'{root} is not a git checkout, and remote machines get a commit of the '
      "code. Clone the project, pip install -e '.' there, and launch from it."
    )
  done = reading.try_run(
    [*git, 'rev-parse', '--verify', '--quiet', f'{ref}^{{commit}}'],
    seconds=_SECONDS,
  )
  commit = done.output.strip()
  if done.status != 0 or not re.fullmatch('[0-9a-f]{40,64}', commit):
    raise InputError(
      f'--ref is {ref!r}, which is not a commit of {root}. See git log.'
    )
  changed = reading.try_run(
    [*git, 'status', '--porcelain', '--untracked-files=no'], seconds=_SECONDS
  )
  if changed.output.strip():
    tools.say(
      f'running commit {commit[:12]}, without the uncommitted changes here'
    )
  return Source(root=root, commit=commit)
