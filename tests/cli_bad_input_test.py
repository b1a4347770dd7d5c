"""Tests of it_study.cli: bad input is one line that says what to do."""

import json
import os
import pathlib
import re

import fakes
from fakes import refusal, run_command as run
import pytest

from it_study.data import vocabularies

MODEL = ('--gin_file=models/t5_1_1_tiny.gin',)
TRAIN = ('train', *MODEL, '--gin_file=runs/finetune.gin')


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  monkeypatch.chdir(tmp_path)


@pytest.fixture(name='corpus')
def _corpus(tmp_path):
  return fakes.write_small_corpus(tmp_path / 'corpus')


def test_an_empty_directory(capsys, tmp_path):
  (tmp_path / 'empty').mkdir()
  assert refusal(capsys, 'corpus', 'stats', 'empty') == (
    'corpus empty: no directory empty/tasks; expected one that holds one '
    "NAME.json per task. 'it-study corpus mini DIR' writes a small corpus to "
    'start with.'
  )


def test_a_missing_directory(capsys):
  assert refusal(capsys, 'baseline', 'random', '--corpus', 'none') == (
    'corpus none: no directory none; expected one that holds tasks/ and '
    "splits/. 'it-study corpus mini DIR' writes a small corpus to start with."
  )


def test_a_directory_without_splits(capsys, corpus):
  (corpus / 'splits').rename(corpus / 'slpits')
  assert refusal(capsys, 'corpus', 'check', 'corpus') == (
    'corpus corpus: no directory corpus/splits/default; expected one that '
    "holds train_tasks.txt and test_tasks.txt. 'it-study corpus mini DIR' "
    'writes a small corpus to start with.'
  )


def test_a_misspelt_miniature(capsys):
  assert refusal(capsys, 'corpus', 'check', 'minature') == (
    'corpus minature: no directory minature; a corpus is a directory or '
    "'miniature'. Did you mean 'miniature'?"
  )


def test_a_misspelt_track(capsys, corpus):
  (corpus / 'splits/xlingual').mkdir()
  assert refusal(capsys, 'corpus', 'check', 'corpus', '--track=defualt') == (
    "corpus corpus: no track 'defualt' in corpus/splits; available: default, "
    "xlingual. Did you mean 'default'?"
  )


def test_a_split_that_names_a_missing_task(capsys, corpus):
  with open(corpus / 'splits/default/test_tasks.txt', 'a') as file:
    file.write('task5_tilte\n')
  assert refusal(capsys, 'corpus', 'build', 'corpus') == (
    'corpus/splits/default/test_tasks.txt: 1 of 3 tasks have no file in '
    "corpus/tasks, the first being 'task5_tilte'. Did you mean 'task5_title'?"
  )


def test_broken_json(capsys, corpus):
  (corpus / 'tasks/task4_entail.json').write_text('{"Definition": ["a"],\n ]')
  assert refusal(capsys, 'baseline', 'random', '--corpus', 'corpus') == (
    'corpus/tasks/task4_entail.json: not JSON: Expecting property name '
    'enclosed in double quotes at line 2, column 2. Fetch the file again or '
    'fix it.'
  )


def test_a_task_without_instances(capsys, corpus):
  path = corpus / 'tasks/task4_entail.json'
  path.write_text(json.dumps({**json.loads(path.read_text()), 'Instances': []}))
  assert refusal(capsys, 'corpus', 'stats', 'corpus') == (
    'corpus/tasks/task4_entail.json: Instances: expected a list of at least '
    'one instance, got [].'
  )


def test_an_unknown_condition(capsys, corpus):
  assert refusal(
    capsys,
    'prompt',
    '--corpus=corpus',
    '--condition=natinst_def_simplifed_ex_original2',
  ) == (
    "condition 'natinst_def_simplifed_ex_original2': definition level "
    "'simplifed' is unknown; available: original, simplified, empty, "
    'shuffled, renamed, renamedletters, renameddigits, renamedsymbols, '
    'flipped, nolabels, keep25, keep50, keep75, wordshuffled. Did you mean '
    "'simplified'?"
  )


def test_an_unknown_condition_of_a_training(capsys, corpus):
  message = refusal(
    capsys,
    *TRAIN,
    '--gin.CORPUS=corpus',
    '--gin.IT_STUDY_VOCABULARY=byte',
    '--gin.TRAIN_STEPS=1',
    '--gin.MODEL_DIR=out',
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_orignal2',
  )
  assert message.startswith(
    "condition 'natinst_def_original_ex_orignal2': example level 'orignal' is "
    'unknown; '
  )
  assert message.endswith("Did you mean 'original'?")


