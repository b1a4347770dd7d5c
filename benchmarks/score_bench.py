"""Scores the same rows by the reference's rules and by ours, in one run.

The reference makes a scorer of rouge_score for every prediction, reference and
metric, as Super-NaturalInstructions' evaluation does; `shared` makes one for
all. Both must give the same numbers.
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
  """Exact match, ROUGE-1 and ROUGE-L in percent, by the reference's rules."""

  def normalize(text: str) -> str:
    kept = ''.join(c for c in text.lower() if c not in set(string.punctuation))
    return ' '.join(kept.split())

  def f_measure(name: str, prediction: str, target: str) -> float:
    scorer = rouge_scorer.RougeScorer([name], use_stemmer=True)
    return scorer.score(prediction=prediction, target=target)[name].fmeasure

  totals = [0.0] * 3
  for row in rows:
    totals[0] += max(
      normalize(row.prediction) == normalize(t) for t in row.targets
    )
    for place, name in ((1, 'rouge1'), (2, 'rougeL')):
      totals[place] += max(
        f_measure(name, row.prediction, t) for t in row.targets
      )
  return tuple(100 * total / len(rows) for total in totals)


def by_shared_scorer(rows: Sequence[Prediction]) -> tuple[float, ...]:
  """ROUGE-1 and ROUGE-L with one scorer of rouge_score for all rows."""
  scorer = rouge_scorer.RougeScorer(['rouge1', 'rougeL'], use_stemmer=True)
  totals = [0.0] * 2
  for row in rows:
    scores = [scorer.score(t, row.prediction) for t in row.targets]
    for place, name in enumerate(('rouge1', 'rougeL')):
      totals[place] += max(score[name].fmeasure for score in scores)
  return tuple(100 * total / len(rows) for total in totals)


def by_us(rows: Sequence[Prediction]) -> tuple[float, ...]:
  group = metrics.compute_metrics(rows)['overall']
  return tuple(group[n] for n in ('exact_match', 'rouge_1', 'rouge_l'))


_WAYS: dict[str, Callable] = {
  'reference': by_reference,
  'shared': by_shared_scorer,
  'ours': by_us,
}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--corpus', default=os.environ.get('NATINST_DIR', 'miniature')
  )
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--only', nargs=2, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.only:
    way, name = options.only
    corpus = natinst.open_corpus(locate.find(options.corpus))
    rows = baselines.run_baseline(name, corpus=corpus)
    # Imports are no part of scoring; what a way caches, it has yet to find.
    warm = dataclasses.replace(
      rows[0], prediction='warming cats', targets=('cats warming',)
    )
    _WAYS[way]([warm])
    started = time.perf_counter()
    result = _WAYS[way](rows)
    print(time.perf_counter() - started, len(rows), *result)
    return
  for name in ('copy_demo', 'copy_input'):
    seconds: dict[str, list[float]] = {way: [] for way in _WAYS}
    results: dict[str, list[float]] = {}
    for _ in range(options.rounds):
      for way in _WAYS:
        # A process each, so that no way finds what another has cached.
        words = [sys.executable, __file__, f'--corpus={options.corpus}']
        output = subprocess.run(
          [*words, '--only', way, name],
          check=True,
          capture_output=True,
          text=True,
        ).stdout
        took, count, *results[way] = map(float, output.split())
        seconds[way].append(took)
    assert all(
      abs(a - b) < 1e-4
      for a, b in zip(results['ours'], results['reference'], strict=True)
    )
    medians = {w: sorted(s)[len(s) // 2] for w, s in seconds.items()}
    print(
      f'{name}, {count:,.0f} rows: '
      + ', '.join(
        f'{way} {medians[way]:.2f} s ({medians[way] / medians["ours"]:.1f})'
        for way in _WAYS
      )
    )


if __name__ == '__main__':
  main()
