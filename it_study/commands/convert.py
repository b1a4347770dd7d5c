"""convert: weights from one format to another."""

import argparse
import json

from it_study.commands.flags import Command


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'source', metavar='SRC', help='weights to read, a folder or gs://...'
  )
  parser.add_argument('destination', metavar='DST', help='new folder to write')
  parser.add_argument(
    '--from',
    dest='source_format',
    choices=('hf', 't5x', 'it_study'),
    required=True,
    help='format of SRC',
  )
  parser.add_argument(
    '--to',
    choices=('hf', 't5x', 't5x_orbax', 'it_study'),
    required=True,
    help='format of DST',
  )


def convert(options: argparse.Namespace) -> None:
  """Converts a folder of weights."""
  from it_study.data import tensorflow_setup

  tensorflow_setup.import_tensorflow()
  from it_study.checkpoints import weights
  from it_study.commands.runs import jax_switches

  jax_switches.set_defaults()
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


COMMAND = Command(
  name='convert',
  run=convert,
  summary='convert weights between Hugging Face, T5X and it-study checkpoints',
  example='it-study convert /tmp/it_study_model /tmp/hf_model '
  '--from it_study --to hf',
  add_flags=_add_flags,
  details=(
    'hf: a Hugging Face folder with config.json and safetensors or PyTorch '
    'shards, of any T5: v1.0, v1.1, LM-adapted, Flan-T5, T0, Tk-Instruct. t5x: '
    'a checkpoint_STEP folder of T5X, or its parent; both checkpoint layouts '
    'are read, and t5x writes the one that every T5X restores, t5x_orbax the '
    'newer one. Training does not need this step: INITIAL_CHECKPOINT_PATH and '
    'CHECKPOINT_PATH accept any of these formats as they are, also in a '
    'bucket (gs://...).'
  ),
)
