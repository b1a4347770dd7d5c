"""Results of corpus commands, as `name: value` lines or as JSON."""

import argparse
from collections.abc import Mapping
import json

from it_study.corpus import natinst
from it_study.errors import visible


def print_corpus(options: argparse.Namespace, corpus: natinst.Corpus) -> None:
  """Prints where a corpus is and what it holds."""
  print_record(
    options,
    {
      'directory': str(corpus.directory),
      'train_tasks': len(corpus.train_tasks),
      'test_tasks': len(corpus.test_tasks),
      'fingerprint': corpus.fingerprint(),
    },
  )


def print_record(
  options: argparse.Namespace, record: Mapping[str, object]
) -> None:
  """Prints names and values, unless --quiet."""
  if options.json:
    print(json.dumps(record))
  elif not options.quiet:
    for name, value in record.items():
      print(visible(f'{name}: {value}'))
