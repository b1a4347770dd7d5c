"""Tests of it_study.commands.prompting: prompt and explain."""

import json
import os
import pathlib

import fakes
import gguf_files
import pytest

from it_study import cli
from it_study.checkpoints.gguf import folder as gguf_folder
from it_study.conditions import PROMPT_TEMPLATES, PromptTemplate
from it_study.data import vocabularies
from it_study.instructions import prompts, surfaces

HEAD = 'Now complete the following example -\n'
SIMPLIFIED = 'natinst_def_simplified_ex_original1'


@pytest.fixture(name='corpus', autouse=True)
def _corpus(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  monkeypatch.chdir(tmp_path)
  return fakes.write_small_corpus(tmp_path / 'corpus')


def printed(capsys, *words) -> str:
  capsys.readouterr()
  assert cli.main([*words, '--corpus=corpus']) == 0
  return capsys.readouterr().out


def explained(capsys, *words):
  return json.loads(printed(capsys, 'explain', *words, '--json'))


def write_instance(corpus, text, *, reference='x'):
  """Gives task5_title an instance with id 'odd'."""
  path = corpus / 'tasks/task5_title.json'
  task = json.loads(path.read_text())
  odd = {'id': 'odd', 'input': text, 'output': reference}
  task['Instances'].insert(0, odd)
  path.write_text(json.dumps(task))


def test_explain_shows_the_six_standard_conditions(capsys):
  found = explained(capsys, 'entail-1')
  assert [c['condition'] for c in found['conditions']] == [
    'natinst_def_original_ex_original2',
    'natinst_def_simplified_ex_original2',
    'natinst_def_empty_ex_original2',
    'natinst_def_original_ex_original1',
    'natinst_def_original_ex_delusive1',
    'natinst_def_original_ex_empty0',
  ]
  del found['conditions']
  assert found == {
    'id': 'entail-1',
    'split': 'test',
    'position': 1,
    'task': 'task4_entail',
    'category': 'Textual Entailment',
    'kind': 'classification',
    'input': 'Is it 1?',
    'references': ['no'],
    'label_space': ['yes', 'no'],
  }


def test_explain_in_a_pipe_marks_spans_in_the_margin(capsys):
  text = printed(capsys, 'explain', 'entail-1', f'--condition={SIMPLIFIED}')
  assert text == (
    'entail-1: test, task4_entail, Textual Entailment, classification\n'
    'accepted: no\n'
    'label space: yes, no\n'
    '\n'
    f'=== {SIMPLIFIED}\n'
    '        definition | Definition: Possible outputs: yes, no.\n'
    '                   | \n'
    '         example 1 |  Positive Example 1 -\n'
    '                   | Input: Is it wet?\n'
    '                   |  Output: yes.\n'
    '                   | \n'
    f'               cue | {HEAD}'
    '         cue+input | Input: Is it 1?\n'
    '               cue | Output: \n'
    '--- 156 characters\n'
    '\n'
  )


def test_explain_lists_what_is_truncated(capsys):
  text = printed(
    capsys,
    'explain',
    'title-3',
    '--vocabulary=byte',
    '--max_input_length=80',
    '--condition',
    'natinst_def_original_ex_delusive2',
    'natinst_def_original_ex_original7',
    'natinst_def_original_ex_empty0_trunctk',
  )
  first, second, third = text.split('=== ')[1:]
  assert (
    '--- 80 tokens including end of sequence, 79 characters; limit 80 tokens\n'
    '--- dropped to fit the limit: example 1, example 2\n'
    '--- input truncated: the first 1 and the last 1 of 9 characters remain '
    '(22.2%)\n'
  ) in first
  # Only the kinds in the prompt.
  assert 'comes from' not in first
  assert '--- 5 of 7 examples: the task has no more\n' in second
  assert third.endswith(
    '               cue | Out\n'
    '--- 80 tokens including end of sequence, 80 characters; limit 80 tokens\n'
    '--- truncated at the end as in Tk-Instruct, cue included\n'
    '--- tokens replaced by end of sequence: 1\n'
    '\n'
  )


def test_explain_shows_tokens(capsys):
  text = printed(
    capsys,
    'explain',
    'title-3',
    '--vocabulary=byte',
    '--tokens',
    '--condition=natinst_def_empty_ex_empty0',
  )
  assert (
    '             input | a/100  /35 t/119 h/107 i/108 n/113 g/106  /35 3/54\n'
    '               cue | ./49 ␊/13 O/82 '
  ) in text.replace('\n/13', '␊/13')
  assert '               end | </s>/1\n' in text


def test_explain_of_a_training_instance(capsys):
  train, validation = (
    next(iter(rows))
    for rows in (
      [json.loads(line)['id'] for line in lines]
      for lines in (
        printed(
          capsys,
          'prompt',
          f'--condition={SIMPLIFIED}',
          f'--split={split}',
          '--json',
          '--limit=1',
        ).splitlines()
        for split in ('train', 'validation')
      )
    )
  )
  assert explained(capsys, train)['split'] == 'train'
  assert explained(capsys, validation)['split'] == 'validation'
  # Training data does not show in a test prompt.
  names = (f'{SIMPLIFIED}_n10_s3', f'{SIMPLIFIED}_n20', 'natinst_tk_instruct')
  shown = explained(capsys, 'entail-1', '--condition', *names)['conditions']
  assert shown[0]['condition'] == SIMPLIFIED
  assert len(shown) == 2
  assert shown[1]['condition'].endswith('_trunctk')


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (('entail-x',), "no instance 'entail-x' in its splits; the nearest are"),
    (('entail-1', '--split=train'), "no instance 'entail-1' in train;"),
    (('entail-1', '--split=tset'), "split 'tset' is unknown"),
    (
      ('entail-1', '--condition=natinst_def_orignal_ex_empty0'),
      "Did you mean 'original'?",
    ),
    (
      ('entail-1', '--max_input_length=0', '--vocabulary=byte'),
      '--max_input_length is 0; it must be at least 1.',
    ),
    (('entail-1', '--vocabulary=none'), 'vocabulary none: cannot be read'),
  ],
)
def test_explain_refuses(capsys, words, message):
  told = fakes.refusal(capsys, 'explain', '--corpus=corpus', *words)
  assert message in told


