"""diagnose: one checkpoint decoded freely, constrained and ranked."""

import argparse
from collections.abc import Mapping, Sequence
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from it_study.commands import flags
from it_study.commands.flags import GIN_DETAILS, Command
from it_study.commands.progress import CountProgress
from it_study.corpus import locate, natinst
from it_study.errors import InputError, nearest_path
from it_study.storage import local_folders, text_files
from it_study.storage.storage_path import StoragePath

if TYPE_CHECKING:
  from it_study.checkpoints.weights_source import WeightsSource
  from it_study.models.config import T5Config
  from it_study.models.decoder_only.config import DecoderConfig
  from it_study.predictions import Prediction

# The command was called audit; files and the default folder keep that name.
_RECORD = 'audit.json'
_METHODS = (
  'greedy',
  'constrained',
  'ranked',
  'ranked_normalized',
  'ranked_conditional',
)


def _add_flags(parser: argparse.ArgumentParser) -> None:
  flags.add_gin_flags(parser)
  parser.add_argument(
    'checkpoint',
    metavar='CHECKPOINT',
    help='MODEL_DIR of a training, a Hugging Face folder, or gs://...',
  )
  flags.add_corpus_flag(parser, required=True)
  parser.add_argument(
    '--condition',
    default='natinst_def_original_ex_original2',
    metavar='NAME',
    help='condition to test under; default %(default)s',
  )
  flags.add_split_flag(parser)
  parser.add_argument(
    '--out',
    default='it_study_audit',
    metavar='DIR',
    help='folder for predictions and results.json; default %(default)s',
  )


def diagnose(options: argparse.Namespace) -> None:
  """Decodes a checkpoint with every method, and decomposes its errors."""
  from it_study import distributed
  from it_study.checkpoints import weights_source
  from it_study.commands.runs import configuration

  checkpoint: str = options.checkpoint
  if StoragePath(checkpoint).local is not None:
    checkpoint = str(pathlib.Path(checkpoint).resolve())
  # Resolved once, so that all methods decode the same step of a training that
  # is still running.
  source = weights_source.resolve(checkpoint)
  options.gin_bindings = [
    f'CORPUS={options.corpus!r}',
    *options.gin_bindings,
  ]
  files = ['runs/predict.gin', *options.gin_file]
  if not options.gin_file:
    own_files, own_bindings = _own_config(source)
    files += own_files
    options.gin_bindings = [*own_bindings, *options.gin_bindings]
  supplied = ('MIXTURE_OR_TASK_NAME', 'CHECKPOINT_PATH', 'INFER_OUTPUT_DIR')
  config = configuration.configure(
    options, files=files, supplied=(*supplied, 'MODEL_DIR')
  )
  distributed.refuse('diagnose')
  out = pathlib.Path(options.out)
  with local_folders.locked(out):
    _claim(
      out,
      {
        'checkpoint': checkpoint,
        'condition': options.condition,
        'split': options.split,
        'config': config,
      },
    )
    configuration.use_corpus(checkpoint=str(source.path))
    for method in _METHODS:
      _predict(options, str(source.path), out, method)
  corpus = natinst.open_corpus(locate.find(options.corpus))
  results = _measure(
    out, decodings=_METHODS, corpus=corpus, split=options.split
  )
  text_files.write_text(
    out / 'results.json', json.dumps(results, indent=2) + '\n'
  )
  if options.json:
    print(json.dumps(results))
  elif not options.quiet:
    _show(results, out)


COMMAND = Command(
  name='diagnose',
  run=diagnose,
  summary='decode a checkpoint freely, constrained and ranked, to tell format '
  'from knowledge errors',
  example='it-study diagnose /tmp/it_study_model --corpus miniature '
  '--out /tmp/it_study_audit',
  add_flags=_add_flags,
  details=(
    'Format errors are those that constraining answers to the label space '
    'removes; knowledge errors are those that remain. Also available as '
    f'audit, its former name. {GIN_DETAILS}'
  ),
  aliases=('audit',),
  continues=True,
  computes=True,
)


def _predict(
  options: argparse.Namespace,
  checkpoint: str,
  out: pathlib.Path,
  method: str,
) -> None:
  """Predicts, unless done before: inference.json is written last."""
  folder = out / method
  if (folder / 'inference.json').is_file():
    return
  from it_study import gin_utils
  from it_study.commands.runs import configuration

  with CountProgress(f'{method} answers', quiet=options.quiet) as show:
    configuration.engine_call('predict')(
      mixture_or_task_name=options.condition,
      checkpoint_path=checkpoint,
      infer_output_dir=folder,
      split=options.split,
      decoding=gin_utils.configured('Decoding')(method=method),
      answer_dir=out / 'answers',
      on_progress=show,
    )


def _own_config(source: 'WeightsSource') -> tuple[list[str], list[str]]:
  """Returns gin files and bindings of the model that a checkpoint describes."""
  from it_study.checkpoints import folder_hints
  from it_study.checkpoints.hf import params

  path = pathlib.Path(str(source.path))
  for folder in (path, *path.parents[:2]):
    if (folder / 'config.gin').is_file():
      return [str(folder / 'config.gin')], []
  if source.format == 'hf':
    return [], _bindings(params.read_model_config(path))
  if not path.exists():
    raise InputError(
      f'{source.path}: no such checkpoint. Give the MODEL_DIR of a training, '
      f'or a Hugging Face folder.{nearest_path(path)}'
    )
  raise InputError(
    f'{source.path}: the size of the model is unknown, since the folder has '
    "neither an it-study training's config.gin nor a Hugging Face config.json. "
    'Name its gin file, such as --gin_file=models/t5_1_1_large.gin.'
    f'{folder_hints.hint(path)}'
  )


