"""Tests of the user pages: their examples run as printed."""

import json
import os
import pathlib
import re
import shlex
import sys

import fakes
import gin_configs_test
import numpy as np
from pages import blocks
import promptsource_fixture
import pytest
from report_fixture import DEFINITIONS, EXAMPLES, make_study
import sentencepiece
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from it_study import gin_utils, predictions, seqio_lib
from it_study.checkpoints.hf import params as hf
from it_study.conditions import (
  DEFINITION_LEVELS,
  EXAMPLE_LEVELS,
  PROMPT_TEMPLATES,
  TARGET_LEVELS,
)
from it_study.data import vocabularies
from it_study.models import partitioning, t5
from it_study.report import write_report

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _use(tmp_path, monkeypatch):
  """Changes to a folder with a corpus; restores the registries afterwards."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  monkeypatch.setattr(sys, 'path', list(sys.path))
  fakes.write_small_corpus('CORPUS')
  axes = (DEFINITION_LEVELS, EXAMPLE_LEVELS, TARGET_LEVELS)
  levels = {r: r.names() for r in axes}
  registries = (seqio.TaskRegistry, seqio.MixtureRegistry)
  registered = {r: set(r.names()) for r in registries}
  yield
  for name in ('my_study', 'my_tasks', 'my_prompts'):
    sys.modules.pop(name, None)
  for registry, names in levels.items():
    for name in set(registry.names()) - set(names):
      registry.unregister(name)
  for registry, names in registered.items():
    for name in set(registry.names()) - names:
      registry.remove(name)


def run_all(texts):
  """Executes blocks of Python in one namespace, and returns it."""
  namespace = {'__name__': 'page'}
  for text in texts:
    exec(compile(text, 'page', 'exec'), namespace)
  return namespace


def commands(text):
  return [shlex.split(line)[1:] for line in text.splitlines()]


def prompt_of(name, split='test'):
  task = seqio_lib.find_task(name)
  dataset = task.get_dataset(None, split, shuffle=False, num_epochs=1)
  row = next(dataset.as_numpy_iterator())
  return row['inputs_pretokenized'].decode(), row['references'].tolist()


def test_readme():
  namespace = run_all(blocks('README.md', 'python'))
  rows = namespace['dataset'].as_numpy_iterator()
  starts = {row['inputs_pretokenized'].decode().split('\n')[0] for row in rows}
  assert starts == {
    'Definition: Possible outputs: yes, no.',
    # A generation task has no simplified definition.
    ' Positive Example 1 -',
  }


def _extending_blocks():
  """The blocks of `my_study.py`, and those of `my_tasks.py`."""
  python = blocks('docs/extending.md', 'python')
  start = '# my_tasks.py: '
  others = ('# write_prompts.py: ', '# my_prompts.py: ')
  return (
    [block for block in python if not block.startswith((start, *others))],
    [block for block in python if block.startswith(start)],
  )


def test_extending_page(capsys):
  python, _ = _extending_blocks()
  # The last one is for a notebook.
  pathlib.Path('my_study.py').write_text('\n\n'.join(python[:-1]))
  prompt, stats = commands(blocks('docs/extending.md', 'sh')[0])
  assert fakes.run_command(*prompt, '--json', '--quiet') == 0
  row = json.loads(capsys.readouterr().out.splitlines()[0])
  assert row['inputs'].startswith(
    'Definition: ANSWER YES OR NO.\n\n'
    ' Positive Example 1 -\nInput: Is it dry?\n Output: no.\n\n'
  )
  assert fakes.run_command(*stats) == 0
  fakes.run_command('corpus', 'build', 'CORPUS', '--data_dir', 'ROWS')
  capsys.readouterr()

  namespace = run_all(['from my_study import *', python[-1]])
  assert capsys.readouterr().out.splitlines() == [
    "natinst_def_shouted_ex_original2_n10.task1_mood ('train', 'validation') "
    '10.0',
    "natinst_def_shouted_ex_original2_n10.task2_echo ('train', 'validation') "
    '4.0',
    "natinst_def_shouted_ex_original2_n10.task3_few ('train', 'validation') "
    '2.0',
    "natinst_def_shouted_ex_original2_n10.task4_entail ('test',) 100.0",
    "natinst_def_shouted_ex_original2_n10.task5_title ('test',) 6.0",
  ]
  vocabulary = vocabularies.current_vocabulary()
  row = next(namespace['dataset'].as_numpy_iterator())
  assert vocabulary.decode(row['inputs'].tolist()).startswith('Definition: ')

  prompt, _ = prompt_of('natinst_def_oneof_ex_empty0')
  assert prompt.startswith('Definition: Answer with one of: yes, no.\n\n')
  prompt, _ = prompt_of('natinst_def_longest_ex_empty0')
  assert prompt.startswith('Definition: Name it.\n\n')
  prompt, references = prompt_of('natinst_def_backwards_ex_original1')
  assert prompt.startswith(
    'Definition: Answer yes or no. Write your answer backwards.\n\n'
    ' Positive Example 1 -\nInput: Is it wet?\n Output: sey.\n'
  )
  assert references in ([b'sey'], [b'on'])
  prompt, _ = prompt_of('ours_natinst_def_empty_ex_original2_n10')
  assert prompt.startswith(' Positive Example 1')
  mixture = seqio_lib.find_task('mostly_shouted')
  assert sorted(mixture.rate_per_task_name.values()) == [1.0, 3.0]


def test_launch_page(capsys, fake_tools):
  tools = fake_tools('gcloud', 'ssh', 'sbatch', 'squeue', 'scancel')
  shell_blocks = blocks('docs/launch.md', 'sh')
  # Studies take minutes: by several workers, and in a bucket, of which
  # study/bucket_test.py runs a small one.
  *shell_blocks, workers, bucket = shell_blocks
  for block, names in ((workers, ['study']), (bucket, ['study', 'report'])):
    assert [words[0] for words in commands(block)] == names
  assert len(shell_blocks) == 4
  for text in shell_blocks:
    (words,) = commands(text.replace('\\\n', ''))
    # The memory check compiles for minutes; another test covers it.
    if words[1] == 'tpu_vm':
      words.insert(2, '--skip_memory_check')
    assert fakes.run_command(*words) == 0
    assert 'it-study train --gin_file' in capsys.readouterr().out.replace(
      'it_study.cli', 'it-study'
    )
  assert tools.calls() == []


@pytest.mark.slow
def test_study_of_the_extending_page(capsys):
  python, _ = _extending_blocks()
  pathlib.Path('my_study.py').write_text('\n\n'.join(python[:-1]))
  gin, _ = blocks('docs/extending.md', 'gin')
  pathlib.Path('my_study.gin').write_text(gin)
  study, report = commands(blocks('docs/extending.md', 'sh')[1])
  assert gin.startswith(f'# it-study {shlex.join(study)}\n')
  assert fakes.run_command(*study, '--quiet') == 0
  lines = pathlib.Path('my_study_out/results.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  original, matched = [row for row in rows if row['matched']]
  assert original['train_condition'] == 'natinst_def_original_ex_original1_n2'
  assert matched['train_condition'] == 'natinst_def_backwards_ex_last1_n2'
  assert matched['test_condition'] == 'natinst_def_backwards_ex_last1'
  cell = pathlib.Path('my_study_out/cells') / matched['cell']
  predicted = json.loads(
    (cell / 'predictions.jsonl').read_text().splitlines()[0]
  )
  assert predicted['label_space'] == ['sey', 'on']
  assert predicted['targets'] in (['sey'], ['on'])
  assert fakes.run_command(*report, '--quiet') == 0
  assert capsys.readouterr().err == ''
  text = pathlib.Path('my_study_out/report/report.md').read_text()
  assert (
    'no difference was shown for backwards definition and last examples'
    in (text)
  )


def _write_data():
  """Writes the files that `my_tasks.py` reads."""
  for split, count in (('train', 6), ('test', 3)):
    lines = [f'Who is {n}?\tMr {n}|{n}\n' for n in range(count)]
    pathlib.Path(f'{split}.tsv').write_text(''.join(lines))
  features = tfds.features.FeaturesDict(
    {
      'premise': tfds.features.Text(),
      'hypothesis': tfds.features.Text(),
      'idx': np.int32,
      'label': tfds.features.ClassLabel(names=['entailment', 'not_entailment']),
    }
  )
  examples = [
    {'premise': 'It is.', 'hypothesis': f'{n}.', 'idx': n, 'label': n % 2}
    for n in range(8)
  ]
  tfds.dataset_builders.store_as_tfds_dataset(
    name='super_glue',
    config='rte',
    version='1.0.2',
    data_dir='DATA',
    split_datasets={
      split: tf.data.Dataset.from_generator(
        lambda some=some: iter(some),
        output_signature=features.get_tensor_spec(),
      )
      for split, some in (('train', examples), ('validation', examples[:4]))
    },
    features=features,
    disable_shuffling=True,
  )


def test_extending_page_on_tasks_of_one_s_own(capsys):
  _, python = _extending_blocks()
  pathlib.Path('my_tasks.py').write_text('\n\n'.join(python))
  _write_data()
  lines = commands(blocks('docs/extending.md', 'sh')[2])
  train, predict, score, baseline, compare = lines
  assert fakes.run_command(*train, '--quiet') == 0
  assert fakes.run_command(*predict, '--quiet') == 0
  rows = predictions.read_predictions('my_predictions/predictions.jsonl')
  assert [(row.task, row.id_source, row.position) for row in rows] == [
    *(('my_qa', 'position', n) for n in range(3)),
    *(('my_rte', None, n) for n in range(4)),
  ]
  assert rows[1].targets == ('Mr 1', '1')
  assert (rows[1].kind, rows[1].label_space) == ('generation', None)
  assert (rows[4].id, rows[4].targets) == ('1', ('not_entailment',))
  assert rows[4].inputs == 'It is.\nHypothesis: 1.'
  assert rows[4].prediction in rows[4].label_space
  record = json.loads(pathlib.Path('my_predictions/inference.json').read_text())
  share = np.mean([row.prediction == 'entailment' for row in rows[3:]])
  assert record['task_metrics'] == {'my_rte': {'entailment': share}}
  capsys.readouterr()
  assert fakes.run_command(*score, '--json', '--quiet') == 0
  metrics = json.loads(capsys.readouterr().out)
  assert metrics['classification']['num_instances'] == 4
  assert set(metrics['by_category']) == {
    'Question Answering',
    'Textual Entailment',
  }
  assert fakes.run_command(*baseline, '--quiet') == 0
  assert fakes.run_command(*compare, '--quiet') == 0
  for words in (score, compare):
    more = ('--module', 'my_tasks', '--task', 'my_mixture', '--quiet')
    assert fakes.run_command(*words, *more) == 0


@pytest.mark.slow
def test_study_of_tasks_of_one_s_own(capsys, monkeypatch):
  _, python = _extending_blocks()
  pathlib.Path('my_tasks.py').write_text('\n\n'.join(python))
  _, gin = blocks('docs/extending.md', 'gin')
  pathlib.Path('my_tasks.gin').write_text(gin)
  _write_data()
  capsys.readouterr()
  # The gin file sets it.
  monkeypatch.delenv(vocabularies.VARIABLE)
  study, report = commands(blocks('docs/extending.md', 'sh')[3])
  assert gin.startswith(f'# it-study {shlex.join(study)}\n')
  assert fakes.run_command(*study, '--quiet') == 0
  lines = pathlib.Path('my_tasks_out/results.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [
    (row['baseline'], row['train_condition'], row['test_task']) for row in rows
  ] == [
    *(
      (name, None, 'my_mixture')
      for name in ('random', 'majority', 'prior', 'copy_input')
    ),
    (None, None, 'my_mixture'),
    (None, 'my_mixture', 'my_mixture'),
    (None, 'my_rte', 'my_mixture'),
  ]
  assert [row['matched'] for row in rows[-3:]] == [False, True, False]
  by_task = rows[-1]['metrics']['by_task']
  assert by_task['my_rte']['format_correctness'] == 100
  assert by_task['my_qa']['num_instances'] == 3
  assert set(rows[-1]['task_metrics']['my_rte']) == {'entailment'}
  assert fakes.run_command(*report, '--quiet') == 0
  assert capsys.readouterr().err == ''
  text = pathlib.Path('my_tasks_out/report/report.md').read_text()
  share = rows[-1]['task_metrics']['my_rte']['entailment']
  assert f' {share:.4g} |' in re.findall(r'^\| entailment \|.*', text, re.M)[0]
  cell = f'my_tasks_out/cells/{rows[-1]["cell"]}/predictions.jsonl'
  for row in predictions.read_predictions(cell):
    assert (row.train_condition, row.test_condition) == ('my_rte', row.task)


def test_extending_page_on_prompts_of_one_s_own(request, capsys):
  python = {
    block.split(':')[0].removeprefix('# '): block
    for block in blocks('docs/extending.md', 'python')
  }
  pathlib.Path('my_prompts.py').write_text(python['my_prompts.py'])
  for split, names in (('train', 'ab'), ('test', 'cd')):
    rows = [
      {
        'name': name,
        'instruction': f'Is it {name}?',
        'text': f'{name} or {n}',
        'answer': ['yes', 'no'][n % 2],
        'demos': [{'input': f'just {n}', 'output': 'no'} for n in range(2)],
        'choices': ['yes', 'no'],
      }
      for name in names
      for n in range(12)
    ]
    lines = ''.join(json.dumps(row) + '\n' for row in rows)
    pathlib.Path(f'{split}.jsonl').write_text(lines)
  run_all([python['write_prompts.py']])
  request.addfinalizer(lambda: PROMPT_TEMPLATES.unregister('forum'))
  prompt, verify, baseline = commands(blocks('docs/extending.md', 'sh')[4])
  assert fakes.run_command(*prompt, '--json') == 0
  assert json.loads(capsys.readouterr().out) == {
    'id': 'c-0',
    'task': 'c',
    'inputs': 'Post: just 0\nReply: yes\n\nPost: just 1\nReply: yes\n\n'
    'Post: c or 0\n\nTask: Is it d?\nReply: ',
    'targets': ['yes'],
  }
  assert fakes.run_command(*verify) == 0
  assert capsys.readouterr().out.endswith(
    '48 rows, 96 prompts under 2 conditions, no failure\n'
  )
  assert fakes.run_command(*baseline, '--quiet') == 0
  # Stock SeqIO finds the conditions, too.
  seqio_lib.use_corpus('FORUM')
  prompt, references = prompt_of('forum_def_flipped_ex_original1')
  assert prompt == (
    'Post: just 0\nReply: yes\n\nPost: c or 0\n\nTask: Is it c? Rename the '
    'outputs: yes becomes no, no becomes yes.\nReply: '
  )
  assert references == [b'no']


def test_study_gin_of_prompts_of_one_s_own(request):
  """`my_study.gin`, changed as the page says."""
  python = blocks('docs/extending.md', 'python')
  (module,) = [text for text in python if text.startswith('# my_prompts.py')]
  pathlib.Path('my_prompts.py').write_text(module)
  gin, _ = blocks('docs/extending.md', 'gin')
  kept, last, _ = gin.partition('run_study.conditions = ')
  assert last
  settings = re.findall(
    r"`(\w+(?:\.\w+)? = '\w+')`",
    (_ROOT / 'docs/extending.md').read_text().rpartition('For a study of')[2],
  )
  assert len(settings) == 3
  pathlib.Path('forum.gin').write_text('\n'.join((kept, *settings)))
  request.addfinalizer(lambda: PROMPT_TEMPLATES.unregister('forum'))
  gin_configs_test.configure('study', '--gin_file=forum.gin')
  bound = gin_utils.bound('run_study', ('conditions', 'corpus', 'splits'))
  assert (bound['corpus'], bound['splits']) == ('FORUM', ('test',))
  assert [condition.name for condition in bound['conditions']][:2] == [
    'forum_def_original_ex_original2',
    'forum_def_simplified_ex_original2',
  ]
  assert len(bound['conditions']) == 6


@pytest.fixture
def weights():
  """Writes WEIGHTS, a tiny T5, and its size as the gin file of xl."""
  folder = pathlib.Path('WEIGHTS')
  folder.mkdir()
  pathlib.Path('models').mkdir()
  # Takes precedence over the shipped gin file.
  pathlib.Path('models/t5_1_1_xl.gin').write_text(
    ''.join(
      f'T5Config.{name} = {value!r}\n'
      for name, value in fakes.tiny_model().keywords.items()
    )
  )
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(
      path.read_text()
      for path in sorted(pathlib.Path('CORPUS/tasks').iterdir())
    ),
    model_prefix='spiece',
    vocab_size=400,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    character_coverage=1.0,
    byte_fallback=True,
    hard_vocab_limit=False,
    max_sentence_length=100_000,
    minloglevel=2,
  )
  model = t5.T5(fakes.tiny_model()(vocab_size=640, dtype='float32'))
  params = partitioning.init_params(
    model=model, seed=0, mesh=partitioning.make_mesh()
  )
  hf.save_params(folder / 'new', params, config=model.config)
  for path in (folder / 'new').iterdir():
    path.rename(folder / path.name)
  (folder / 'new').rmdir()
  pathlib.Path('spiece.model').rename(folder / 'spiece.model')


def test_weights_page(weights, capsys):
  convert, known_good, audit = blocks('docs/weights.md', 'sh')
  for words in commands(convert):
    assert fakes.run_command(*words) == 0
  for name in ('config.json', 'model.safetensors'):
    written = pathlib.Path('BACK', name).read_bytes()
    assert written == pathlib.Path('WEIGHTS', name).read_bytes()
  predict, score = commands(known_good)
  assert fakes.run_command(*predict, '--quiet') == 0
  capsys.readouterr()
  assert fakes.run_command(*score, '--json') == 0
  metrics = json.loads(capsys.readouterr().out)
  assert metrics['num_instances'] == fakes.NUM_ROWS['test']
  assert 0 <= metrics['overall']['rouge_l'] <= 100
  (audit_words,) = commands(audit)
  assert fakes.run_command(*audit_words, '--json') == 0
  assert 'constrained' in json.loads(capsys.readouterr().out)['decodings']


def test_collections_page(request, monkeypatch, capsys):
  (block,) = blocks('docs/collections.md', 'sh')
  folders, predict, score, again, compare = commands(block)
  checkout, data = (word.split('=')[1] for word in folders)
  promptsource_fixture.write_all(pathlib.Path(), checkout=checkout, data=data)
  monkeypatch.setenv('IT_STUDY_PROMPTSOURCE', checkout)
  monkeypatch.delitem(sys.modules, 'it_study.tasks.p3', raising=False)
  # TFDS has read its variable when it was imported.
  seqio.set_tfds_data_dir_override(os.path.abspath(data))
  request.addfinalizer(lambda: seqio.set_tfds_data_dir_override(None))
  tiny = [
    f'--gin.T5Config.{name}={value!r}'
    for name, value in fakes.tiny_model().keywords.items()
  ]
  for words in (predict, again):
    words = [
      '--gin.CHECKPOINT_PATH=None' if 'T0_3B' in word else word
      for word in words
    ]
    lengths = "--gin.TASK_FEATURE_LENGTHS={'inputs': 64, 'targets': 32}"
    words += [*tiny, lengths, '--gin.CORPUS=CORPUS', '--quiet']
    assert fakes.run_command(*words) == 0
  capsys.readouterr()
  assert fakes.run_command(*score) == 0
  assert 'super_glue_cb: median ' in capsys.readouterr().out
  (cb, copa) = json.loads(pathlib.Path('ORIGINAL/spread.json').read_text())
  assert list(cb['by_task']) == [
    'super_glue_cb.can_we_infer',
    'super_glue_cb.guess_it',
  ]
  assert list(copa['by_task']) == ['super_glue_copa.why']
  assert fakes.run_command(*compare) == 0
  assert '7 instances of 3 tasks.' in capsys.readouterr().out


@pytest.fixture(name='finished')
def _finished():
  """A finished study with a report in `it_study_out`."""
  accuracies = dict.fromkeys((*DEFINITIONS, *EXAMPLES), 0.75)
  study = make_study(
    'it_study_out', accuracies=accuracies | {DEFINITIONS[2]: 0}
  )
  write_report(study_dir=study)


def test_python_page(finished, capsys):
  namespace = run_all(blocks('docs/python.md', 'python'))
  printed = capsys.readouterr().out.splitlines()
  assert printed[0] == "task000_test task000_test-0 yes ('yes',)"
  assert printed[1] == str(
    namespace['matched'][DEFINITIONS[0]].metrics['classification'][
      'exact_match'
    ]
  )
  assert printed[4].startswith('+')
  assert len(namespace['table']) == 6
  for name in ('headline', 'exact_match'):
    assert '<div' in pathlib.Path(f'{name}.html').read_text()


def test_notebook(finished, capsys):
  notebook = json.loads((_ROOT / 'docs/study.ipynb').read_text())
  codes = [c for c in notebook['cells'] if c['cell_type'] == 'code']
  assert all(not c['outputs'] and c['execution_count'] is None for c in codes)
  run_all(''.join(cell['source']) for cell in codes)
  printed = capsys.readouterr().out
  assert printed.startswith('The instructions ')
  assert 'Original definition, 2 examples' in printed
  assert printed.count('right with definition, 0 without') == 5
