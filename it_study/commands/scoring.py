"""score, baseline and compare: numbers without a device."""

import argparse
from collections.abc import Iterable, Mapping
import dataclasses
import json
import sys

from it_study import predictions
from it_study.commands import score_tables
from it_study.corpus import locate, natinst
from it_study.errors import InputError
from it_study.evaluation import baselines, rouge, score as scoring
from it_study.storage import text_files


def score(options: argparse.Namespace) -> None:
  """Scores a file of predictions."""
  corpus = _corpus(options)
  result = scoring.score_file(
    options.predictions,
    corpus=corpus,
    split=options.split,
    out=options.out,
    scorer=_scorer(options),
  )
  # What can fail comes first, and then what is shown.
  sentence = _decompose(options, corpus) if options.decomposition else ''
  _tell(options, result.notes)
  _show(options, result.metrics, per_task=options.per_task)
  if sentence and not (options.json or options.quiet):
    print(sentence)


def _corpus(options: argparse.Namespace) -> natinst.Corpus | None:
  """The corpus that is named, if one is, and a look at the split."""
  if options.split is not None:
    natinst.check_split(options.split)
  if options.corpus is None:
    return None
  return natinst.open_corpus(locate.find(options.corpus))


def _decompose(
  options: argparse.Namespace, corpus: natinst.Corpus | None
) -> str:
  """Writes exact match taken apart; returns that of the whole, in words."""
  from it_study.evaluation import decomposition

  loaded = scoring.load_rows(
    options.predictions, corpus=corpus, split=options.split
  )
  found = decomposition.decompositions(loaded.rows)
  text_files.write_text(
    options.decomposition,
    json.dumps(
      [
        {'group_type': kind, 'group': name, **dataclasses.asdict(parts)}
        for (kind, name), parts in found.items()
      ],
      indent=2,
    )
    + '\n',
  )
  whole = found.get(('headline', 'classification'))
  return '' if whole is None else decomposition.sentence(whole)


def baseline(options: argparse.Namespace) -> None:
  """Predicts without a model, and scores."""
  if options.simulate < 0:
    raise InputError(
      f'--simulate is {options.simulate}; give a number of draws, such as '
      '100000.'
    )
  corpus = natinst.open_corpus(locate.find(options.corpus))
  natinst.check_split(options.split)
  rows = baselines.run_baseline(
    options.baseline, corpus=corpus, split=options.split, seed=options.seed
  )
  if options.out:
    predictions.write_predictions(options.out, rows)
  metrics = scoring.score_rows(rows, corpus=corpus, split=options.split)
  if options.metrics:
    scoring.write_metrics(options.metrics, metrics)
  _show(options, metrics, per_task=False)
  if not (options.json or options.quiet):
    _print_expectation(options, corpus)


def compare(options: argparse.Namespace) -> None:
  """Holds two prediction files against each other, instance by instance."""
  # Imported here, as statistics take a moment to import.
  from it_study.commands import score_tables
  from it_study.evaluation.stats import comparison

  comparison.check_margin(options.margin, setting='--margin')
  corpus = _corpus(options)
  seeds, notes = [], {}
  pairs = ((options.first, options.second), *(options.seed_pair or ()))
  for paths in pairs:
    loaded = [
      scoring.load_rows(path, corpus=corpus, split=options.split)
      for path in paths
    ]
    notes |= dict.fromkeys(note for rows in loaded for note in rows.notes)
    seeds.append(tuple(rows.rows for rows in loaded))
  result = comparison.compare(seeds, margin=options.margin, names=pairs)
  if options.out:
    text_files.write_text(
      options.out, json.dumps(result.to_json(), indent=2) + '\n'
    )
  _tell(options, notes)
  if options.json:
    print(json.dumps(result.to_json()))
  elif not options.quiet:
    score_tables.print_comparison(result, per_category=options.per_category)


def _print_expectation(
  options: argparse.Namespace, corpus: natinst.Corpus
) -> None:
  """What the baseline scores on average, and in a simulation if asked for."""
  from it_study.evaluation import closed_forms

  forms = closed_forms.closed_forms(
    options.baseline, corpus=corpus, split=options.split
  )
  form = forms.get(('headline', 'classification'))
  if form is None:
    return
  print(
    f'Expected on classification: {form.exact_match:.2f}% exact match, '
    f'standard deviation of a draw {form.standard_deviation:.2f}, '
    f'{form.level:.0%} of draws from {form.low:.2f} to {form.high:.2f}.'
  )
  if options.simulate:
    means = closed_forms.simulate(
      options.baseline,
      corpus=corpus,
      split=options.split,
      num_draws=options.simulate,
      seed=options.seed,
    )
    inside = ((means >= form.low - 1e-9) & (means <= form.high + 1e-9)).mean()
    print(
      f'{len(means):,} draws: {means.mean():.4f}%, standard deviation '
      f'{means.std():.4f} (closed form {form.exact_match:.4f} and '
      f'{form.standard_deviation:.4f}), {inside:.1%} within the range.'
    )


def _scorer(options: argparse.Namespace) -> rouge.Rouge | None:
  if options.track == 'default':
    if options.tokenizer is not None:
      raise InputError(
        '--tokenizer is for the cross-lingual track; add --track xlingual, or '
        'leave it out: the default track splits English words.'
      )
    return None
  if options.tokenizer is None:
    raise InputError(
      "the cross-lingual track splits words by GPT-2's tokenizer; name its "
      'tokenizer.json with --tokenizer F. It lies beside the weights of GPT-2 '
      'on model hubs.'
    )
  return rouge.Rouge(rouge.byte_pair_words(options.tokenizer))


def _tell(options: argparse.Namespace, notes: Iterable[str]) -> None:
  if not options.quiet:
    for note in notes:
      print(f'it-study: note: {note}', file=sys.stderr)


def _show(
  options: argparse.Namespace, metrics: Mapping, *, per_task: bool
) -> None:
  if options.json:
    print(json.dumps(metrics))
  elif not options.quiet:
    from rich import console

    console.Console().print(
      score_tables.metrics_table(metrics, per_task=per_task)
    )
