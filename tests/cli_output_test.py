"""Tests of it_study.cli: output for terminals, pipes, --json and --quiet."""

import io
import json
import logging
import sys

import fakes
import pytest

import it_study
from it_study.data import vocabularies
from it_study.evaluation import baselines

CONDITION = '--condition=natinst_def_empty_ex_original1'
COMMANDS = {
  'score': ('score', 'a.jsonl', '--decomposition=parts.json'),
  'baseline': ('baseline', 'random', '--corpus=corpus', '--simulate=10'),
  'compare': ('compare', 'a.jsonl', 'b.jsonl'),
  'prompt': ('prompt', '--corpus=corpus', CONDITION, '--limit=2'),
  'explain': ('explain', 'entail-3', '--corpus=corpus', CONDITION),
  'check': ('corpus', 'check', 'corpus'),
  'audit': ('corpus', 'audit', 'corpus'),
  'stats': ('corpus', 'stats', 'corpus', CONDITION, '--max_input_length=99'),
  'mini': ('corpus', 'mini', 'mini'),
  'controls': ('corpus', 'controls', 'corpus', 'controlled'),
  'build': ('corpus', 'build', 'corpus', '--data_dir=rows'),
  'verify': (
    *('corpus', 'verify', 'corpus', '--data_dir=rows', CONDITION),
    *('--split', 'test', '--num_workers=1'),
  ),
  'completion': ('completion', 'bash'),
  'launch local': ('launch', 'local', '--dry_run', '--', 'train'),
  'launch ssh': ('launch', 'ssh', '--hosts=a,b', '--dry_run', '--', 'train'),
  'launch slurm': ('launch', 'slurm', '--dry_run', '--', 'score', 'a.jsonl'),
  'launch tpu_vm': (
    *('launch', 'tpu_vm', '--type=v5litepod-1', '--zone=z', '--dry_run'),
    *('--', 'score', 'a.jsonl'),
  ),
}


class Terminal(io.StringIO):
  """Looks like a terminal."""

  def isatty(self) -> bool:
    return True


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('output')
  corpus = fakes.write_small_corpus(folder / 'corpus')
  for out, name in (('a', 'random'), ('b', 'majority')):
    words = ('baseline', name, '--corpus', corpus, '--quiet')
    assert fakes.run_command(*words, '--out', folder / f'{out}.jsonl') == 0
  words = ('corpus', 'build', corpus, '--quiet')
  assert fakes.run_command(*words, '--data_dir', folder / 'rows') == 0
  return folder


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  monkeypatch.chdir(folder)
  monkeypatch.setenv('TERM', 'xterm-256color')
  for name in ('NO_COLOR', 'FORCE_COLOR', 'TTY_COMPATIBLE', 'COLORTERM'):
    monkeypatch.delenv(name, raising=False)


def with_flag(words, flag):
  """Adds a flag to a command line, before the command that it runs."""
  position = words.index('--') if '--' in words else len(words)
  return (*words[:position], flag, *words[position:])


@pytest.mark.parametrize('name', COMMANDS)
def test_it_obeys(capsys, name):
  words = COMMANDS[name]
  assert fakes.run_command(*with_flag(words, '--json')) == 0
  for line in capsys.readouterr().out.splitlines():
    assert isinstance(json.loads(line), dict)
  assert fakes.run_command(*with_flag(words, '--quiet')) == 0
  assert capsys.readouterr() == ('', '')
  assert fakes.run_command(*words) == 0
  told = capsys.readouterr()
  assert told.out
  # Neither colours nor bars where there is no terminal.
  assert '\x1b' not in told.out + told.err
  assert '\r' not in told.out + told.err


@pytest.mark.parametrize('name', ['score', 'prompt', 'explain'])
def test_a_terminal_gets_colours(monkeypatch, name):
  monkeypatch.setattr(sys, 'stdout', Terminal())
  assert fakes.run_command(*COMMANDS[name]) == 0
  assert '\x1b[' in sys.stdout.getvalue()
  monkeypatch.setattr(sys, 'stdout', Terminal())
  assert fakes.run_command(*COMMANDS[name], '--json') == 0
  for line in sys.stdout.getvalue().splitlines():
    json.loads(line)


@pytest.mark.parametrize('name', COMMANDS)
def test_a_console_that_is_not_utf8_loses_nothing(monkeypatch, name):
  streams = [io.TextIOWrapper(io.BytesIO(), 'ascii') for _ in range(2)]
  monkeypatch.setattr(sys, 'stdout', streams[0])
  monkeypatch.setattr(sys, 'stderr', streams[1])
  assert fakes.run_command(*COMMANDS[name]) == 0
  streams[0].flush()
  told = streams[0].buffer.getvalue().decode('ascii')
  assert told
  assert '\\u' not in told


@pytest.mark.parametrize(
  ('encoding', 'written'),
  [
    ('utf-8', 'é –−±→… 日 \\ud800'.encode()),
    ('latin-1', b'\xe9 --\xb1->... \\u65e5 \\ud800'),
    ('ascii', b'\\xe9 --+/-->... \\u65e5 \\ud800'),
  ],
)
def test_a_console_shows_what_its_encoding_lacks(
  monkeypatch, encoding, written
):
  file = io.BytesIO()
  stream = io.TextIOWrapper(file, encoding=encoding)
  monkeypatch.setattr(sys, 'stdout', stream)

  def say(*args, **settings):
    print('é –−±→… 日 \ud800', end='')

  monkeypatch.setattr('it_study.corpus.natinst.open_corpus', say)
  assert fakes.run_command('corpus', 'stats', 'x') == 1
  stream.flush()
  assert file.getvalue() == written


