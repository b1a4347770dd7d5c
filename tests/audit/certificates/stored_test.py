"""Faults planted in stored rows: each is caught, and named by its code."""

import json

from certificates_fixture import ORIGINAL, build_bench
import pytest

from it_study.data import tfds_builder

EMPTY = 'natinst_def_empty_ex_empty0'


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(tmp_path_factory.mktemp('certificates'))


@pytest.fixture(name='damaged')
def _damaged(bench, tmp_path):
  return bench.copy(tmp_path / 'rows')


def _change(rows, **fields):
  for name, value in fields.items():
    rows[3][name] = [value]


def test_one_byte_of_an_input_is_caught_in_row_and_prompt(damaged):
  damaged.edit('test', lambda rows: _change(rows, input='Is thing wet 4'))
  found = damaged.certify(ORIGINAL).tally
  assert dict(found.failures) == {'row-input': 1, 'instance-text': 1}
  (row,) = found.first['row-input']
  assert (row.condition, row.split, row.task, row.instance, row.at) == (
    None,
    'test',
    'task5_wet',
    'task5-3',
    13,
  )
  (prompt,) = found.first['instance-text']
  assert (prompt.condition, prompt.instance) == (ORIGINAL, 'task5-3')
  assert prompt.expected.endswith('Input: Is thing wet 3.\nOutput: ')
  assert prompt.found.endswith('Input: Is thing wet 4.\nOutput: ')


def test_white_space_that_no_prompt_shows_is_caught_in_the_row(damaged):
  damaged.edit('test', lambda rows: _change(rows, input='Is thing wet 3 '))
  assert damaged.codes(ORIGINAL) == {'row-input': 1}


def test_a_changed_reference_is_caught(damaged):
  damaged.edit('test', lambda rows: rows[3].update(outputs=['no', 'no']))
  assert damaged.codes(ORIGINAL) == {'row-references': 1, 'references': 1}


def test_a_missing_reference_is_caught(damaged):
  damaged.edit('test', lambda rows: rows[3].update(outputs=['no']))
  assert damaged.codes(ORIGINAL) == {'row-references': 1, 'references': 1}


def test_a_missing_row_is_caught(damaged):
  damaged.edit('test', lambda rows: rows[:3] + rows[4:])
  found = damaged.certify(EMPTY).tally
  assert dict(found.failures) == {'row-missing': 1}
  assert found.first['row-missing'][0].instance == 'task5-3'


def test_a_doubled_row_is_caught(damaged):
  damaged.edit('test', lambda rows: [*rows[:4], *rows[3:]])
  assert damaged.codes(EMPTY) == {'row-twice': 1, 'row-order': 1}


def test_a_row_in_the_wrong_split_is_caught(damaged):
  moved = []
  damaged.edit('train', lambda rows: moved.append(rows[0]) or rows[1:])
  damaged.edit('validation', lambda rows: [*rows, *moved])
  found = damaged.certify(EMPTY, split='validation').tally
  assert found.first['row-split'][0].expected == 'train'
  # The row still names its original split, which is correct.
  assert found.failures['row-split'] == 1
  assert damaged.codes(EMPTY, split='train') == {'row-missing': 1}


def test_a_row_that_names_another_split_is_caught(damaged):
  damaged.edit('train', lambda rows: _change(rows, split='test'))
  assert damaged.codes(EMPTY, split='train') == {'row-split': 1}


@pytest.mark.parametrize(
  ('field', 'value', 'codes'),
  [
    ('position', 4, {'row-position'}),
    ('rank', 7, {'row-rank', 'row-order'}),
    ('id', 'task5-1000', {'row-unknown', 'row-missing'}),
    ('task', 'task6_dark', {'row-unknown', 'row-missing', 'row-order'}),
    ('task', 'task9_none', {'row-unknown', 'row-missing'}),
  ],
)
def test_a_row_with_a_wrong_field_is_caught(damaged, field, value, codes):
  damaged.edit('test', lambda rows: _change(rows, **{field: value}))
  assert set(damaged.codes(EMPTY)) == codes


def test_rows_out_of_their_order_are_caught(damaged):
  def swap(rows):
    rows[0], rows[1] = rows[1], rows[0]

  damaged.edit('train', swap)
  assert damaged.codes(EMPTY, split='train') == {'row-order': 1}


def test_a_flipped_byte_of_a_file_is_caught(damaged):
  path = damaged.file('test')
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  found = damaged.certify(EMPTY).tally
  # Its unreadable rows are not reported as missing one by one.
  assert dict(found.failures) == {'record-damaged': 1}
  (failure,) = found.first['record-damaged']
  done = found.rows['test']
  assert 0 < done < 142
  assert (failure.split, failure.expected) == ('test', '142 records')
  assert failure.found == (
    f'{path.name} cannot be read after {done} records; rebuild the rows '
    "with 'it-study corpus build'"
  )


def test_files_after_a_damaged_one_are_judged(tmp_path, monkeypatch):
  monkeypatch.setattr(tfds_builder, '_MANY_ROWS', 100)
  monkeypatch.setattr(tfds_builder, '_MANY_SHARDS', 2)
  bench = build_bench(tmp_path)
  first, second = sorted(bench.data_dir.rglob('*-test.tfrecord*'))
  whole = first.read_bytes()
  first.write_bytes(whole[:-3])
  found = bench.certify(EMPTY).tally
  assert dict(found.failures) == {'record-damaged': 1}
  assert found.rows['test'] == 141
  # Faults in rows of other files are still reported.
  second.write_bytes(whole)
  assert set(bench.codes(EMPTY)) == {
    'record-damaged',
    'row-order',
    'row-twice',
  }
  first.write_bytes(b'')
  found = bench.certify(EMPTY).tally.first['record-damaged'][0]
  assert found.found.startswith(
    f'{first.name} cannot be read after 0 records; '
  )


@pytest.mark.parametrize(
  ('old', 'new', 'where'),
  [
    ('Is it wet?', 'Is it wet!', 'definition: '),
    ('Is sand wet?', 'Is sand Wet?', 'positive_examples: '),
    ('Is soup wet?', 'Is soup Wet?', 'negative_examples: '),
    ('Entailment', 'Entailmenu', 'category: '),
  ],
)
def test_a_changed_text_of_a_task_is_caught(damaged, old, new, where):
  _edit_metadata(damaged, old, new)
  found = damaged.certify(EMPTY).tally
  assert dict(found.failures) == {'stored-task': 1}
  (failure,) = found.first['stored-task']
  assert failure.task == 'task5_wet'


def test_a_wrong_count_of_training_instances_is_caught(damaged):
  _edit_metadata(damaged, '"task1_mood": 30', '"task1_mood": 29')
  assert damaged.codes(EMPTY) == {'stored-count': 1}


def _edit_metadata(damaged, old, new):
  (path,) = damaged.data_dir.rglob('metadata.json')
  text = path.read_text()
  changed = text.replace(old, new)
  assert changed != text, f'{old!r} is not in {text[:300]}'
  json.loads(changed)
  path.write_text(changed)
