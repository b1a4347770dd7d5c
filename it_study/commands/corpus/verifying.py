"""corpus verify: certify rows and prompts against the task files."""

import argparse
from collections.abc import Sequence
import json
import pathlib
import sys

from it_study.audit.certificates import certify, prompt_file
from it_study.audit.certificates.certificate import Certificate
from it_study.audit.certificates.certify import OnFailure
from it_study.audit.certificates.failures import Failure
from it_study.commands.progress import CountProgress
from it_study.conditions import Condition
from it_study.corpus import locate, natinst
from it_study.data import tensorflow_setup
from it_study.errors import InputError
from it_study.storage import text_files


def verify(options: argparse.Namespace) -> int:
  """Certifies alterations; status 2 if anything is not as claimed."""
  corpus = natinst.open_corpus(
    locate.find(options.directory),
    track=options.track,
    exclusions=options.exclude,
  )
  for split in options.split or ():
    natinst.check_split(split)
  if options.partial and not options.prompts:
    raise InputError(
      '--partial goes with --prompts F.jsonl, which may hold a part of a split.'
    )
  if options.num_workers is not None and options.num_workers < 1:
    raise InputError(f'--num_workers is {options.num_workers}; give 1 or more.')
  _check_limit(options)
  failures: list[Failure] = []
  certificate = (_of_prompts if options.prompts else _of_rows)(
    corpus, options, on_failure=failures.append if options.out else None
  )
  if options.out:
    objects = [certificate.to_json(), *(f.to_json() for f in failures)]
    text_files.write_text(
      options.out, ''.join(map(text_files.json_line, objects))
    )
  if options.json:
    print(json.dumps(certificate.to_json()))
  elif not options.quiet:
    print('\n'.join(certificate.lines()))
    _hint(certificate, options)
  elif not certificate.is_clean:
    print(certificate.verdict(), file=sys.stderr)
  return 0 if certificate.is_clean else 2


def _of_rows(
  corpus: natinst.Corpus,
  options: argparse.Namespace,
  *,
  on_failure: OnFailure | None,
) -> Certificate:
  tensorflow_setup.import_tensorflow()
  from it_study.commands.progress import BuildProgress
  from it_study.data import tfds_builder

  data_dir = options.data_dir
  if data_dir is not None:
    name = pathlib.Path(data_dir) / tfds_builder.NAME / tfds_builder.VERSION
    if not name.is_dir():
      raise InputError(
        f'no rows in {data_dir}: no directory {name}. Write them with '
        f"'it-study corpus build {options.directory} --data_dir {data_dir}'."
      )
    # As they are: what is wrong with them is what is asked for.
    cap = tfds_builder.stored_metadata(data_dir)['max_instances_per_task']
    tfds_builder.check_same(data_dir, corpus=corpus, max_instances_per_task=cap)
  else:
    with BuildProgress(quiet=options.quiet) as show:
      data_dir = tfds_builder.build_rows(corpus, on_progress=show)
  conditions = [Condition.from_name(name) for name in options.condition or ()]
  with CountProgress('tasks certified', quiet=options.quiet) as show:
    return certify.certify(
      corpus=corpus,
      data_dir=data_dir,
      conditions=conditions or None,
      splits=options.split or natinst.SPLITS,
      max_tokens=options.max_input_length,
      num_workers=options.num_workers,
      on_failure=on_failure,
      on_progress=show,
    )


def _of_prompts(
  corpus: natinst.Corpus,
  options: argparse.Namespace,
  *,
  on_failure: OnFailure | None,
) -> Certificate:
  rows = prompt_file.read_prompts(options.prompts)
  condition = Condition.from_name(_condition_name(rows, options))
  for option in ('data_dir', 'split'):
    if getattr(options, option):
      raise InputError(
        f'--{option} goes with stored rows; --prompts tells its own.'
      )
  with CountProgress('tasks certified', quiet=options.quiet) as show:
    return prompt_file.certify_prompts(
      corpus=corpus,
      rows=rows,
      condition=condition,
      max_tokens=options.max_input_length,
      partial=options.partial,
      on_failure=on_failure,
      on_progress=show,
    )


def _condition_name(
  rows: Sequence[prompt_file.PromptRow], options: argparse.Namespace
) -> str:
  """The one condition that all prompts of a file claim to be under."""
  names = options.condition or sorted({row.condition or '' for row in rows})
  if '' in names:
    raise InputError(
      f'{options.prompts}: its rows do not say under which condition they were '
      "written, as those of 'it-study prompt --out' never do. Say it with "
      '--condition NAME.'
    )
  if len(names) != 1:
    given = '--condition names' if options.condition else 'its rows name'
    raise InputError(
      f'{options.prompts}: prompts of one condition are certified at a time; '
      f'{given} {len(names)}: {", ".join(names)}. Give one --condition, and a '
      'file of its prompts alone.'
    )
  return names[0]


def _hint(certificate: Certificate, options: argparse.Namespace) -> None:
  """What may be behind failures of prompts in a file."""
  if options.prompts and {'task-missing', 'row-missing'} & set(
    certificate.tally.failures
  ):
    print('If these prompts are meant to be a part of a split, give --partial.')
  cut = {'instance-text', 'example-count'} & set(certificate.tally.failures)
  if options.prompts and cut and options.max_input_length is None:
    print(
      'If these prompts were cut to a limit, give --max_input_length and '
      '--vocabulary.'
    )


def _check_limit(options: argparse.Namespace) -> None:
  """Settles the vocabulary, if there is a limit to count by it."""
  length = options.max_input_length
  if length is None:
    if options.vocabulary is not None:
      raise InputError(
        '--vocabulary goes with --max_input_length N, the limit to count by it.'
      )
    return
  if length < 1:
    raise InputError(f'--max_input_length is {length}; give 1 or more.')
  tensorflow_setup.import_tensorflow()
  from it_study.data import prepare

  prepare.set_or_check_vocabulary(options.vocabulary, corpus=options.directory)
