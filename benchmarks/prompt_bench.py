"""Measures prompts rendered and tokenised per second, also by Tk-Instruct.

  python benchmarks/prompt_bench.py --corpus NATINST --folder /tmp/bench
    [--instances 75000] [--vocabulary FILE] [--vocab_size 8000]
    [--tk_instruct CHECKOUT [--tk_python VENV/bin/python]]

Prompts have a definition and two examples; limits are 1,024 input and 128
target tokens. The training tasks are copied up to the number of instances. Each
copy has different texts, so that caches give no unrealistic advantage. With a
checkout of Tk-Instruct, also runs its collator and compares its tokens with
ours; the collator requires transformers below 5 and torch, if need be in a
separate environment.

Expect about 3,700 prompts per second on two cores, three times SeqIO's rate and
eight to twelve times the collator's, with the same text in every compared row.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
import concurrent.futures
import functools
import io
import json
import os
import pathlib
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

_INPUTS, _TARGETS = 1024, 128
_CONDITION = 'natinst_def_original_ex_original2{}_n1000'
_CHECKED = 1000
_TK_BATCH = 16
# Rows for the slower methods, whose rates need fewer: Tk-Instruct's collator;
# SeqIO and our single-core method.
_TK_ROWS, _SLOW_ROWS = 2000, 10_000


def main() -> None:
  """Prints a line for each method, and how many rows have different tokens."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--corpus',
    default=os.environ.get('NATINST_DIR'),
    help='checkout of natural-instructions (default: $NATINST_DIR)',
  )
  parser.add_argument(
    '--folder',
    default=tempfile.gettempdir(),
    help='where to write about 500 MB of temporary files '
    '(default: %(default)s)',
  )
  parser.add_argument(
    '--instances',
    type=int,
    default=75_000,
    help='smallest number of training instances (default: %(default)s)',
  )
  parser.add_argument(
    '--repeats',
    type=int,
    default=3,
    help='timed runs of each method (default: %(default)s)',
  )
  parser.add_argument(
    '--vocabulary',
    metavar='FILE',
    help='SentencePiece model (default: trains one on the corpus)',
  )
  parser.add_argument(
    '--vocab_size',
    type=int,
    default=8000,
    help='size of the vocabulary to train (default: %(default)s)',
  )
  parser.add_argument(
    '--tk_instruct',
    metavar='CHECKOUT',
    help='checkout of Tk-Instruct (default: does not compare with it)',
  )
  parser.add_argument(
    '--tk_python',
    default=sys.executable,
    metavar='PYTHON',
    help="Python that runs Tk-Instruct's collator (default: this one)",
  )
  parser.add_argument('--method', choices=_METHODS, help=argparse.SUPPRESS)
  parser.add_argument('--one_core', action='store_true', help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.method is not None:
    if options.one_core:
      os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(_METHODS[options.method](options)))
    return
  if options.corpus is None:
    print('Skipped: set --corpus or NATINST_DIR.')
    return
  pathlib.Path(options.folder).mkdir(parents=True, exist_ok=True)
  # Absolute, since other processes receive the path.
  folder = pathlib.Path(tempfile.mkdtemp(dir=os.path.abspath(options.folder)))
  try:
    _compare(options, folder)
  finally:
    shutil.rmtree(folder)


