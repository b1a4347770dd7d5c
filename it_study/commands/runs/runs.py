"""study, train and predict, and the configuration that they share."""

import argparse
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import importlib
import inspect
import json
import os
import pathlib
import shlex
import sys
from typing import Any

from it_study import conditions, gin_utils
from it_study.commands.progress import print_progress
from it_study.commands.reporting import report
from it_study.commands.runs import effects, finished, settings
from it_study.data import tensorflow_setup, user_module
from it_study.engines import ENGINES
from it_study.errors import InputError, nearest
from it_study.storage import local_folders, shared_folder
from it_study.storage.storage_path import StoragePath, expanded
from it_study.training import host_memory

# Programs that compile faster are not cached. Those that draw parameters take
# 0.2 to 0.4 s each.
MIN_COMPILE_SECONDS = 0.1

# Macros that differ between the work units of a study.
PER_UNIT_MACROS = (
  'MIXTURE_OR_TASK_NAME',
  'MODEL_DIR',
  'CHECKPOINT_PATH',
  'INFER_OUTPUT_DIR',
)
# Macros that each command fills in itself, so that they may be unset.
SUPPLIED = {
  'study': PER_UNIT_MACROS,
  'train': PER_UNIT_MACROS[2:],
  'predict': PER_UNIT_MACROS[1:2],
}
# Gin files that a command loads if none is named.
DEFAULT_FILES = {'study': ['studies/miniature.gin']}
# Macros that are paths or names, and so text.
TEXTS = (
  *PER_UNIT_MACROS,
  'ANSWER_DIR',
  'CORPUS',
  'INITIAL_CHECKPOINT_PATH',
  'IT_STUDY_VOCABULARY',
  'MIXTURE_OR_TASK_MODULE',
)
_READ_HERE = ('CORPUS', 'IT_STUDY_VOCABULARY', 'ENGINE')


def study(options: argparse.Namespace) -> None:
  """Runs a grid, then writes its report and prints its table."""
  from it_study.commands.progress import StudyProgress

  files = options.gin_file or DEFAULT_FILES['study']
  config = configure(
    options, files=files, supplied=SUPPLIED['study'], command='study'
  )
  from it_study import distributed
  from it_study.study.run_record import RunRecord
  from it_study.study.worker import Engine

  distributed.refuse('study')
  settings.check_study()
  margins = gin_utils.configured('ControlMargins')()
  corpus = use_corpus(weights='INITIAL_CHECKPOINT_PATH')
  number: dict[str, Any] = gin_utils.bound(
    'predict', ('instances_per_test_task',)
  )
  with StudyProgress(quiet=options.quiet) as on_step:
    gin_utils.configured('run_study')(
      corpus=corpus,
      study_dir=options.study_dir,
      engine=Engine(
        finetune=engine_call('finetune'),
        predict=engine_call('predict'),
        **number,
      ),
      record=RunRecord(
        config=config,
        details={
          'control_margins': dataclasses.asdict(margins),
          **_run_details(),
        },
      ),
      on_step=on_step,
    )
  folder = shared_folder.open_folder(options.study_dir)
  # Workers that share the study finish at the same time.
  with folder.one_at_a_time():
    report(options)
  say(options, f'next: it-study view {shlex.quote(options.study_dir)}')


def train(options: argparse.Namespace) -> None:
  """Fine-tunes one model as configured."""
  earlier = finished.find(options)
  if earlier is not None:
    steps = earlier.training['train_steps']
    say(options, f'already trained: step {steps} of {steps}; nothing to do')
    _print_training(options, earlier.training, earlier.folder)
    return
  config = configure(
    options,
    files=options.gin_file,
    supplied=SUPPLIED['train'],
    command='train',
  )
  from it_study import distributed
  from it_study.checkpoints.bucket_steps import BucketCheckpoints
  from it_study.storage import run_folder, text_files

  model_dir = _path_macro('MODEL_DIR')
  # In a bucket, each of several processes writes its own shards there.
  is_shared = settings.check_output(model_dir, processes=distributed.count())
  corpus = use_corpus(weights='INITIAL_CHECKPOINT_PATH')
  with run_folder.working(
    model_dir, exclude=('checkpoints',) if is_shared else ()
  ) as (folder, publish):
    arguments = {}
    if is_shared:
      arguments['checkpoint_folder'] = BucketCheckpoints(
        StoragePath(model_dir).child('checkpoints'), before_finish=publish
      )
    path = folder / 'config.gin'
    before = path.read_bytes() if path.is_file() else None
    if distributed.is_first():
      text_files.write_text(path, config)
    try:
      summary = engine_call('finetune')(
        model_dir=folder,
        on_progress=None if options.quiet else print_progress,
        **arguments,
      )
    except InputError:
      if distributed.is_first():
        _restore_config(path, before)
      raise
    if distributed.is_first():
      finished.record(options, folder, corpus)
  if distributed.is_first():
    _print_training(options, summary, os.fspath(model_dir))


