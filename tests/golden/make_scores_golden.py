"""Writes scores_golden.json: scores by Super-NaturalInstructions' rules.

  python tests/golden/make_scores_golden.py [CORPUS_DIR]

Computes exact match after lower-casing, removing ASCII punctuation and
collapsing white space, and ROUGE-1 and ROUGE-L by the rouge_score package with
stemming: the best over the references, averaged over a task's test instances,
in percent. This is an independent implementation, which shares only the reading
of task files with it_study. Always scores a small miniature, and the sample of
real task files in CORPUS_DIR, if it is given.
"""

import json
import pathlib
import string
import sys
import tempfile

from rouge_score import rouge_scorer
from scored_predictions import kinds_of_predictions

from it_study.corpus import natinst
from it_study.corpus.miniature import benchmark as mini

PATH = pathlib.Path(__file__).with_name('scores_golden.json')
ROUGE = {
  name: rouge_scorer.RougeScorer([name], use_stemmer=True)
  for name in ('rouge1', 'rougeL')
}


def normalize(text):
  text = ''.join(c for c in text.lower() if c not in string.punctuation)
  return ' '.join(text.split())


def is_exact(prediction, reference):
  return float(normalize(prediction) == normalize(reference))


def f_measure(name):
  return lambda prediction, reference: (
    ROUGE[name].score(target=reference, prediction=prediction)[name].fmeasure
  )


def mean_of_best(rows, function):
  best = [max(function(r.prediction, t) for t in r.targets) for r in rows]
  return round(100 * sum(best) / len(best), 4)


def scores_of(corpus):
  kinds = {}
  for kind, rows in kinds_of_predictions(corpus):
    by_task = {}
    for row in rows:
      by_task.setdefault(row.task, []).append(row)
    kinds[kind] = {
      task: [
        mean_of_best(task_rows, function)
        for function in (is_exact, f_measure('rouge1'), f_measure('rougeL'))
      ]
      for task, task_rows in by_task.items()
    }
  return kinds


def main():
  with tempfile.TemporaryDirectory() as folder:
    corpora = {'miniature': mini.write_miniature(folder, size=mini.SMALL)}
    if len(sys.argv) > 1:
      corpora['natinst'] = sys.argv[1]
    golden = {
      name: scores_of(natinst.open_corpus(corpus))
      for name, corpus in corpora.items()
    }
  PATH.write_text(json.dumps(golden, indent=1, sort_keys=True) + '\n')


if __name__ == '__main__':
  main()