def _compare(options: argparse.Namespace, folder: pathlib.Path) -> None:
  os.environ['IT_STUDY_CACHE'] = str(folder / 'cache')
  _write_corpus(options, folder)
  shutil.copyfile(
    options.vocabulary
    or train_vocabulary(
      options.corpus,
      vocab_size=options.vocab_size,
      path=folder / 'trained.model',
    ),
    folder / 'vocabulary.model',
  )
  _measure(options, folder, 'prepare')
  ours = _measure(options, folder, 'cache')
  _print_rate('ours, into the token cache', ours)
  _print_rate(
    'ours, without writing, on one core',
    _measure(options, folder, 'stream', '--one_core'),
  )
  _print_rate('SeqIO, into the token cache', _measure(options, folder, 'seqio'))
  if options.tk_instruct is None:
    return
  for method, tokenizer in (('tk_fast', 'Rust'), ('tk_slow', 'SentencePiece')):
    tk_result = _measure(options, folder, method)
    _print_rate(
      f"Tk-Instruct's collator, {tokenizer} tokeniser", tk_result, ours
    )
    _print_differences(folder, tk_result)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
      pair = list(
        pool.map(lambda m: _measure(options, folder, m), [method] * 2)
      )
    rates = map(sum, zip(*(result['rates'] for result in pair), strict=True))
    _print_rate(
      'two collators in parallel', pair[0] | {'rates': list(rates)}, ours
    )


def _measure(
  options: argparse.Namespace, folder: pathlib.Path, method: str, *flags: str
) -> dict:
  """Runs a method in a new process, so that it finds no warm cache."""
  command = [
    options.tk_python if method.startswith('tk_') else sys.executable,
    __file__,
    f'--folder={folder}',
    f'--method={method}',
    f'--repeats={options.repeats}',
    f'--tk_instruct={options.tk_instruct or ""}',
    *flags,
  ]
  process = subprocess.run(
    command, check=True, stdout=subprocess.PIPE, text=True
  )
  return json.loads(process.stdout.splitlines()[-1])


def _print_rate(
  name: str, result: Mapping, ours: Mapping | None = None
) -> None:
  """Prints a method's rate and, given ours, the ratio of ours to it."""
  rates = sorted(result['rates'])
  print(
    f'{name}: {statistics.median(rates):,.0f} prompts per second '
    f'({rates[0]:,.0f} to {rates[-1]:,.0f}; {result["rows"]:,} rows; '
    f'{result["cpu"]:.0f} µs of CPU time each)',
    flush=True,
  )
  if ours is not None:
    ratio = statistics.median(ours['rates']) / statistics.median(rates)
    print(f'  ours is {ratio:.1f} times as fast')


def _print_differences(folder: pathlib.Path, tk_result: Mapping) -> None:
  """Compares our tokens, truncated as Tk-Instruct does, with the collator's.

  Tokenisers round differently, so two segmentations of a text that are equally
  likely may both occur.
  """
  import sentencepiece

  ours = json.loads((folder / 'ours.json').read_text())
  pairs = list(zip(ours, tk_result['ids'], strict=True))
  differ = [(a, b) for a, b in pairs if a != b]
  decode = sentencepiece.SentencePieceProcessor(
    model_file=str(folder / 'vocabulary.model')
  ).decode
  other_text = sum(decode(a) != decode(b) for a, b in differ)
  print(
    f'  of {len(pairs):,} rows, {len(differ)} have different tokens, '
    f'{other_text} of them a different text'
  )


# The methods, each of which runs in its own process.


def _prepare(options: argparse.Namespace) -> dict:
  """Builds the rows, and writes Tk-Instruct's instances in the same order."""
  from it_study.corpus import natinst
  from it_study.data import row_source

  folder, _ = _use(options)
  corpus = natinst.open_corpus(folder / 'corpus')
  rows = row_source.SOURCE.get_dataset('train', shuffle=False)
  with open(folder / 'instances.jsonl', 'w') as file:
    for row in rows.take(_TK_ROWS).as_numpy_iterator():
      task = corpus.load(row['task'].decode()).task
      instance = {
        'Instance': {
          'input': row['input'].decode(),
          'output': [output.decode() for output in row['outputs']],
        },
        'Definition': [task.definition],
        'Positive Examples': [
          {'input': e.input, 'output': e.output} for e in task.positive_examples
        ],
        'Negative Examples': [],
      }
      file.write(json.dumps(instance) + '\n')
  ids = [row['inputs'].tolist() for row in _tokens('_trunctk', first=_CHECKED)]
  (folder / 'ours.json').write_text(json.dumps(ids))
  return {}


