"""Tables of baselines, sources, published figures and cells."""

from collections.abc import Mapping
from urllib.parse import quote

from it_study.report import answer
from it_study.report.arms import Arm, select
from it_study.report.load import Cell
from it_study.report.results import Results
from it_study.report.scores import CLS, GEN, OVERALL
from it_study.report.tables.score_tables import score_entry
from it_study.report.tables.table import (
  Column,
  Entry,
  Table,
  name_entry,
  plain_entry,
  value_entry,
)
from it_study.report.text import MISSING, number, shorten


def baseline_table(results: Results) -> Table | None:
  """Makes the table of baselines, with the expected score of a draw."""
  rows = {}
  for split in ('test', 'validation'):
    arms = select(results.arms, split=split, baselines=True)
    if arms:
      rows[split.capitalize()] = [
        (
          Entry(arm.label),
          score_entry(arm, 'exact_match', CLS),
          *_expected(arm),
          score_entry(arm, 'rouge_l', GEN),
          score_entry(arm, 'rouge_l', OVERALL),
        )
        for arm in arms
      ]
  if not rows:
    return None
  return Table(
    columns=(
      Column('Baseline', is_number=False),
      Column('Exact match', above='Classification'),
      Column('Expected', above='Classification'),
      Column('SD of a draw', above='Classification'),
      Column('ROUGE-L', above='Generation'),
      Column('ROUGE-L', above='Overall'),
    ),
    rows=rows,
  )


def label_rules_table(run: Mapping) -> Table | None:
  """Makes the table of expected guessing scores, by rule that chooses tasks."""
  rules = run.get('label_rules')
  if not isinstance(rules, list):
    return None
  rows = [
    (
      name_entry(str(rule.get('rule'))),
      plain_entry(rule.get('num_tasks')),
      plain_entry(rule.get('expected_exact_match')),
    )
    for rule in rules
    if isinstance(rule, dict)
  ]
  values = [
    rule['expected_exact_match']
    for rule in rules
    if isinstance(rule, dict)
    and isinstance(rule.get('expected_exact_match'), float)
  ]
  if not values:
    return None
  return Table(
    columns=(
      Column('Rule', is_number=False),
      Column('Classification tasks'),
      Column('Expected exact match of guessing, %'),
    ),
    rows={
      f'From {number(min(values))} to {number(max(values))}, depending on the '
      'rule': rows
    },
  )


def sources_table(run: Mapping) -> Table | None:
  """Makes the table of the sources of delusive examples."""
  by_kind = run.get('delusive_sources')
  if not isinstance(by_kind, dict):
    return None
  by_kind = {
    kind: {k: n for k, n in counts.items() if isinstance(n, int)}
    for kind, counts in by_kind.items()
    if isinstance(counts, dict)
  }
  sources = list(
    dict.fromkeys(s for counts in by_kind.values() for s in counts)
  )
  if not sources:
    return None
  rows = []
  for kind, counts in by_kind.items():
    total = sum(counts.values())
    rows.append(
      (
        name_entry(kind.capitalize()),
        *(
          Entry(
            f'{100 * counts[s] / total:.1f}%'
            if s in counts and total
            else MISSING,
            f'{counts[s]:,}' if s in counts else None,
          )
          for s in sources
        ),
      )
    )
  return Table(
    columns=(
      Column('Tasks', is_number=False),
      *(
        Column(shorten(_SOURCES.get(source, source)), above='Taken from')
        for source in sources
      ),
    ),
    rows={'': tuple(rows)},
  )


def published_table(results: Results) -> Table:
  """Makes the table of the paper's figures beside this study's."""
  chance = answer.chance(results.arms, 'test')
  trained = select(results.arms, split='test', matched=True)
  original = next(
    (
      a for a in trained if a.condition and a.condition.definition == 'original'
    ),
    None,
  )
  untuned = next(iter(select(results.arms, split='test', untuned=True)), None)
  score = original.value('exact_match', CLS) if original else None
  gain = None
  if score is not None and untuned is not None:
    base = untuned.value('exact_match', CLS)
    gain = None if base is None else score - base
  rows = (
    (
      'Random guessing',
      '42.6',
      number(None if chance is None else chance.expected),
    ),
    ('Instruction tuning (low-resource in the paper)', '43', number(score)),
    ('Gain of tuning over the untuned model', '+30', number(gain, signed=True)),
  )
  return Table(
    columns=(
      Column('Exact match on classification', is_number=False),
      Column('Paper (abstract)'),
      Column('This study'),
    ),
    rows={'': tuple(tuple(map(Entry, row)) for row in rows)},
  )


def cells_table(results: Results) -> Table:
  """Makes the table of all finished cells, with links to their predictions."""
  rows: dict[str, list[tuple[Entry, ...]]] = {}
  for arm in results.arms:
    for cell in arm.cells:
      href = f'../cells/{quote(cell.cell)}/predictions.jsonl'
      rows.setdefault(_place(cell), []).append(
        (
          name_entry(cell.cell, href=href),
          plain_entry(cell.engine),
          plain_entry(cell.seed),
          plain_entry(cell.metrics.get('num_instances')),
          plain_entry(cell.num_shortened),
          plain_entry(cell.num_dropped_examples),
          _share_entry(cell.input_kept),
          plain_entry(cell.train_steps),
          plain_entry(cell.train_seconds),
          plain_entry(cell.predict_seconds),
        )
      )
  return Table(
    columns=(
      Column('Cell', is_number=False),
      Column('Engine', is_number=False),
      Column('Seed'),
      Column('Instances', above='Prompts'),
      Column('Shortened', above='Prompts'),
      Column('Examples dropped', above='Prompts'),
      Column('Text kept', above='Prompts'),
      Column('Steps', above='Training'),
      Column('Seconds', above='Training'),
      Column('Seconds', above='Prediction'),
    ),
    rows={title: tuple(entries) for title, entries in rows.items()},
  )


def _place(cell: Cell) -> str:
  """Returns what a cell was tested on, in words."""
  if cell.test_task is not None:
    return cell.test_name
  return cell.split.capitalize()


_SOURCES = {
  'negatives': 'negative examples',
  'swap': 'label swap',
  'repair': 're-paired outputs',
}


def _share_entry(share: float | None) -> Entry:
  return Entry(MISSING if share is None else f'{100 * share:.2f}%')


def _expected(arm: Arm) -> tuple[Entry, Entry]:
  expected = (arm.cells[0].metrics['classification'] or {}).get(
    'expected'
  ) or {}
  deviation = expected.get('standard_deviation')
  return (
    value_entry(expected.get('exact_match')),
    Entry(MISSING if deviation is None else f'{deviation:.2f}'),
  )
