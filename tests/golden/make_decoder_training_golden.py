"""Writes decoder_training_golden.npz: trainings of transformers' tiny models.

  python tests/golden/make_decoder_training_golden.py

Requires transformers, torch and peft (the extra `parity`). Holds, for every
variant, the losses of 20 steps of AdamW from the weights in
decoder_golden.tar.xz, and by the names of transformers the first step's
gradients and the weights after the last; the same under `lora/` with PEFT's
LoRA, by the names of an adapter_model.safetensors.
"""

import importlib.util
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_name('decoder_training_golden.npz')
_SPEC = importlib.util.spec_from_file_location(
  'make_decoder_golden', PATH.with_name('make_decoder_golden.py')
)
models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(models)

# Untied logits and scaled rotations; windows, soft caps and tied logits.
VARIANTS = ('llama', 'gemma2')
NUM_STEPS = 20
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
BATCH_SIZE = 8
LORA = {'r': 3, 'lora_alpha': 6}
# Ours and those of transformers.
LORA_TARGETS = {'query': 'q_proj', 'key': 'k_proj', 'wo': 'down_proj'}


def examples():
  """Returns prompts and targets of 1 to 7 tokens, id 0 among them."""
  random = np.random.default_rng(7)
  return [
    {
      name: random.integers(0, 64, random.integers(1, 8)).astype(np.int32)
      for name in ('inputs', 'targets')
    }
    for _ in range(2 * BATCH_SIZE)
  ]


def batches():
  """Yields the examples of every step, two batches in turn."""
  found = examples()
  for step in range(NUM_STEPS):
    start = step % 2 * BATCH_SIZE
    yield found[start : start + BATCH_SIZE]


def train(model):
  """Trains a model of transformers one text at a time, without packing.

  Returns:
    Arrays by name: 'losses', 'gradients/NAME' and 'weights/NAME'.
  """
  import torch

  names = {
    name: value
    for name, value in model.named_parameters()
    if value.requires_grad
  }
  matrices = [value for value in names.values() if value.ndim > 1]
  vectors = [value for value in names.values() if value.ndim == 1]
  optimizer = torch.optim.AdamW(
    [
      {'params': matrices, 'weight_decay': WEIGHT_DECAY},
      {'params': vectors, 'weight_decay': 0.0},
    ],
    lr=LEARNING_RATE,
  )
  losses = []
  arrays = {}
  for batch in batches():
    optimizer.zero_grad()
    num_tokens = sum(len(example['targets']) for example in batch)
    total = 0.0
    for example in batch:
      tokens = np.concatenate([example['inputs'], example['targets']])
      labels = tokens.copy()
      labels[: len(example['inputs'])] = -100
      loss = model(
        input_ids=torch.tensor(tokens)[None].long(),
        labels=torch.tensor(labels)[None].long(),
      ).loss
      # It is a mean over the text's own targets.
      share = loss * len(example['targets']) / num_tokens
      share.backward()
      total += share.item()
    if not losses:
      arrays = {
        f'gradients/{name}': value.grad.numpy().copy()
        for name, value in names.items()
      }
    losses.append(total)
    optimizer.step()
  weights = {
    f'weights/{name}': value.detach().numpy() for name, value in names.items()
  }
  return {'losses': np.array(losses, np.float32), **arrays, **weights}


def lora_factors(names_and_shapes):
  """Returns initial A and B by name; B is not zero, so that A has gradients."""
  random = np.random.default_rng(11)
  return {
    name: (0.2 * random.normal(size=shape)).astype(np.float32)
    for name, shape in sorted(names_and_shapes.items())
  }


def train_lora():
  """Trains PEFT's LoRA on the first variant; names as in an adapter's file."""
  import peft
  import torch

  model = peft.get_peft_model(
    models.make_model(VARIANTS[0]),
    peft.LoraConfig(target_modules=list(LORA_TARGETS.values()), **LORA),
  ).eval()
  names = {
    name.replace('.default', ''): value
    for name, value in model.named_parameters()
    if value.requires_grad
  }
  drawn = lora_factors({name: value.shape for name, value in names.items()})
  with torch.no_grad():
    for name, value in names.items():
      value.copy_(torch.tensor(drawn[name]))
  return {
    name.replace('.default', ''): array for name, array in train(model).items()
  }


def main():
  arrays = {
    f'{variant}/{name}': array
    for variant in VARIANTS
    for name, array in train(models.make_model(variant)).items()
  }
  arrays |= {f'lora/{name}': array for name, array in train_lora().items()}
  np.savez_compressed(PATH, **arrays)


if __name__ == '__main__':
  main()
