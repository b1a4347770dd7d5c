"""convert: weights from one format to another."""

import argparse
import json


def convert(options: argparse.Namespace) -> None:
  """Converts a folder of weights."""
  from it_study.data import tensorflow_setup

  tensorflow_setup.import_tensorflow()
  from it_study.checkpoints import weights

  path = weights.convert(
    options.source,
    options.destination,
    source_format=options.source_format,
    to=options.to,
  )
  if options.json:
    print(json.dumps({'directory': str(path)}))
  elif not options.quiet:
    print(f'wrote {path}')
