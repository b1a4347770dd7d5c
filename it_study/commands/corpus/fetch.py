"""corpus fetch: the public collection, at a pinned commit."""

import argparse
import dataclasses
import json
import shlex
import sys

from it_study.commands.flags import Command
from it_study.commands.progress import FetchProgress
from it_study.errors import visible

# Files that are named one by one, of each kind.
_NUM_SHOWN = 5


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR', help='directory to fill')
  parser.add_argument(
    '--track', metavar='T', help='only the tasks of this track; default: all'
  )
  parser.add_argument(
    '--source',
    metavar='S',
    help='git repository, or .tar.gz or .zip archive of a checkout; default: '
    'the public repository',
  )
  parser.add_argument(
    '--commit', metavar='ID', help='full commit id; default: the pinned one'
  )
  parser.add_argument(
    '--sha256', metavar='HEX', help='expected SHA-256 of the archive'
  )


def fetch(options: argparse.Namespace) -> None:
  """Downloads the collection, or what is missing of it, and verifies it."""
  from it_study.corpus.fetch import collection

  with FetchProgress(quiet=options.quiet or options.json) as show:
    fetched = collection.fetch(
      options.directory,
      source=options.source,
      commit=options.commit,
      track=options.track,
      sha256=options.sha256,
      on_progress=show,
    )
  if options.json:
    print(json.dumps(dataclasses.asdict(fetched)))
  if options.json or options.quiet:
    return
  for warning in fetched.warnings:
    print(visible(f'warning: {warning}'), file=sys.stderr)
  _print_names(fetched.repaired, 'was changed or missing; restored')
  _print_names(fetched.foreign, 'is not part of the collection; left alone')
  print(f'directory: {fetched.directory}')
  if fetched.commit:
    print(f'commit: {fetched.commit} (every file verified)')
  else:
    print(f'archive: SHA-256 {fetched.archive_sha256}')
  print(
    f'files: {fetched.files} ({fetched.bytes / 1e6:,.1f} MB), '
    f'{fetched.fetched} downloaded now'
  )
  for track, counts in fetched.tasks.items():
    print(
      f'track {track}: {counts.get("train", 0)} training and '
      f'{counts.get("test", 0)} test tasks'
    )
  print(f'next: it-study corpus check {shlex.quote(fetched.directory)}')


COMMAND = Command(
  name='fetch',
  run=fetch,
  summary='download the public collection (3 GB, verified, resumable)',
  example='it-study corpus fetch natural-instructions',
  add_flags=_add_flags,
  continues=True,
)


def _print_names(names: tuple[str, ...], problem: str) -> None:
  for name in names[:_NUM_SHOWN]:
    print(visible(f'{name} {problem}'), file=sys.stderr)
  if len(names) > _NUM_SHOWN:
    print(f'... and {len(names) - _NUM_SHOWN} more', file=sys.stderr)
