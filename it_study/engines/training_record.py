"""training.json, by which a training is known, whichever engine ran it."""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
import time
from typing import Any

import jax

from it_study import distributed
from it_study.data import vocabularies
from it_study.input_pipeline.feed import Feed
from it_study.models.config import T5Config
from it_study.storage import text_files
from it_study.training import metrics_log


def write(
  model_dir: pathlib.Path,
  *,
  engine: str,
  mixture_or_task_name: str,
  batches: Feed,
  config: T5Config,
  params: Any,
  mesh: Mapping[str, int],
  num_microbatches: int,
  train_steps: int,
  seed: int,
  started: float,
  **more: Any,
) -> dict[str, Any]:
  """Writes the file, in the first process, and returns what it holds.

  In other processes, which do not write metrics.jsonl, `train_seconds` is None.

  Args:
    model_dir: of the training, with its metrics.jsonl.
    engine: its name.
    mixture_or_task_name: what was trained on.
    batches: the training's.
    config: of the model.
    params: tree of arrays.
    mesh: axes and their sizes.
    num_microbatches: parts that a batch was computed in.
    train_steps: of the training.
    seed: of the training.
    started: `time.monotonic()` at the beginning.
    **more: what this engine alone records.
  """
  record = {
    'mixture_or_task_name': mixture_or_task_name,
    'seed': seed,
    'train_steps': train_steps,
    'num_examples': len(batches.cache),
    'num_parameters': sum(leaf.size for leaf in jax.tree.leaves(params)),
    'batch_size': batches.batch_size,
    'num_microbatches': num_microbatches,
    'mesh': dict(mesh),
    'engine': engine,
    'vocabulary': vocabularies.describe(),
    'vocabulary_sha256': vocabularies.fingerprint(),
    'model': dataclasses.asdict(config),
    **more,
    'num_processes': jax.process_count(),
    'train_seconds': metrics_log.total_seconds(model_dir / 'metrics.jsonl')
    if distributed.is_first()
    else None,
    'seconds': time.monotonic() - started,
  }
  if distributed.is_first():
    text_files.write_text(
      model_dir / 'training.json', json.dumps(record, indent=2) + '\n'
    )
  return record
