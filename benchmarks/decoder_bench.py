"""Compares a decoder-only model on a CPU with transformers on PyTorch.

  python benchmarks/decoder_bench.py --corpus NATINST [--peers ours,torch]
  python benchmarks/decoder_bench.py --corpus NATINST --part sharing
  python benchmarks/decoder_bench.py --corpus NATINST --tiny

Takes SmolLM2-135M-Instruct in float32 (`it-study fetch_model
smollm2-135m-instruct`) and prompts of classification tasks of the test split,
in batches of 16:

  prefill  64 prompts of up to 1,024 tokens, up to the answer's first token
  equal    greedy answers of 64 tokens to 16 prompts of 512 tokens
  mixed    the same to 16 prompts of their own lengths
  ranked   log-likelihoods of all labels of 64 prompts, with their ends
  step     one step of AdamW on all parameters, 8 rows of 512 tokens, loss on
           the answers' tokens

transformers gets prompts sorted by length, padded to the longest of their
batch; for a label it reads the prompt again, as in lm-evaluation-harness, but
computes the logits of the label's tokens alone. Results are compared. Each
measurement runs in a separate process, and peers are interleaved. transformers
is measured if the extra `parity` is installed.

Part `sharing` ranks the labels of 1,000 prompts of 10 tasks with and without
computing only once what prompts begin with in common. It needs no PyTorch.

Prints seconds, prompt tokens per second and peak memory: medians, and ratios to
ours.
"""

import argparse
from collections.abc import Mapping, Sequence
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import step_bench

_CONDITION = 'natinst_def_original_ex_original2'
_WEIGHTS = 'smollm2-135m-instruct'
# The package that each peer requires.
_NEEDS = {'ours': 'jax', 'torch': 'transformers'}
_SCENARIOS = ('prefill', 'equal', 'mixed', 'ranked', 'step')
_SHARING = ('shared', 'unshared')
_PAD = -1
_LEARNING_RATE = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sizes:
  """Numbers of prompts, rows and tokens."""

  prompts: int = 64
  longest: int = 1024
  batch: int = 16
  equal: int = 512
  answer: int = 64
  rows: int = 8
  row: int = 512
  tasks: int = 10
  instances: int = 100


_TINY = _Sizes(
  prompts=6,
  longest=480,
  batch=4,
  equal=64,
  answer=8,
  rows=2,
  row=64,
  tasks=2,
  instances=3,
)


def main() -> None:
  """Prints a line for each measurement, then a table of medians."""
  options = _parser().parse_args()
  if options.corpus is None:
    print('Skipped: set --corpus or NATINST_DIR.')
    return
  if options.one:
    print(json.dumps(_measure(options)))
    return
  with tempfile.TemporaryDirectory() as folder:
    options.folder = folder
    _prepare(options)
    if options.part == 'sharing':
      _compare(options, scenarios=_SHARING, peers=['ours'])
    else:
      peers = [peer for peer in options.peers.split(',') if _is_there(peer)]
      _compare(options, scenarios=options.only.split(','), peers=peers)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--corpus',
    default=os.environ.get('NATINST_DIR'),
    help='checkout of natural-instructions (default: $NATINST_DIR)',
  )
  parser.add_argument(
    '--weights',
    default=_WEIGHTS,
    help='name or folder of the model (default: %(default)s)',
  )
  parser.add_argument(
    '--part',
    choices=('peers', 'sharing'),
    default='peers',
    help='what to measure (default: %(default)s)',
  )
  parser.add_argument(
    '--peers',
    default='ours,torch',
    help='implementations to measure (default: %(default)s)',
  )
  parser.add_argument(
    '--only',
    default=','.join(_SCENARIOS),
    metavar='NAMES',
    help='measurements of part peers (default: %(default)s)',
  )
  parser.add_argument(
    '--rounds',
    type=int,
    help='processes for each measurement (default: 3; 1 in part sharing)',
  )
  parser.add_argument(
    '--repeats',
    type=int,
    default=1,
    help='timed runs in a process of part peers, after one that compiles; the '
    'median counts (default: %(default)s)',
  )
  for field in dataclasses.fields(_Sizes):
    parser.add_argument(
      f'--{field.name}',
      type=int,
      metavar='N',
      help=f'{_SIZES_HELP[field.name]} (default: {field.default})',
    )
  parser.add_argument(
    '--tiny',
    action='store_true',
    help='a tiny random Llama and few prompts, to try the script',
  )
  parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
  parser.add_argument('--folder', help=argparse.SUPPRESS)
  return parser


