"""Answers to our prompts from `t5x.infer`, exactly one each."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import functools
import hashlib
import itertools
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import seqio

from it_study import distributed
from it_study.data import vocabularies
from it_study.data.vocabularies import Decoded
from it_study.engines.prediction_rows import PredictionInputs
from it_study.engines.t5x import decoder, feed, weights
from it_study.errors import InputError
from it_study.inference import answers, label_spaces as label_spaces_lib
from it_study.inference.answers import Answer
from it_study.inference.label_spaces import Labels
from it_study.storage import text_files

# Batches between two flushes of T5X, from which it can resume.
_CHUNK_BATCHES = 8
# Part of the key of flushed answers; increase it when they change.
_VERSION = 1


def answer(
  inputs: PredictionInputs,
  *,
  model: Any,
  partitioner: Any,
  folder: pathlib.Path,
) -> list[Answer]:
  """Answers every row, in order.

  T5X flushes to a folder named by everything that the answers depend on. So the
  same prediction resumes where it was interrupted, and no other reuses it.

  Args:
    inputs: Rows, settings and weights of the prediction.
    model: Model from `t5x.model.make_model`.
    partitioner: Partitioner of T5X.
    folder: Folder for T5X's files, on a disk that all processes share. The
      caller deletes it once the answers are stored.

  Returns:
    One answer per row; an empty list in processes other than the first.
  """
  settings = inputs.settings
  spaces = _label_spaces(inputs)
  checkpoint, folder = _prepare_checkpoint(
    inputs, spaces, model=model, partitioner=partitioner, folder=folder
  )
  run = functools.partial(
    infer,
    model=model,
    checkpoint=checkpoint,
    partitioner=partitioner,
    vocabulary=model.output_vocabulary,
    offset=decoder.id_offset(inputs.config),
    lengths=settings.task_feature_lengths,
    batch_size=settings.batch_size,
  )
  prompts = [row['inputs'] for row in inputs.rows]
  free = [k for k in range(len(prompts)) if not spaces[k]]
  decoded = run(
    mode='predict',
    prompts=[prompts[k] for k in free],
    targets=None,
    folder=folder / 'free',
  )
  # Indices of prompts, each with one of its labels.
  pairs = [(k, label) for k in range(len(prompts)) for label in spaces[k]]
  targets = [spaces[k][label] for k, label in pairs]
  values = run(
    mode='score',
    prompts=[prompts[k] for k, _ in pairs],
    targets=targets,
    folder=folder / 'score',
  )
  priors = {}
  if settings.decoding.method == 'ranked_conditional':
    unique = list(dict.fromkeys(targets))
    unconditional = run(
      mode='score',
      prompts=[answers.no_prompt(inputs.vocabulary)] * len(unique),
      targets=unique,
      folder=folder / 'prior',
    )
    priors = dict(zip(unique, unconditional, strict=distributed.is_first()))
  if not distributed.is_first():
    return []
  answered = {
    k: Answer(*_decode(inputs, tokens))
    for k, tokens in zip(free, decoded, strict=True)
  }
  scores: dict[int, dict[str, float]] = {}
  for (k, label), value in zip(pairs, values, strict=True):
    scores.setdefault(k, {})[label] = value
  for k in scores:
    label = _best_label(
      spaces[k], scores[k], by=settings.decoding.method, priors=priors
    )
    answered[k] = Answer(label, scores=scores[k])
  return [answered[k] for k in range(len(prompts))]


def infer(
  *,
  mode: str,
  model: Any,
  checkpoint: str,
  partitioner: Any,
  prompts: Sequence[np.ndarray],
  targets: Sequence[Sequence[int]] | None,
  vocabulary: seqio.Vocabulary,
  offset: int,
  lengths: Mapping[str, int],
  batch_size: int,
  folder: pathlib.Path,
) -> list[Any]:
  """Runs `t5x.infer.infer`, which resumes where it was interrupted.

  Args:
    mode: 'predict' or 'score'.
    model: Model from `t5x.model.make_model`.
    checkpoint: Path of a T5X checkpoint.
    partitioner: Partitioner of T5X.
    prompts: Int32 arrays, one sequence of tokens each.
    targets: Tokens to score after each prompt; None to predict.
    vocabulary: Vocabulary of T5X's ids.
    offset: Number added to ids to get T5X's.
    lengths: Maximum lengths of 'inputs' and 'targets' in tokens.
    batch_size: Number of prompts at once.
    folder: Folder for T5X's files.

  Returns:
    For every prompt, int32 tokens or a log-likelihood in nats; an empty list in
    processes other than the first.

  Raises:
    InputError: If T5X did not write exactly one answer per prompt, or a
      log-likelihood is not finite.
  """
  from t5x import infer as t5x_infer, utils

  if not prompts:
    return []
  folder.mkdir(parents=True, exist_ok=True)
  prompts = [prompt + offset for prompt in prompts]
  if targets is not None:
    targets = [[token + offset for token in target] for target in targets]
  with _as_task(prompts, targets, vocabulary) as name:
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
      # An iterator over a Python function cannot be stored. T5X skips what it
      # has flushed all the same.
      checkpoint_ds_iter=False,
      write_fn=_write,
      summarize_config_fn=lambda **_: None,
    )
  if not distributed.is_first():
    return []
  (path,) = folder.glob(f'{name}-{mode}.jsonl-00000-of-00001')
  answered = _read(path, mode=mode, number=len(prompts))
  if mode == 'score' or not offset:
    return answered
  return [[token - offset for token in tokens] for tokens in answered]


def _read(path: pathlib.Path, *, mode: str, number: int) -> list[Any]:
  """Reads the answers that T5X wrote, exactly one for each prompt."""
  by_index: dict[int, Any] = {}
  for line in text_files.read_bytes(path).splitlines():
    index, answer = text_files.parse_json(line, where=str(path))
    if index in by_index:
      raise InputError(f'{path}: T5X answered prompt {index} twice.')
    by_index[index] = answer
  if sorted(by_index) != list(range(number)):
    raise InputError(
      f'{path}: T5X answered {len(by_index)} of {number} prompts.'
    )
  if mode == 'score' and not np.isfinite(list(by_index.values())).all():
    raise InputError(
      "T5X's log-likelihoods are not finite (NaN or infinity): its activations "
      'overflow. Set DTYPE to float32, or use other weights.'
    )
  return [by_index[index] for index in range(number)]


def _decode(inputs: PredictionInputs, tokens: Sequence[int]) -> Decoded:
  """Decodes an answer up to the first token that ends one."""
  ends = vocabularies.other_ends(inputs.vocabulary)
  until_end = itertools.takewhile(lambda token: token not in ends, tokens)
  return vocabularies.decode(inputs.vocabulary, until_end)


def _label_spaces(inputs: PredictionInputs) -> list[Labels]:
  """Returns the labels to rank for each row; none without ranked decoding."""
  if not inputs.settings.decoding.is_ranked:
    return [{}] * len(inputs.rows)
  ends = vocabularies.other_ends(inputs.vocabulary)
  if ends:
    raise InputError(
      f'DECODING is {inputs.settings.decoding.method!r}, and an answer ends by '
      f'any of {1 + len(ends)} tokens: T5X scores labels that end by one token '
      'alone. Predict with --engine native, which reads the same checkpoints.'
    )
  return label_spaces_lib.encode(
    inputs.rows,
    vocabulary=inputs.vocabulary,
    max_length=inputs.settings.task_feature_lengths['targets'],
    on_unspellable=inputs.settings.decoding.unspellable_labels,
  )


def _best_label(
  labels: Labels,
  scores: Mapping[str, float],
  *,
  by: str,
  priors: Mapping[tuple[int, ...], float],
) -> str:
  """Returns the best label; `priors` are by a label's tokens, if needed."""
  prior = None
  if priors:
    prior = {label: priors[tokens] for label, tokens in labels.items()}
  return label_spaces_lib.rank(labels, scores, by=by, prior=prior)


