"""audit: one checkpoint decoded freely, constrained, and ranked."""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import sys
from typing import Any

from it_study import gin_utils
from it_study.checkpoints import bucket_weights
from it_study.checkpoints.hf import params
from it_study.commands.runs import runs
from it_study.corpus import locate, natinst
from it_study.errors import InputError, nearest_path
from it_study.storage import local_folders, text_files
from it_study.storage.storage_path import StoragePath

_RECORD = 'audit.json'
_METHODS = (
  'greedy',
  'constrained',
  'ranked',
  'ranked_normalized',
  'ranked_conditional',
)


def audit(options: argparse.Namespace) -> None:
  """Decodes a checkpoint in every way, and splits its errors."""
  checkpoint = options.checkpoint
  if StoragePath(checkpoint).local is not None:
    checkpoint = str(pathlib.Path(checkpoint).resolve())
  # Once, so that all methods decode the same, whatever is trained meanwhile.
  weights = bucket_weights.to_local(checkpoint)
  options.gin_bindings = [
    f'CORPUS={options.corpus!r}',
    *options.gin_bindings,
  ]
  files = ['runs/predict.gin', *options.gin_file]
  if not options.gin_file:
    own_files, own_bindings = _own_config(weights)
    files += own_files
    options.gin_bindings = [*own_bindings, *options.gin_bindings]
  supplied = ('MIXTURE_OR_TASK_NAME', 'CHECKPOINT_PATH', 'INFER_OUTPUT_DIR')
  config = runs.configure(
    options, files=files, supplied=(*supplied, 'MODEL_DIR')
  )
  # Imported here, as it imports JAX.
  from it_study import distributed

  distributed.refuse('audit')
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
    runs.use_corpus()
    for method in _METHODS:
      _predict(options, weights, out, method)
  corpus = natinst.open_corpus(locate.find(options.corpus))
  found = _measure(out, decodings=_METHODS, corpus=corpus, split=options.split)
  text_files.write_text(
    out / 'results.json', json.dumps(found, indent=2) + '\n'
  )
  if options.json:
    print(json.dumps(found))
  elif not options.quiet:
    _show(found, out)


def _predict(
  options: argparse.Namespace,
  checkpoint: str,
  out: pathlib.Path,
  method: str,
) -> None:
  """Predicts unless that is done: inference.json is written last."""
  folder = out / method
  if (folder / 'inference.json').is_file():
    return
  from it_study.commands.progress import CountProgress

  with CountProgress(f'{method} answers', quiet=options.quiet) as show:
    runs.engine_call('predict')(
      mixture_or_task_name=options.condition,
      checkpoint_path=checkpoint,
      infer_output_dir=folder,
      split=options.split,
      decoding=gin_utils.configured('Decoding')(method=method),
      answer_dir=out / 'answers',
      on_progress=show,
    )


def _own_config(checkpoint: str) -> tuple[list[str], list[str]]:
  """Gin files and bindings of a checkpoint that says which model it is of."""
  path = pathlib.Path(checkpoint)
  for folder in (path, *path.parents[:2]):
    if (folder / 'config.gin').is_file():
      return [str(folder / 'config.gin')], []
  if params.is_folder(path):
    config = dataclasses.asdict(params.read_model_config(path))
    # These two are told by the vocabulary and the device.
    del config['vocab_size'], config['dtype']
    return [], [f'T5Config.{key}={value!r}' for key, value in config.items()]
  if not path.exists():
    raise InputError(
      f'{checkpoint}: no such checkpoint. Name the MODEL_DIR of a training, or '
      f'a folder of Hugging Face.{nearest_path(path)}'
    )
  raise InputError(
    f'{checkpoint}: neither the config.gin of a training of ours nor the '
    "config.json of Hugging Face's is there, so the model's size is not known. "
    'Name its gin files, such as --gin_file=models/t5_1_1_large.gin.'
  )


def _claim(out: pathlib.Path, record: dict[str, str]) -> None:
  path = out / _RECORD
  if not path.exists():
    text_files.write_text(path, json.dumps(record, indent=2) + '\n')
    return
  before = json.loads(path.read_text(encoding='utf-8'))
  different = [name for name in record if before.get(name) != record[name]]
  if different:
    name = different[0]
    shown = (
      ''
      if name == 'config'
      else f': there {before.get(name)!r}, now {record[name]!r}'
    )
    raise InputError(
      f'{out} holds another audit, of another {name}{shown}. Name another '
      '--out.'
    )


def _measure(
  out: pathlib.Path,
  *,
  decodings: Sequence[str],
  corpus: natinst.Corpus,
  split: str,
) -> dict[str, Any]:
  """Scores of each decoding, and what form and knowledge cost."""
  from it_study.evaluation import decomposition, score
  from it_study.evaluation.stats.comparison import PairedRows

  rows = {
    name: score.load_rows(
      out / name / 'predictions.jsonl', corpus=corpus, split=split
    ).rows
    for name in decodings
  }
  found: dict[str, Any] = {'decodings': {}}
  for name, several in rows.items():
    metrics = score.score_rows(several, corpus=corpus, split=split)
    parts = decomposition.decompositions(several)
    whole = parts.get(('headline', 'classification'))
    entry = {
      'exact_match': _percent(whole and whole.exact_match),
      'format_correctness': _percent(whole and whole.in_format),
      'skill': _percent(whole and whole.skill),
      'metrics': metrics,
    }
    difference = None
    if name != 'greedy':
      difference = PairedRows([(several, rows['greedy'])]).difference(
        'exact_match', 'classification'
      )
    if difference is not None:
      interval = difference.estimate.interval()
      entry['beyond_greedy'] = {
        'difference': interval.mean,
        'low': interval.low,
        'high': interval.high,
        'p_value': difference.estimate.p_value(),
      }
    found['decodings'][name] = entry
  free = found['decodings']['greedy']['exact_match']
  kept = found['decodings']['constrained']['exact_match']
  if free is not None:
    # Of what is wrong when decoded freely, what form alone explains.
    found['format_error'] = kept - free
    found['knowledge_error'] = 100.0 - kept
  return found


def _percent(value: float | None) -> float | None:
  return None if value is None else 100.0 * value


def _show(found: dict[str, Any], out: pathlib.Path) -> None:
  from rich import box, console, table as rich_table

  if 'format_error' not in found:
    print(
      'it-study: note: no classification instance in this split.',
      file=sys.stderr,
    )
    return
  table = rich_table.Table(box=box.SIMPLE)
  table.add_column('classification', min_width=18)
  for name in ('exact match', 'in format', 'skill', 'beyond greedy'):
    table.add_column(name, justify='right', no_wrap=True)
  for name, entry in found['decodings'].items():
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
    f'Form costs {found["format_error"]:.1f} points: what exact match gains '
    'when answers are kept to the label space. Knowledge costs '
    f'{found["knowledge_error"]:.1f}: what is wrong even then.'
  )
  print(f'predictions: {out}')
