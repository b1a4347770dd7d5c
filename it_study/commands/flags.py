"""What the tables of commands are made of: commands and common flags."""

import argparse
from collections.abc import Callable
import dataclasses


@dataclasses.dataclass(frozen=True)
class Command:
  """A command: what it does, an example that runs, its own arguments.

  `continues` says that after an interrupt the same command goes on from there,
  `runs_another` that a command of ours stands behind --, `computes` that it
  trains or decodes.
  """

  name: str
  run: str
  summary: str
  example: str
  add_arguments: Callable[[argparse.ArgumentParser], None]
  continues: bool = False
  runs_another: bool = False
  computes: bool = False


@dataclasses.dataclass(frozen=True)
class Group:
  """Commands below a word of their own."""

  name: str
  summary: str
  description: str
  example: str
  commands: tuple[Command, ...]


def conditions_argument(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--condition',
    action='extend',
    nargs='+',
    default=[],
    metavar='NAME',
    help="default: the six of the study's two experiments",
  )


def length_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--vocabulary',
    metavar='F',
    help="a SentencePiece model, 'byte' or 'miniature'; default: what "
    "IT_STUDY_VOCABULARY names, else for the corpus 'miniature' its own, else "
    "T5's",
  )
  parser.add_argument(
    '--max_input_length', type=int, metavar='N', help='in tokens'
  )


def corpus_argument(parser, *, required: bool) -> None:
  parser.add_argument(
    '--corpus',
    required=required,
    metavar='DIR',
    help="task files, or 'miniature' for the embedded benchmark",
  )


def split_argument(parser, default: str | None = 'test') -> None:
  parser.add_argument(
    '--split', default=default, help='train, validation or test'
  )


def module_argument(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--module',
    metavar='NAME',
    help="imported first; registers levels of one's own",
  )


def selection_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--track', default='default', help='folder below splits; default default'
  )
  parser.add_argument(
    '--exclude',
    metavar='F',
    help='leave out what this exclusion list names; default: the '
    "track's own splits/TRACK/exclusions.txt",
  )