_SIZES_HELP = {
  'prompts': 'prompts of prefill and ranked',
  'longest': 'maximum length of a prompt in tokens',
  'batch': 'prompts of a batch, and of equal and mixed',
  'equal': 'length of the prompts of equal in tokens',
  'answer': 'length of answers in tokens',
  'rows': 'rows of a training step',
  'row': 'length of a row of a training step in tokens',
  'tasks': 'tasks of part sharing',
  'instances': 'prompts of each task of part sharing',
}


def _sizes(options: argparse.Namespace) -> _Sizes:
  names = [field.name for field in dataclasses.fields(_Sizes)]
  given = {name: getattr(options, name) for name in names}
  return dataclasses.replace(
    _TINY if options.tiny else _Sizes(),
    **{name: size for name, size in given.items() if size is not None},
  )


def _is_there(peer: str) -> bool:
  if importlib.util.find_spec(_NEEDS[peer]) is None:
    print(f'Skipped {peer}: it requires the package {_NEEDS[peer]}.')
    return False
  return True


def _compare(
  options: argparse.Namespace, *, scenarios: Sequence[str], peers: Sequence[str]
) -> None:
  """Measures, and prints the medians and how much the results differ."""
  found: dict[tuple[str, str], list[dict[str, Any]]] = {}
  rounds = options.rounds or (1 if options.part == 'sharing' else 3)
  for _ in range(rounds):
    for scenario in scenarios:
      for peer in peers:
        run = _run(scenario, peer, options)
        found.setdefault((scenario, peer), []).append(run)
        print(scenario, peer, run, flush=True)
  print()
  first: dict[str, float] = {}
  for (scenario, peer), runs in found.items():
    seconds = statistics.median(run['seconds'] for run in runs)
    memory = statistics.median(run['gigabytes'] for run in runs)
    compared = scenario if options.part == 'peers' else peer
    ratio = seconds / first.setdefault(compared, seconds)
    print(
      f'{scenario:9} {peer:6} {seconds:8.2f} s '
      f'{runs[0]["tokens"] / seconds:8.0f} prompt tokens/s '
      f'{memory:6.2f} GB  {ratio:5.2f}x'
    )
  results = {
    path.stem: np.load(path)
    for path in sorted(pathlib.Path(options.folder).glob('*-*.npy'))
  }
  for name, array in results.items():
    peer, scenario = name.split('-')
    reference = {'torch': f'ours-{scenario}', 'ours': 'ours-shared'}[peer]
    if reference in results and reference != name:
      _print_difference(name, array, results[reference])


def _print_difference(
  name: str, found: np.ndarray, expected: np.ndarray
) -> None:
  if found.dtype.kind == 'i':
    print(f'{name}: {np.mean(found == expected):.1%} of tokens as ours')
  else:
    difference = np.abs(found - expected).max()
    print(f'{name}: numbers differ by at most {difference:.2g}')


def _prepare(options: argparse.Namespace) -> None:
  """Writes the prompts that every process reads, and names the weights."""
  from it_study import seqio_lib
  from it_study.checkpoints.gguf import known_models
  from it_study.data import vocabularies

  folder = pathlib.Path(options.folder)
  if options.tiny:
    import tiny_llama

    options.weights = tiny_llama.settings(folder / 'tiny')[1]
  options.weights = known_models.resolve(options.weights)
  vocabularies.set_vocabulary(options.weights)
  seqio_lib.use_corpus(options.corpus)
  sizes = _sizes(options)
  if options.part == 'sharing':
    data = _many_per_task(sizes)
  else:
    data = _one_by_one(sizes)
  (folder / 'data.json').write_text(json.dumps(data))
  lengths = [len(tokens) for tokens in data['prompts']]
  print(
    f'{len(lengths)} prompts of {min(lengths)} to {max(lengths)} tokens, '
    f'median {statistics.median(lengths):.0f}; '
    f'{sum(map(len, data["labels"]))} labels'
  )


def _load_rows(sizes: _Sizes) -> list[dict[str, Any]]:
  """Returns the test instances of classification tasks."""
  from it_study.data import tensorflow_setup
  from it_study.engines import prediction_rows
  import it_study.tasks  # noqa: F401  Registers the conditions.

  tensorflow_setup.import_tensorflow()
  rows = prediction_rows.load_instances(
    name=_CONDITION,
    lengths={'inputs': sizes.longest, 'targets': sizes.answer},
    split='test',
  )
  return [row for row in rows if len(row['label_space'])]


