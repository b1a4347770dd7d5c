"""Tests of certifying the prompts of a file."""

import json

from certificates_fixture import DELUSIVE, ORIGINAL, build_bench
import fakes
import pytest
import seqio

from it_study.audit.certificates.prompt_file import (
  PromptRow,
  certify_prompts,
  read_prompts,
)
from it_study.conditions import Condition
from it_study.data import preprocessors, row_source
from it_study.errors import InputError
from it_study.storage import text_files
import tasks  # noqa: F401  Registers the conditions.

RENAMED = 'natinst_def_renamed_ex_delusive2'


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(tmp_path_factory.mktemp('certificates'))


@pytest.fixture(name='prompts')
def _prompts(bench, tmp_path):
  """Writes prompts, changed or not, and returns the words that certify them."""

  def write(condition, change=None, *, limit=()):
    path = tmp_path / 'prompts.jsonl'
    words = ('prompt', '--corpus', bench.corpus.directory, '--split', 'test')
    words += ('--condition', condition, '--out', path, *limit)
    assert fakes.run_command(*words) == 0
    if change is not None:
      rows = [json.loads(line) for line in path.read_text().splitlines()]
      rows = change(rows) or rows
      path.write_text(''.join(map(text_files.json_line, rows)))
    words = ('corpus', 'verify', bench.corpus.directory, '--prompts', path)
    return (*words, '--condition', condition, *limit)

  return write


@pytest.mark.parametrize(
  'condition',
  [
    ORIGINAL,
    f'{ORIGINAL}_neg1_expl',
    DELUSIVE,
    RENAMED,
    'natinst_def_simplified_ex_empty0',
    'natinst_def_shuffled_ex_delusive1',
  ],
)
def test_the_output_of_prompt_is_certified(prompts, condition, capsys):
  assert fakes.run_command(*prompts(condition)) == 0
  assert capsys.readouterr().out.endswith(
    '142 rows, 142 prompts under 1 condition, no failure\n'
  )


@pytest.mark.parametrize('suffix', ['', '_trunctk', '_budget'])
def test_limited_prompts_are_certified(prompts, monkeypatch, suffix, capsys):
  # The command sets the vocabulary for its process.
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  limit = ('--vocabulary', 'byte', '--max_input_length', '120')
  words = prompts(f'{RENAMED}{suffix}', limit=limit)
  assert fakes.run_command(*words) == 0
  # Judged without the limit they fail.
  assert fakes.run_command(*words[: -len(limit)]) == 2
  assert (
    capsys.readouterr().out.endswith(
      'If these prompts were truncated, add --max_input_length and '
      '--vocabulary.\n'
    )
    or suffix == '_trunctk'
  )


def _replace(old, new):
  def change(rows):
    rows[5]['inputs'] = rows[5]['inputs'].replace(old, new)

  return change


@pytest.mark.parametrize(
  ('condition', 'change', 'code'),
  [
    (ORIGINAL, _replace('wet 5.', 'wet 5!'), 'instance-text'),
    (ORIGINAL, _replace('Is it wet?', 'Is it wet!'), 'definition-text'),
    (ORIGINAL, _replace('Output: yes.', 'Output: no.'), 'example-text'),
    (ORIGINAL, _replace('Output: yes.', 'Output: yes'), 'example-text'),
    (ORIGINAL, _replace('\nOutput: ', '\nOutput:'), 'cue-missing'),
    (
      DELUSIVE,
      _replace('Output: no.', 'Output: so.'),
      'delusive-outside-labels',
    ),
    (
      DELUSIVE,
      _replace('\n\nNow', '\n Explanation: False.\n\nNow'),
      'explanation-shown',
    ),
    (ORIGINAL, lambda rows: rows[5].update(targets=['No']), 'references'),
    (RENAMED, lambda rows: rows[5].update(targets=['no']), 'renamed-reference'),
    (ORIGINAL, lambda rows: rows[:5] + rows[6:], 'row-missing'),
    (ORIGINAL, lambda rows: [*rows, rows[5]], 'row-twice'),
    (ORIGINAL, lambda rows: rows[5].update(id='task5-9x'), 'row-unknown'),
    (ORIGINAL, lambda rows: rows[5].update(position=6), 'row-position'),
    (
      ORIGINAL,
      lambda rows: rows[5].update(label_space=['yes', 'no']),
      'label-space',
    ),
    (
      ORIGINAL,
      lambda rows: rows[5].update(test_condition=DELUSIVE),
      'condition-name',
    ),
  ],
)
def test_a_fault_is_named(prompts, capsys, condition, change, code):
  assert fakes.run_command(*prompts(condition, change), '--json') == 2
  failures = json.loads(capsys.readouterr().out)['failures']
  assert set(failures) - {'row-missing', 'row-split'} <= {code}
  (failure,) = failures[code]['first']
  assert failure['condition'] == condition
  assert failure['task'] == 'task5_wet'


