"""Table of how a study was run."""

from collections.abc import Mapping
import json

from it_study.report.results import Results
from it_study.report.tables.table import Column, Entry, Table, name_entry
from it_study.report.text import shorten

_FACTS = {
  'corpus': 'Corpus',
  'fingerprint': 'Corpus fingerprint',
  'corpus_stats': 'Corpus size',
  'vocabulary': 'Vocabulary',
  'model': 'Model',
  'seeds': 'Seeds',
  'equivalence_margin': 'Equivalence margin, points',
  'control_margins': 'Margins of the controls, points',
  'test_conditions': 'Further test conditions',
  'device': 'Device',
  'versions': 'Versions',
  'git_commit': 'Git commit',
  'num_cells': 'Cells planned',
}
# Facts that a study of own tasks does not have.
_OF_CORPUS = ('corpus', 'fingerprint', 'corpus_stats')


def facts_table(results: Results) -> Table:
  """Makes the table of what run.json records and of finished cells."""
  run = results.study.run
  other_keys = sorted(
    key
    for key in run
    if key not in (*_FACTS, 'delusive_sources', 'label_rules')
  )
  absent = () if results.of_corpus().arms else _OF_CORPUS
  rows = [
    (name_entry(_FACTS.get(key, key)), Entry(_fact(run.get(key))))
    for key in (*_FACTS, *other_keys)
    if key in run or key not in absent
  ]
  finished = sum(len(arm.cells) for arm in results.arms)
  rows.append((Entry('Cells finished'), Entry(f'{finished:,}')))
  return Table(
    columns=(Column('', is_number=False), Column('', is_number=False)),
    rows={'': tuple(rows)},
  )


def _fact(value: object) -> str:
  if value is None:
    return 'unknown'
  if isinstance(value, Mapping):
    parts = [f'{_words(key)}: {_fact(item)}' for key, item in value.items()]
    return shorten(', '.join(parts), 2000)
  if isinstance(value, list):
    return shorten(', '.join(map(_fact, value)), 2000)
  if isinstance(value, int) and not isinstance(value, bool):
    return f'{value:,}'
  if isinstance(value, str):
    return shorten(value, 2000)
  return json.dumps(value)


def _words(key: object) -> str:
  return str(key).replace('_', ' ')