def _tokens(rows: Sequence[Mapping[str, Any]], sizes: _Sizes) -> dict[str, Any]:
  """Returns the prompts and labels of rows as JSON."""
  from it_study.data import vocabularies
  from it_study.inference import label_spaces

  spaces = label_spaces.encode(
    rows,
    vocabulary=vocabularies.current_vocabulary(),
    max_length=sizes.longest,
    on_unspellable='match',
  )
  return {
    'prompts': [row['inputs'].tolist() for row in rows],
    'labels': [[list(label) for label in space.values()] for space in spaces],
  }


def _one_by_one(sizes: _Sizes) -> dict[str, Any]:
  """Returns prompts spaced evenly over the tasks, and what is made of them."""
  rows = _load_rows(sizes)
  chosen = _spaced(rows, sizes.prompts)
  long = [row for row in rows if len(row['inputs']) >= sizes.equal]
  # A text of the training is the end of a prompt and its answer.
  texts = [
    row
    for row in rows
    if len(row['inputs']) + len(row['targets']) >= sizes.row
    and len(row['targets']) < sizes.row
  ]
  return {
    **_tokens(chosen, sizes),
    'equal': [
      row['inputs'][-sizes.equal :].tolist()
      for row in _spaced(long, sizes.batch)
    ],
    'mixed': [row['inputs'].tolist() for row in _spaced(chosen, sizes.batch)],
    'texts': [
      {
        'inputs': row['inputs'][len(row['targets']) - sizes.row :].tolist(),
        'targets': row['targets'].tolist(),
      }
      for row in _spaced(texts, sizes.rows)
    ],
  }


def _many_per_task(sizes: _Sizes) -> dict[str, Any]:
  """Returns the first prompts of tasks spaced evenly."""
  by_task: dict[bytes, list[dict[str, Any]]] = {}
  for row in _load_rows(sizes):
    by_task.setdefault(row['task'], []).append(row)
  full = [rows for rows in by_task.values() if len(rows) >= sizes.instances]
  chosen = [
    row
    for rows in _spaced(full, sizes.tasks)
    for row in rows[: sizes.instances]
  ]
  return _tokens(chosen, sizes)


def _spaced(items: Sequence[Any], number: int) -> list[Any]:
  if len(items) < number:
    raise SystemExit(
      f'the corpus has {len(items)} such instances or tasks; {number} needed'
    )
  return [items[k] for k in np.linspace(0, len(items) - 1, number).astype(int)]


def _run(
  scenario: str, peer: str, options: argparse.Namespace
) -> dict[str, Any]:
  """Measures a scenario in a new process."""
  sizes = dataclasses.asdict(_sizes(options))
  arguments = [
    *('--one', scenario, peer),
    *('--folder', options.folder, '--corpus', options.corpus),
    *('--weights', options.weights, '--repeats', options.repeats),
    *(f'--{name}={size}' for name, size in sizes.items()),
  ]
  settings = step_bench.memory_settings(peer, 'ours')
  return step_bench.run_alone(__file__, arguments, environment=settings)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
  """Returns the medians of one scenario of one peer, to print as JSON."""
  scenario, peer = options.one
  folder, sizes = pathlib.Path(options.folder), _sizes(options)
  data = json.loads((folder / 'data.json').read_text())
  is_sharing = scenario in _SHARING
  work = {'ours': _Ours, 'torch': _Torch}[peer](
    options.weights, sizes, shares=scenario != 'unshared'
  )
  name = 'ranked' if is_sharing else scenario
  run = functools.partial(getattr(work, name), data)
  times, processor = [], []
  # A training step changes the parameters: the first loss is compared.
  for index in range(1 if is_sharing else 1 + options.repeats):
    before, used = time.perf_counter(), time.process_time()
    result = run()
    times.append(time.perf_counter() - before)
    processor.append(time.process_time() - used)
    if index == 0:
      np.save(folder / f'{peer}-{scenario}.npy', result)
  prompts = data.get(scenario, data['prompts'])
  return {
    'seconds': statistics.median(times[-options.repeats :]),
    'processor_seconds': statistics.median(processor[-options.repeats :]),
    'gigabytes': _peak_gigabytes(),
    'tokens': sizes.rows * sizes.row
    if scenario == 'step'
    else sum(map(len, prompts)),
  }


