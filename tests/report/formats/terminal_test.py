"""Tests of it_study.report.formats.terminal."""

import io

from report_fixture import DEFINITIONS, add_cell, make_rows, make_study
from rich.console import Console

from it_study.report import render_terminal_table


def printed(study):
  file = io.StringIO()
  render_terminal_table(study, console=Console(file=file, width=80))
  return file.getvalue()


def test_the_table_fits_a_terminal(tmp_path):
  text = printed(make_study(tmp_path / 'study', num_instances=5))
  assert max(map(len, text.splitlines())) <= 80
  assert '…' not in text
  for words in (
    'Trained and tested on',
    'No definition, 2 examples',
    'Untuned, original',
    'Random label',
    'Positive Control, training tasks: cannot tell',
  ):
    assert words in text


def test_markup_in_names_is_text(tmp_path):
  rows = make_rows(train_condition='[bold]x[/nope] \x1b[31m', num_instances=3)
  add_cell(tmp_path, rows, training='t', changes={'matched': True})
  text = printed(tmp_path)
  assert '[bold]x[/nope] ␛[31m' in ' '.join(text.split())
  assert '\x1b' not in text


def test_an_unfinished_study_is_shown(tmp_path):
  rows = make_rows(
    train_condition=DEFINITIONS[0],
    test_condition=DEFINITIONS[0],
    num_instances=3,
  )
  add_cell(tmp_path, rows, training='t')
  (tmp_path / 'run.json').write_text('{"num_cells": 5}')
  text = ' '.join(printed(tmp_path).split())
  assert 'No answer yet.' in text
  assert 'This study is not finished: 1 of 5 cells are done.' in text
