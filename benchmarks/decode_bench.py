"""Greedy decoding beside T5X's predict_batch and transformers' generate.

python benchmarks/decode_bench.py --corpus NATINST [--peers ours,t5x,torch]

S2 of `step_bench`, random weights, float32, 64 prompts: all of 512 tokens, or
as long as 64 prompts of the test tasks are, 512 at most; with 64 new
tokens each, or with 8, after which most answers of trained models have ended.
Every measurement is a process of its own; peers take turns. T5X is measured
where it can be imported, transformers on PyTorch with the extra `parity`.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import step_bench

_VOCABULARY = 32128
_ROWS, _LONGEST = 64, 512
_ROOMS = {'long': 64, 'short': 8}
_NEEDS = {'ours': 'jax', 't5x': 't5x', 'torch': 'transformers'}


def main() -> None:
  """Prints a line a measurement, then a table of medians."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--corpus', default=os.environ.get('NATINST_DIR'))
  parser.add_argument('--peers', default='ours,t5x,torch')
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--repeats', type=int, default=2)
  parser.add_argument('--batch_size', type=int, default=64, help='ours alone')
  parser.add_argument('--one', choices=_NEEDS, help=argparse.SUPPRESS)
  parser.add_argument('--folder', help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.corpus is None:
    print('left out: needs --corpus or NATINST_DIR')
    return
  if options.one:
    measure = {'ours': _Ours, 't5x': _T5x, 'torch': _Torch}[options.one]
    print(json.dumps(_measure(measure, options)))
    return
  with tempfile.TemporaryDirectory() as folder:
    options.folder = folder
    _prepare(options)
    found = {}
    for _ in range(options.rounds):
      for peer in options.peers.split(','):
        if importlib.util.find_spec(_NEEDS[peer]) is None:
          print(f'{peer} is left out: needs {_NEEDS[peer]}')
          continue
        found.setdefault(peer, []).append(_run(peer, options))
        print(peer, found[peer][-1], flush=True)
  _print_table(found)


def _prepare(options: argparse.Namespace) -> None:
  """Prompts and weights, as files that every peer reads."""
  from it_study.checkpoints.hf import params as hf
  from it_study.models import partitioning

  folder = pathlib.Path(options.folder)
  lengths = _prompt_lengths(options.corpus, folder)
  random = np.random.default_rng(0)
  for name, several in (('equal', [_LONGEST] * _ROWS), ('mixed', lengths)):
    prompts = np.zeros((_ROWS, _LONGEST), np.int32)
    for row, length in zip(prompts, several, strict=True):
      row[: length - 1] = random.integers(3, 32_000, length - 1)
      row[length - 1] = 1
    np.save(folder / f'{name}.npy', prompts)
  print(
    f'prompts: median {np.median(lengths):.0f} tokens, '
    f'{min(lengths)} to {max(lengths)}'
  )
  model = _model()
  params = partitioning.init_params(
    model=model, seed=0, mesh=partitioning.make_mesh()
  )
  hf.save_params(folder / 'weights', params, config=model.config)


def _prompt_lengths(corpus: str, folder: pathlib.Path) -> list[int]:
  """In tokens, of prompts evenly spread over the test split."""
  os.environ['IT_STUDY_CACHE'] = str(folder / 'cache')
  import prompt_bench

  from it_study import seqio_lib
  from it_study.data import tensorflow_setup, vocabularies
  from it_study.engines import prediction_rows
  import tasks  # noqa: F401  Registers the conditions.

  tensorflow_setup.import_tensorflow()
  vocabulary = prompt_bench.train_vocabulary(
    corpus, vocab_size=8000, path=folder / 'trained.model'
  )
  vocabularies.set_vocabulary(str(vocabulary))
  seqio_lib.use_corpus(corpus)
  rows = prediction_rows.load_instances(
    name='natinst_def_original_ex_original2',
    lengths={'inputs': _LONGEST, 'targets': 64},
    split='test',
  )
  places = np.linspace(0, len(rows) - 1, _ROWS).astype(int)
  return [len(rows[place]['inputs']) for place in places]


def _run(peer: str, options: argparse.Namespace) -> dict[str, float]:
  process = subprocess.run(
    [
      *(sys.executable, __file__, '--one', peer, '--folder', options.folder),
      *('--corpus', options.corpus, '--repeats', str(options.repeats)),
      *('--batch_size', str(options.batch_size)),
    ],
    env={
      **os.environ,
      'JAX_PLATFORMS': 'cpu',
      **step_bench.memory_settings(peer, 'ours'),
    },
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return json.loads(process.stdout.splitlines()[-1])


def _measure(peer, options: argparse.Namespace) -> dict[str, float]:
  """Seconds by scenario, the best of some, compiling left out."""
  folder = pathlib.Path(options.folder)
  result = {}
  for lengths in ('equal', 'mixed'):
    prompts = np.load(folder / f'{lengths}.npy')
    for answers, room in _ROOMS.items():
      decoder = peer(folder / 'weights', options, room)
      times = []
      for _ in range(1 + options.repeats):
        started = time.perf_counter()
        tokens = decoder(prompts)
        times.append(time.perf_counter() - started)
      assert tokens.shape == (_ROWS, room), tokens.shape
      # Random weights seldom end a row.
      assert (tokens != 0).mean() > 0.9
      result[f'{lengths} {answers}'] = min(times[1:])
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return {**result, 'peak_gb': peak / 2**20}


def _model():
  from it_study.models.t5 import T5, T5Config

  return T5(T5Config(*step_bench.CONFIGS['S2']))


class _Ours:
  """Decodes as a prediction does, in batches of like length."""

  def __init__(
    self, path: pathlib.Path, options: argparse.Namespace, room: int
  ):
    from it_study.checkpoints.hf import params as hf
    from it_study.inference.prompt_batches import LoadedModel
    from it_study.models import partitioning
    from it_study.training import host_memory

    host_memory.keep_head_room()
    model = _model()
    mesh = partitioning.make_mesh()
    self._machine = LoadedModel(
      model=model,
      params=hf.load_params(
        path,
        config=model.config,
        target=partitioning.abstract_params(model=model, mesh=mesh),
      ),
      mesh=mesh,
      max_length=_LONGEST,
      max_decode_length=room,
      batch_size=options.batch_size,
    )

  def __call__(self, prompts: np.ndarray) -> np.ndarray:
    from it_study.inference import prompt_batches
    from it_study.inference.decoding import Decoding

    room = self._machine.max_decode_length
    decoded = np.zeros((len(prompts), room), np.int32)
    for indices, rows in prompt_batches.decode(
      self._machine,
      prompts=[row[row > 0] for row in prompts],
      decoding=Decoding(),
      method='greedy',
    ):
      decoded[indices] = rows
    return decoded


class _T5x:
  """T5X's model on its own network, all prompts in one batch."""

  def __init__(
    self, path: pathlib.Path, options: argparse.Namespace, room: int
  ):
    del options
    # isort: off
    import jax
    import seqio
    from t5x import decoding
    from t5x import models
    from t5x.examples.t5 import network
    # isort: on

    from it_study.checkpoints.hf import params as hf
    from it_study.models import partitioning

    model = _model()
    params = hf.load_params(
      path,
      config=model.config,
      target=partitioning.abstract_params(
        model=model, mesh=partitioning.make_mesh()
      ),
    )
    config = model.config
    theirs = models.EncoderDecoderModel(
      module=network.Transformer(
        config=network.T5Config(
          vocab_size=config.vocab_size,
          dtype='float32',
          emb_dim=config.emb_dim,
          num_heads=config.num_heads,
          head_dim=config.head_dim,
          mlp_dim=config.mlp_dim,
          num_encoder_layers=config.num_encoder_layers,
          num_decoder_layers=config.num_decoder_layers,
          mlp_activations=config.mlp_activations,
          dropout_rate=0.0,
        )
      ),
      input_vocabulary=seqio.PassThroughVocabulary(_VOCABULARY, eos_id=1),
      output_vocabulary=seqio.PassThroughVocabulary(_VOCABULARY, eos_id=1),
      optimizer_def=None,
      decode_fn=decoding.temperature_sample,
    )
    self._params = params
    self._room = room
    self._predict = jax.jit(theirs.predict_batch)

  def __call__(self, prompts: np.ndarray) -> np.ndarray:
    room = np.zeros((len(prompts), self._room), np.int32)
    return np.asarray(
      self._predict(
        self._params,
        {'encoder_input_tokens': prompts, 'decoder_input_tokens': room},
      )
    )


class _Torch:
  """transformers' generate, all prompts in one batch."""

  def __init__(
    self, path: pathlib.Path, options: argparse.Namespace, room: int
  ):
    del options
    import torch
    import transformers

    self._torch = torch
    self._room = room
    self._model = transformers.T5ForConditionalGeneration.from_pretrained(
      path
    ).eval()

  def __call__(self, prompts: np.ndarray) -> np.ndarray:
    ids = self._torch.tensor(prompts).long()
    with self._torch.no_grad():
      tokens = self._model.generate(
        ids,
        attention_mask=(ids != 0).long(),
        max_new_tokens=self._room,
        do_sample=False,
        decoder_start_token_id=0,
      ).numpy()[:, 1:]
    return np.pad(tokens, ((0, 0), (0, self._room - tokens.shape[1])))


def _print_table(found: dict[str, list[dict[str, float]]]) -> None:
  print(f'\n{"":14}' + ''.join(f'{peer:>14}' for peer in found))
  for name in next(iter(found.values()))[0]:
    medians = [
      statistics.median(one[name] for one in several)
      for several in found.values()
    ]
    shown = ''.join(f'{value:14.2f}' for value in medians)
    times = ''.join(f' {value / medians[0]:6.2f}x' for value in medians[1:])
    print(f'{name:20}{shown}  {times}')


if __name__ == '__main__':
  main()