def _peak_gigabytes() -> float:
  """Returns the peak of this process; getrusage's may be its parent's."""
  status = pathlib.Path('/proc/self/status').read_text()
  (line,) = [x for x in status.splitlines() if x.startswith('VmHWM:')]
  return int(line.split()[1]) / 2**20


class _Ours:
  """Our inference as `predict` uses it, and our training step."""

  def __init__(self, path: str, sizes: _Sizes, *, shares: bool):
    from it_study.checkpoints.hf import params as hf
    from it_study.inference import encoding
    from it_study.models import partitioning
    from it_study.models.decoder_only.model import DecoderLM
    from it_study.processes import host_memory

    host_memory.keep_head_room()
    self._sizes = sizes
    config = hf.read_model_config(path)
    self._mesh = partitioning.make_mesh()
    self._params = hf.load_params(
      path,
      config=config,
      target=partitioning.abstract_params(
        model=DecoderLM(config), mesh=self._mesh
      ),
    )
    if not shares:
      encoding.find_beginnings = lambda prompts: [
        encoding.Beginning(k, 0) for k in range(len(prompts))
      ]
    self._model = DecoderLM(config)
    self._state: Any = None

  def _loaded(self, max_decode_length: int) -> Any:
    import seqio

    from it_study.inference.prompt_batches import LoadedModel

    size = self._model.config.vocab_size
    return LoadedModel(
      model=self._model,
      params=self._params,
      mesh=self._mesh,
      # Its end of sequence is no token, so that no answer ends early.
      vocabulary=seqio.PassThroughVocabulary(size, eos_id=size),
      max_length=self._sizes.longest,
      max_decode_length=max_decode_length,
      batch_size=self._sizes.batch,
    )

  def _decode(self, prompts: Sequence[list[int]], length: int) -> np.ndarray:
    from it_study.inference import prompt_batches
    from it_study.inference.decoding import Decoding

    decoded = np.zeros((len(prompts), length), np.int32)
    for indices, rows in prompt_batches.decode(
      self._loaded(length),
      prompts=[np.array(prompt, np.int32) for prompt in prompts],
      decoding=Decoding(),
      method='greedy',
    ):
      decoded[indices] = rows
    return decoded

  def prefill(self, data: Mapping[str, Any]) -> np.ndarray:
    return self._decode(data['prompts'], 1)

  def equal(self, data: Mapping[str, Any]) -> np.ndarray:
    return self._decode(data['equal'], self._sizes.answer)

  def mixed(self, data: Mapping[str, Any]) -> np.ndarray:
    return self._decode(data['mixed'], self._sizes.answer)

  def ranked(self, data: Mapping[str, Any]) -> np.ndarray:
    from it_study.inference import prompt_batches

    spaces = [
      {str(k): tuple(label) for k, label in enumerate(labels)}
      for labels in data['labels']
    ]
    scores: list[dict[str, float]] = [{}] * len(spaces)
    for indices, rows in prompt_batches.score(
      self._loaded(self._sizes.answer),
      prompts=[np.array(prompt, np.int32) for prompt in data['prompts']],
      label_spaces=spaces,
    ):
      for index, row in zip(indices, rows, strict=True):
        scores[index] = row
    return np.array([value for row in scores for value in row.values()])

  def step(self, data: Mapping[str, Any]) -> np.ndarray:
    """Returns the loss before the step."""
    import jax

    from it_study.input_pipeline import row_layouts
    from it_study.training import optimizers, train_step

    layout = row_layouts.DECODER
    lengths = {'inputs': self._sizes.row, 'targets': 0}
    batch = {
      name: np.zeros((self._sizes.rows, length), dtype)
      for name, (length, dtype) in layout.shapes(lengths, pack=True).items()
    }
    for index, text in enumerate(data['texts']):
      example = {name: np.array(ids, np.int32) for name, ids in text.items()}
      row = {name: array[index] for name, array in batch.items()}
      layout.fill(row, [example])
    settings = {
      'model': self._model,
      'mesh': self._mesh,
      'optimizer': optimizers.adamw(
        learning_rate=_LEARNING_RATE, gradient_clip_norm=None
      ),
    }
    if self._state is None:
      self._state = train_step.init_state(params=self._params, **settings)
      self._params = None
    step, _ = train_step.compile_train_step(
      batch_shapes=tuple(
        (name, array.shape, array.dtype.name) for name, array in batch.items()
      ),
      z_loss=self._model.config.z_loss,
      **settings,
    )
    self._state, metrics = step(self._state, batch, np.uint32(0))
    jax.block_until_ready(self._state)
    return np.asarray(metrics['loss'])