def test_a_training_that_is_refused_leaves_only_its_lock(capsys, corpus):
  words = (
    *TRAIN,
    '--gin.CORPUS=corpus',
    '--gin.IT_STUDY_VOCABULARY=byte',
    '--gin.TRAIN_STEPS=1',
    '--gin.MODEL_DIR=out',
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2_t99',
  )
  assert refusal(capsys, *words).startswith(
    'num_tasks: 99 training tasks requested, but the corpus has '
  )
  assert os.listdir('out') == ['.lock']
  # The configuration of the existing training stays.
  pathlib.Path('out/config.gin').write_text('SEED = 7\n')
  refusal(capsys, *words)
  assert pathlib.Path('out/config.gin').read_text() == 'SEED = 7\n'


def test_a_gin_file_that_does_not_exist(capsys):
  message = refusal(capsys, 'study', '--gin_file=studies/miniatrue.gin')
  assert message.startswith(
    "no gin file 'studies/miniatrue.gin' in the working directory or "
  )
  assert "Did you mean 'studies/miniature.gin'?" in message


def test_a_gin_macro_that_is_required_and_missing(capsys):
  assert refusal(capsys, *TRAIN, '--gin.MODEL_DIR=out') == (
    "gin macro 'CORPUS' is required but not set (also missing: "
    'MIXTURE_OR_TASK_NAME). Set it with --gin.CORPUS=VALUE or in a gin file.'
  )


def test_a_model_without_a_run(capsys):
  assert refusal(capsys, 'train', *MODEL) == (
    "gin macro 'CORPUS' is required but not set (also missing: ENGINE, "
    'IT_STUDY_VOCABULARY). Set it with --gin.CORPUS=VALUE or in a gin file. '
    'The files under runs/ set defaults: add one with --gin_file.'
  )


def test_a_misspelt_gin_macro(capsys):
  message = refusal(capsys, 'study', '--gin.TRAIN_STEP=4')
  assert message.startswith(
    "gin macro 'TRAIN_STEP' is set but not used. Did you mean 'TRAIN_STEPS'? "
    'Macros in use: ANSWER_DIR, '
  )


def test_no_gin_file(capsys):
  assert refusal(capsys, 'train') == (
    'no gin file: name a model and a run with --gin_file; the example under '
    '--help runs as printed.'
  )


def test_no_model(capsys):
  assert refusal(
    capsys,
    'train',
    '--gin_file=runs/finetune.gin',
    '--gin.CORPUS=corpus',
    '--gin.MODEL_DIR=out',
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_empty_ex_empty0',
  ) == (
    'the configuration lacks a model: models/t5_1_1_small.gin '
    '(T5Config.emb_dim is not set). Add the file with --gin_file.'
  )


def test_a_negative_number_of_draws(capsys):
  words = ('baseline', 'random', '--corpus=miniature', '--simulate=-5')
  assert refusal(capsys, *words) == (
    '--simulate is -5. Give a number of draws, such as 100000.'
  )


def test_an_unknown_engine(capsys):
  for command in ('study', 'train', 'predict'):
    found = refusal(capsys, command, '--engine=natvie')
    assert found.startswith("argument --engine: invalid choice: 'natvie' (")
    assert found.endswith(
      f"). Did you mean 'native'? See it-study {command} --help."
    )
  assert refusal(capsys, 'study', '--gin.ENGINE=natvie') == (
    "ENGINE is 'natvie'; there are native, t5x. Did you mean 'native'?"
  )


@pytest.mark.parametrize(
  ('binding', 'message'),
  [
    (
      'EPOCHS=1',
      'TRAIN_STEPS is 800 and EPOCHS is 1: set one of them, the other to None.',
    ),
    ('SEED=one', "SEED is 'one': give a whole number from 0 up."),
    ('BATCH_SIZE=0', 'BATCH_SIZE is 0: give a whole number from 1 up.'),
    ('INFER_BATCH_SIZE=0', 'INFER_BATCH_SIZE is 0: give a whole number from 1'),
    ('OPTIMIZER=adamw', "OPTIMIZER is 'adamw'; give a call, such as"),
    ('DECODING=beem', "Did you mean 'beam'?"),
    ('MESH_MODEL=7', 'Change MESH_DATA, MESH_FSDP or MESH_MODEL.'),
  ],
)
def test_a_study_that_cannot_run_claims_no_folder(capsys, binding, message):
  # Otherwise the right configuration would be refused as different.
  told = refusal(capsys, 'study', f'--gin.{binding}', '--study_dir=out')
  assert message in told
  assert not pathlib.Path('out').exists()