def test_a_quiet_command_logs_errors_alone(capsys, monkeypatch):
  run_baseline = baselines.run_baseline

  def run_and_log(*args, **settings):
    logging.warning('something to know')
    logging.error('something is wrong')
    return run_baseline(*args, **settings)

  monkeypatch.setattr(baselines, 'run_baseline', run_and_log)
  words = ('baseline', 'random', '--corpus=corpus')
  assert fakes.run_command(*words) == 0
  assert capsys.readouterr().err == (
    'WARNING: something to know\nERROR: something is wrong\n'
  )
  assert fakes.run_command(*words, '--quiet') == 0
  assert capsys.readouterr().err == 'ERROR: something is wrong\n'


def test_debug_shows_our_messages_and_warnings_of_others(capsys, monkeypatch):
  run_baseline = baselines.run_baseline

  def run_and_log(*args, **settings):
    logging.getLogger('it_study.some.module').debug('a detail')
    logging.getLogger('other_library').info('chatter')
    logging.getLogger('other_library').warning('a warning')
    compiler = logging.getLogger('jax._src.dispatch')
    compiler.debug('Finished tracing + transforming f for pjit in 9.0 sec')
    for name, seconds in (('tiny', 0.2), ('train_step', 12.5)):
      compiler.debug(f'Finished XLA compilation of {name} in {seconds} sec')
    return run_baseline(*args, **settings)

  monkeypatch.setattr(baselines, 'run_baseline', run_and_log)
  words = ('baseline', 'random', '--corpus=corpus')
  assert fakes.run_command(*words, '--debug') == 0
  lines = capsys.readouterr().err.splitlines()
  # After the date and time of day.
  assert [line.split(' ', 2)[2] for line in lines] == [
    f'INFO it_study.cli: it-study {it_study.__version__}, Python '
    f'{sys.version.split()[0]}: it-study baseline',
    'DEBUG it_study.some.module: a detail',
    'WARNING other_library: a warning',
    'DEBUG jax._src.dispatch: Finished XLA compilation of train_step in 12.5 '
    'sec',
  ]
  # The next command in this process is as quiet as any.
  assert fakes.run_command(*words) == 0
  assert capsys.readouterr().err == 'WARNING: a warning\n'


def test_a_dry_run_for_a_program(capsys):
  words = with_flag(COMMANDS['launch ssh'], '--json')
  assert fakes.run_command(*words) == 0
  lines = json.loads(capsys.readouterr().out)['lines']
  assert [line.split()[0] for line in lines] == ['ssh'] * 4


@pytest.fixture(name='hostile', scope='module')
def _hostile(tmp_path_factory, folder):
  """A folder with a corpus that has escape sequences in names and texts."""
  hostile = tmp_path_factory.mktemp('hostile')
  corpus = fakes.write_small_corpus(hostile / 'hostile')
  for path in list((corpus / 'tasks').glob('*.json')):
    task = json.loads(path.read_text())
    task['Categories'] = [f'\x1b[31m{name}' for name in task['Categories']]
    task['Definition'] = [f'{task["Definition"][0]} \x1b[31m']
    for instance in task['Instances']:
      instance['id'] += '\x1b[2J'
      # Spaces around a label are a finding.
      instance['output'] = [f' {text}\x9b2J ' for text in instance['output']]
    path.with_name(f'{path.stem}\x1b[1m.json').write_text(json.dumps(task))
    path.unlink()
  for path in (corpus / 'splits/default').iterdir():
    names = path.read_text().split()
    path.write_text(''.join(f'{name}\x1b[1m\n' for name in names))
  (hostile / 'corpus').symlink_to(folder / 'corpus')
  for out, name in (('a', 'random'), ('b', 'majority')):
    words = ('baseline', name, '--corpus', corpus, '--quiet')
    assert fakes.run_command(*words, '--out', hostile / f'{out}.jsonl') == 0
  words = ('prompt', '--corpus', corpus, CONDITION, '--limit=3')
  assert fakes.run_command(*words, '--out', hostile / 'p.jsonl', '--quiet') == 0
  return hostile


@pytest.mark.parametrize(
  'words',
  [
    ('corpus', 'check', 'hostile'),
    ('corpus', 'audit', 'hostile'),
    ('corpus', 'stats', 'hostile', CONDITION),
    ('corpus', 'controls', 'hostile', 'hostile_controls'),
    ('corpus', 'build', 'hostile', '--data_dir=hostile_rows'),
    ('corpus', 'verify', 'hostile', '--prompts=p.jsonl'),
    ('prompt', '--corpus=hostile', CONDITION, '--limit=2'),
    ('prompt', '--corpus=hostile', CONDITION, '--task=\x1b[31m'),
    ('explain', 'entail-3\x1b[2J', '--corpus=hostile', CONDITION),
    ('explain', 'entail\x1b', '--corpus=hostile', CONDITION),
    ('baseline', 'random', '--corpus=hostile'),
    ('score', 'a.jsonl', '--corpus=hostile', '--per_task'),
    ('score', 'a.jsonl', '--corpus=corpus'),
    ('compare', 'a.jsonl', 'b.jsonl', '--per_category'),
  ],
)
def test_escape_sequences_in_data_are_shown(
  capsys, monkeypatch, hostile, words
):
  monkeypatch.chdir(hostile)
  assert fakes.run_command(*words) in (0, 2)
  told = capsys.readouterr()
  assert told.out or told.err
  assert not set(told.out + told.err) & set('\x1b\x9b\r')
