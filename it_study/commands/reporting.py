"""The commands `report` and `view`: what a finished study says."""

import argparse
import json
import os

from it_study.storage import shared_folder


def report(options: argparse.Namespace) -> None:
  """Writes the report of a study and prints its table."""
  from it_study import report as report_lib
  from it_study.commands.progress import CountProgress

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


def view(options: argparse.Namespace) -> None:
  """Serves the page until it is interrupted."""
  from it_study.report import browser
  from it_study.storage import shared_folder

  def show(url: str) -> None:
    if options.json:
      print(json.dumps({'url': url}), flush=True)
    elif not options.quiet:
      print(f'{url} shows {options.study_dir}; Ctrl-C ends it.', flush=True)

  study_dir = shared_folder.open_to_read(options.study_dir).path
  browser.serve(study_dir, port=options.port, on_start=show)