def test_bindings_go_to_commands_that_read_them(capsys, corpus):
  assert refusal(capsys, 'corpus', 'stats', 'corpus', '--gin.SEED=1') == (
    'it-study corpus stats does not accept --gin.SEED=1. Commands that do: '
    'study, train, plan, predict, diagnose.'
  )
  assert refusal(capsys, '--gin.SEED=1').startswith(
    'it-study does not accept --gin.SEED=1. Commands that do: '
  )


def test_a_vocabulary_of_another_format(capsys, corpus):
  pathlib.Path('words.model').write_text('these are words\n')
  assert refusal(
    capsys,
    'prompt',
    '--corpus=corpus',
    '--condition=natinst_def_empty_ex_empty0',
    '--vocabulary=words.model',
    '--max_input_length=64',
  ) == (
    'vocabulary words.model: not a SentencePiece model (16 bytes). Name a file '
    "that spm_train or T5 wrote, or 'byte'."
  )
  assert refusal(
    capsys,
    *TRAIN,
    '--gin.CORPUS=corpus',
    '--gin.MODEL_DIR=out',
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_empty_ex_empty0',
    '--gin.IT_STUDY_VOCABULARY=none.model',
  ).startswith('vocabulary none.model: cannot be read (')


# Tests may run as root, who can write anywhere but not below a file.
@pytest.mark.parametrize(
  'words',
  [
    ('corpus', 'mini', 'file/mini'),
    ('corpus', 'build', 'corpus', '--data_dir=file/rows'),
    ('baseline', 'prior', '--corpus=corpus', '--out=file/p.jsonl'),
    ('baseline', 'prior', '--corpus=corpus', '--metrics=file/m.json'),
    ('score', 'p.jsonl', '--out=file/m.json'),
    (
      'prompt',
      '--corpus=corpus',
      '--condition=natinst_def_empty_ex_empty0',
      '--out=file/p.jsonl',
    ),
    ('study', '--study_dir=file/study'),
    (
      *TRAIN,
      '--gin.CORPUS=corpus',
      '--gin.MODEL_DIR=file/model',
      '--gin.IT_STUDY_VOCABULARY=byte',
      '--gin.TRAIN_STEPS=1',
      '--gin.MIXTURE_OR_TASK_NAME=natinst_def_empty_ex_empty0',
    ),
  ],
)
def test_a_path_that_cannot_be_written(capsys, corpus, words):
  pathlib.Path('file').write_text('')
  assert run('baseline', 'copy_demo', '--corpus=corpus', '--out=p.jsonl') == 0
  capsys.readouterr()
  message = refusal(capsys, *words)
  assert re.search(r'file/\S+', message)
  assert 'Not a directory' in message
  assert pathlib.Path('file').read_text() == ''


def predicted(corpus) -> list[str]:
  assert run('baseline', 'copy_demo', '--corpus=corpus', '--out=p.jsonl') == 0
  return pathlib.Path('p.jsonl').read_text().splitlines(keepends=True)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      lambda lines: [*lines, lines[3]],
      "p.jsonl: ids do not match split 'test' of corpus corpus: 1 duplicate "
      "(first 'entail-3'). Each instance must occur exactly once. Predict the "
      'split again, or name the corpus that was predicted.',
    ),
    (
      lambda lines: lines[:-2],
      "p.jsonl: ids do not match split 'test' of corpus corpus: 2 of 106 "
      "missing (first 'title-4'). Each instance must occur exactly once. "
      'Predict the split again, or name the corpus that was predicted.',
    ),
    (
      lambda lines: [*lines, lines[3].replace('entail-3"', 'entail-103"')],
      "p.jsonl: ids do not match split 'test' of corpus corpus: 1 unknown "
      "(first 'entail-103' of task 'task4_entail'). Each instance must occur "
      'exactly once. Predict the split again, or name the corpus that was '
      "predicted. Did you mean 'entail-13'?",
    ),
  ],
)
def test_score_on_ids_of_another_corpus(capsys, corpus, change, message):
  lines = change(predicted(corpus))
  pathlib.Path('p.jsonl').write_text(''.join(lines))
  capsys.readouterr()
  found = refusal(capsys, 'score', 'p.jsonl', '--corpus=corpus')
  # Any of several similar ids may be named.
  assert found.split(' Did you')[0] == message.split(' Did you')[0]
  assert ('Did you mean' in found) == ('Did you mean' in message)


