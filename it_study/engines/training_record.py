"""training.json, the record of a training, whichever engine ran it."""

from collections.abc import Mapping
import dataclasses
import json
import time
from typing import Any

import jax

from it_study import distributed
from it_study.data import vocabularies
from it_study.engines.training_inputs import TrainingInputs
from it_study.storage import text_files
from it_study.training import metrics_log


def write(
  inputs: TrainingInputs,
  *,
  engine: str,
  params: Any,
  mesh: Mapping[str, int],
  num_microbatches: int,
  **extra: Any,
) -> dict[str, Any]:
  """Writes the file, in the first process, and returns its content.

  In other processes, which do not write metrics.jsonl, `train_seconds` is None.

  Args:
    inputs: Data and model of the training.
    engine: Name of the engine.
    params: Tree of the trained parameters.
    mesh: Sizes of the mesh's axes by name.
    num_microbatches: Number of parts that every batch was computed in.
    **extra: Entries that this engine alone records.
  """
  record = {
    'mixture_or_task_name': inputs.data.mixture_or_task_name,
    'seed': inputs.settings.seed,
    'train_steps': inputs.train_steps,
    'num_examples': len(inputs.feed.cache),
    'num_cut_targets': inputs.feed.cache.num_cut_targets,
    'num_parameters': sum(leaf.size for leaf in jax.tree.leaves(params)),
    'batch_size': inputs.feed.batch_size,
    'num_microbatches': num_microbatches,
    'mesh': dict(mesh),
    'engine': engine,
    'vocabulary': vocabularies.describe(inputs.vocabulary),
    'vocabulary_sha256': vocabularies.fingerprint(inputs.vocabulary),
    'model': dataclasses.asdict(inputs.config),
    **_lora_record(inputs),
    **extra,
    'num_processes': jax.process_count(),
    'train_seconds': metrics_log.total_seconds(
      inputs.model_dir / 'metrics.jsonl'
    )
    if distributed.is_first()
    else None,
    'seconds': time.monotonic() - inputs.started,
  }
  if distributed.is_first():
    vocabularies.save(inputs.vocabulary, inputs.model_dir)
    text_files.write_text(
      inputs.model_dir / 'training.json', json.dumps(record, indent=2) + '\n'
    )
  return record


def _lora_record(inputs: TrainingInputs) -> dict[str, Any]:
  """Returns what is needed to add LoRA's updates to their weights again."""
  lora, source = inputs.settings.lora, inputs.initial_weights
  if lora is None or source is None:
    return {}
  return {'lora': {**dataclasses.asdict(lora), 'base': source.name}}
