"""`t5x.infer` on prompts of ours, each answered exactly once."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import hashlib
import json
import pathlib
import shutil
from typing import Any

import numpy as np

from it_study import distributed
from it_study.checkpoints.weights_source import WeightsSource
from it_study.data import vocabularies
from it_study.engines.t5x import feed, weights
from it_study.errors import InputError
from it_study.inference import (
  answers,
  label_spaces as label_spaces_lib,
  prompt_batches,
)
from it_study.inference.answers import Answer
from it_study.inference.decoding import Decoding
from it_study.inference.label_spaces import Labels
from it_study.models.config import T5Config

# Batches between two flushes of T5X's, after which it can go on.
_CHUNK_BATCHES = 8
# Part of what flushed answers depend on; counted up when they change.
_VERSION = 1


def answer(
  rows: Sequence[Mapping[str, Any]],
  *,
  model: Any,
  config: T5Config,
  partitioner: Any,
  source: WeightsSource | None,
  seed: int,
  decoding: Decoding,
  lengths: Mapping[str, int],
  batch_size: int,
  folder: pathlib.Path,
) -> list[Answer]:
  """Answers every row, in order.

  What T5X flushed goes to a folder named by all that answers depend on, so that
  the same prediction goes on where it was stopped, and no other takes it over.

  Args:
    rows: from `prediction_rows.load_instances`.
    model: from `t5x_setup.make_model`.
    config: of the model.
    partitioner: of T5X.
    source: Weights in any format; None for parameters drawn from `seed`.
    seed: of the parameters without a checkpoint.
    decoding: greedy, by T5X's beam, or ranked.
    lengths: 'inputs' and 'targets', in tokens.
    batch_size: prompts at once.
    folder: for T5X's files, on a disk that all processes see. Whoever has
      stored the answers takes it away.

  Returns:
    An answer a row; nothing in other processes than the first.
  """
  vocabulary = vocabularies.current_vocabulary()
  spaces: list[Labels] = [{}] * len(rows)
  if decoding.is_ranked:
    spaces = label_spaces_lib.encode(
      rows, vocabulary=vocabulary, max_length=lengths['targets']
    )
  prompts = [row['inputs'] for row in rows]
  # Found once, as a training may go on beside.
  checkpoint = weights.find(source)
  params = weights.load(
    source,
    config=config,
    model=model,
    partitioner=partitioner,
    seed=seed,
  )
  folder = _folder_of(
    folder,
    {
      'version': _VERSION,
      **answers.identify(params, config),
      'method': decoding.method,
      'settings': decoding.settings(decoding.method),
      'lengths': dict(lengths),
      # What T5X flushes at once, and calls by a number.
      'chunk': _CHUNK_BATCHES * batch_size,
      'prompts': [prompt.tolist() for prompt in prompts],
      'labels': [
        [[name, list(tokens)] for name, tokens in space.items()]
        for space in spaces
      ],
    },
  )
  if checkpoint is None:
    checkpoint = weights.save(folder / 'weights', params)
  # T5X reads its own; two would take twice the memory.
  del params

  def run(mode, prompts, targets, name):
    return infer(
      mode=mode,
      model=model,
      checkpoint=checkpoint,
      partitioner=partitioner,
      prompts=prompts,
      targets=targets,
      lengths=lengths,
      batch_size=batch_size,
      folder=folder / name,
    )

  free = [k for k in range(len(rows)) if not spaces[k]]
  # A prompt and a label each.
  pairs = [(k, label) for k in range(len(rows)) for label in spaces[k]]
  decoded = run('predict', [prompts[k] for k in free], None, 'free')
  targets = [spaces[k][label] for k, label in pairs]
  values = run('score', [prompts[k] for k, _ in pairs], targets, 'score')
  priors = {}
  if decoding.method == 'ranked_conditional':
    unique = list(dict.fromkeys(targets))
    no_prompts = [answers.NO_PROMPT] * len(unique)
    found = run('score', no_prompts, unique, 'prior')
    priors = dict(zip(unique, found, strict=distributed.is_first()))
  if not distributed.is_first():
    return []
  texts = {
    k: prompt_batches.to_text(vocabulary, np.asarray(tokens))
    for k, tokens in zip(free, decoded, strict=True)
  }
  scores: dict[int, dict[str, float]] = {}
  for (k, label), value in zip(pairs, values, strict=True):
    scores.setdefault(k, {})[label] = value
  for k, of_row in scores.items():
    prior = {label: priors.get(spaces[k][label]) for label in of_row}
    texts[k] = label_spaces_lib.rank(
      spaces[k], of_row, by=decoding.method, prior=prior
    )
  return [Answer(texts[k], scores.get(k)) for k in range(len(rows))]


def infer(
  *,
  mode: str,
  model: Any,
  checkpoint: str,
  partitioner: Any,
  prompts: Sequence[np.ndarray],
  targets: Sequence[Sequence[int]] | None,
  lengths: Mapping[str, int],
  batch_size: int,
  folder: pathlib.Path,
) -> list[Any]:
  """Runs `t5x.infer.infer`, which goes on where it was stopped.

  Args:
    mode: 'predict' or 'score'.
    model: from `t5x_setup.make_model`.
    checkpoint: of T5X.
    partitioner: of T5X.
    prompts: int32, one sequence of tokens each.
    targets: tokens to score after each prompt; None to predict.
    lengths: 'inputs' and 'targets', in tokens.
    batch_size: prompts at once.
    folder: for T5X's files.

  Returns:
    For every prompt, int32 tokens or a log-likelihood in nats; nothing in other
    processes than the first.

  Raises:
    InputError: if what T5X wrote is not one answer a prompt.
  """
  from t5x import infer as t5x_infer, utils

  if not prompts:
    return []
  folder.mkdir(parents=True, exist_ok=True)
  with _as_task(prompts, targets) as name:
    t5x_infer.infer(
      mode=mode,
      model=model,
      dataset_cfg=feed.dataset_config(
        name, lengths=lengths, split='test', batch_size=batch_size
      ),
      restore_checkpoint_cfg=utils.RestoreCheckpointConfig(
        path=checkpoint, mode='specific', dtype='float32'
      ),
      partitioner=partitioner,
      output_dir=str(folder),
      checkpoint_period=_CHUNK_BATCHES,
      # An iterator over a Python function cannot be stored; what is flushed is
      # skipped all the same.
      checkpoint_ds_iter=False,
      write_fn=_write,
      summarize_config_fn=lambda **_: None,
    )
  if not distributed.is_first():
    return []
  (path,) = folder.glob(f'{name}-{mode}.jsonl-00000-of-00001')
  found = {}
  for line in path.read_text().splitlines():
    index, answer = json.loads(line)
    if index in found:
      raise InputError(f'{path}: T5X answered prompt {index} twice.')
    found[index] = answer
  if sorted(found) != list(range(len(prompts))):
    raise InputError(
      f'{path}: T5X answered {len(found)} of {len(prompts)} prompts.'
    )
  return [found[index] for index in range(len(prompts))]


def _folder_of(
  folder: pathlib.Path, depends_on: Mapping[str, Any]
) -> pathlib.Path:
  """The part of a folder for one prediction, what others left there deleted."""
  content = json.dumps(depends_on, sort_keys=True)
  name = hashlib.sha256(content.encode()).hexdigest()[:32]
  if distributed.is_first():
    (folder / name).mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
      if other.name != name and other.is_dir():
        shutil.rmtree(other)
  # T5X looks in each process for what is there.
  distributed.broadcast_from_first(0)
  return folder / name


def _write(
  path: str,
  inferences: tuple[Sequence[Any], Mapping[str, Any]],
  task_ds: Any,
  mode: str,
  vocabulary: Any,
) -> None:
  """Answers with their places; T5X itself writes texts, and no place."""
  del mode, vocabulary
  answers, _ = inferences
  with open(path, 'w', encoding='utf-8') as file:
    for example, answer in zip(
      task_ds.as_numpy_iterator(), answers, strict=True
    ):
      line = [int(example['index']), np.asarray(answer).tolist()]
      file.write(json.dumps(line) + '\n')


@contextlib.contextmanager
def _as_task(
  prompts: Sequence[np.ndarray], targets: Sequence[Sequence[int]] | None
) -> Iterator[str]:
  """Registers prompts as a SeqIO task for the time of the block."""
  import seqio
  import tensorflow as tf

  def examples() -> Iterator[dict[str, np.ndarray]]:
    for index, prompt in enumerate(prompts):
      yield {
        'index': np.int64(index),
        'inputs': np.asarray(prompt, np.int32),
        'targets': np.asarray(
          [1] if targets is None else targets[index], np.int32
        ),
      }

  sequence = tf.TensorSpec([None], tf.int32)
  vocabulary = vocabularies.checked_vocabulary()
  feature = seqio.Feature(vocabulary, add_eos=False)
  name = 'it_study_prompts'
  seqio.TaskRegistry.add(
    name,
    source=seqio.FunctionDataSource(
      lambda split, shuffle_files, seed=None: tf.data.Dataset.from_generator(
        examples,
        output_signature={
          'index': tf.TensorSpec([], tf.int64),
          'inputs': sequence,
          'targets': sequence,
        },
      ),
      splits=['test'],
      num_input_examples={'test': len(prompts)},
    ),
    preprocessors=[],
    output_features={'inputs': feature, 'targets': feature},
  )
  try:
    yield name
  finally:
    seqio.TaskRegistry.remove(name)