@pytest.mark.parametrize(
  'text', ['[bold]x[/nope]', '\x1b[31mred\x1b]0;t\x07', 'a\rb\x08', '\u202edc']
)
@pytest.mark.parametrize('command', ['explain', 'prompt'])
def test_odd_text_is_shown_as_text(capsys, corpus, text, command, monkeypatch):
  write_instance(corpus, text, reference=text)
  words = ['explain', 'odd', f'--condition={SIMPLIFIED}']
  if command == 'prompt':
    words = ['prompt', f'--condition={SIMPLIFIED}', '--task=task5_title']
  shown = ''.join(
    {'\x1b': '␛', '\x07': '␇', '\r': '␍', '\x08': '␈', '\u202e': '�'}.get(c, c)
    for c in text
  )
  plain = printed(capsys, *words)
  assert f'Input: {shown}' in plain
  assert f'accepted: {shown}\n' in plain
  assert set(plain) & set('\x1b\x07\r\x08\u202e') == set()
  monkeypatch.setenv('FORCE_COLOR', '1')
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.delenv('NO_COLOR', raising=False)
  coloured = printed(capsys, *words)
  assert '\x1b[' in coloured
  assert shown in coloured
  assert '\x1b]' not in coloured
  assert set(coloured) & set('\x07\r\x08\u202e') == set()


def test_rows_carry_the_exact_text(capsys, corpus):
  write_instance(corpus, '\x1b[31m\r[b]')
  found = explained(capsys, 'odd', '--condition=natinst_def_empty_ex_empty0')
  text = f'{HEAD}Input: \x1b[31m\r[b]\nOutput: '
  assert found['conditions'][0]['text'] == text
  rows = printed(
    capsys,
    'prompt',
    '--id=odd',
    '--condition=natinst_def_empty_ex_empty0',
    '--json',
  )
  assert json.loads(rows) == {
    'id': 'odd',
    'task': 'task5_title',
    'inputs': text,
    'targets': ['x'],
  }