def _cache(options: argparse.Namespace) -> dict:
  from it_study.input_pipeline import training_tokens

  folder, name = _use(options)
  tokens = folder / 'cache' / 'tokens'

  def write() -> int:
    shutil.rmtree(tokens, ignore_errors=True)
    return len(
      training_tokens.training_tokens(
        mixture_or_task_name=name,
        task_feature_lengths={'inputs': _INPUTS, 'targets': _TARGETS},
        fallback_directory=folder,
      )
    )

  return _timed(options, write)


def _stream(options: argparse.Namespace) -> dict:
  _use(options)
  return _timed(options, lambda: sum(1 for _ in _tokens('', first=_SLOW_ROWS)))


def _seqio(options: argparse.Namespace) -> dict:
  import seqio

  from it_study.data import preprocessors
  from it_study.input_pipeline import token_cache

  folder, name = _use(options)

  def write() -> int:
    dataset = seqio.get_mixture_or_task(name).get_dataset(
      {'inputs': _INPUTS, 'targets': _TARGETS}, 'train', shuffle=False
    )
    return len(
      token_cache.write_token_cache(
        folder / 'seqio', preprocessors.numpy_rows(dataset.take(_SLOW_ROWS))
      )
    )

  return _timed(options, write)


def _tk(options: argparse.Namespace, tokenizer_name: str) -> dict:
  import transformers

  # It would print the same warning for every text.
  transformers.logging.set_verbosity_error()
  sys.path.insert(0, os.path.join(options.tk_instruct, 'src'))
  from ni_collator import DataCollatorForNI

  folder = pathlib.Path(options.folder)
  fields = {'add_prefix_space': True} if 'Fast' in tokenizer_name else {}
  tokenizer = getattr(transformers, tokenizer_name)(
    vocab_file=str(folder / 'vocabulary.model'),
    extra_ids=0,
    legacy=True,
    **fields,
  )
  # The default of the version that Tk-Instruct pins.
  tokenizer.clean_up_tokenization_spaces = True
  collate = DataCollatorForNI(
    tokenizer,
    padding='longest',
    max_source_length=_INPUTS,
    max_target_length=_TARGETS,
    num_pos_examples=2,
  )
  with open(folder / 'instances.jsonl') as file:
    instances = [json.loads(line) for line in file]
  batches = [
    instances[start : start + _TK_BATCH]
    for start in range(0, len(instances), _TK_BATCH)
  ]
  random.seed(0)
  ids = []
  for batch in batches[: -(-_CHECKED // _TK_BATCH)]:
    features = collate(batch)
    rows = zip(features['input_ids'], features['attention_mask'], strict=True)
    ids += [row[mask.bool()].tolist() for row, mask in rows]

  def collate_all() -> int:
    for batch in batches:
      collate(batch)
    return len(instances)

  return _timed(options, collate_all) | {'ids': ids[:_CHECKED]}


_METHODS: dict[str, Callable[[argparse.Namespace], dict]] = {
  'prepare': _prepare,
  'cache': _cache,
  'stream': _stream,
  'seqio': _seqio,
  'tk_fast': functools.partial(_tk, tokenizer_name='T5TokenizerFast'),
  'tk_slow': functools.partial(_tk, tokenizer_name='T5Tokenizer'),
}


def _timed(options: argparse.Namespace, do: Callable[[], int]) -> dict:
  """Returns rows per second of each repeat, after one run to warm up."""
  do()
  rates, rows = [], 0
  cpu_start = _cpu_seconds()
  for _ in range(options.repeats):
    start = time.perf_counter()
    rows = do()
    rates.append(rows / (time.perf_counter() - start))
  cpu_seconds = _cpu_seconds() - cpu_start
  return {
    'rates': rates,
    'rows': rows,
    'cpu': 1e6 * cpu_seconds / rows / options.repeats,
  }


def _cpu_seconds() -> float:
  usage = resource.getrusage(resource.RUSAGE_SELF)
  return usage.ru_utime + usage.ru_stime


def _use(options: argparse.Namespace) -> tuple[pathlib.Path, str]:
  """Sets corpus and vocabulary; returns the folder and the task's name."""
  from it_study import seqio_lib
  from it_study.data import tensorflow_setup, vocabularies
  import tasks  # noqa: F401

  tensorflow_setup.import_tensorflow()
  folder = pathlib.Path(options.folder)
  os.environ['IT_STUDY_CACHE'] = str(folder / 'cache')
  vocabularies.set_vocabulary(str(folder / 'vocabulary.model'))
  seqio_lib.use_corpus(folder / 'corpus')
  return folder, _CONDITION.format('')


def _tokens(suffix: str, *, first: int) -> Iterator[dict]:
  from it_study.conditions import Condition
  from it_study.data import row_source, vocabularies
  from it_study.data.tokens import row_tokens

  source = row_source.SOURCE
  return row_tokens.token_rows(
    source.get_dataset('train', shuffle=False).take(first),
    condition=Condition.from_name(_CONDITION.format(suffix)),
    source=source,
    vocabulary=vocabularies.current_vocabulary(),
    sequence_length={'inputs': _INPUTS, 'targets': _TARGETS},
  )


def _write_corpus(options: argparse.Namespace, folder: pathlib.Path) -> None:
  """Copies the training tasks; the texts of a copy end in its number."""
  from it_study.corpus import natinst

  corpus = natinst.open_corpus(options.corpus)
  target = folder / 'corpus'
  (target / 'tasks').mkdir(parents=True)
  (target / 'splits' / 'default').mkdir(parents=True)
  numbers = {n: len(corpus.instances(n, 'train')) for n in corpus.train_tasks}
  num_instances = sum(min(n, 1000) for n in numbers.values())
  names = []
  for copy in range(-(-options.instances // num_instances)):
    for name in corpus.train_tasks:
      raw = json.loads((corpus.directory / f'tasks/{name}.json').read_text())
      _mark(raw, f' ({copy})')
      names.append(f'{name}_{copy}')
      (target / 'tasks' / f'{names[-1]}.json').write_text(json.dumps(raw))
  splits = target / 'splits' / 'default'
  (splits / 'train_tasks.txt').write_text('\n'.join(names) + '\n')
  test = corpus.test_tasks[0]
  (splits / 'test_tasks.txt').write_text(f'{test}\n')
  shutil.copy(corpus.directory / f'tasks/{test}.json', target / 'tasks')


def _mark(raw: dict, mark: str) -> None:
  """Appends a mark to every text of a task file, and to instance ids."""
  definition = raw['Definition']
  first = definition if isinstance(definition, str) else definition[0]
  raw['Definition'] = [first + mark]
  for example in (*raw['Positive Examples'], *raw['Negative Examples']):
    example['input'] += mark
  for instance in raw['Instances']:
    instance['input'] += mark
    instance['id'] += mark


def train_vocabulary(
  corpus_dir: str, *, vocab_size: int, path: pathlib.Path
) -> pathlib.Path:
  """Trains a vocabulary with T5's options: unigram, its normaliser, its ids."""
  import sentencepiece

  from it_study.corpus import natinst

  corpus = natinst.open_corpus(corpus_dir)
  texts = []
  for name in corpus.train_tasks:
    texts.append(corpus.load(name).task.definition)
    for instance in corpus.instances(name, 'train'):
      texts += [instance.input, *instance.outputs]
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(texts),
    model_writer=model,
    model_type='unigram',
    vocab_size=vocab_size,
    hard_vocab_limit=False,
    max_sentence_length=100_000,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
  )
  path.write_bytes(model.getvalue())
  return path


if __name__ == '__main__':
  main()