@pytest.mark.parametrize('condition', [ORIGINAL, DELUSIVE, RENAMED])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_seqio_prompts_are_certified(bench, monkeypatch, condition, split):
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  row_source.SOURCE.use(bench.data_dir)
  dataset = seqio.get_mixture_or_task(condition).get_dataset(
    sequence_length={'inputs': 200, 'targets': 20}, split=split, shuffle=False
  )
  certificate = certify_prompts(
    corpus=bench.corpus,
    rows=[_seqio_row(row, split) for row in preprocessors.numpy_rows(dataset)],
    condition=Condition.from_name(condition),
    max_tokens=200,
  )
  assert certificate.is_clean, '\n'.join(certificate.lines())
  assert certificate.num_prompts == {'train': 68, 'test': 142}[split]


def _seqio_row(row, split):
  return PromptRow(
    id=row['id'].decode(),
    task=row['task'].decode(),
    inputs=row['inputs_pretokenized'].decode(),
    targets=tuple(text.decode() for text in row['references']),
    split=split,
    position=int(row['position']),
    label_space=tuple(text.decode() for text in row['label_space']),
  )


def test_predictions_name_their_condition(bench, tmp_path, capsys):
  engine = fakes.Engine(bench.corpus.directory)
  path = engine.predict(
    mixture_or_task_name=ORIGINAL,
    checkpoint_path=None,
    infer_output_dir=tmp_path,
    answer_dir=tmp_path / 'answers',
    split='test',
    seed=0,
    on_progress=lambda done, total: None,
  )
  words = ('corpus', 'verify', bench.corpus.directory, '--prompts', path)
  # This engine takes the bare input for its prompt.
  assert fakes.run_command(*words, '--json') == 2
  told = json.loads(capsys.readouterr().out)
  assert list(told['conditions']) == [ORIGINAL]
  assert {c: f['count'] for c, f in told['failures'].items()} == {
    'cue-missing': 142
  }


@pytest.mark.parametrize('more', [{}, {'split': 'test'}])
def test_missing_tasks_are_caught(prompts, capsys, more):
  gone = ('task5_wet', 'task8_thrice')

  def change(rows):
    return [row | more for row in rows if row['task'] not in gone]

  assert fakes.run_command(*prompts(ORIGINAL, change), '--json') == 2
  told = json.loads(capsys.readouterr().out)
  failures = told['failures']
  assert {code: f['count'] for code, f in failures.items()} == {
    'task-missing': 2
  }
  assert [f['task'] for f in failures['task-missing']['first']] == list(gone)
  assert told['partial'] is False


def test_part_of_a_split_is_certified_on_request(prompts, capsys):
  words = prompts(ORIGINAL, lambda rows: rows[:5])
  assert fakes.run_command(*words) == 2
  assert 'If the file is meant to hold part of a split, add --partial.' in (
    capsys.readouterr().out
  )
  assert fakes.run_command(*words, '--partial', '--json') == 0
  told = json.loads(capsys.readouterr().out)
  assert told['verdict'].endswith(
    '5 rows, 5 prompts under 1 condition, 1 of 4 tasks and 5 of 142 instances '
    'of test, no failure'
  )
  assert told['partial'] is True
  assert told['seen'] == {
    'test': {
      'tasks': 1,
      'all_tasks': 4,
      'instances': 5,
      'all_instances': 142,
    }
  }
  # The prompts present are judged as usual.
  words = prompts(ORIGINAL, lambda rows: [*rows[:5], rows[0]])
  assert fakes.run_command(*words, '--partial', '--json') == 2
  assert list(json.loads(capsys.readouterr().out)['failures']) == ['row-twice']


def test_partial_applies_only_to_prompts(bench, capsys):
  words = ('corpus', 'verify', bench.corpus.directory, '--partial')
  assert fakes.refusal(capsys, *words) == (
    '--partial needs --prompts F.jsonl: only a file may hold part of a split.'
  )


def test_prompts_need_a_condition(prompts, capsys):
  *words, _, condition = prompts(ORIGINAL)
  path = words[-1]
  capsys.readouterr()
  assert fakes.refusal(capsys, *words) == (
    f'{path}: rows do not name their condition, as in files of '
    "'it-study prompt --out'. Name it with --condition NAME."
  )
  assert fakes.refusal(capsys, *words, '--condition', condition, DELUSIVE) == (
    f'{path}: expected prompts of one condition; --condition names 2: '
    f'{condition}, {DELUSIVE}. Give one --condition, and a file with only its '
    'prompts.'
  )


def test_invalid_lines_are_refused(tmp_path):
  path = tmp_path / 'prompts.jsonl'
  for text, told in (
    ('', f'{path}: no prompts found.'),
    ('[]', f'{path}, line 1: expected one JSON object, got list.'),
    ('{"id"', f'{path}, line 1: not JSON: '),
    ('{"id": "a", "task": "b"}', f'{path}, line 1: inputs is None; a row has '),
  ):
    path.write_text(text)
    with pytest.raises(InputError) as error:
      read_prompts(path)
    assert str(error.value).startswith(told)