def _print_training(
  options: argparse.Namespace, summary: dict[str, Any], model_dir: str
) -> None:
  if summary.get('num_cut_targets'):
    say(
      options,
      f'it-study: note: {summary["num_cut_targets"]:,} of '
      f'{summary["num_examples"]:,} training targets exceed '
      "TASK_FEATURE_LENGTHS['targets'] and were cut.",
    )
  _print_result(options, summary, f'trained: {model_dir}')
  command = finished.prediction_command(options, model_dir)
  if command is not None:
    say(options, f'next: {command}')


def _restore_config(path: pathlib.Path, config: bytes | None) -> None:
  """Undoes the write of a configuration that nothing was trained with.

  Args:
    path: Path of the training's config.gin.
    config: Content of the file before; None if there was none.
  """
  from it_study.storage import text_files

  if config is not None:
    # The checkpoints in the folder came from this one.
    text_files.write_file(path, config)
  elif not path.with_name('metrics.jsonl').exists():
    path.unlink(missing_ok=True)


def predict(options: argparse.Namespace) -> None:
  """Decodes a split as configured."""
  configure(
    options,
    files=options.gin_file,
    supplied=SUPPLIED['predict'],
    command='predict',
  )
  from it_study import distributed
  from it_study.commands.progress import CountProgress
  from it_study.storage import run_folder

  out = _path_macro('INFER_OUTPUT_DIR')
  settings.check_output(out, processes=distributed.count())
  use_corpus(weights='CHECKPOINT_PATH')
  # Only the first process prints.
  quiet = options.quiet or options.json or not distributed.is_first()
  with (
    run_folder.working(out) as (folder, _),
    CountProgress('instances answered', quiet=quiet) as on_progress,
  ):
    path = engine_call('predict')(
      infer_output_dir=folder, on_progress=on_progress
    )
  if distributed.is_first():
    written = f'{os.fspath(out).rstrip("/")}/{path.name}'
    _print_result(options, {'predictions': written}, f'wrote {written}')
    _say_summary(options, folder)
    corpus = shlex.quote(os.fspath(_path_macro('CORPUS')))
    say(
      options, f'next: it-study score {shlex.quote(written)} --corpus={corpus}'
    )


def configure(
  options: argparse.Namespace,
  *,
  files: Sequence[str],
  supplied: Sequence[str],
  command: str | None = None,
) -> str:
  """Parses the configuration, starts JAX, and returns the text of the former.

  Args:
    options: Options of the command.
    files: Gin files, the later ones overriding the earlier.
    supplied: Macros that the command fills in itself.
    command: Command whose settings must all take effect: 'study', 'train' or
      'predict'; None for one that reads only some of them.

  Raises:
    InputError: If the configuration is not valid or not complete, or a setting
      of the command line has no effect.
  """
  if not files:
    raise InputError(
      'no gin file: name a model and a run with --gin_file; the example under '
      '--help runs as printed.'
    )
  bindings = _with_engine(options)
  _prepare_devices()
  effects.check_names(bindings)
  # For the import statements of gin files.
  user_module.search_working_directory()
  paths = [expanded(file) for file in files]
  given = filter(None, options.gin_search_paths.split(','))
  search_paths = list(map(expanded, given))
  config = gin_utils.load(
    files=paths,
    bindings=bindings,
    search_paths=search_paths,
    configurables=_configurables(),
    # A model's gin file names another class.
    defaults=['MODEL = @T5Config'],
    read=_READ_HERE,
    supplied=supplied,
    texts=TEXTS,
  )
  effects.check(bindings, command=command, read=_READ_HERE)
  if command is not None:
    _say_unused(options, gin_utils.own_files(paths, search_paths))
  # It registers the levels that conditions name.
  module = gin_utils.macro('MIXTURE_OR_TASK_MODULE')
  user_module.load(str(module), setting='MIXTURE_OR_TASK_MODULE')
  _check_engine_and_model()
  return config


