"""Writes decoder_golden.tar.xz: tiny decoder-only models of transformers.

  python tests/golden/make_decoder_golden.py

Requires transformers and torch (the extra `parity`). Holds a folder for every
variant, as `save_pretrained` writes it, and logits, greedy answers and label
log-likelihoods of transformers.
"""

import io
import pathlib
import tarfile
import tempfile

import numpy as np

PATH = pathlib.Path(__file__).with_name('decoder_golden.tar.xz')
_SIZES = {
  'vocab_size': 64,
  'hidden_size': 16,
  # 4 heads of 6 on a width of 16: swapping two axes changes a shape.
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'head_dim': 6,
  'intermediate_size': 20,
  'num_hidden_layers': 3,
  'max_position_embeddings': 256,
  'bos_token_id': 1,
  'eos_token_id': 2,
  'pad_token_id': None,
}
_LLAMA3 = {
  'rope_type': 'llama3',
  'rope_theta': 500.0,
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 32,
}
# Class of the configuration, and settings that use the family's features. The
# windows are shorter than the prompts.
VARIANTS = {
  'llama': ('LlamaConfig', {'rope_parameters': _LLAMA3}),
  'llama_tied': (
    'LlamaConfig',
    {
      'tie_word_embeddings': True,
      'num_key_value_heads': 4,
      'attention_bias': True,
      'mlp_bias': True,
      'rope_parameters': {
        'rope_type': 'linear',
        'factor': 2.0,
        'rope_theta': 10000.0,
      },
    },
  ),
  'qwen2': (
    'Qwen2Config',
    {
      'use_sliding_window': True,
      'sliding_window': 4,
      'max_window_layers': 1,
    },
  ),
  'qwen3': ('Qwen3Config', {'rope_parameters': {'rope_theta': 1e6}}),
  'olmo2': ('Olmo2Config', {}),
  'gemma2': (
    'Gemma2Config',
    {
      'sliding_window': 4,
      'query_pre_attn_scalar': 10,
      'attn_logit_softcapping': 3.0,
      'final_logit_softcapping': 2.0,
    },
  ),
  'gemma3': (
    'Gemma3TextConfig',
    {
      'sliding_window': 4,
      'layer_types': [
        'sliding_attention',
        'full_attention',
        'sliding_attention',
      ],
      'rope_parameters': {
        'full_attention': {
          'rope_type': 'linear',
          'factor': 4.0,
          'rope_theta': 1000.0,
        },
        'sliding_attention': {'rope_type': 'default', 'rope_theta': 100.0},
      },
    },
  ),
}
NUM_PROMPTS = 100
# Longest answer in tokens, and number of labels of each prompt.
MAX_DECODE_LENGTH = 12
NUM_LABELS = 3


def make_model(variant, *, seed=0, **changes):
  """Returns a model of random weights that compress well: multiples of 1/32."""
  import torch
  import transformers

  name, settings = VARIANTS[variant]
  config = getattr(transformers, name)(**{**_SIZES, **settings, **changes})
  model = transformers.AutoModelForCausalLM.from_config(
    config, attn_implementation='eager'
  ).eval()
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for parameter in model.parameters():
      drawn = 0.4 * torch.randn(parameter.shape, generator=generator)
      parameter.copy_(torch.round(32 * drawn) / 32)
  return model


def prompts():
  """Returns prompts of 1 to 14 tokens, id 0 among them."""
  random = np.random.default_rng(0)
  return [
    random.integers(0, _SIZES['vocab_size'], 1 + index % 14).astype(np.int32)
    for index in range(NUM_PROMPTS)
  ]


def labels():
  """Returns labels for each prompt, of 1 to 3 tokens."""
  random = np.random.default_rng(1)
  return [
    [
      random.integers(0, _SIZES['vocab_size'], length).astype(np.int32)
      for length in range(1, NUM_LABELS + 1)
    ]
    for _ in range(NUM_PROMPTS)
  ]


def logits_of(model, tokens):
  """Returns the logits of one text; float32 `[length, vocabulary]`."""
  import torch

  with torch.no_grad():
    return model(torch.tensor(tokens)[None]).logits[0].float().numpy()


def greedy_answer(model, prompt):
  """Returns a prompt's greedy answer, padded with -1."""
  tokens = list(prompt)
  answer = []
  while (
    len(answer) < MAX_DECODE_LENGTH
    and _SIZES['eos_token_id'] not in (answer[-1:])
  ):
    answer.append(int(logits_of(model, tokens)[-1].argmax()))
    tokens.append(answer[-1])
  return np.array(answer + [-1] * (MAX_DECODE_LENGTH - len(answer)), np.int32)


def label_scores(model, prompt, targets):
  """Returns the log-likelihood of each label after a prompt, in nats."""
  scores = []
  for target in targets:
    logits = logits_of(model, np.concatenate([prompt, target]))
    logits = logits[len(prompt) - 1 : -1].astype(np.float64)
    normalizer = np.log(np.exp(logits).sum(-1))
    scores.append((logits[np.arange(len(target)), target] - normalizer).sum())
  return np.array(scores, np.float64)


def reference(model):
  """Returns transformers' results by name."""
  texts = prompts()
  return {
    'logits': logits_of(model, texts[13]),
    'answers': np.stack([greedy_answer(model, text) for text in texts]),
    'scores': np.stack(
      [
        label_scores(model, text, targets)
        for text, targets in zip(texts, labels(), strict=True)
      ]
    ),
  }


def main():
  with tempfile.TemporaryDirectory() as directory:
    folder = pathlib.Path(directory)
    for variant in VARIANTS:
      model = make_model(variant)
      model.save_pretrained(folder / variant)
      np.savez(folder / variant / 'reference.npz', **reference(model))
    with tarfile.open(PATH, 'w:xz') as archive:
      for path in sorted(folder.rglob('*')):
        if path.name == 'generation_config.json' or path.is_dir():
          continue
        info = tarfile.TarInfo(path.relative_to(folder).as_posix())
        content = path.read_bytes()
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))


if __name__ == '__main__':
  main()
