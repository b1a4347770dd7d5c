"""convert: weights from one format to another."""

import argparse
import json
import pathlib

from it_study.commands.flags import Command
from it_study.errors import InputError
from it_study.storage.storage_path import expanded


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'source',
    metavar='SRC',
    help='weights to read: a folder, gs://... or a GGUF file',
  )
  parser.add_argument('destination', metavar='DST', help='new folder to write')
  parser.add_argument(
    '--from',
    dest='source_format',
    choices=('hf', 't5x', 'it_study', 'gguf'),
    required=True,
    help='format of SRC; gguf is a file, and only written as hf',
  )
  parser.add_argument(
    '--to',
    choices=('hf', 't5x', 't5x_orbax', 'it_study', 'peft'),
    required=True,
    help='format of DST; peft holds the updates of a training with LoRA',
  )


def convert(options: argparse.Namespace) -> None:
  """Converts weights."""
  if options.source_format == 'gguf':
    path = _convert_gguf(options)
  else:
    path = _convert_folder(options)
  if options.json:
    print(json.dumps({'directory': str(path)}))
  elif not options.quiet:
    print(f'wrote {path}')


def _convert_gguf(options: argparse.Namespace) -> pathlib.Path:
  """Writes a GGUF file of a decoder-only model as a Hugging Face folder."""
  if options.to != 'hf':
    raise InputError(
      f'--from gguf and --to {options.to}: a GGUF file is only converted to '
      'hf, which CHECKPOINT_PATH accepts.'
    )
  from it_study.checkpoints.gguf import folder

  return folder.write_folder(
    expanded(options.source), expanded(options.destination)
  )


def _convert_folder(options: argparse.Namespace) -> pathlib.Path:
  from it_study.data import tensorflow_setup

  tensorflow_setup.import_tensorflow()
  from it_study.checkpoints import weights
  from it_study.commands.runs import jax_switches

  jax_switches.set_defaults()
  return weights.convert(
    options.source,
    options.destination,
    source_format=options.source_format,
    to=options.to,
  )


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
    'newer one. gguf: a file of llama.cpp with a decoder-only model. peft: '
    'LoRA updates alone, as the PEFT library reads them; hf adds them. '
    'Training does not need this step: INITIAL_CHECKPOINT_PATH and '
    'CHECKPOINT_PATH accept any of these formats but gguf as they are, also '
    'in a bucket (gs://...).'
  ),
)