def _configurables() -> list[Callable]:
  """Returns what gin files bind; to be called once devices are prepared."""
  from it_study.engines import native
  from it_study.evaluation.stats.controls import ControlMargins
  from it_study.inference.decoding import Decoding
  from it_study.models.adapters.lora import Lora
  from it_study.models.decoder_only.config import DecoderConfig, Rope
  from it_study.models.t5 import T5Config
  from it_study.study import run as study_lib
  from it_study.training import optimizers

  return [
    native.finetune,
    native.predict,
    Decoding,
    T5Config,
    DecoderConfig,
    Rope,
    Lora,
    optimizers.adafactor,
    optimizers.adamw,
    optimizers.constant,
    optimizers.linear_warmup,
    optimizers.linear_decay,
    optimizers.inverse_sqrt,
    conditions.standard_grid,
    conditions.named_conditions,
    conditions.sweep,
    study_lib.run_study,
    ControlMargins,
  ]


def _say_unused(options: argparse.Namespace, files: Mapping[str, str]) -> None:
  """Says which settings of gin files that are not shipped nothing reads."""
  for sentence in effects.unused_in_files(files, read=_READ_HERE):
    say(options, f'it-study: note: {sentence}')


def _check_engine_and_model() -> None:
  """Raises `InputError` unless the engine exists and takes the model."""
  from it_study.engines import model_setup
  from it_study.engines.t5x import model as t5x_setup

  name = gin_utils.macro('ENGINE')
  if name not in ENGINES:
    raise InputError(
      f'ENGINE is {name!r}; there are {", ".join(ENGINES)}.'
      f'{nearest(str(name), ENGINES)}'
    )
  if name == 't5x':
    t5x_setup.require()
  if not _is_decoder_only():
    gin_utils.check_bound(
      'T5Config.emb_dim', 'a model: models/t5_1_1_small.gin'
    )
  elif name == 't5x':
    raise model_setup.decoder_only_error('--engine t5x')


def engine_call(name: str) -> Callable[..., Any]:
  """Returns the configured engine's `finetune` or `predict`, with bindings.

  Gin binds the native engine's; the other engine takes the same parameters.
  """
  engine = gin_utils.macro('ENGINE')
  if engine == 'native':
    return gin_utils.configured(name)
  call = getattr(importlib.import_module(f'it_study.engines.{engine}'), name)
  parameters = inspect.signature(call).parameters
  return functools.partial(call, **gin_utils.bound(name, parameters))


def _with_engine(options: argparse.Namespace) -> list[str]:
  """Returns the bindings, with the one that --engine stands for."""
  bindings = list(options.gin_bindings)
  # Some commands do not have the flag.
  flag = getattr(options, 'engine', None)
  if flag is None:
    return bindings
  for binding in bindings:
    name, _, value = binding.partition('=')
    value = value.strip(' \'"')
    if name.strip() == 'ENGINE' and value != flag:
      raise InputError(
        f'--engine is {flag!r} and --gin.ENGINE is {value!r}; they are the '
        'same setting: give one of them.'
      )
  return [*bindings, f'ENGINE={flag}']


def _prepare_devices() -> None:
  """Keeps TensorFlow off the accelerator, and caches compiled programs."""
  host_memory.keep_head_room()
  tensorflow_setup.import_tensorflow()
  import jax

  from it_study import distributed
  from it_study.commands.runs import jax_switches

  distributed.start()
  jax_switches.set_defaults()
  # JAX's own variable may name a folder that several machines share.
  cache = os.environ.get('JAX_COMPILATION_CACHE_DIR')
  jax.config.update(
    'jax_compilation_cache_dir',
    expanded(cache or local_folders.cache_directory() / 'xla'),
  )
  jax.config.update(
    'jax_persistent_cache_min_compile_time_secs', MIN_COMPILE_SECONDS
  )


