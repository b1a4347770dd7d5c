"""study, train and predict."""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
import shlex
from typing import Any

from it_study import gin_utils
from it_study.commands.progress import print_progress, say
from it_study.commands.reporting import report
from it_study.commands.runs import (
  configuration,
  finished,
  settings,
  workers,
)
from it_study.errors import InputError
from it_study.storage import shared_folder
from it_study.storage.storage_path import StoragePath


def study(options: argparse.Namespace) -> None:
  """Runs a grid, then writes its report and prints its table."""
  with workers.workers(options, _run_study):
    _run_study(options)
  folder = shared_folder.open_folder(options.study_dir)
  # Workers that share the study finish at the same time.
  with folder.one_at_a_time():
    report(options)
  say(options, f'next: it-study view {shlex.quote(options.study_dir)}')


def _run_study(options: argparse.Namespace) -> None:
  from it_study.commands.progress import StudyProgress

  config = configuration.configure(
    options,
    files=options.gin_file or configuration.DEFAULT_FILES['study'],
    supplied=configuration.SUPPLIED['study'],
    command='study',
  )
  from it_study import distributed
  from it_study.study.run_record import RunRecord
  from it_study.study.worker import Engine

  distributed.refuse('study')
  trained, tested = configuration.study_subjects()
  settings.check_study(trains=bool(trained))
  margins = gin_utils.configured('ControlMargins')()
  names = [subject.name for subject in (*trained, *tested)]
  corpus = configuration.use_corpus(
    weights='INITIAL_CHECKPOINT_PATH', names=names
  )
  number: dict[str, Any] = gin_utils.bound(
    'predict', ('instances_per_test_task',)
  )
  with StudyProgress(quiet=options.quiet) as on_step:
    gin_utils.configured('run_study')(
      corpus=corpus,
      study_dir=options.study_dir,
      engine=Engine(
        finetune=configuration.engine_call('finetune'),
        predict=configuration.engine_call('predict'),
        **number,
      ),
      record=RunRecord(
        config=config,
        details={
          'control_margins': dataclasses.asdict(margins),
          **_run_details(names),
        },
      ),
      on_step=on_step,
    )


def train(options: argparse.Namespace) -> None:
  """Fine-tunes one model as configured."""
  earlier = finished.find(options)
  if earlier is not None:
    steps = earlier.training['train_steps']
    say(options, f'already trained: step {steps} of {steps}; nothing to do')
    _print_training(options, earlier.training, earlier.folder)
    return
  config = configuration.configure(
    options,
    files=options.gin_file,
    supplied=configuration.SUPPLIED['train'],
    command='train',
  )
  from it_study import distributed
  from it_study.checkpoints.bucket_steps import BucketCheckpoints
  from it_study.storage import run_folder, text_files

  model_dir = configuration.path_macro('MODEL_DIR')
  # In a bucket, each of several processes writes its own shards there.
  is_shared = settings.check_output(model_dir, processes=distributed.count())
  corpus = configuration.use_corpus(weights='INITIAL_CHECKPOINT_PATH')
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
      summary = configuration.engine_call('finetune')(
        model_dir=folder,
        on_progress=None if options.quiet else print_progress,
        **arguments,
      )
    except InputError:
      if distributed.is_first():
        _restore_config(path, before)
      raise
    if distributed.is_first() and corpus is not None:
      finished.record(options, folder, corpus)
  if distributed.is_first():
    _print_training(options, summary, os.fspath(model_dir))


def predict(options: argparse.Namespace) -> None:
  """Decodes a split as configured."""
  configuration.configure(
    options,
    files=options.gin_file,
    supplied=configuration.SUPPLIED['predict'],
    command='predict',
  )
  from it_study import distributed
  from it_study.commands.progress import CountProgress
  from it_study.storage import run_folder

  out = configuration.path_macro('INFER_OUTPUT_DIR')
  settings.check_output(out, processes=distributed.count())
  configuration.use_corpus(weights='CHECKPOINT_PATH')
  # Only the first process prints.
  quiet = options.quiet or options.json or not distributed.is_first()
  with (
    run_folder.working(out) as (folder, _),
    CountProgress('instances answered', quiet=quiet) as on_progress,
  ):
    path = configuration.engine_call('predict')(
      infer_output_dir=folder, on_progress=on_progress
    )
  if distributed.is_first():
    written = f'{os.fspath(out).rstrip("/")}/{path.name}'
    _print_result(options, {'predictions': written}, f'wrote {written}')
    _say_summary(options, folder)
    command = f'it-study score {shlex.quote(written)}'
    name = str(gin_utils.macro('MIXTURE_OR_TASK_NAME'))
    if configuration.reads_corpus(name):
      corpus = os.fspath(configuration.path_macro('CORPUS'))
      command += f' --corpus={shlex.quote(corpus)}'
    say(options, f'next: {command}')


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


def _run_details(names: Sequence[str]) -> dict[str, Any]:
  """Returns what a study records of this run besides its configuration.

  Args:
    names: SeqIO tasks of the study, which all have the same vocabulary.
  """
  import jax

  from it_study import seqio_lib
  from it_study.checkpoints import weights_source
  from it_study.data import vocabularies
  from it_study.engines import model_setup
  from it_study.study import run_record

  device = jax.devices()[0]
  weights = configuration.path_or_none('INITIAL_CHECKPOINT_PATH')
  make_config: Any = gin_utils.bound('finetune', ('model_config',))[
    'model_config'
  ]
  vocabulary = seqio_lib.vocabulary_of(names[0]) if names else None
  model = model_setup.complete_config(
    make_config,
    dtype=str(gin_utils.macro('DTYPE')),
    source=weights_source.resolve(weights),
    vocabulary=vocabulary,
  )
  model_setup.check_memory(model)
  return {
    'model': dataclasses.asdict(model),
    'vocabulary': vocabularies.describe(vocabulary),
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
  for task, values in summary.get('task_metrics', {}).items():
    results = ', '.join(f'{name} {value}' for name, value in values.items())
    say(options, f'own metrics of {task}: {results}')
  if summary['num_unreachable']:
    say(
      options,
      f'it-study: note: {summary["num_unreachable"]:,} of {total:,} instances '
      "have no reference within TASK_FEATURE_LENGTHS['targets'], so no answer "
      'to them can be right.',
    )


def _print_result(
  options: argparse.Namespace, result: dict[str, Any], line: str
) -> None:
  if options.json:
    print(json.dumps(result))
  elif not options.quiet:
    print(line)