def test_prompt_of_a_task_or_an_instance(capsys):
  words = ('prompt', f'--condition={SIMPLIFIED}', '--json')
  rows = printed(capsys, *words, '--limit=2').splitlines()
  assert [json.loads(row)['id'] for row in rows] == ['entail-0', 'entail-1']
  rows = printed(capsys, *words, '--split=validation', '--task=task3_few')
  assert len(rows.splitlines()) == 10
  told = fakes.refusal(capsys, *words, '--corpus=corpus', '--task=task5_titel')
  assert told == (
    "split test has no task 'task5_titel'. Did you mean 'task5_title'?"
  )
  told = fakes.refusal(capsys, *words, '--corpus=corpus', '--limit=0')
  assert told == '--limit is 0; it must be at least 1.'
  told = fakes.refusal(
    capsys, *words, '--corpus=corpus', '--id=entail-0', '--task=task4_entail'
  )
  assert told == '--id already names one instance. Leave out --task.'


@pytest.mark.parametrize(
  'more', [('--json',), (), ('--out=p.jsonl',), ('--quiet',)]
)
def test_prompt_notes_missing_examples(capsys, more):
  words = ('prompt', '--condition=natinst_def_empty_ex_original3', *more)
  assert cli.main([*words, '--corpus=corpus']) == 0
  note = (
    'it-study: note: 100 of 106 prompts have fewer examples than the condition '
    'requests: their tasks have no more.\n'
  )
  error = capsys.readouterr().err
  assert error.endswith(note) if '--quiet' not in more else not error
  words = ('prompt', '--condition=natinst_def_empty_ex_original2', *more)
  assert cli.main([*words, '--corpus=corpus']) == 0
  assert 'note' not in capsys.readouterr().err


def test_the_miniature_is_cut_by_its_own_vocabulary(capsys):
  words = [
    'prompt',
    '--corpus=miniature',
    '--condition=natinst_def_original_ex_original2',
    '--limit=1',
    '--json',
    '--max_input_length=60',
  ]
  texts = []
  for more in ([], ['--vocabulary=miniature'], ['--vocabulary=byte']):
    os.environ[vocabularies.VARIABLE] = ''
    assert cli.main(words + more) == 0
    texts.append(capsys.readouterr().out)
  assert texts[0] == texts[1] != texts[2]


def test_prompts_are_written_as_they_come(capsys, monkeypatch):
  words = ('prompt', f'--condition={SIMPLIFIED}', '--out=rows.jsonl')
  assert printed(capsys, *words) == ''
  whole = pathlib.Path('rows.jsonl').read_bytes()
  assert whole.count(b'\n') == 106
  render, calls = prompts.render, []

  def stop(**fields):
    calls.append(1)
    if len(calls) == 50:
      # Rows before are on disk, none of them under the name yet.
      (name,) = [n for n in os.listdir() if n.endswith('.tmp')]
      assert name.startswith('.rows.jsonl.')
      raise KeyboardInterrupt
    return render(**fields)

  monkeypatch.setattr(prompts, 'render', stop)
  assert cli.main([*words, '--corpus=corpus']) == 130
  assert pathlib.Path('rows.jsonl').read_bytes() == whole
  assert sorted(os.listdir()) == ['corpus', 'rows.jsonl']


def test_prompts_in_colour_are_the_same_text(capsys, monkeypatch):
  words = ('prompt', f'--condition={SIMPLIFIED}', '--limit=2')
  plain = printed(capsys, *words)
  assert '\x1b' not in plain
  monkeypatch.setenv('FORCE_COLOR', '1')
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '100')
  coloured = printed(capsys, *words)
  assert '\x1b[36m' in coloured
  assert cli_text(coloured) == cli_text(plain)
  monkeypatch.setenv('NO_COLOR', '1')
  assert printed(capsys, *words) == plain


def cli_text(text):
  """Removes colours and trailing white space."""
  from rich.text import Text

  return [line.rstrip() for line in Text.from_ansi(text).plain.splitlines()]


