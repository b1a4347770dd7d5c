"""Tests of it_study.report.write and the formats it writes."""

import csv
import html.parser
import json
import os
import re
import shutil

import pytest
from report_fixture import (
  DEFINITIONS,
  RUN,
  TEST_TASKS,
  add_cell,
  make_rows,
  make_study,
)

from it_study.errors import InputError
from it_study.report import write_report
from it_study.report.formats.markdown import escape

HOSTILE = (
  '</script><script>alert(1)</script><img src=x onerror=alert(2)>'
  '"\'><svg/onload=alert(3)>{{ 7*7 }}{% x %}[a](javascript:alert(4))'
  '|`<!--\x00\x1b[31m\u202e\u2028'
)


class Page(html.parser.HTMLParser):
  """Collects the elements with their attributes, and the text outside them."""

  def __init__(self, path):
    super().__init__()
    self.elements, self.attributes, self.texts, self.json = [], [], [], ''
    self.source = path.read_text(encoding='utf-8')
    # Plotly's code makes up most of the page.
    self.feed(
      re.sub(r'(?s)<script>.*?</script>', '<script></script>', self.source)
    )

  def handle_starttag(self, tag, attrs):
    self.elements.append(tag)
    self.attributes += attrs

  def handle_data(self, data):
    if (
      self.elements
      and self.elements[-1] == 'script'
      and data.strip()[:1] == '{'
    ):
      self.json = data
    self.texts.append(data)

  @property
  def text(self):
    return ' '.join(self.texts)


@pytest.fixture(scope='module')
def study(tmp_path_factory):
  directory = tmp_path_factory.mktemp('write') / 'study'
  return make_study(directory, num_instances=5, seeds=(0, 1))


@pytest.fixture(scope='module')
def paths(study):
  return write_report(study_dir=study)


@pytest.fixture(scope='module')
def page(paths):
  return Page(paths[0])


@pytest.fixture(scope='module')
def hostile(tmp_path_factory):
  """The report of a study whose every text is hostile."""
  directory = tmp_path_factory.mktemp('hostile')
  tasks = tuple(
    (f'{category}{HOSTILE}', labels and (*labels, HOSTILE))
    for category, labels in TEST_TASKS
  )
  for condition in (*DEFINITIONS, f'condition {HOSTILE}'):
    rows = make_rows(
      train_condition=condition,
      test_condition=condition,
      tasks=tasks,
      num_instances=3,
    )
    add_cell(directory, rows, training=DEFINITIONS[0])
  cell = 'cell ' + HOSTILE.replace('/', '').replace('\x00', '')
  rows = make_rows(
    train_condition=DEFINITIONS[1], test_condition=None, num_instances=3
  )
  add_cell(
    directory, rows, training='t', changes={'cell': cell, 'engine': HOSTILE}
  )
  big = {HOSTILE: HOSTILE * 20_000}
  run = {key: HOSTILE for key in (*RUN, HOSTILE)} | {'versions': big}
  run['delusive_sources'] = {HOSTILE: {HOSTILE: 3}}
  (directory / 'run.json').write_text(json.dumps(run))
  # NUL bytes there are taken for the work of a crash.
  (directory / 'study.gin').write_text(HOSTILE.replace('\x00', ''))
  return write_report(study_dir=directory)


def test_four_files_are_written(study, paths):
  assert [path.relative_to(study).as_posix() for path in paths] == [
    'report/index.html',
    'report/report.md',
    'report/results.csv',
    'report/tables.tex',
  ]
  assert sorted(os.listdir(study / 'report')) == [
    'index.html',
    'report.md',
    'results.csv',
    'tables.tex',
  ]


def test_page_makes_no_requests(page):
  loading = {'src', 'srcset', 'data', 'poster', 'action'}
  assert not [value for name, value in page.attributes if name in loading]
  links = [value for name, value in page.attributes if name == 'href']
  assert links
  assert all(link.startswith(('#', '../cells/', 'data:,')) for link in links)
  policy = next(v for _, v in page.attributes if v and 'default-src' in v)
  assert policy.startswith("default-src 'none'; script-src 'sha256-")
  assert page.elements.count('script') == 3


def test_page_reads_in_order(page):
  titles = [
    'Results on unseen tasks',
    'Tested with the real instructions',
    'Classification: the effect of altering the instructions',
    'Generation',
    'By category',
    'By task',
    'Knowing what an answer looks like',
    'Held-out instances of training tasks',
    'Baselines',
    'Where delusive examples come from',
    "The paper's figures, for reference",
    'How it was run',
  ]
  body = page.source[page.source.index('<main>') :].replace('&#39;', "'")
  places = [
    body.index('<h1>Did the models learn to follow instructions, or to guess?'),
    body.index('Positive Control, training tasks: cannot tell'),
    body.index('data-figure="headline"'),
    *(body.index(f'<h2>{title}</h2>') for title in titles),
  ]
  assert places == sorted(places)