def _bindings(config: 'T5Config | DecoderConfig') -> list[str]:
  """Returns the gin bindings of a model's configuration."""
  from it_study.models.decoder_only.config import Rope

  owner = type(config).__name__
  bindings = [f'MODEL=@{owner}']
  for key, value in vars(config).items():
    # The vocabulary and the device determine these two.
    if key in ('vocab_size', 'dtype'):
      continue
    if isinstance(value, Rope):
      bindings += [f'{key}/Rope.{k}={v!r}' for k, v in vars(value).items()]
      bindings.append(f'{owner}.{key}=@{key}/Rope()')
    else:
      bindings.append(f'{owner}.{key}={value!r}')
  return bindings


def _claim(out: pathlib.Path, record: dict[str, str]) -> None:
  """Records the settings of a folder, or checks that they are unchanged."""
  path = out / _RECORD
  if not path.exists():
    text_files.write_json(path, record)
    return
  stored = text_files.read_json(
    path, advice='Remove the file if the settings are unchanged.'
  )
  different = [name for name in record if stored.get(name) != record[name]]
  if different:
    name = different[0]
    shown = (
      ''
      if name == 'config'
      else f': it has {stored.get(name)!r}, this one {record[name]!r}'
    )
    raise InputError(
      f'{out} holds a diagnosis with a different {name}{shown}. Choose another '
      '--out.'
    )


def _measure(
  out: pathlib.Path,
  *,
  decodings: Sequence[str],
  corpus: natinst.Corpus,
  split: str,
) -> dict[str, Any]:
  """Scores each decoding, and splits errors into format and knowledge.

  Args:
    out: Folder with the predictions of each decoding.
    decodings: Names of the decodings, 'greedy' and 'constrained' among them.
    corpus: Corpus of the predictions.
    split: Split of the predictions.

  Returns:
    Contents of results.json. Scores are percentages, differences points.
  """
  from it_study.evaluation import score

  rows = {
    name: score.load_rows(
      out / name / 'predictions.jsonl', corpus=corpus, split=split
    ).rows
    for name in decodings
  }
  results: dict[str, Any] = {
    'decodings': {
      name: _entry(
        predictions,
        greedy=None if name == 'greedy' else rows['greedy'],
        corpus=corpus,
        split=split,
      )
      for name, predictions in rows.items()
    }
  }
  free = results['decodings']['greedy']['exact_match']
  constrained = results['decodings']['constrained']['exact_match']
  if free is not None:
    results['format_error'] = constrained - free
    results['knowledge_error'] = 100.0 - constrained
  return results


def _entry(
  rows: 'Sequence[Prediction]',
  *,
  greedy: 'Sequence[Prediction] | None',
  corpus: natinst.Corpus,
  split: str,
) -> dict[str, Any]:
  """Returns the scores of one decoding, and its difference to greedy's."""
  from it_study.evaluation import decomposition, score
  from it_study.evaluation.stats.comparison import PairedRows

  metrics = score.score_rows(rows, corpus=corpus, split=split)
  parts = decomposition.decompositions(rows)
  overall = parts.get(('headline', 'classification'))
  entry = {
    'exact_match': None if overall is None else 100.0 * overall.exact_match,
    'format_correctness': (
      None if overall is None else 100.0 * overall.in_format
    ),
    'skill': (
      None
      if overall is None or overall.skill is None
      else 100.0 * overall.skill
    ),
    'metrics': metrics,
  }
  if greedy is None:
    return entry
  difference = PairedRows([(rows, greedy)]).difference(
    'exact_match', 'classification'
  )
  if difference is not None:
    interval = difference.estimate.interval()
    entry['beyond_greedy'] = {
      'difference': interval.mean,
      'low': interval.low,
      'high': interval.high,
      'p_value': difference.estimate.p_value(),
      'varies': difference.estimate.varies,
    }
  return entry


def _show(results: Mapping[str, Any], out: pathlib.Path) -> None:
  from rich import box, console, table as rich_table

  from it_study.commands import score_tables

  if 'format_error' not in results:
    print(
      'it-study: note: this split has no classification instances.',
      file=sys.stderr,
    )
    return
  table = rich_table.Table(box=box.SIMPLE)
  table.add_column('classification', min_width=18)
  for name in ('exact match', 'in format', 'skill', 'beyond greedy'):
    table.add_column(name, justify='right', no_wrap=True)
  for name, entry in results['decodings'].items():
    beyond = entry.get('beyond_greedy')
    table.add_row(
      name,
      *(
        '–' if entry[key] is None else f'{entry[key]:.1f}'
        for key in ('exact_match', 'format_correctness', 'skill')
      ),
      ''
      if beyond is None
      else f'{beyond["difference"]:+.1f} '
      f'[{beyond["low"]:+.1f}, {beyond["high"]:+.1f}]',
    )
  screen = console.Console(highlight=False)
  screen.print(table)
  screen.print(
    f'Format errors: {results["format_error"]:.1f} points, the gain in exact '
    'match when answers are constrained to the label space. Knowledge errors: '
    f'{results["knowledge_error"]:.1f} points, the errors that remain.'
  )
  if any(
    not entry['beyond_greedy']['varies']
    for entry in results['decodings'].values()
    if 'beyond_greedy' in entry
  ):
    screen.print(score_tables.NO_VARIATION)
  print(f'predictions: {out}')
