"""Writes LoRA's updates in the folder format of the PEFT library."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import numpy as np

from it_study.checkpoints.hf import files, names
from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.models.adapters import lora
from it_study.storage import text_files

_CONFIG = 'adapter_config.json'
_WEIGHTS = 'adapter_model.safetensors'
# PEFT's names of A and B, which it stores as PyTorch's linear layers.
_FACTORS = {lora.A: 'lora_A', lora.B: 'lora_B'}


def save_adapter(
  path: pathlib.Path,
  factors: Mapping[str, Any],
  *,
  table: Mapping[str, names.Tensor],
  settings: lora.Lora,
  base: str,
  task_type: str,
) -> None:
  """Writes adapter_model.safetensors, then adapter_config.json.

  Args:
    path: New or empty folder.
    factors: A and B by our names, 'decoder/layers_0/…/lora_a', possibly lazy.
    table: Hugging Face's tensors by our names.
    settings: Settings of the updates.
    base: Weights that are updated, for `base_model_name_or_path`.
    task_type: PEFT's kind of model, such as 'CAUSAL_LM'.
  """
  tensors = {}
  modules = set()
  for name, factor in factors.items():
    stem, _, kind = name.rpartition('/')
    module = table[f'{stem}/kernel'].name.removesuffix('.weight')
    modules.add(module)
    tensors[f'base_model.model.{module}.{_FACTORS[kind]}.weight'] = _transposed(
      factor
    )
  path.mkdir(parents=True, exist_ok=True)
  files.write_safetensors(path / _WEIGHTS, tensors)
  fields = {
    'peft_type': 'LORA',
    'task_type': task_type,
    'base_model_name_or_path': base,
    'r': settings.rank,
    'lora_alpha': settings.alpha,
    # Whole names, as PEFT matches ends of names: T5's encoder and decoder have
    # modules of the same name.
    'target_modules': sorted(modules),
    'lora_dropout': 0.0,
    'bias': 'none',
    'fan_in_fan_out': False,
    'inference_mode': True,
  }
  text_files.write_file(
    path / _CONFIG, (json.dumps(fields, indent=2) + '\n').encode()
  )


def _transposed(factor: Any) -> LazyArray:
  return LazyArray(
    shape=tuple(factor.shape)[::-1],
    dtype=np.dtype(np.float32),
    read=lambda: np.asarray(factor, np.float32).T,
  )
