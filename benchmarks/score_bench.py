"""Compares the speed of scoring with that of the rouge_score package.

  python benchmarks/score_bench.py [--corpus NATINST] [--rounds 3]

Scores two baselines' predictions for every test instance in three ways:
`reference` creates a scorer of rouge_score for every prediction, reference and
metric, as Super-NaturalInstructions' evaluation does; `shared` creates one in
all; `ours` is `metrics.compute_metrics`. Prints the median seconds of each and,
in brackets, the ratio to ours. Expect about 10 and 5. Fails if our scores
differ from the reference's.
"""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import os
import string
import subprocess
import sys
import time

from rouge_score import rouge_scorer

from it_study.corpus import locate, natinst
from it_study.evaluation import baselines, metrics
from it_study.predictions import Prediction


def by_reference(rows: Sequence[Prediction]) -> tuple[float, ...]:
  """Returns exact match, ROUGE-1 and ROUGE-L in percent by the reference."""

  def normalize(text: str) -> str:
    text = ''.join(c for c in text.lower() if c not in set(string.punctuation))
    return ' '.join(text.split())

  def f_measure(name: str, prediction: str, target: str) -> float:
    scorer = rouge_scorer.RougeScorer([name], use_stemmer=True)
    return scorer.score(prediction=prediction, target=target)[name].fmeasure

  totals = [0.0] * 3
  for row in rows:
    totals[0] += max(
      normalize(row.prediction) == normalize(t) for t in row.targets
    )
    for index, name in ((1, 'rouge1'), (2, 'rougeL')):
      totals[index] += max(
        f_measure(name, row.prediction, t) for t in row.targets
      )
  return tuple(100 * total / len(rows) for total in totals)


def by_shared_scorer(rows: Sequence[Prediction]) -> tuple[float, ...]:
  """Returns ROUGE-1 and ROUGE-L by one scorer of rouge_score for all rows."""
  scorer = rouge_scorer.RougeScorer(['rouge1', 'rougeL'], use_stemmer=True)
  totals = [0.0] * 2
  for row in rows:
    scores = [scorer.score(t, row.prediction) for t in row.targets]
    for index, name in enumerate(('rouge1', 'rougeL')):
      totals[index] += max(score[name].fmeasure for score in scores)
  return tuple(100 * total / len(rows) for total in totals)


def by_us(rows: Sequence[Prediction]) -> tuple[float, ...]:
  """Returns exact match, ROUGE-1 and ROUGE-L in percent by our metrics."""
  group = metrics.compute_metrics(rows)['overall']
  return tuple(group[n] for n in ('exact_match', 'rouge_1', 'rouge_l'))


_METHODS: dict[str, Callable] = {
  'reference': by_reference,
  'shared': by_shared_scorer,
  'ours': by_us,
}


def main() -> None:
  """Prints a line for each baseline."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--corpus',
    default=os.environ.get('NATINST_DIR', 'miniature'),
    help='corpus whose test instances to score (default: $NATINST_DIR, or the '
    'miniature)',
  )
  parser.add_argument(
    '--rounds',
    type=int,
    default=3,
    help='timed runs of each method (default: %(default)s)',
  )
  parser.add_argument('--only', nargs=2, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.only:
    method, name = options.only
    corpus = natinst.open_corpus(locate.find(options.corpus))
    rows = baselines.run_baseline(name, corpus=corpus)
    # Triggers lazy imports, with words that leave the methods' caches cold for
    # the rows.
    warm_up = dataclasses.replace(
      rows[0], prediction='warming cats', targets=('cats warming',)
    )
    _METHODS[method]([warm_up])
    started = time.perf_counter()
    result = _METHODS[method](rows)
    print(time.perf_counter() - started, len(rows), *result)
    return
  for name in ('copy_demo', 'copy_input'):
    seconds: dict[str, list[float]] = {method: [] for method in _METHODS}
    results: dict[str, list[float]] = {}
    for _ in range(options.rounds):
      for method in _METHODS:
        # A new process each, so that no method uses another's cache.
        words = [sys.executable, __file__, f'--corpus={options.corpus}']
        output = subprocess.run(
          [*words, '--only', method, name],
          check=True,
          capture_output=True,
          text=True,
        ).stdout
        took, count, *results[method] = map(float, output.split())
        seconds[method].append(took)
    assert all(
      abs(a - b) < 1e-4
      for a, b in zip(results['ours'], results['reference'], strict=True)
    )
    medians = {w: sorted(s)[len(s) // 2] for w, s in seconds.items()}
    print(
      f'{name}, {count:,.0f} rows: '
      + ', '.join(
        f'{method} {medians[method]:.2f} s '
        f'({medians[method] / medians["ours"]:.1f})'
        for method in _METHODS
      )
    )


if __name__ == '__main__':
  main()
