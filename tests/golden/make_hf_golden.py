"""Writes hf_golden/: tiny T5s of transformers, their logits and answers.

Run with transformers and torch (the parity extra):

  python tests/golden/make_hf_golden.py

`tests/checkpoints/hf/params_test.py` holds our reading of them to the logits,
`tests/inference/beam_test.py` our decoding to the answers, where transformers
is missing.
"""

import pathlib
import shutil

import numpy as np

PATH = pathlib.Path(__file__).with_name('hf_golden')
DIMENSIONS = {
  'vocab_size': 96,
  'd_model': 16,
  # 3 heads of 8 on a width of 16, so that no two axes can be mixed up unseen.
  'd_kv': 8,
  'num_heads': 3,
  'd_ff': 20,
  'num_layers': 2,
  'num_decoder_layers': 1,
}
VARIANTS = {
  'v1_0': {'feed_forward_proj': 'relu', 'tie_word_embeddings': True},
  'v1_1': {'feed_forward_proj': 'gated-gelu', 'tie_word_embeddings': False},
}
# Rows of different lengths, so that there is padding on both sides.
PROMPTS = np.array([[5, 6, 7, 8, 9, 1], [4, 3, 1, 0, 0, 0]], np.int32)
TARGETS = np.array([[11, 12, 13, 1], [14, 1, 0, 0]], np.int32)
# Tokens that `generate` has room for, and prompts that it is given.
ROOM = 24
NUM_PROMPTS = 40
SHIFTED = np.array([[0, 11, 12, 13], [0, 14, 1, 0]], np.int32)


def make_model(variant, *, seed=0, **changes):
  """A model of random weights, its head a table of its own in v1.1."""
  import torch
  import transformers

  config = transformers.T5Config(
    **{**DIMENSIONS, **VARIANTS[variant], **changes}
  )
  model = transformers.T5ForConditionalGeneration(config).eval()
  generator = torch.Generator().manual_seed(seed)
  if variant == 'v1_1':
    shape = model.shared.weight.shape
    model.lm_head.weight = torch.nn.Parameter(torch.empty(shape))
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
  return model


def logits_of(model, prompts=PROMPTS, shifted=SHIFTED):
  """float32 [batch, targets, vocabulary]."""
  import torch

  with torch.no_grad():
    return model(
      input_ids=torch.tensor(prompts).long(),
      attention_mask=torch.tensor(prompts != 0).long(),
      decoder_input_ids=torch.tensor(shifted).long(),
    ).logits.numpy()


def mixed_prompts(number, *, longest=32, seed=0):
  """int32 `[number, longest]` of 1 to 32 tokens, the last one the end."""
  random = np.random.default_rng(seed)
  prompts = np.zeros((number, longest), np.int32)
  for row in prompts:
    length = random.integers(1, longest + 1)
    row[: length - 1] = random.integers(2, DIMENSIONS['vocab_size'], length - 1)
    row[length - 1] = 1
  return prompts


def generate(model, prompts, *, num_beams=1, length_penalty=1.0):
  """int32 [batch, ROOM]: tokens up to the end of sequence, then 0."""
  import torch

  ids = torch.tensor(prompts).long()
  tokens = model.generate(
    ids,
    attention_mask=(ids != 0).long(),
    max_new_tokens=ROOM,
    do_sample=False,
    num_beams=num_beams,
    length_penalty=length_penalty if num_beams > 1 else None,
    decoder_start_token_id=0,
  ).numpy()[:, 1:]
  tokens = np.pad(tokens, ((0, 0), (0, ROOM - tokens.shape[1])))
  is_end = tokens == 1
  return np.where(np.cumsum(is_end, axis=1) - is_end > 0, 0, tokens).astype(
    np.int32
  )


def main():
  shutil.rmtree(PATH, ignore_errors=True)
  for variant in VARIANTS:
    model = make_model(variant)
    model.save_pretrained(PATH / variant)
    (PATH / variant / 'generation_config.json').unlink()
    np.save(PATH / f'{variant}_logits.npy', logits_of(model))
    prompts = mixed_prompts(NUM_PROMPTS)
    for name, num_beams in (('greedy', 1), ('beam', 4)):
      np.save(
        PATH / f'{variant}_{name}.npy',
        generate(model, prompts, num_beams=num_beams),
      )


if __name__ == '__main__':
  main()
