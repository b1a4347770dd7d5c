"""Renders tables.tex, the tables of scores for a paper."""

from collections.abc import Iterable

from it_study.errors import visible
from it_study.report import sections
from it_study.report.arms import tested_as
from it_study.report.figures import curve_figures
from it_study.report.results import Results
from it_study.report.scores import CLS, GEN
from it_study.report.tables import parts_tables, score_tables
from it_study.report.tables.table import Entry, Table

_SPECIAL = {
  '\\': r'\textbackslash{}',
  '{': r'\{',
  '}': r'\}',
  '$': r'\$',
  '&': r'\&',
  '%': r'\%',
  '#': r'\#',
  '_': r'\_',
  '~': r'\textasciitilde{}',
  '^': r'\textasciicircum{}',
  '−': '$-$',
  '×': r'$\times$',
  '±': r'$\pm$',
  '–': '--',
  '‑': '-',
  '“': '``',
  '”': "''",
  '<': r'\textless{}',
  '>': r'\textgreater{}',
}


def render_latex(results: Results) -> str:
  r"""Renders the main tables, which need only \usepackage{booktabs}."""
  parts = [
    '% Written by it-study report. Requires \\usepackage{booktabs}.',
    *(
      _table(table, caption, label)
      for table, caption, label in _tables(results)
      if table is not None
    ),
  ]
  return '\n\n'.join(parts) + '\n'


def escape(text: str) -> str:
  r"""Escapes text for LaTeX.

  >>> escape('50% of {a_b} − 1')
  '50\\% of \\{a\\_b\\} $-$ 1'
  """
  text = ' '.join(visible(text).split())
  return ''.join(_SPECIAL.get(character, character) for character in text)


def _tables(results: Results) -> Iterable[tuple[Table | None, str, str]]:
  of_corpus = results.of_corpus()
  if of_corpus.arms:
    yield from _corpus_tables(of_corpus)
  for number, of_test in enumerate(results.of_own_tasks(), start=1):
    yield (
      score_tables.main_table(of_test),
      f'Results on {sections.name_of(of_test)}, with 95% intervals.',
      f'test_{number}',
    )


def _corpus_tables(
  results: Results,
) -> Iterable[tuple[Table | None, str, str]]:
  yield (
    score_tables.main_table(results),
    f'Results on unseen tasks, {tested_as(results.arms)}, with 95% intervals.',
    'main',
  )
  for metric, group, name in (
    ('exact_match', CLS, 'classification'),
    ('rouge_l', GEN, 'generation'),
  ):
    yield (
      score_tables.difference_table(results, metric=metric, group=group),
      f'Real minus altered instructions on {name}, with p-values adjusted by '
      "Holm's method.",
      f'differences_{name}',
    )
  yield (
    parts_tables.decomposition_table(results),
    'Exact match on classification: form, knowledge and skill beyond a guess.',
    'decomposition',
  )
  yield (
    curve_figures.crossing_table(results),
    'Scores by amount of training data.',
    'sweeps',
  )


def _table(table: Table, caption: str, label: str) -> str:
  width = len(table.columns)
  layout = ''.join('r' if c.is_number else 'l' for c in table.columns)
  lines = [
    r'\begin{table}[t]',
    r'\centering\small',
    rf'\begin{{tabular}}{{{layout}}}',
    r'\toprule',
  ]
  if len(table.spans()) > 1:
    lines.append(
      _row(
        rf'\multicolumn{{{span}}}{{c}}{{{escape(above)}}}'
        for above, span in table.spans()
      )
    )
  lines += [_row(escape(c.title) for c in table.columns), r'\midrule']
  for title, rows in table.rows.items():
    if title:
      lines.append(
        rf'\multicolumn{{{width}}}{{l}}{{\textit{{{escape(title)}}}}} \\'
      )
    lines += [_row(map(_entry, entries)) for entries in rows]
  lines += [
    r'\bottomrule',
    r'\end{tabular}',
    rf'\caption{{{escape(caption)}}}',
    rf'\label{{tab:{label}}}',
    r'\end{table}',
  ]
  return '\n'.join(lines)


def _row(cells: Iterable[str]) -> str:
  return ' & '.join(cells) + r' \\'


def _entry(entry: Entry) -> str:
  text = escape(entry.text)
  if entry.detail is None:
    return text
  # Braced, since \\ takes a bracket that follows it for its argument.
  return rf'{text} {{\scriptsize {escape(entry.detail)}}}'
