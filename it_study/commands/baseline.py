"""baseline: predictions without a model, and their scores."""

import argparse
import json

from it_study.commands import flags, score
from it_study.commands.flags import Command
from it_study.corpus import natinst
from it_study.errors import InputError, visible
from it_study.evaluation import author_baseline


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'baseline',
    choices=('random', 'majority', 'prior', 'copy_input', 'copy_demo'),
    help='random: a uniform label; prior: a label drawn by its frequency '
    'among the unscored instances of the task; majority: the most frequent '
    'label there; copy_input: the input; copy_demo: the output of the first '
    'positive example',
  )
  flags.add_module_flag(parser)
  flags.add_corpus_flag(parser, required=False)
  flags.add_task_flag(parser)
  flags.add_split_flag(parser)
  flags.add_seed_flag(parser)
  parser.add_argument(
    '--rule',
    choices=('author',),
    help="author: count right answers as the author's notebook does, for "
    'random (100 // labels of 100) and majority, on test tasks whose '
    'definition mentions every label',
  )
  flags.add_label_spaces_flag(parser)
  parser.add_argument('--out', metavar='F', help='write predictions.jsonl to F')
  parser.add_argument('--metrics', metavar='F', help='write metrics.json to F')
  parser.add_argument(
    '--simulate',
    type=int,
    default=0,
    metavar='N',
    help='check the closed-form expectation against N draws; 100000 take '
    'seconds',
  )


def baseline(options: argparse.Namespace) -> None:
  """Predicts without a model, and scores the predictions."""
  from it_study import predictions
  from it_study.evaluation import baselines, score as scoring

  if options.simulate < 0:
    raise InputError(
      f'--simulate is {options.simulate}. Give a number of draws, such as '
      '100000.'
    )
  _check_rule(options)
  corpus = score.open_corpus(options)
  if corpus is None:
    raise InputError(
      'nothing to predict. Name a corpus, --corpus=DIR or --corpus=miniature, '
      'or a SeqIO task of your own, --task=NAME.'
    )
  if options.rule is not None:
    _count_as_author(options, corpus)
    return
  rows = baselines.run_baseline(
    options.baseline, corpus=corpus, split=options.split, seed=options.seed
  )
  if options.out:
    predictions.write_predictions(options.out, rows)
  metrics = scoring.score_rows(rows, corpus=corpus, split=options.split)
  if options.metrics:
    scoring.write_metrics(options.metrics, metrics)
  score.print_metrics(options, metrics, per_task=False)
  if not (options.json or options.quiet):
    _print_expectation(options, corpus)


COMMAND = Command(
  name='baseline',
  run=baseline,
  summary='predict without a model, and score the predictions',
  example='it-study baseline random --corpus miniature',
  add_flags=_add_flags,
)


def _check_rule(options: argparse.Namespace) -> None:
  """Raises `InputError` for flags that do not go with --rule."""
  if options.rule is None:
    if options.label_spaces is not None:
      raise InputError(
        "--label_spaces is only used by the author's rule. Add --rule author, "
        'or leave it out.'
      )
    return
  if options.baseline not in author_baseline.COUNTED:
    raise InputError(
      f'--rule {options.rule} counts {" and ".join(author_baseline.COUNTED)}, '
      f'not {options.baseline}. Leave out --rule, or name one of these.'
    )
  if options.seqio_task is not None:
    raise InputError(
      f'--rule {options.rule} counts on a corpus of task files. Leave out '
      '--rule, or name --corpus.'
    )
  if options.split != 'test':
    raise InputError(
      f'--rule {options.rule} counts on the test split, not on '
      f'{options.split!r}. Leave out --split.'
    )
  for flag in ('out', 'metrics', 'simulate'):
    if getattr(options, flag):
      raise InputError(
        f'--rule {options.rule} counts right answers without predicting any, '
        f'so --{flag} has no use. Leave it out; --json prints the counts.'
      )


def _count_as_author(
  options: argparse.Namespace, corpus: natinst.Corpus
) -> None:
  counts = author_baseline.author_baseline(
    corpus, label_spaces=options.label_spaces
  )
  if options.json:
    print(json.dumps(counts.to_json()))
  elif not options.quiet:
    for sentence in (
      counts.sentence(options.baseline),
      counts.origin(),
      *counts.notes,
    ):
      print(visible(sentence))


def _print_expectation(
  options: argparse.Namespace, corpus: natinst.Corpus
) -> None:
  """Prints the expected score, and the mean of a simulation if requested."""
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
    # The split has classification tasks, as there is a closed form.
    assert means is not None
    inside = (means >= form.low - 1e-9) & (means <= form.high + 1e-9)
    print(
      f'{len(means):,} draws: mean {means.mean():.4f}%, standard deviation '
      f'{means.std():.4f} (closed form: {form.exact_match:.4f} and '
      f'{form.standard_deviation:.4f}), {inside.mean():.1%} within the range.'
    )