def _prepare_checkpoint(
  inputs: PredictionInputs,
  spaces: Sequence[Labels],
  *,
  model: Any,
  partitioner: Any,
  folder: pathlib.Path,
) -> tuple[str, pathlib.Path]:
  """Returns a T5X checkpoint of the weights, and the prediction's folder."""
  settings = inputs.settings
  # Looked up once, as a training may be writing newer ones.
  checkpoint = weights.find(inputs.weights)
  params = weights.load(
    inputs.weights,
    config=inputs.config,
    model=model,
    partitioner=partitioner,
    seed=settings.seed,
  )
  folder = _folder_of(
    folder,
    {
      'version': _VERSION,
      **answers.identify(params, inputs.config, inputs.vocabulary),
      'method': settings.decoding.method,
      'settings': settings.decoding.settings(settings.decoding.method),
      'lengths': dict(settings.task_feature_lengths),
      # T5X flushes so many prompts at once, and numbers the flushes.
      'chunk': _CHUNK_BATCHES * settings.batch_size,
      'prompts': [row['inputs'].tolist() for row in inputs.rows],
      'labels': [
        [[name, list(tokens)] for name, tokens in space.items()]
        for space in spaces
      ],
    },
  )
  # T5X loads its own copy of the parameters; ours goes when this returns.
  return checkpoint or weights.save(folder / 'weights', params), folder


def _folder_of(
  folder: pathlib.Path, depends_on: Mapping[str, Any]
) -> pathlib.Path:
  """Returns the subfolder of one prediction, and deletes those of others."""
  content = json.dumps(depends_on, sort_keys=True)
  name = hashlib.sha256(content.encode()).hexdigest()[:32]
  if distributed.is_first():
    (folder / name).mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
      if other.name != name and other.is_dir():
        shutil.rmtree(other)
  # T5X looks for flushed answers in each process.
  distributed.broadcast_from_first(0)
  return folder / name


def _write(
  path: str,
  inferences: tuple[Sequence[Any], Mapping[str, Any]],
  task_ds: Any,
  mode: str,
  vocabulary: Any,
) -> None:
  """Writes answers with their indices; T5X itself writes texts without."""
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
  prompts: Sequence[np.ndarray],
  targets: Sequence[Sequence[int]] | None,
  vocabulary: seqio.Vocabulary,
) -> Iterator[str]:
  """Registers prompts as a SeqIO task for the duration of the block."""
  import tensorflow as tf

  def examples() -> Iterator[dict[str, np.ndarray]]:
    for index, prompt in enumerate(prompts):
      yield {
        'index': np.asarray(index, np.int64),
        'inputs': np.asarray(prompt, np.int32),
        'targets': np.asarray(
          [1] if targets is None else targets[index], np.int32
        ),
      }

  sequence = tf.TensorSpec([None], tf.int32)
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
