"""Training and prediction with a decoder-only model, by the command line."""

import dataclasses
import json
import pathlib
import shutil

from decoder_runs_fixture import (
  PLAIN,
  SHORT,
  _corpus,  # noqa: F401
  _here,  # noqa: F401
  _model,  # noqa: F401
  params_of,
  predict,
  rows,
  train,
  train_lora,
)
import fakes
from flax import traverse_util
import gguf_files
import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors
import seqio
import seqio_tasks_fixture as fixture

from it_study import cli, seqio_lib
from it_study.corpus import natinst
from it_study.data.tokens import tokenizer_vocabulary
from it_study.engines import model_setup


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
  # Two copies: a process reads the vocabulary of a folder once.
  scores = {}
  for name, ends in (('one', 0), ('several', [0, 1])):
    copy = shutil.copytree(model, tmp_path / f'of_{name}')
    (copy / 'generation_config.json').write_text(
      json.dumps({'eos_token_id': ends})
    )
    assert predict(copy, corpus, '--gin.DECODING=ranked', out=name) == 0
    scores[name] = [
      score
      for row in rows(name)
      for score in (row.get('scores') or {}).values()
    ]
  gains = [
    several - one
    for one, several in zip(scores['one'], scores['several'], strict=True)
  ]
  # The other end is rarely likely; what is not gained differs by rounding.
  assert min(gains) > -1e-3
  assert max(gains) > 0.1


def test_few_instances_of_each_test_task_are_answered(model, corpus):
  few = '--gin.predict.instances_per_test_task=2'
  assert predict(model, corpus, few) == 0
  drawn = dataclasses.replace(natinst.open_corpus(corpus), test_instances=2)
  ids = [instance.id for _, instance in drawn.rows('test')]
  assert [row['id'] for row in rows()] == ids
  assert len(ids) == 4


def test_the_batch_changes_no_answer(model, corpus):
  assert predict(model, corpus, '--gin.INFER_BATCH_SIZE=64') == 0
  assert predict(model, corpus, '--gin.INFER_BATCH_SIZE=5', out='small') == 0
  assert rows('small') == rows()


def test_a_model_from_scratch_learns_its_examples_by_heart(model, corpus):
  # One layer cannot tell day 1 from day 11.
  layers = '--gin.DecoderConfig.num_layers=2'
  status = train(
    corpus,
    layers,
    f'--gin.IT_STUDY_VOCABULARY={model}',
    '--gin.LEARNING_RATE=@linear_decay()',
    '--gin.linear_decay.learning_rate=1e-2',
    '--gin.linear_decay.total_steps=%TRAIN_STEPS',
    # So small a model reads the numbers of words from few initial parameters.
    '--gin.SEED=1',
  )
  assert status == 0
  with open('m/metrics.jsonl', encoding='utf-8') as file:
    losses = [json.loads(line)['loss'] for line in file]
  assert losses[0] > 1.0
  assert losses[-1] < 0.05
  # The tokenizer is beside the weights.
  words = (layers, '--gin.SPLIT=train')
  assert predict('m', corpus, *words, condition=SHORT) == 0
  found = rows()
  assert len(found) == fakes.NUM_ROWS['train']
  for row in found:
    assert row['prediction'] in row['targets']
  assert {row['train_condition'] for row in found} == {SHORT}


def test_a_resumed_training_ends_with_the_same_parameters(model, corpus):
  weights = f'--gin.INITIAL_CHECKPOINT_PATH={model}'
  assert train(corpus, weights, steps=6) == 0
  assert train(corpus, weights, steps=4, out='again') == 0
  before = params_of('again')['token_embedder']['embedding']
  assert train(corpus, weights, steps=6, out='again') == 0
  jax.tree.map(
    np.testing.assert_array_equal, params_of('m'), params_of('again')
  )
  after = params_of('m')['token_embedder']['embedding']
  assert np.abs(after - before).max() > 0


def test_a_training_is_not_tested_as_another_model(model, corpus, capsys):
  weights = f'--gin.INITIAL_CHECKPOINT_PATH={model}'
  assert train(corpus, weights, steps=2) == 0
  # Which have no parameters.
  for setting, change in (
    ('Rope.base=500000.0', 'rope.base was 100000.0'),
    ('DecoderConfig.window=4', 'window was None'),
  ):
    capsys.readouterr()
    status = predict('m', corpus, f'--gin.{setting}', condition=SHORT)
    assert status == 2
    now = setting.partition('=')[2]
    assert capsys.readouterr().err == (
      f'it-study: m does not fit the model: {change} in its training and is '
      f'{now} now. Name the gin file of the model that was trained.\n'
    )
  again = f'--gin.INITIAL_CHECKPOINT_PATH={pathlib.Path("m").absolute()}'
  words = (again, '--gin.Rope.base=500000.0')
  assert train(corpus, *words, steps=2, out='again') == 2
  scanned = '--gin.DecoderConfig.scan_layers=True'
  assert predict('m', corpus, scanned, condition=SHORT) == 0


