"""The configuration of study, train, predict and plan, and what it names."""

import argparse
from collections.abc import Callable, Mapping, Sequence
import functools
import importlib
import inspect
import os
import pathlib
from typing import TYPE_CHECKING, Any

from it_study import conditions, gin_utils
from it_study.commands.progress import say
from it_study.commands.runs import effects
from it_study.data import tensorflow_setup, user_module
from it_study.engines import ENGINES
from it_study.errors import InputError, nearest
from it_study.processes import host_memory
from it_study.storage import local_folders
from it_study.storage.storage_path import expanded

if TYPE_CHECKING:
  from it_study.study.subjects import Subject

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


def use_corpus(
  *,
  weights: str | None = None,
  checkpoint: str | None = None,
  names: Sequence[str] | None = None,
) -> pathlib.Path | None:
  """Makes the configured corpus and vocabulary current; returns the corpus.

  Tasks of the user's own need none: then `CORPUS` may be None, and so is the
  result.

  Args:
    weights: Macro that names the weights in use, which may be None. Those of a
      decoder-only model come with its vocabulary.
    checkpoint: The weights themselves, if no macro names them.
    names: SeqIO tasks in use; None for that of `MIXTURE_OR_TASK_NAME`.

  Raises:
    InputError: If the corpus or the vocabulary cannot be used, there is no
      corpus for a task that reads one, or a decoder-only model has neither
      weights nor a vocabulary.
  """
  from it_study.checkpoints import weights_source
  from it_study.data import prepare, vocabularies

  vocabulary = path_or_none('IT_STUDY_VOCABULARY')
  if vocabulary is None and is_decoder_only():
    if weights is not None:
      checkpoint = path_or_none(weights)
    if checkpoint is not None:
      vocabulary = weights_source.tokenizer_folder(checkpoint)
    elif not os.environ.get(vocabularies.VARIABLE):
      raise InputError(
        f'{weights} is None, and a decoder-only model has the vocabulary of '
        'its weights. Name weights, or set IT_STUDY_VOCABULARY to a folder '
        'with tokenizer.json.'
      )
  if gin_utils.macro('CORPUS') is not None:
    return prepare.use_corpus_and_vocabulary(
      path_macro('CORPUS'), vocabulary=vocabulary
    )
  if names is None:
    names = [str(gin_utils.macro('MIXTURE_OR_TASK_NAME'))]
  for name in filter(reads_corpus, names):
    raise InputError(
      f'CORPUS is None, and {name} reads a corpus. Name its folder: '
      '--gin.CORPUS=DIR.'
    )
  # Without one, the task's own vocabulary counts.
  if vocabulary is not None:
    prepare.set_or_check_vocabulary(vocabulary)
  return None


def reads_corpus(name: str) -> bool:
  """Whether a SeqIO task, or a task of a mixture, reads a corpus."""
  from it_study import seqio_lib
  from it_study.data import row_source

  task = seqio_lib.find_task(name)
  return any(map(row_source.source_of, getattr(task, 'tasks', [task])))


def study_subjects() -> tuple[list['Subject'], list['Subject']]:
  """Returns what the configured study trains on, and what it tests besides.

  Raises:
    InputError: If a name is neither a condition's nor registered with SeqIO.
  """
  from it_study.study import subjects

  bound: dict[str, Any] = gin_utils.bound(
    'run_study', ('conditions', 'test_conditions')
  )
  trained, tested = (
    bound.get(name, ()) for name in ('conditions', 'test_conditions')
  )
  return (
    subjects.find(trained, setting=subjects.TRAINED),
    subjects.find(tested, setting=subjects.TESTED),
  )


def path_macro(name: str) -> str | os.PathLike[str]:
  """Returns the path that a macro holds; raises `InputError` without one."""
  path = gin_utils.macro(name)
  if not isinstance(path, str | os.PathLike):
    raise InputError(
      f'{name} is {path!r}, not a path. Write a path in quotation marks: '
      f'{name} = {str(path)!r}.'
    )
  return path


def path_or_none(name: str) -> str | None:
  """Returns the path that a macro holds as text, None if it is None."""
  return None if gin_utils.macro(name) is None else os.fspath(path_macro(name))


def _configurables() -> list[Callable]:
  """Returns what gin files bind; to be called once devices are prepared."""
  from it_study.engines import native
  from it_study.evaluation.stats.margins import ControlMargins
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
  from it_study.engines.t5x import model as t5x_setup

  name = gin_utils.macro('ENGINE')
  if name not in ENGINES:
    raise InputError(
      f'ENGINE is {name!r}; there are {", ".join(ENGINES)}.'
      f'{nearest(str(name), ENGINES)}'
    )
  if name == 't5x':
    t5x_setup.require()
  if not is_decoder_only():
    gin_utils.check_bound(
      'T5Config.emb_dim', 'a model: models/t5_1_1_small.gin'
    )


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


def is_decoder_only() -> bool:
  """Returns whether the configured model is decoder-only."""
  return bool(gin_utils.bound('DecoderConfig', ('emb_dim',)))