def test_stats_measures_prompts_if_requested(capsys, monkeypatch):
  monkeypatch.setenv('COLUMNS', '120')
  words = ('corpus', 'stats', 'corpus')

  def stats(*more):
    capsys.readouterr()
    assert cli.main([*words, *more]) == 0
    return capsys.readouterr().out

  assert 'budgets' not in json.loads(stats('--json'))
  limits = ('--vocabulary=byte', '--max_input_length=86', '--split=test')
  found = json.loads(stats('--json', *limits))['budgets']
  assert len(found) == 6
  assert found[-1]['condition'] == 'natinst_def_original_ex_empty0'
  assert (found[-1]['num_shortened'], found[-1]['tokens_max']) == (100, 86)
  one = stats(*limits, '--condition', 'natinst_def_empty_ex_empty0')
  assert (
    '\nTokens in test prompts, limit 86, end of sequence included:\n' in one
  )
  (line, _) = [row for row in one.splitlines() if 'def_empty' in row]
  assert line.split() == [
    *('natinst_def_empty_ex_empty0', '106', '63.0', '63.0', '63.8', '64'),
    *('0.0%', '0', '0', '100.00%'),
  ]
  (line,) = one.split('Tokens in test targets, limit 128,')[1].splitlines()[2:3]
  assert line.split() == [
    *('natinst_def_empty_ex_empty0', '106', '4.0', '4.0', '10.0', '12'),
    *('0', '0'),
  ]
  (line,) = [row for row in one.splitlines() if 'test references' in row]
  assert line.split() == ['test', 'references', '112', '0', '0', '0']
  found = json.loads(stats('--json', *limits, '--max_target_length=3'))
  assert found['budgets'][0]['max_target_tokens'] == 3
  assert found['budgets'][0]['num_unreachable'] == 56
  assert [(row['split'], row['texts']) for row in found['spelling']] == [
    ('test', 'labels'),
    ('test', 'references'),
  ]
  for name in ('max_input_length', 'max_target_length'):
    told = fakes.refusal(capsys, *words, f'--{name}=0')
    assert told == f'--{name} is 0; it must be at least 1.'


def test_a_named_vocabulary_has_the_limits_of_training(capsys, monkeypatch):
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  words = ('corpus', 'stats', 'corpus', '--json', '--split=test')
  name = ('--condition', 'natinst_def_empty_ex_empty0')

  def limits(*more):
    capsys.readouterr()
    assert cli.main([*words, *name, *more]) == 0
    (budget,) = json.loads(capsys.readouterr().out)['budgets']
    return budget['max_tokens'], budget['max_target_tokens']

  assert limits() == (None, None)
  assert limits('--vocabulary=byte') == (1024, 128)
  assert limits('--vocabulary=byte', '--max_input_length=99') == (99, 128)
  assert limits('--max_target_length=9') == (None, 9)
  told = fakes.refusal(capsys, *words, '--max_input_length=0')
  assert told == '--max_input_length is 0; it must be at least 1.'


@pytest.mark.parametrize(('columns', 'lines'), [('80', 2), ('120', 1)])
def test_stats_fits_the_terminal(capsys, monkeypatch, columns, lines):
  monkeypatch.setenv('COLUMNS', columns)
  name = 'natinst_def_simplified_ex_original1'
  words = ('--vocabulary=byte', '--split=test', f'--condition={name}')
  assert cli.main(['corpus', 'stats', 'corpus', *words]) == 0
  text = capsys.readouterr().out.partition('Tokens ')[2]
  assert max(map(len, text.splitlines())) <= int(columns)
  table = text.partition('\n\n')[0].splitlines()
  assert len(table) == 2 + lines


ALPACA = f'{SIMPLIFIED}_fmtalpaca'
CHAT = f'{SIMPLIFIED}_fmtchat'
PLAIN_TEXT = (
  'Definition: Possible outputs: yes, no.\n\n Positive Example 1 -\n'
  f'Input: Is it wet?\n Output: yes.\n\n{HEAD}Input: Is it 1?\nOutput: '
)


@pytest.fixture(name='model')
def _model():
  """A tiny Llama's folder, with a chat template."""
  path = gguf_folder.write_folder(
    gguf_files.write(pathlib.Path('m.gguf')), pathlib.Path('model')
  )
  (path / 'chat_template.jinja').write_text(
    '<|user|>{{ messages[0].content | trim }}<|end|>'
  )
  return path