def test_a_lora_training_keeps_its_updates_alone(model, corpus):
  assert train_lora(model, corpus, steps=6) == 0
  found = traverse_util.flatten_dict(params_of('m'), sep='/')
  assert {name.rpartition('/')[2] for name in found} == {'lora_a', 'lora_b'}
  with open('m/training.json', encoding='utf-8') as file:
    record = json.load(file)
  assert record['lora'] == {
    'rank': 2,
    'alpha': 16.0,
    'targets': ['query', 'key', 'value', 'out'],
    'base': str(model),
  }
  # Stopped and resumed, it ends with the same bits.
  assert train_lora(model, corpus, steps=4, out='again') == 0
  assert train_lora(model, corpus, steps=6, out='again') == 0
  jax.tree.map(
    np.testing.assert_array_equal, params_of('m'), params_of('again')
  )
  # Merged by conversion or when they are read, they answer alike.
  words = ('--from', 'it_study', '--to')
  assert cli.main(['convert', 'm', 'merged', *words, 'hf', '--quiet']) == 0
  for path, out in (('m', 'out'), ('merged', 'out_merged'), (model, 'before')):
    ranked = '--gin.DECODING=ranked'
    assert predict(path, corpus, ranked, condition=SHORT, out=out) == 0
  scores = [row['scores'] for row in rows() if row['scores']]
  for found, expected in zip(rows('out_merged'), rows(), strict=True):
    assert found['prediction'] == expected['prediction']
    for label, score in (expected['scores'] or {}).items():
      assert found['scores'][label] == pytest.approx(score, abs=1e-3)
  assert scores != [row['scores'] for row in rows('before') if row['scores']]


def test_an_adapter_is_written_for_peft(model, corpus):
  assert train_lora(model, corpus, steps=2) == 0
  words = ('--from', 'it_study', '--to', 'peft', '--quiet')
  assert cli.main(['convert', 'm', 'adapter', *words]) == 0
  with open('adapter/adapter_config.json', encoding='utf-8') as file:
    fields = json.load(file)
  assert (fields['peft_type'], fields['task_type']) == ('LORA', 'CAUSAL_LM')
  assert (fields['r'], fields['lora_alpha']) == (2, 16.0)
  assert fields['base_model_name_or_path'] == str(model)
  assert fields['target_modules'] == [
    f'model.layers.0.self_attn.{name}_proj' for name in 'koqv'
  ]
  stored = safetensors.load_file('adapter/adapter_model.safetensors')
  ours = params_of('m')['decoder']['layers_0']['self_attention']['query']
  stem = 'base_model.model.model.layers.0.self_attn.q_proj'
  np.testing.assert_array_equal(
    stored[f'{stem}.lora_A.weight'], np.asarray(ours['lora_a']).T
  )
  assert len(stored) == 8


def test_peft_reads_the_adapter(model, corpus):
  peft = pytest.importorskip('peft', reason='needs the parity extra')
  import torch
  import transformers

  assert train_lora(model, corpus, steps=6) == 0
  words = ('convert', 'm', '--from', 'it_study', '--quiet', '--to')
  assert cli.main([*words, 'peft', 'adapter']) == 0
  assert cli.main([*words, 'hf', 'merged']) == 0
  load = transformers.AutoModelForCausalLM.from_pretrained
  tokens = torch.tensor([[5, 0, 77, 31, 200]])
  with torch.no_grad():
    theirs = peft.PeftModel.from_pretrained(load(model), 'adapter')(tokens)
    merged = load('merged')(tokens)
    before = load(model)(tokens)
  assert (theirs.logits - merged.logits).abs().max() < 1e-4
  assert (before.logits - merged.logits).abs().max() > 1e-2


def test_lora_needs_weights(model, corpus, capsys):
  status = train(
    corpus, '--gin_file=runs/lora.gin', f'--gin.IT_STUDY_VOCABULARY={model}'
  )
  assert status == 2
  assert capsys.readouterr().err == (
    'it-study: LORA_RANK is set, but INITIAL_CHECKPOINT_PATH is None: LoRA '
    'updates weights that are there. Name them, or leave LORA_RANK out.\n'
  )


def test_a_lora_training_whose_weights_are_gone_says_so(
  model, corpus, tmp_path, capsys
):
  moved = tmp_path / 'moved'
  shutil.copytree(model, moved)
  assert train_lora(moved, corpus, steps=2) == 0
  shutil.rmtree(moved)
  capsys.readouterr()
  assert predict('m', corpus, condition=SHORT) == 2
  assert capsys.readouterr().err.startswith(
    f'it-study: m holds LoRA updates of {moved}, which cannot be used: '
  )


def test_a_model_from_scratch_needs_a_vocabulary(corpus, capsys):
  assert train(corpus) == 2
  assert capsys.readouterr().err == (
    'it-study: INITIAL_CHECKPOINT_PATH is None, and a decoder-only model has '
    'the vocabulary of its weights. Name weights, or set IT_STUDY_VOCABULARY '
    'to a folder with tokenizer.json.\n'
  )


def test_a_diagnosis_finds_the_model_in_its_folder(model, corpus):
  words = ('--corpus', str(corpus), '--condition', PLAIN, '--out', 'audit')
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
    'it-study: new: a decoder-only model is only converted to hf, or with LoRA '
    'to peft. CHECKPOINT_PATH accepts the folder as it is.\n'
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


def test_a_task_of_the_user_s_own(model):
  fixture.add_task(
    'even',
    {'test': fixture.questions(3)},
    output_features=seqio_lib.output_features(),
  )
  seqio_lib.declare('even', label_space=['yes', 'no'])
  assert predict(model, None, '--gin.DECODING=ranked', condition='even') == 0
  assert [row['inputs'] for row in rows()] == [
    f'Is {n} even?' for n in range(3)
  ]
  for row in rows():
    assert row['prediction'] in ('yes', 'no')


def test_prompts_that_end_in_the_end_of_sequence_are_refused(model, capsys):
  feature = seqio.Feature(tokenizer_vocabulary.TokenizerVocabulary(model))
  fixture.add_task(
    'ended',
    {'test': fixture.questions(1)},
    output_features={'inputs': feature, 'targets': feature},
  )
  assert predict(model, None, condition='ended') == 2
  assert capsys.readouterr().err == (
    'it-study: ended: its inputs end in the end of sequence, after which a '
    'decoder-only model writes nothing. Register the task with '
    'output_features=it_study.seqio_lib.output_features().\n'
  )
