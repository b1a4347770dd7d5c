"""Tests of a report on paper, as a browser prints it."""

import html
import re
import shutil
import subprocess
from typing import NamedTuple

import pytest
from report_fixture import make_study

from it_study.report import write_report

_MARGIN = 14 * 72 / 25.4
_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
_SWITCHES = ('--headless', '--no-sandbox', '--disable-gpu')
# A task's name that is too long for a line, as real ones are.
_LONG = 'Answerability of Questions ' + 'and_Overlap_' * 12
_TASKS = (
  ('Textual Entailment', ('yes', 'no')),
  ('Word Analogy', ('north', 'south')),
  (_LONG, ('first', 'second')),
  ('Data to Text', None),
)


class Word(NamedTuple):
  """A word on a page, by its box in points from the page's upper left."""

  left: float
  top: float
  right: float
  bottom: float
  text: str


class Paper(NamedTuple):
  """A printed page."""

  width: float
  height: float
  words: list[Word]

  @property
  def text(self) -> str:
    return ' '.join(word.text for word in self.words)


def _printed(page, directory) -> list[Paper]:
  browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
  if browser is None or shutil.which('pdftotext') is None:
    pytest.skip('needs chromium, and pdftotext (poppler-utils)')
  pdf = directory / 'report.pdf'
  subprocess.run(
    [
      browser,
      *_SWITCHES,
      f'--user-data-dir={directory / "browser"}',
      '--no-pdf-header-footer',
      f'--print-to-pdf={pdf}',
      page.as_uri(),
    ],
    check=True,
    capture_output=True,
    timeout=300,
  )
  boxes = subprocess.run(
    ['pdftotext', '-bbox', pdf, '-'], check=True, capture_output=True, text=True
  ).stdout
  number = r'"([\d.-]+)"'
  pages = re.findall(
    rf'(?s)<page width={number} height={number}>(.*?)</page>', boxes
  )
  box = ' '.join(
    f'{name}={number}' for name in ('xMin', 'yMin', 'xMax', 'yMax')
  )
  word = re.compile(f'<word {box}>(.*)</word>')
  return [
    Paper(
      float(width),
      float(height),
      [
        Word(*map(float, box), html.unescape(text))
        for *box, text in word.findall(body)
      ],
    )
    for width, height, body in pages
  ]


@pytest.fixture(scope='module')
def papers(tmp_path_factory):
  directory = tmp_path_factory.mktemp('print')
  study = make_study(directory / 'study', num_instances=3, tasks=_TASKS)
  with open(study / 'study.gin', 'a') as file:
    file.write(f'# {"=" * 76}\nNAME = {"x" * 300!r}\n')
  return _printed(write_report(study_dir=study)[0], directory)


def test_nothing_is_cut_off(papers):
  assert len(papers) > 5
  for paper in papers:
    for word in paper.words:
      assert word.left >= _MARGIN - 1, word
      assert word.right <= paper.width - _MARGIN + 1, word
      assert word.bottom <= paper.height - _MARGIN + 1, word


def test_the_text_is_large_enough_to_read(papers):
  # A box is somewhat higher than the font size, which is at least 6 points.
  heights = [w.bottom - w.top for paper in papers for w in paper.words]
  assert min(heights) > 6.5


def test_folded_sections_are_open_in_print(papers):
  text = ' '.join(paper.text for paper in papers)
  assert 'Every cell, with its predictions:' in text
  assert 'NAME =' in text
  assert ''.join(text.split()).count('x' * 300) == 1


def test_figures_are_whole_and_next_to_their_captions(papers):
  for axis, caption in (
    ('Exact match (%)', 'Exact match on unseen classification tasks, each'),
    ('Real − altered (points)', 'Exact match with the real instructions minus'),
    ('ROUGE-L (0 to 100)', 'ROUGE-L on unseen generation tasks, each'),
    ('Training step', 'Training loss, z-loss included.'),
  ):
    pages = [paper for paper in papers if caption in paper.text]
    assert len(pages) == 1, caption
    assert axis in pages[0].text


def test_tables_split_with_heads_and_more_than_one_row(papers):
  cells = [
    [
      word.top
      for word in paper.words
      if word.text in ('native', 'baseline') and word.left > paper.width / 5
    ]
    for paper in papers
    if 'Examples' in paper.text and 'Shortened' in paper.text
  ]
  # The list of all cells is longer than a page.
  assert len(cells) > 1
  assert all(len(rows) > 1 for rows in cells)
