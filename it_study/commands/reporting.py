"""report and view: the results of a study."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from it_study.commands import flags
from it_study.commands.flags import Command
from it_study.conditions import Condition, is_condition_name
from it_study.corpus.findings import plural
from it_study.errors import InputError

if TYPE_CHECKING:
  from it_study.report.results import Results


def _add_report_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'study_dir', metavar='STUDY_DIR', help='folder of the study, or gs://...'
  )
  flags.add_module_flag(parser)


def report(options: argparse.Namespace) -> None:
  """Writes the report of a study and prints its table."""
  from it_study import report as report_lib
  from it_study.commands.progress import CountProgress
  from it_study.storage import shared_folder

  quiet = options.quiet or options.json
  folder = shared_folder.open_to_read(options.study_dir)
  with CountProgress('cells scored', quiet=quiet) as on_progress:
    results = report_lib.score(folder.path, on_progress=on_progress)
  paths = report_lib.write_report(study_dir=folder.path, results=results)
  folder.publish('report')
  if options.json:
    print(json.dumps({'report': [os.fspath(path) for path in paths]}))
  elif not options.quiet:
    report_lib.render_terminal_table(folder.path, results=results)
    print(f'report: {paths[0]}')
    _note_unknown_conditions(results)


def _note_unknown_conditions(results: 'Results') -> None:
  """Prints how many conditions the report cannot compare, and why."""
  reasons = []
  for name in sorted({arm.test_condition or '' for arm in results.arms}):
    if is_condition_name(name):
      try:
        Condition.from_name(name)
      except InputError as error:
        reasons.append(str(error))
  if reasons:
    print(
      f'it-study: note: {plural(len(reasons), "condition")} not compared, '
      f'because the name is unknown: {reasons[0]}',
      file=sys.stderr,
    )


REPORT = Command(
  name='report',
  run=report,
  summary='write the report of a study, and print its main table',
  example='it-study report it_study_out',
  add_flags=_add_report_flags,
)


def _add_view_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'study_dir',
    metavar='STUDY_DIR',
    help="folder of the study, or a prediction's; or gs://...",
  )
  flags.add_module_flag(parser)
  parser.add_argument(
    '--port', type=int, default=0, metavar='N', help='default: any free port'
  )


def view(options: argparse.Namespace) -> None:
  """Serves the predictions of a study as a web page until interrupted."""
  from it_study.report import browser
  from it_study.storage import shared_folder

  def show(url: str) -> None:
    if options.json:
      print(json.dumps({'url': url}), flush=True)
    elif not options.quiet:
      print(
        f'serving {options.study_dir} at {url}; press Ctrl-C to stop.',
        flush=True,
      )

  study_dir = shared_folder.open_to_read(options.study_dir).path
  browser.serve(os.fspath(study_dir), port=options.port, on_start=show)


VIEW = Command(
  name='view',
  run=view,
  summary='browse the predictions of a study in a local web page',
  example='it-study view it_study_out',
  add_flags=_add_view_flags,
)