def test_figures_have_axes_with_units(page):
  figures = json.loads(page.json)
  assert list(figures) == [
    'headline',
    'differences',
    'generation',
    'format',
    'loss',
  ]
  titles = [f['layout']['xaxis']['title']['text'] for f in figures.values()]
  assert titles == [
    'Exact match (%)',
    'Real − altered (points)',
    'ROUGE-L (0 to 100)',
    'Share of instances (%)',
    'Training step',
  ]
  assert len(figures['headline']['data'][0]['x']) == 7
  assert len(figures['loss']['data']) == 12
  band = figures['headline']['layout']['shapes'][0]
  assert (band['x0'], band['x1']) == (
    45.83333333333333 - 1.96 * 5.5,
    45.83333333333333 + 1.96 * 5.5,
  )


def test_a_failed_control_is_a_banner(tmp_path):
  study = make_study(tmp_path / 'study', positive=(0.5, 0.5), num_instances=5)
  paths = write_report(study_dir=study)
  page = Page(paths[0])
  assert ('class', 'banner bad') in page.attributes
  assert 'This study cannot be trusted.' in page.text
  assert 'This study cannot be trusted' in paths[1].read_text()


def test_a_corpus_without_controls_gets_one_neutral_line(tmp_path):
  rows = make_rows(train_condition=DEFINITIONS[0], num_instances=3)
  add_cell(tmp_path, rows, training='t')
  paths = write_report(study_dir=tmp_path)
  page = Page(paths[0])
  assert ('class', 'neutral') in page.attributes
  assert ('class', 'banner bad') not in page.attributes
  # Without results on training tasks, nothing is claimed about the corpus.
  assert 'No control was tested' in page.text
  assert 'No control was tested' in paths[1].read_text()
  rows = make_rows(
    split='validation',
    train_condition=DEFINITIONS[0],
    num_instances=3,
    tasks=TEST_TASKS,
  )
  add_cell(tmp_path, rows, training='t')
  page = Page(write_report(study_dir=tmp_path)[0])
  assert 'This corpus has no control tasks' in page.text


def test_markdown_holds_the_tables(paths):
  text = paths[1].read_text()
  assert text.startswith('# Did the models learn to follow instructions')
  assert '\n## Results on unseen tasks\n' in text
  assert '\n| **Baselines** |  |' in text
  widths = {
    len(re.findall(r'(?<!\\)\|', line))
    for line in text.split('## Tested')[0].splitlines()
    if line.startswith('|')
  }
  assert widths == {9}


def test_csv_has_a_line_for_each_cell_and_group(study, paths):
  with open(paths[2], newline='') as file:
    lines = list(csv.DictReader(file))
  cells = {line['cell'] for line in lines}
  results = (study / 'results.jsonl').read_text().splitlines()
  assert cells == {json.loads(line)['cell'] for line in results}
  random = [
    line
    for line in lines
    if line['baseline'] == 'random' and line['split'] == 'test'
  ]
  assert [(line['group_type'], line['group']) for line in random] == [
    ('classification', 'classification'),
    ('category', 'Coreference Resolution'),
    ('category', 'Textual Entailment'),
    ('category', 'Word Analogy'),
  ]
  assert random[0]['expected_exact_match'] == '45.83333333333333'
  assert random[0]['num_instances'] == '20'
  assert [line['group'] for line in lines if line['group_type'] == 'control']


def test_csv_spells_out_conditions(tmp_path):
  name = 'natinst_def_simplified_ex_delusive1_n20'
  unknown = 'natinst_def_theirs_ex_original1'
  study = make_study(tmp_path, accuracies={name: 0.5})
  rows = make_rows(train_condition=unknown, test_condition=unknown)
  add_cell(study, rows, training='theirs')
  write_report(study_dir=study)
  with open(study / 'report/results.csv', newline='') as file:
    found = {
      line['train_condition']: [
        line[name]
        for name in (
          'definition',
          'examples',
          'num_examples',
          'instances_per_task',
        )
      ]
      for line in csv.DictReader(file)
      if not line['baseline']
    }
  assert found == {
    name: ['simplified', 'delusive', '1', '20'],
    # The untuned model has only a test condition.
    '': ['original', 'original', '2', ''],
    # A level of a module that is not loaded.
    unknown: [''] * 4,
  }


def test_csv_is_the_same_after_an_interruption(study, paths, tmp_path):
  copy = tmp_path / 'study'
  shutil.copytree(study, copy)
  lines = []
  for text in reversed((study / 'results.jsonl').read_text().splitlines()):
    line = json.loads(text) | {'train_seconds': 99.0, 'predict_seconds': 98.0}
    lines.append(json.dumps(line))
  (copy / 'results.jsonl').write_text('\n'.join([*lines, lines[0]]) + '\n')
  again = write_report(study_dir=copy)
  assert again[2].read_bytes() == paths[2].read_bytes()


