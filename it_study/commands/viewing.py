"""view: a local page over every prediction of a study."""

import argparse
import json


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
