"""corpus fetch: the public collection, at a pinned commit."""

import argparse
import dataclasses
import json
import shlex
import sys

from it_study.commands.progress import FetchProgress
from it_study.corpus.fetch import collection

_SHOWN = 5


def fetch(options: argparse.Namespace) -> None:
  """Gets the collection, or what is missing of it, and says what is there."""
  with FetchProgress(quiet=options.quiet or options.json) as show:
    found = collection.fetch(
      options.directory,
      source=options.source,
      commit=options.commit,
      track=options.track,
      sha256=options.sha256,
      on_progress=show,
    )
  if options.json:
    print(json.dumps(dataclasses.asdict(found)))
  if options.json or options.quiet:
    return
  for warning in found.warnings:
    print(f'warning: {warning}', file=sys.stderr)
  _name(
    found.repaired,
    'was changed or lost since it was fetched; it is whole again',
  )
  _name(found.foreign, 'is not of the collection; it is left alone')
  print(f'directory: {found.directory}')
  if found.commit:
    print(f'commit: {found.commit}, which every file was checked against')
  else:
    print(f'archive: SHA-256 {found.archive_sha256}')
  print(
    f'files: {found.files} ({found.bytes / 1e6:,.1f} MB), {found.fetched} '
    'fetched now'
  )
  for track, counts in found.tasks.items():
    print(
      f'track {track}: {counts.get("train", 0)} training and '
      f'{counts.get("test", 0)} test tasks'
    )
  print(f'next: it-study corpus check {shlex.quote(found.directory)}')


def _name(names: tuple[str, ...], what: str) -> None:
  for name in names[:_SHOWN]:
    print(f'{name} {what}', file=sys.stderr)
  if len(names) > _SHOWN:
    print(f'... and {len(names) - _SHOWN} more', file=sys.stderr)
