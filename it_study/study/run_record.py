"""What a study records of a run: its corpus, code and machine."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import importlib.metadata
import os
import pathlib
import subprocess
import sys
from typing import Any

import it_study
from it_study.conditions import EXAMPLE_LEVELS, PROMPT_TEMPLATES, Condition
from it_study.corpus import natinst
from it_study.evaluation import label_rules
from it_study.study.subjects import Corpora, Subject

# Packages that a number in the results may depend on: what computes, what makes
# the data, and what scores.
PACKAGES = (
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax-checkpoint',
  'grain',
  'seqio',
  'tensorflow',
  'tensorflow-datasets',
  'sentencepiece',
  'nltk',
  'rapidfuzz',
  'scipy',
  'numpy',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
  """What the caller of a study knows of a run.

  Attributes:
    config: Whole configuration as text.
    details: Entries of run.json: model, vocabulary, versions, device and more.
  """

  config: str = ''
  details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def versions() -> dict[str, str]:
  """Returns the versions of this library, Python and `PACKAGES`, by name."""
  return {
    'it_study': it_study.__version__,
    'python': sys.version.split()[0],
    **{name: importlib.metadata.version(name) for name in PACKAGES},
  }


def git_commit() -> str | None:
  """Returns the commit of this checkout, with + after it if files changed.

  None where the code is not in a git checkout.
  """
  folder = pathlib.Path(__file__).resolve().parents[2]
  if not (folder / '.git').exists():
    return None
  try:
    commit = _git(folder, 'rev-parse', 'HEAD')
    return commit + ('+' if _git(folder, 'status', '--porcelain') else '')
  except (OSError, subprocess.CalledProcessError):
    return None


def corpus_facts(
  path: str | os.PathLike[str] | None,
  corpora: Corpora,
  trained: Sequence[Subject],
) -> dict[str, Any]:
  """Returns what run.json says of the corpus, nothing without one."""
  corpus = corpora.conditions
  if path is None or corpus is None:
    return {}
  conditions = [c for c in trained if isinstance(c, Condition)]
  return {
    'corpus': os.fspath(path),
    'fingerprint': corpus.fingerprint(),
    'corpus_stats': task_counts(corpus),
    'label_rules': label_rules.expectations(corpus),
    'delusive_sources': delusive_sources(corpus, conditions),
  }


def own_facts(corpora: Corpora, splits: Sequence[str]) -> dict[str, Any]:
  """Returns what run.json says of own tasks, nothing without any."""
  return {'test_tasks': corpora.describe(splits)} if corpora.own else {}


def template_facts(used: Sequence[Subject]) -> dict[str, Any]:
  """Returns what run.json says of templates, nothing for natinst alone."""
  prefixes = {s.prefix for s in used if isinstance(s, Condition)}
  templates = {
    prefix: template and repr(template)
    for prefix in sorted(prefixes - {Condition().prefix})
    for template in [PROMPT_TEMPLATES.get(prefix)]
  }
  return {'prompt_templates': templates} if templates else {}


def task_counts(corpus: natinst.Corpus) -> dict[str, int]:
  """Counts tasks by split and kind."""
  stats = {}
  for split, names in (
    ('train', corpus.train_tasks),
    ('test', corpus.test_tasks),
  ):
    kinds = collections.Counter(corpus.load(n).task.kind for n in names)
    stats[f'{split}_tasks'] = len(names)
    stats[f'classification_{split}_tasks'] = kinds['classification']
  return stats


def delusive_sources(
  corpus: natinst.Corpus, conditions: Sequence[Condition]
) -> dict[str, dict[str, int]]:
  """Counts the sources of delusive examples by task kind, over all tasks."""
  counts: dict[str, collections.Counter] = {}
  for condition in conditions:
    if condition.examples != 'delusive':
      continue
    level = EXAMPLE_LEVELS.get('delusive')
    for name in (*corpus.train_tasks, *corpus.test_tasks):
      file = corpus.load(name)
      for example in level(
        task=file.task, instance=file.instances[0], condition=condition
      ):
        counter = counts.setdefault(file.task.kind, collections.Counter())
        counter[example.source] += 1
  return {kind: dict(sorted(c.items())) for kind, c in sorted(counts.items())}


def _git(folder: pathlib.Path, *words: str) -> str:
  return subprocess.run(
    ['git', '-C', os.fspath(folder), *words],
    check=True,
    capture_output=True,
    text=True,
  ).stdout.strip()
