"""score: metrics of a prediction file."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from it_study.commands import flags
from it_study.commands.flags import Command
from it_study.corpus import locate, natinst
from it_study.errors import InputError, visible
from it_study.storage import text_files

if TYPE_CHECKING:
  from it_study.evaluation import formats, rouge
  from it_study.predictions import Prediction


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'predictions', metavar='PREDICTIONS', help='prediction file, any format'
  )
  flags.add_module_flag(parser)
  flags.add_corpus_flag(parser, required=False)
  flags.add_task_flag(parser)
  parser.add_argument(
    '--references',
    metavar='F',
    help="the natural-instructions leaderboard's references.jsonl (or CSV), in "
    'place of a corpus',
  )
  flags.add_split_flag(parser, default=None)
  parser.add_argument('--out', metavar='F', help='write metrics.json to F')
  parser.add_argument(
    '--per_task', action='store_true', help='add a row for each task'
  )
  parser.add_argument(
    '--decomposition',
    metavar='F',
    help='write exact match decomposed into format, accuracy within the format '
    'and skill beyond guessing to F, by task, category and overall',
  )
  parser.add_argument(
    '--spread',
    metavar='F',
    help='write exact match by task, and its median and quartiles over the '
    'tasks of each category, to F',
  )
  parser.add_argument(
    '--track',
    choices=('default', 'xlingual'),
    default='default',
    help='tokenization for ROUGE: English stems (default) or GPT-2 tokens '
    '(xlingual); also the track to keep of --references',
  )
  parser.add_argument(
    '--tokenizer',
    metavar='F',
    help="GPT-2's tokenizer.json, for --track xlingual",
  )


def score(options: argparse.Namespace) -> None:
  """Scores a prediction file."""
  from it_study.evaluation import score as scoring

  corpus = open_corpus(options)
  references = _open_references(options)
  result = scoring.score_file(
    options.predictions,
    corpus=corpus,
    references=references,
    split=options.split,
    out=options.out,
    scorer=_scorer(options),
  )
  # Whatever can fail comes before anything is printed.
  sentences = []
  if options.decomposition or options.spread:
    rows = scoring.load_rows(
      options.predictions,
      corpus=corpus,
      references=references,
      split=options.split,
    ).rows
    sentences = [*_decompose(options, rows), *_spread(options, rows)]
  print_notes(options, result.notes)
  print_metrics(options, result.metrics, per_task=options.per_task)
  if not (options.json or options.quiet):
    for sentence in sentences:
      print(visible(sentence))


COMMAND = Command(
  name='score',
  run=score,
  summary='score predictions of it-study and of other systems',
  example='it-study baseline random --corpus miniature --out /tmp/random.jsonl '
  '&& it-study score /tmp/random.jsonl --corpus miniature',
  add_flags=_add_flags,
)


def open_corpus(options: argparse.Namespace) -> natinst.Corpus | None:
  """Checks --split and opens --corpus or --task, None if none is given."""
  if options.seqio_task is not None:
    if options.corpus is not None:
      raise InputError(
        '--corpus and --task both say what was predicted. Leave one out.'
      )
    corpus = open_task(options.seqio_task)
  else:
    if options.split is not None:
      natinst.check_split(options.split)
    if options.corpus is None:
      return None
    corpus = natinst.open_corpus(locate.find(options.corpus))
  if options.split is not None:
    corpus.check_has(options.split)
  return corpus


def open_task(name: str) -> natinst.Corpus:
  """Opens a SeqIO task or mixture as a corpus."""
  from it_study import seqio_lib
  from it_study.data.seqio_tasks import corpus

  return corpus.make(seqio_lib.find_task(name))


def print_notes(options: argparse.Namespace, notes: Iterable[str]) -> None:
  """Prints notes to standard error, unless --quiet."""
  if not options.quiet:
    for note in notes:
      print(visible(f'it-study: note: {note}'), file=sys.stderr)


def print_metrics(
  options: argparse.Namespace, metrics: Mapping, *, per_task: bool
) -> None:
  """Prints metrics as a table, or as JSON with --json."""
  if options.json:
    print(json.dumps(metrics))
  elif not options.quiet:
    from it_study.commands import score_tables

    score_tables.print_metrics(metrics, per_task=per_task)


def _open_references(
  options: argparse.Namespace,
) -> 'formats.References | None':
  from it_study.evaluation import formats

  if options.references is None:
    return None
  if options.corpus is not None or options.seqio_task is not None:
    flag = '--corpus' if options.seqio_task is None else '--task'
    raise InputError(
      f'{flag} and --references both hold references. Leave out --references: '
      f'a {flag[2:]} also has kinds and label spaces.'
    )
  return formats.read_references(options.references, track=options.track)


def _decompose(
  options: argparse.Namespace, rows: 'Sequence[Prediction]'
) -> list[str]:
  """Writes --decomposition; returns the overall one as a sentence."""
  from it_study.evaluation import decomposition

  if not options.decomposition:
    return []
  groups = decomposition.decompositions(rows)
  _write(
    options.decomposition,
    [
      {'group_type': kind, 'group': name, **dataclasses.asdict(parts)}
      for (kind, name), parts in groups.items()
    ],
  )
  overall = groups.get(('headline', 'classification'))
  return [] if overall is None else [decomposition.sentence(overall)]


def _spread(
  options: argparse.Namespace, rows: 'Sequence[Prediction]'
) -> list[str]:
  """Writes --spread; returns a line for each category."""
  from it_study.evaluation import prompt_spread

  if not options.spread:
    return []
  spreads = prompt_spread.spreads(rows)
  _write(options.spread, [dataclasses.asdict(spread) for spread in spreads])
  return [str(spread) for spread in spreads]


def _write(path: str, content: list[dict]) -> None:
  text_files.write_text(path, json.dumps(content, indent=2) + '\n')


def _scorer(options: argparse.Namespace) -> 'rouge.Rouge | None':
  from it_study.evaluation import rouge

  if options.track == 'default':
    if options.tokenizer is not None:
      raise InputError(
        '--tokenizer is only used by the cross-lingual track. Add --track '
        'xlingual, or leave out --tokenizer.'
      )
    return None
  if options.tokenizer is None:
    raise InputError(
      "--track xlingual needs GPT-2's tokenizer. Pass its tokenizer.json with "
      "--tokenizer F; model hubs ship it with GPT-2's weights."
    )
  return rouge.Rouge(rouge.byte_pair_words(options.tokenizer))