def part(explained, kind):
  """Returns the text of a prompt's spans of a kind."""
  return [
    explained['text'][span['start'] : span['end']]
    for span in explained['spans']
    if span['kind'] == kind
  ]


def test_alpacas_template_is_shown_around_a_prompt(capsys):
  words = ('entail-1', f'--condition={ALPACA}')
  (found,) = explained(capsys, *words)['conditions']
  before, after = part(found, 'template')
  assert found['text'] == before + PLAIN_TEXT + after
  assert before.startswith('Below is an instruction that describes a task.')
  assert after == '\n\n### Response:'
  shown = printed(capsys, 'prompt', '--id=entail-1', f'--condition={ALPACA}')
  assert shown.startswith(f'--- entail-1 (task4_entail)\n{found["text"]}\n')


def test_a_chat_template_is_shown_with_its_tokens(capsys, model):
  words = (f'--condition={CHAT}', f'--vocabulary={model}')
  (found,) = explained(capsys, 'entail-1', *words)['conditions']
  assert found['text'] == f'<|user|>{PLAIN_TEXT.strip()}<|end|>'
  assert part(found, 'template') == ['<|user|>', '<|end|>']
  first, *tokens, last = found['tokens']
  assert first == {'id': 1, 'piece': '<|user|>', 'kind': 'template'}
  # No end of sequence: the model continues the prompt.
  assert last == {'id': 0, 'piece': '<|end|>', 'kind': 'template'}
  assert tokens[0] == {
    'id': gguf_files.TOKENS.index('D'),
    'piece': 'D',
    'kind': 'definition',
  }
  assert tokens[-1]['kind'] == 'cue'
  text = printed(capsys, 'explain', 'entail-1', *words)
  assert f'--- {len(found["tokens"])} tokens, ' in text


def test_a_templates_tokens_count(capsys, model):
  words = (f'--condition={CHAT}', f'--vocabulary={model}')
  (whole,) = explained(capsys, 'entail-1', *words)['conditions']
  for limit, dropped in (
    (whole['num_tokens'], 0),
    (whole['num_tokens'] - 1, 1),
  ):
    (found,) = explained(
      capsys, 'entail-1', *words, f'--max_input_length={limit}'
    )['conditions']
    assert len(found['dropped_examples']) == dropped
    assert part(found, 'template') == ['<|user|>', '<|end|>']


def test_a_chat_template_needs_a_tokenizer(capsys):
  for words in (['prompt'], ['explain', 'entail-1']):
    words += ['--corpus=corpus', f'--condition={CHAT}']
    assert cli.main(words) == 2
    assert capsys.readouterr().err == (
      f'it-study: {CHAT}: _fmtchat needs the chat template of a '
      'tokenizer. Name the folder of the model with --vocabulary, such as '
      '--vocabulary=smollm2-135m-instruct.\n'
    )


# A surface whose prompts end in a line break.
_BROKEN = next(
  number
  for number, surface in enumerate(surfaces.variants())
  if surface.separator == ':\n' and surface.casing == 'upper'
)


@pytest.mark.parametrize(
  'name',
  [
    ALPACA,
    CHAT,
    SIMPLIFIED,
    f'{SIMPLIFIED}_sep{_BROKEN}',
    f'{CHAT}_sep{_BROKEN}',
    'natinst_def_empty_ex_original1_fmtchat',
    f'natinst_def_empty_ex_original1_fmtchat_sep{_BROKEN}',
    'tight_def_simplified_ex_original1',
    'tight_def_empty_ex_original1_fmtchat',
  ],
)
def test_formatted_prompts_of_a_file_are_certified(
  capsys, model, name, request
):
  template = PromptTemplate(
    definition='{definition}',
    example='Positive example: {input} {output}',
    input='{input}',
    cue='\nA:',
  )
  PROMPT_TEMPLATES.register('tight', template)
  request.addfinalizer(lambda: PROMPT_TEMPLATES.unregister('tight'))
  words = [f'--condition={name}', f'--vocabulary={model}']
  assert printed(capsys, 'prompt', '--out=p.jsonl', *words) == ''
  capsys.readouterr()
  assert (
    cli.main(['corpus', 'verify', 'corpus', '--prompts=p.jsonl', *words]) == 0
  ), capsys.readouterr().out
