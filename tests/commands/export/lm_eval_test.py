"""Tests of it_study.commands.export.lm_eval, with the harness if it is there.

It may be installed beside another Python: it is looked for as `lm_eval` on the
PATH.
"""

import json
import os
import pathlib
import shutil
import subprocess

import fakes
from fakes import refusal, run_command as run
import gguf_files
import pytest

from it_study.checkpoints.gguf import folder as gguf_folder
from it_study.data import vocabularies
from it_study.evaluation import formats

_PLAIN = 'natinst_def_original_ex_empty0'
_CHAT = f'{_PLAIN}_fmtchat'
_EXPORT = ('export', 'lm_eval', '--corpus=corpus', '--out=out')


@pytest.fixture(name='corpus', autouse=True)
def _corpus(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  monkeypatch.chdir(tmp_path)
  return fakes.write_small_corpus(tmp_path / 'corpus')


def documents(name):
  with open(f'out/{name}.jsonl', encoding='utf-8') as file:
    return [json.loads(line) for line in file]


def test_it_writes_two_tasks_and_says_how_to_run_them(capsys):
  assert run(*_EXPORT, '--condition', _CHAT, _PLAIN) == 0
  command = (
    '  lm_eval run --model hf --model_args pretrained=MODEL --include_path . '
    '--tasks '
  )
  assert capsys.readouterr().out == (
    f'{_CHAT}: 106 prompts, labels of 100 to rank\n'
    f'{_PLAIN}: 106 prompts, labels of 100 to rank\n'
    '\n'
    'To run them, where lm-evaluation-harness is installed:\n'
    '  cd out\n'
    f'{command}{_PLAIN},{_PLAIN}_ranked --log_samples --output_path answers\n'
    f'{command}{_CHAT},{_CHAT}_ranked --apply_chat_template --log_samples '
    '--output_path answers\n'
    '  it-study score answers/MODEL/samples_TASK_TIME.jsonl\n'
  )
  assert sorted(os.listdir('out')) == sorted(
    f'{name}{end}'
    for name in (_CHAT, f'{_CHAT}_ranked', _PLAIN, f'{_PLAIN}_ranked')
    for end in ('.jsonl', '.yaml')
  )
  # A byte-level tokenizer has one token for a space and the word after it.
  plain = documents(_PLAIN)[0]
  assert documents(_CHAT)[0]['inputs'] == plain['inputs'] + ' '
  assert documents(_CHAT)[0]['choices'] == '["yes", "no"]'
  assert plain == {
    'inputs': 'Definition: Answer yes or no.\n\nNow complete the following '
    'example -\nInput: Is it 0?\nOutput:',
    'targets': '["yes"]',
    'prompt_format': 'plain',
    'row': '{"id": "entail-0", "task": "task4_entail", "category": "Textual '
    'Entailment", "kind": "classification", "label_space": ["yes", "no"], '
    '"position": 0, "split": "test", "targets": ["yes"], "train_condition": '
    'null, "test_condition": "natinst_def_original_ex_empty0", "seed": null, '
    '"engine": "lm_eval"}',
    'choices': '[" yes", " no"]',
    'correct': '[0]',
  }
  assert 'correct' not in documents(_PLAIN)[-1]
  assert len(documents(f'{_PLAIN}_ranked')) == 100


def test_alpaca_s_template_is_in_the_prompt():
  name = f'{_PLAIN}_fmtalpaca'
  assert run(*_EXPORT, '--condition', name, '--quiet') == 0
  prompt = documents(name)[0]['inputs']
  assert prompt.startswith('Below is an instruction that describes a task. ')
  assert prompt.endswith('Output: \n\n### Response:')


def test_a_limit_shortens_prompts():
  name = 'natinst_def_original_ex_original1'
  words = (*_EXPORT, '--condition', name, '--vocabulary=byte', '--quiet')
  assert run(*words, '--max_input_length=120') == 0
  assert 'Positive Example' not in documents(name)[0]['inputs']


def test_names_are_json_where_asked_for(capsys):
  words = (*_EXPORT, '--condition', _PLAIN, '--task=task5_title', '--json')
  assert run(*words) == 0
  assert json.loads(capsys.readouterr().out) == {_PLAIN: [_PLAIN]}


def test_a_condition_for_training_only_is_refused(capsys):
  refused = refusal(capsys, *_EXPORT, '--condition', f'{_PLAIN}_tgtswapped')
  assert refused.startswith(
    f"condition '{_PLAIN}_tgtswapped' cannot be tested: "
  )
  assert not pathlib.Path('out').exists()


def test_an_answer_has_at_least_one_token(capsys):
  assert refusal(capsys, *_EXPORT, '--max_target_length=0') == (
    '--max_target_length is 0; it must be at least 1.'
  )


def test_ranked_samples_lack_generation_tasks(tmp_path, capsys):
  assert run(*_EXPORT, '--condition', _PLAIN, '--quiet') == 0
  lines = [
    {
      'doc': document,
      'arguments': {
        'gen_args_0': {'arg_0': document['inputs'], 'arg_1': 'yes'},
        'gen_args_1': {'arg_0': document['inputs'], 'arg_1': 'no'},
      },
      'filtered_resps': [['-1.0', 'True'], ['-2.0', 'False']],
    }
    for document in documents(f'{_PLAIN}_ranked')
  ]
  path = tmp_path / 's.jsonl'
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  assert run('score', path, '--corpus=corpus', '--json') == 0
  metrics = json.loads(capsys.readouterr().out)
  assert metrics['classification']['exact_match'] == 50.0
  assert metrics['generation'] is None
  path.write_text(json.dumps(lines[0]) + '\n')
  assert '99 of 100 missing' in refusal(
    capsys, 'score', path, '--corpus=corpus'
  )


@pytest.mark.skipif(not shutil.which('lm_eval'), reason='needs lm_eval')
@pytest.mark.parametrize('condition', [_PLAIN, _CHAT])
def test_the_harness_answers_as_the_native_engine(tmp_path, condition):
  model = gguf_folder.write_folder(
    gguf_files.write(tmp_path / 'm.gguf'), tmp_path / 'hf'
  )
  _change(model / 'config.json', max_position_embeddings=512)
  _change(
    model / 'tokenizer_config.json',
    chat_template="<|user|>{{ messages[0]['content'] }}<|end|>",
  )
  words = ('--condition', condition, '--max_target_length=8', '--quiet')
  assert run(*_EXPORT, *words) == 0
  names = [condition, f'{condition}_ranked']
  _run_harness(model, names, *['--apply_chat_template'][: condition == _CHAT])
  native = _predict(model, condition)
  (free,) = pathlib.Path('out/answers').glob(f'*/samples_{condition}_2*.jsonl')
  found = formats.read_rows(free).rows
  assert [row.id for row in found] == [row.id for row in native]
  assert [row.inputs for row in found] == [row.inputs for row in native]
  assert [row.prediction for row in found] == [
    row.raw_prediction or row.prediction for row in native
  ]
  (ranked,) = pathlib.Path('out/answers').glob(f'*/samples_{names[1]}*.jsonl')
  assert run('score', ranked, '--corpus=corpus', '--quiet') == 0
  assert all(
    set(r.scores) == {'yes', 'no'} for r in formats.read_rows(ranked).rows
  )


def _change(path, **fields):
  path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _run_harness(model, names, *more):
  arguments = f'pretrained={model},dtype=float32'
  subprocess.run(
    [
      *('lm_eval', 'run', '--model', 'hf', '--model_args', arguments),
      *('--include_path', '.', '--tasks', ','.join(names), '--log_samples'),
      *('--output_path', 'answers', '--batch_size', '8', '--device', 'cpu'),
      *more,
    ],
    cwd='out',
    env={**os.environ, 'HF_HUB_OFFLINE': '1', 'HF_HOME': str(model)},
    check=True,
  )


def _predict(model, condition):
  pathlib.Path('tiny.gin').write_text(gguf_files.GIN)
  words = (
    *('predict', '--gin_file=tiny.gin', '--gin_file=runs/predict.gin'),
    *('--gin.CORPUS=corpus', f'--gin.CHECKPOINT_PATH={model}'),
    f'--gin.MIXTURE_OR_TASK_NAME={condition}',
    *('--gin.INFER_OUTPUT_DIR=native', '--quiet'),
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 400, 'targets': 8}",
  )
  assert run(*words) == 0
  return formats.read_rows('native/predictions.jsonl').rows