def test_score_on_duplicates_without_a_corpus(capsys, corpus):
  lines = predicted(corpus)
  pathlib.Path('p.jsonl').write_text(''.join([*lines, lines[3]]))
  capsys.readouterr()
  assert refusal(capsys, 'score', 'p.jsonl') == (
    "p.jsonl: 1 duplicate id, the first is 'entail-3'. Remove the repeated "
    'lines.'
  )


def test_score_on_no_file(capsys):
  assert refusal(capsys, 'score', 'none.jsonl') == (
    'none.jsonl: cannot be read: No such file or directory.'
  )


def test_an_unknown_split_or_task(capsys, corpus):
  assert refusal(
    capsys, 'baseline', 'random', '--corpus=corpus', '--split=tset'
  ) == (
    "split 'tset' is unknown; available: train, validation, test. Did you "
    "mean 'test'?"
  )
  assert (
    refusal(
      capsys,
      'prompt',
      '--corpus=corpus',
      '--condition=natinst_def_empty_ex_empty0',
      '--task=task5_tilte',
    )
    == "split test has no task 'task5_tilte'. Did you mean 'task5_title'?"
  )


def test_a_task_of_another_split(capsys, corpus):
  assert _refused_prompt(capsys, '--task=task3_few') == (
    "split test has no task 'task3_few'. It is in train and validation: pass "
    '--split.'
  )


def test_a_task_named_by_its_number(capsys, corpus):
  assert _refused_prompt(capsys, '--task=task5') == (
    "split test has no task 'task5'. Did you mean 'task5_title'?"
  )


def _refused_prompt(capsys, *flags):
  condition = '--condition=natinst_def_empty_ex_empty0'
  return refusal(capsys, 'prompt', '--corpus=corpus', condition, *flags)


def test_a_vocabulary_is_checked_with_and_without_a_limit(capsys, corpus):
  for flags in (
    ('--vocabulary=nofile',),
    ('--vocabulary=nofile', '--max_input_length=64'),
  ):
    message = _refused_prompt(capsys, *flags)
    assert message.startswith('vocabulary nofile: cannot be read')


def test_a_misspelt_vocabulary(capsys, corpus):
  message = _refused_prompt(capsys, '--vocabulary=bite')
  assert message.endswith(
    "Allowed are the path of a SentencePiece model, 'byte' or 'miniature'; "
    'name it with --vocabulary, --gin.IT_STUDY_VOCABULARY (study, train, '
    'predict) or the variable IT_STUDY_VOCABULARY. Did you mean '
    "'byte'?"
  )


def test_a_limit_that_is_too_small(capsys, corpus):
  words = ('--vocabulary=byte', '--max_input_length=5')
  message = refusal(capsys, 'corpus', 'stats', 'corpus', *words)
  assert message.endswith(
    "raise TASK_FEATURE_LENGTHS['inputs'] or --max_input_length."
  )


def test_a_limit_below_one(capsys, corpus):
  assert _refused_prompt(capsys, '--max_input_length=-5') == (
    '--max_input_length is -5; it must be at least 1.'
  )


@pytest.mark.parametrize(
  'words',
  [
    ('score', 'predictons.jsonl'),
    ('compare', 'predictons.jsonl', 'predictions.jsonl'),
    ('corpus', 'check', 'corpsu'),
    ('baseline', 'random', '--corpus=corpsu'),
    ('report', 'studdy'),
    ('view', 'studdy'),
    ('study', '--gin_file=mi.gin'),
  ],
)
def test_a_misspelt_path_gets_the_nearest_one(capsys, corpus, words):
  pathlib.Path('predictions.jsonl').touch()
  pathlib.Path('study').mkdir()
  pathlib.Path('my.gin').touch()
  found = refusal(capsys, *words)
  near = ('predictions.jsonl', 'corpus', 'study', 'my.gin')
  assert any(f' Did you mean {name!r}?' in found for name in near)
