"""Writes hf_golden/: tiny T5s of transformers, their logits and answers.

  python tests/golden/make_hf_golden.py

Requires transformers and torch (the extra `parity`). Where transformers is not
installed, `tests/checkpoints/hf/params_test.py` compares our models with the
logits, and `tests/inference/beam_test.py` our decoding with the answers.
"""

import pathlib
import shutil

import numpy as np

PATH = pathlib.Path(__file__).with_name('hf_golden')
DIMENSIONS = {
  'vocab_size': 96,
  'd_model': 16,
  # 3 heads of 8 on a width of 16: swapping two axes changes a shape.
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
# Longest answer of `generate` in tokens, and number of prompts for it.
ROOM = 24
NUM_PROMPTS = 40
SHIFTED = np.array([[0, 11, 12, 13], [0, 14, 1, 0]], np.int32)


def make_model(variant, *, seed=0, **changes):
  """Returns a model of random weights; in v1.1, the head is not tied."""
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
  """Returns logits; float32 `[batch, targets, vocabulary]`."""
  import torch

  with torch.no_grad():
    return model(
      input_ids=torch.tensor(prompts).long(),
      attention_mask=torch.tensor(prompts != 0).long(),
      decoder_input_ids=torch.tensor(shifted).long(),
    ).logits.numpy()


def mixed_prompts(number, *, longest=32, seed=0):
  """Returns padded prompts of 1 to `longest` tokens, end of sequence included.

  The shape is `[number, longest]`, the dtype int32.
  """
  random = np.random.default_rng(seed)
  prompts = np.zeros((number, longest), np.int32)
  for row in prompts:
    length = random.integers(1, longest + 1)
    row[: length - 1] = random.integers(2, DIMENSIONS['vocab_size'], length - 1)
    row[length - 1] = 1
  return prompts


def generate(model, prompts, *, num_beams=1, length_penalty=1.0):
  """Returns tokens up to the end of sequence, then 0; int32 `[batch, ROOM]`."""
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
