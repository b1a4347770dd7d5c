"""Prediction with a decoder-only model, from folder to predictions.jsonl."""

import json
import shutil

import fakes
import gguf_files
import pytest

from it_study import cli
from it_study.checkpoints.gguf import folder
from it_study.engines import model_setup

_PLAIN = 'natinst_def_original_ex_empty0'
_CHAT = f'{_PLAIN}_fmtchat'


@pytest.fixture(name='model', scope='module')
def _model(tmp_path_factory):
  """The folder of a tiny Llama."""
  directory = tmp_path_factory.mktemp('decoder')
  return folder.write_folder(
    gguf_files.write(directory / 'm.gguf'), directory / 'hf'
  )


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('corpus') / 'c')


@pytest.fixture(name='here', autouse=True)
def _here(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  # Set by a prediction, for this process.
  monkeypatch.setenv('IT_STUDY_VOCABULARY', '')
  (tmp_path / 'tiny.gin').write_text(
    'MODEL = @DecoderConfig\n'
    f'DecoderConfig.emb_dim = {gguf_files.WIDTH}\n'
    f'DecoderConfig.num_heads = {gguf_files.HEADS}\n'
    f'DecoderConfig.num_kv_heads = {gguf_files.KV_HEADS}\n'
    f'DecoderConfig.head_dim = {gguf_files.HEAD_DIM}\n'
    f'DecoderConfig.mlp_dim = {gguf_files.MLP}\n'
    'DecoderConfig.num_layers = 1\n'
    'DecoderConfig.logits_via_embedding = True\n'
    'DecoderConfig.rope = @Rope()\n'
    'Rope.base = 100000.0\n'
  )


def predict(model, corpus, *more, condition=_CHAT, out='out'):
  return cli.main(
    [
      'predict',
      '--gin_file=tiny.gin',
      '--gin_file=runs/predict.gin',
      f'--gin.CORPUS={corpus}',
      f'--gin.CHECKPOINT_PATH={model}',
      f'--gin.MIXTURE_OR_TASK_NAME={condition}',
      f'--gin.INFER_OUTPUT_DIR={out}',
      "--gin.TASK_FEATURE_LENGTHS={'inputs': 160, 'targets': 8}",
      '--quiet',
      *more,
    ]
  )


def rows(out='out'):
  with open(f'{out}/predictions.jsonl', encoding='utf-8') as file:
    return [json.loads(line) for line in file]


def test_prompts_are_in_the_chat_template(model, corpus, monkeypatch):
  checked = []
  monkeypatch.setattr(
    model_setup,
    'warn_of_long_texts',
    lambda source, lengths, max_answer: checked.append(
      (str(source.path), len(lengths), max_answer)
    ),
  )
  template = "<|user|>{{ messages[0]['content'] }}<|end|>"
  path = model / 'tokenizer_config.json'
  before = path.read_text()
  path.write_text(json.dumps({**json.loads(before), 'chat_template': template}))
  try:
    assert predict(model, corpus) == 0
  finally:
    path.write_text(before)
  assert len(rows()) == fakes.NUM_ROWS['test']
  for row in rows():
    assert row['inputs'].startswith('<|user|>Definition: ')
    assert row['inputs'].endswith('Output: <|end|>')
  assert checked == [(str(model), fakes.NUM_ROWS['test'], 8)]


@pytest.mark.parametrize(
  'method',
  ['beam', 'sample', 'constrained', 'constrained_beam', 'ranked_conditional'],
)
def test_every_method_answers_every_instance(model, corpus, method):
  assert predict(model, corpus, f'--gin.DECODING={method}') == 0
  assert len(rows()) == fakes.NUM_ROWS['test']
  for row in rows():
    if row['label_space'] and method.startswith(('constrained', 'ranked')):
      assert row['prediction'] in row['label_space']


def test_a_turn_ends_by_any_token_of_generation_config(model, corpus, tmp_path):
  copy = shutil.copytree(model, tmp_path / 'hf')
  # All tokens but the control tokens.
  ends = {'eos_token_id': [*range(2, gguf_files.VOCAB)]}
  (copy / 'generation_config.json').write_text(json.dumps(ends))
  assert predict(copy, corpus) == 0
  assert {row['prediction'] for row in rows()} == {''}


def test_a_label_may_end_by_any_of_them(model, corpus, tmp_path):
  copy = shutil.copytree(model, tmp_path / 'hf')
  ends = {'eos_token_id': [0, 1]}
  (copy / 'generation_config.json').write_text(json.dumps(ends))
  method = '--gin.DECODING=ranked'
  assert predict(model, corpus, method) == 0
  assert predict(copy, corpus, method, out='more') == 0
  scores, more = (
    [value for row in rows(out) for value in (row.get('scores') or {}).values()]
    for out in ('out', 'more')
  )
  assert scores
  pairs = list(zip(scores, more, strict=True))
  assert all(one <= two for one, two in pairs)
  assert any(one < two for one, two in pairs)


def test_the_batch_changes_no_answer(model, corpus):
  assert predict(model, corpus, '--gin.INFER_BATCH_SIZE=64') == 0
  assert predict(model, corpus, '--gin.INFER_BATCH_SIZE=5', out='small') == 0
  assert rows('small') == rows()


def test_training_is_refused_in_one_line(model, corpus, capsys):
  status = cli.main(
    [
      'train',
      '--gin_file=tiny.gin',
      '--gin_file=runs/finetune.gin',
      f'--gin.CORPUS={corpus}',
      '--gin.MODEL_DIR=m',
      '--gin.TRAIN_STEPS=1',
      '--gin.BATCH_SIZE=2',
      f'--gin.MIXTURE_OR_TASK_NAME={_CHAT}',
    ]
  )
  assert status == 2
  assert capsys.readouterr().err == (
    'it-study: training of a decoder-only model is not supported; predict and '
    'diagnose with the native engine are. Name the gin file of a T5, such as '
    'models/t5_1_1_small.gin.\n'
  )


def test_a_plan_is_refused_in_one_line(capsys):
  words = ('--gin_file=tiny.gin', '--gin_file=runs/finetune.gin')
  assert cli.main(['plan', *words]) == 2
  assert capsys.readouterr().err.startswith(
    'it-study: plan of a decoder-only model is not supported; predict and '
  )


def test_a_diagnosis_finds_the_model_in_its_folder(model, corpus):
  words = ('--corpus', str(corpus), '--condition', _PLAIN, '--out', 'audit')
  lengths = "--gin.TASK_FEATURE_LENGTHS={'inputs': 160, 'targets': 8}"
  assert cli.main(['diagnose', str(model), *words, lengths, '--quiet']) == 0
  with open('audit/results.json', encoding='utf-8') as file:
    decodings = json.load(file)['decodings']
  assert {'greedy', 'constrained', 'ranked'} <= decodings.keys()
  assert decodings['constrained']['format_correctness'] == 100.0


def test_a_gguf_file_is_converted_and_other_conversions_are_refused(
  model, capsys
):
  path = model.parent / 'm.gguf'
  words = ('convert', str(path), 'new', '--from', 'gguf', '--to')
  assert cli.main([*words, 'hf', '--quiet']) == 0
  with open('new/config.json', encoding='utf-8') as file:
    assert json.load(file)['model_type'] == 'llama'
  capsys.readouterr()
  assert cli.main([*words, 't5x']) == 2
  assert capsys.readouterr().err == (
    'it-study: --from gguf and --to t5x: a GGUF file is only converted to hf, '
    'which CHECKPOINT_PATH accepts.\n'
  )
  words = ('convert', 'new', 'other', '--from', 'hf', '--to', 'it_study')
  assert cli.main([*words]) == 2
  assert capsys.readouterr().err == (
    'it-study: new: a decoder-only model, which is not converted. '
    'CHECKPOINT_PATH accepts the folder as it is.\n'
  )


def test_weights_of_another_kind_are_refused(model, corpus, capsys):
  capsys.readouterr()
  status = cli.main(
    [
      'predict',
      '--gin_file=models/t5_1_1_tiny.gin',
      '--gin_file=runs/predict.gin',
      f'--gin.CORPUS={corpus}',
      f'--gin.CHECKPOINT_PATH={model}',
      f'--gin.IT_STUDY_VOCABULARY={model}',
      '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_empty0',
      '--gin.INFER_OUTPUT_DIR=out',
    ]
  )
  assert status == 2
  assert (
    'it holds the weights of a DecoderConfig, and the model is a T5Config'
    in (capsys.readouterr().err)
  )