def use_corpus(
  *, weights: str | None = None, checkpoint: str | None = None
) -> pathlib.Path:
  """Makes the configured corpus and vocabulary current; returns the corpus.

  Args:
    weights: Macro that names the weights in use, which may be None. Those of a
      decoder-only model come with its vocabulary.
    checkpoint: The weights themselves, if no macro names them.

  Raises:
    InputError: If the corpus or the vocabulary cannot be used, or a
      decoder-only model has neither weights nor a vocabulary.
  """
  from it_study.checkpoints import weights_source
  from it_study.data import prepare, vocabularies

  vocabulary = None
  if gin_utils.macro('IT_STUDY_VOCABULARY') is not None:
    vocabulary = os.fspath(_path_macro('IT_STUDY_VOCABULARY'))
  elif _is_decoder_only():
    if weights is not None and gin_utils.macro(weights) is not None:
      checkpoint = os.fspath(_path_macro(weights))
    if checkpoint is not None:
      vocabulary = weights_source.tokenizer_folder(checkpoint)
    elif not os.environ.get(vocabularies.VARIABLE):
      raise InputError(
        f'{weights} is None, and a decoder-only model has the vocabulary of '
        'its weights. Name weights, or set IT_STUDY_VOCABULARY to a folder '
        'with tokenizer.json.'
      )
  return prepare.use_corpus_and_vocabulary(
    _path_macro('CORPUS'), vocabulary=vocabulary
  )


def _is_decoder_only() -> bool:
  """Returns whether the configured model is decoder-only."""
  return bool(gin_utils.bound('DecoderConfig', ('emb_dim',)))


def _path_macro(name: str) -> str | os.PathLike[str]:
  """Returns the path that a macro holds; raises `InputError` without one."""
  path = gin_utils.macro(name)
  if not isinstance(path, str | os.PathLike):
    raise InputError(
      f'{name} is {path!r}, not a path. Write a path in quotation marks: '
      f'{name} = {str(path)!r}.'
    )
  return path


def _run_details() -> dict[str, Any]:
  """Returns what a study records of this run besides its configuration."""
  import jax

  from it_study.checkpoints import weights_source
  from it_study.data import vocabularies
  from it_study.engines import model_setup
  from it_study.study import run_record

  device = jax.devices()[0]
  weights = None
  if gin_utils.macro('INITIAL_CHECKPOINT_PATH') is not None:
    weights = _path_macro('INITIAL_CHECKPOINT_PATH')
  make_config: Any = gin_utils.bound('finetune', ('model_config',))[
    'model_config'
  ]
  model = model_setup.complete_config(
    make_config,
    dtype=str(gin_utils.macro('DTYPE')),
    source=weights_source.resolve(weights),
  )
  model_setup.check_memory(model)
  return {
    'model': dataclasses.asdict(model),
    'vocabulary': vocabularies.describe(),
    'versions': run_record.versions(),
    'git_commit': run_record.git_commit(),
    'device': f'{jax.device_count()} x {device.device_kind}',
  }


def _say_summary(options: argparse.Namespace, folder: pathlib.Path) -> None:
  """Says how many answers were cached, and how many cannot be right."""
  text = (folder / 'inference.json').read_text(encoding='utf-8')
  summary = json.loads(text)
  kept, total = summary['num_kept_answers'], summary['num_instances']
  if kept == total:
    say(options, f'already answered: all {total:,} answers were cached')
  elif kept:
    say(options, f'continued: {kept:,} of {total:,} answers were cached')
  if summary['num_unreachable']:
    say(
      options,
      f'it-study: note: {summary["num_unreachable"]:,} of {total:,} instances '
      "have no reference within TASK_FEATURE_LENGTHS['targets'], so no answer "
      'to them can be right.',
    )


def say(options: argparse.Namespace, line: str) -> None:
  """Prints a line on standard error, unless only results are wanted."""
  if not (options.quiet or options.json):
    print(line, file=sys.stderr, flush=True)


def _print_result(
  options: argparse.Namespace, result: dict[str, Any], line: str
) -> None:
  if options.json:
    print(json.dumps(result))
  elif not options.quiet:
    print(line)
