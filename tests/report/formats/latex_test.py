"""Tests of tables.tex."""

import re

from report_fixture import make_study

from it_study.report.formats import latex
from it_study.report.load import read_study
from it_study.report.results import score_study


def test_tables_are_complete(tmp_path):
  results = score_study(read_study(make_study(tmp_path)))
  text = latex.render_latex(results)
  assert re.findall(r'\\label\{(.*?)\}', text) == [
    'tab:main',
    'tab:differences_classification',
    'tab:differences_generation',
    'tab:decomposition',
  ]
  for table in text.split(r'\begin{table}')[1:]:
    columns = re.search(r'\\begin\{tabular\}\{([lr]+)\}', table).group(1)
    body = table.split(r'\midrule')[1].split(r'\bottomrule')[0]
    for line in body.strip().splitlines():
      assert line.endswith(r' \\')
      if not line.startswith(r'\multicolumn'):
        assert line.count(' & ') == len(columns) - 1
  assert text.count('{') == text.count('}')


def test_data_is_escaped():
  assert latex.escape(r'\input{x} $1 & 2% #_~^ a<b') == (
    r'\textbackslash{}input\{x\} \$1 \& 2\% \#\_\textasciitilde{}'
    r'\textasciicircum{} a\textless{}b'
  )