class _Torch:
  """transformers on PyTorch."""

  def __init__(self, path: str, sizes: _Sizes, *, shares: bool):
    del shares
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    self._torch = torch
    self._sizes = sizes
    self._model = transformers.AutoModelForCausalLM.from_pretrained(
      path, dtype=torch.float32
    ).eval()
    # So that no answer ends early.
    self._model.generation_config.eos_token_id = None
    self._optimizer: Any = None

  def _padded(self, texts: Sequence[list[int]]) -> dict[str, Any]:
    """Returns texts padded at their beginning; no mask if none is needed."""
    longest = max(map(len, texts))
    ids = np.array([[_PAD] * (longest - len(text)) + text for text in texts])
    mask = ids != _PAD
    inputs = {'input_ids': self._torch.from_numpy(np.where(mask, ids, 0))}
    if not mask.all():
      inputs['attention_mask'] = self._torch.from_numpy(mask.astype(np.int64))
    return inputs

  def _forward(self, texts: Sequence[list[int]], **settings: Any) -> Any:
    """Returns the logits of the last positions."""
    inputs = self._padded(texts)
    if 'attention_mask' in inputs:
      places = inputs['attention_mask'].cumsum(-1) - 1
      inputs['position_ids'] = places.clamp(min=0)
    with self._torch.inference_mode():
      return self._model(**inputs, **settings).logits

  def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
    """Returns batches of indices, sorted by length."""
    order = sorted(range(len(lengths)), key=lambda k: -lengths[k])
    size = self._sizes.batch
    return [order[k : k + size] for k in range(0, len(order), size)]

  def prefill(self, data: Mapping[str, Any]) -> np.ndarray:
    prompts = data['prompts']
    first = np.zeros((len(prompts), 1), np.int32)
    for batch in self._batches([len(prompt) for prompt in prompts]):
      logits = self._forward(
        [prompts[k] for k in batch], use_cache=True, logits_to_keep=1
      )
      first[batch] = logits.argmax(-1).numpy()
    return first

  def _generate(self, prompts: Sequence[list[int]]) -> np.ndarray:
    inputs = self._padded(prompts)
    length = self._sizes.answer
    with self._torch.inference_mode():
      tokens = self._model.generate(
        **inputs,
        max_new_tokens=length,
        do_sample=False,
        pad_token_id=0,
      )
    tokens = tokens.numpy()[:, inputs['input_ids'].shape[1] :]
    assert tokens.shape[1] == length, tokens.shape
    return tokens.astype(np.int32)

  def equal(self, data: Mapping[str, Any]) -> np.ndarray:
    return self._generate(data['equal'])

  def mixed(self, data: Mapping[str, Any]) -> np.ndarray:
    return self._generate(data['mixed'])

  def ranked(self, data: Mapping[str, Any]) -> np.ndarray:
    pairs = [
      (prompt, label)
      for prompt, labels in zip(data['prompts'], data['labels'], strict=True)
      for label in labels
    ]
    scores = np.zeros(len(pairs))
    for batch in self._batches([len(p) + len(label) for p, label in pairs]):
      chosen = [pairs[k] for k in batch]
      longest = max(len(label) for _, label in chosen)
      logits = self._forward(
        [prompt + label[:-1] for prompt, label in chosen],
        use_cache=False,
        logits_to_keep=longest,
      )
      likelihoods = logits.log_softmax(-1)
      for k, row, (_, label) in zip(batch, likelihoods, chosen, strict=True):
        last = row[-len(label) :]
        scores[k] = last[range(len(label)), label].sum().item()
    return scores

  def step(self, data: Mapping[str, Any]) -> np.ndarray:
    """Returns the loss before the step."""
    torch, model = self._torch, self._model
    if self._optimizer is None:
      model.train()
      self._optimizer = torch.optim.AdamW(
        model.parameters(), lr=_LEARNING_RATE, weight_decay=0.0, fused=True
      )
    texts = data['texts']
    ids = torch.tensor([text['inputs'] + text['targets'] for text in texts])
    labels = ids.clone()
    for row, text in zip(labels, texts, strict=True):
      row[: len(text['inputs'])] = -100
    self._optimizer.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=labels, use_cache=False).loss
    loss.backward()
    self._optimizer.step()
    return loss.detach().numpy()


if __name__ == '__main__':
  main()
