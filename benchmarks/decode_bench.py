"""Compares greedy decoding with T5X's predict_batch and transformers' generate.

  python benchmarks/decode_bench.py --corpus NATINST [--peers ours,t5x,torch]

Decodes 64 prompts with model S2 of `step_bench` on a CPU, with random weights
in float32. "Equal" prompts have 512 tokens each; "mixed" ones have the lengths
of 64 prompts of the test tasks, truncated to 512 tokens. "Long" answers have 64
tokens; "short" ones have 8, by which most answers of trained models have ended.

Each measurement runs in a separate process, and peers are interleaved. T5X is
measured if it is installed, transformers if the extra `parity` is. Expect ours
to take less time than both, above all with mixed lengths, and less memory than
T5X but more than PyTorch.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import tempfile
import time

import numpy as np
import step_bench

_VOCABULARY = 32128
_ROWS, _LONGEST = 64, 512
# Answer lengths, in tokens.
_DECODE_LENGTHS = {'long': 64, 'short': 8}
# The package that each peer requires.
_NEEDS = {'ours': 'jax', 't5x': 't5x', 'torch': 'transformers'}


def main() -> None:
  """Prints a line for each measurement, then a table of medians."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--corpus',
    default=os.environ.get('NATINST_DIR'),
    help='checkout of natural-instructions (default: $NATINST_DIR)',
  )
  parser.add_argument(
    '--peers',
    default='ours,t5x,torch',
    help='implementations to measure (default: %(default)s)',
  )
  parser.add_argument(
    '--rounds',
    type=int,
    default=3,
    help='processes for each implementation (default: %(default)s)',
  )
  parser.add_argument(
    '--repeats',
    type=int,
    default=2,
    help='timed runs in a process, the fastest of which counts '
    '(default: %(default)s)',
  )
  parser.add_argument(
    '--batch_size',
    type=int,
    default=64,
    help='batch size of ours; the peers decode all prompts in one batch '
    '(default: %(default)s)',
  )
  parser.add_argument('--one', choices=_NEEDS, help=argparse.SUPPRESS)
  parser.add_argument('--folder', help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.corpus is None:
    print('Skipped: set --corpus or NATINST_DIR.')
    return
  if options.one:
    measure = {'ours': _Ours, 't5x': _T5x, 'torch': _Torch}[options.one]
    print(json.dumps(_measure(measure, options)))
    return
  with tempfile.TemporaryDirectory() as folder:
    options.folder = folder
    _prepare(options)
    results = {}
    for _ in range(options.rounds):
      for peer in options.peers.split(','):
        if importlib.util.find_spec(_NEEDS[peer]) is None:
          print(f'Skipped {peer}: it requires the package {_NEEDS[peer]}.')
          continue
        results.setdefault(peer, []).append(_run(peer, options))
        print(peer, results[peer][-1], flush=True)
  _print_table(results)


def _prepare(options: argparse.Namespace) -> None:
  """Writes the prompts and weights that every peer reads."""
  from it_study.checkpoints.hf import params as hf
  from it_study.models import partitioning

  folder = pathlib.Path(options.folder)
  mixed = _prompt_lengths(options.corpus, folder)
  random = np.random.default_rng(0)
  for name, lengths in (('equal', [_LONGEST] * _ROWS), ('mixed', mixed)):
    prompts = np.zeros((_ROWS, _LONGEST), np.int32)
    for row, length in zip(prompts, lengths, strict=True):
      row[: length - 1] = random.integers(3, 32_000, length - 1)
      row[length - 1] = 1
    np.save(folder / f'{name}.npy', prompts)
  print(
    f'mixed prompts: median {np.median(mixed):.0f} tokens, '
    f'{min(mixed)} to {max(mixed)}'
  )
  model = _model()
  params = partitioning.init_params(
    model=model, seed=0, mesh=partitioning.make_mesh()
  )
  hf.save_params(folder / 'weights', params, config=model.config)


def _prompt_lengths(corpus: str, folder: pathlib.Path) -> list[int]:
  """Returns lengths in tokens of prompts spaced evenly over the test split."""
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
  indices = np.linspace(0, len(rows) - 1, _ROWS).astype(int)
  return [len(rows[index]['inputs']) for index in indices]


def _run(peer: str, options: argparse.Namespace) -> dict[str, float]:
  """Measures a peer in a new process."""
  arguments = [
    *('--one', peer, '--folder', options.folder),
    *('--corpus', options.corpus, '--repeats', options.repeats),
    *('--batch_size', options.batch_size),
  ]
  settings = step_bench.memory_settings(peer, 'ours')
  return step_bench.run_alone(__file__, arguments, environment=settings)


def _measure(peer, options: argparse.Namespace) -> dict[str, float]:
  """Returns peak memory, and the fewest seconds of each scenario.

  The first run of a scenario compiles and is not timed.
  """
  folder = pathlib.Path(options.folder)
  result = {}
  for lengths in ('equal', 'mixed'):
    prompts = np.load(folder / f'{lengths}.npy')
    for answers, decode_length in _DECODE_LENGTHS.items():
      decoder = peer(folder / 'weights', options, decode_length)
      times = []
      for _ in range(1 + options.repeats):
        started = time.perf_counter()
        tokens = decoder(prompts)
        times.append(time.perf_counter() - started)
      assert tokens.shape == (_ROWS, decode_length), tokens.shape
      # With random weights, few answers end early.
      assert (tokens != 0).mean() > 0.9
      result[f'{lengths} {answers}'] = min(times[1:])
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return {**result, 'peak_gb': peak / 2**20}


def _model():
  from it_study.models.t5 import T5, T5Config

  return T5(T5Config(*step_bench.CONFIGS['S2']))


class _Ours:
  """Our decoding as `predict` uses it: batches of prompts of similar length."""

  def __init__(
    self, path: pathlib.Path, options: argparse.Namespace, decode_length: int
  ):
    from it_study.checkpoints.hf import params as hf
    from it_study.data import vocabularies
    from it_study.inference.prompt_batches import LoadedModel
    from it_study.models import partitioning
    from it_study.processes import host_memory

    host_memory.keep_head_room()
    model = _model()
    mesh = partitioning.make_mesh()
    self._loaded = LoadedModel(
      model=model,
      params=hf.load_params(
        path,
        config=model.config,
        target=partitioning.abstract_params(model=model, mesh=mesh),
      ),
      mesh=mesh,
      vocabulary=vocabularies.checked_vocabulary(),
      max_length=_LONGEST,
      max_decode_length=decode_length,
      batch_size=options.batch_size,
    )

  def __call__(self, prompts: np.ndarray) -> np.ndarray:
    from it_study.inference import prompt_batches
    from it_study.inference.decoding import Decoding

    decoded = np.zeros((len(prompts), self._loaded.max_decode_length), np.int32)
    for indices, rows in prompt_batches.decode(
      self._loaded,
      prompts=[row[row > 0] for row in prompts],
      decoding=Decoding(),
      method='greedy',
    ):
      decoded[indices] = rows
    return decoded


class _T5x:
  """T5X's model and network, with all prompts in one batch."""

  def __init__(
    self, path: pathlib.Path, options: argparse.Namespace, decode_length: int
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
    t5x_model = models.EncoderDecoderModel(
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
    self._decode_length = decode_length
    self._predict = jax.jit(t5x_model.predict_batch)

  def __call__(self, prompts: np.ndarray) -> np.ndarray:
    targets = np.zeros((len(prompts), self._decode_length), np.int32)
    return np.asarray(
      self._predict(
        self._params,
        {'encoder_input_tokens': prompts, 'decoder_input_tokens': targets},
      )
    )


class _Torch:
  """transformers' generate, with all prompts in one batch."""

  def __init__(
    self, path: pathlib.Path, options: argparse.Namespace, decode_length: int
  ):
    del options
    import torch
    import transformers

    self._torch = torch
    self._decode_length = decode_length
    self._model = transformers.T5ForConditionalGeneration.from_pretrained(
      path
    ).eval()

  def __call__(self, prompts: np.ndarray) -> np.ndarray:
    ids = self._torch.tensor(prompts).long()
    with self._torch.no_grad():
      tokens = self._model.generate(
        ids,
        attention_mask=(ids != 0).long(),
        max_new_tokens=self._decode_length,
        do_sample=False,
        decoder_start_token_id=0,
      ).numpy()[:, 1:]
    padding = self._decode_length - tokens.shape[1]
    return np.pad(tokens, ((0, 0), (0, padding)))


def _print_table(results: dict[str, list[dict[str, float]]]) -> None:
  """Prints medians by scenario, and their ratios to the first peer's."""
  print(f'\n{"":14}' + ''.join(f'{peer:>14}' for peer in results))
  for name in next(iter(results.values()))[0]:
    medians = [
      statistics.median(run[name] for run in runs) for runs in results.values()
    ]
    cells = ''.join(f'{value:14.2f}' for value in medians)
    ratios = ''.join(f' {value / medians[0]:6.2f}x' for value in medians[1:])
    print(f'{name:20}{cells}  {ratios}')


if __name__ == '__main__':
  main()