def test_writing_again_gives_the_same_bytes(study, paths):
  before = [path.read_bytes() for path in paths]
  assert [p.read_bytes() for p in write_report(study_dir=study)] == before


def test_hostile_text_adds_no_element(hostile):
  page = Page(hostile[0])
  assert set(page.elements).isdisjoint({'img', 'svg', 'iframe', 'object'})
  assert page.elements.count('script') == 3
  names = {name for name, _ in page.attributes}
  assert not [name for name in names if name.startswith('on')]
  links = [value for name, value in page.attributes if name == 'href']
  assert all(link.startswith(('#', '../cells/', 'data:,')) for link in links)
  assert '{{ 7*7 }}' in page.text
  assert 'alert(1)' in page.text


@pytest.mark.parametrize('index', [0, 1, 2])
def test_hostile_text_leaves_no_control_character(hostile, index):
  text = hostile[index].read_text(encoding='utf-8')
  # Plotly's code is not checked.
  text = re.sub(r'(?s)<script>.*?</script>', '', text)
  assert not re.findall('[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]', text)


def test_hostile_text_in_figures_is_no_markup(hostile):
  page = Page(hostile[0])
  assert '<' not in page.json
  labels = json.loads(page.json)['headline']['layout']['yaxis']['ticktext']
  assert any('condition &lt;/script' in label for label in labels)
  assert not any(re.search('<(?!br>)', label) for label in labels)


def test_hostile_text_in_markdown_is_no_markup(hostile):
  text = hostile[1].read_text()
  before_code = text.split('## How it was run')[0]
  assert '<script' not in before_code
  assert not re.search(r'(?<!\\)\]\(javascript', before_code)
  fences = [line for line in text.splitlines() if line.startswith('```')]
  assert len(fences) == 4


def test_megabytes_are_truncated(hostile):
  assert len(hostile[1].read_text()) < 100_000


def test_formulas_are_quoted_in_the_csv(tmp_path):
  tasks = (('=1+1', ('yes', 'no')), ('@x', ('yes', 'no')))
  add_cell(tmp_path, make_rows(tasks=tasks, num_instances=3))
  with open(write_report(study_dir=tmp_path)[2], newline='') as file:
    groups = [line['group'] for line in csv.DictReader(file)]
  assert groups == ['overall', 'classification', "'=1+1", "'@x"]


def test_escape():
  assert escape('<b>*a*</b>\n_x_ `y` [z](w) #') == (
    r'&lt;b&gt;\*a\*&lt;/b&gt; \_x\_ \`y\` \[z\](w) \#'
  )


def test_a_baseline_alone_is_reported(tmp_path):
  rows = make_rows(engine='baseline:random', num_instances=3)
  add_cell(tmp_path, rows, baseline='random')
  page = Page(write_report(study_dir=tmp_path)[0])
  assert 'No answer yet.' in page.text
  assert 'Random label' in page.text


def test_an_empty_folder_is_an_error(tmp_path):
  with pytest.raises(InputError, match='no finished cell') as caught:
    write_report(study_dir=tmp_path)
  assert '\n' not in str(caught.value)
  assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
  add_cell(tmp_path, make_rows(num_instances=3))
  (tmp_path / 'report').write_text('in the way')
  with pytest.raises(InputError, match='report: cannot be created: ') as caught:
    write_report(study_dir=tmp_path)
  assert '\n' not in str(caught.value)


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
  add_cell(tmp_path, make_rows(num_instances=3))
  (tmp_path / 'report' / 'index.html').mkdir(parents=True)
  with pytest.raises(InputError, match=r'index\.html: cannot be written: '):
    write_report(study_dir=tmp_path)
  assert os.listdir(tmp_path / 'report') == ['index.html']


def test_paper_keeps_short_tables_whole_and_heads_complete(paths):
  page = Page(paths[0])
  # The list of all cells is long, most tables are short.
  short = page.attributes.count(('class', 'short'))
  assert 0 < short < page.elements.count('table')
  style = page.source.split('<style>')[1].split('</style>')[0]
  on_paper = style[style.rindex('@media print') :]
  for rule in ('table.short { break-inside: avoid; }', 'thead button {'):
    assert rule in on_paper


def test_categories_that_a_baseline_leaves_out_are_explained(tmp_path):
  explanation = 'Baselines that draw labels do not answer generation tasks'
  for name, category in (('apart', 'Data to Text'), ('mixed', 'Word Analogy')):
    study = tmp_path / name
    tasks = (('Word Analogy', ('north', 'south')), (category, None))
    for baseline in ('random', None):
      rows = make_rows(
        engine='baseline:random' if baseline else 'native',
        train_condition=None if baseline else DEFINITIONS[0],
        num_instances=3,
        tasks=tasks,
      )
      add_cell(
        study, rows, baseline=baseline, training=None if baseline else 't'
      )
    page = Page(write_report(study_dir=study)[0])
    assert (explanation in page.text) == (name == 'mixed')
