"""corpus verify: certificates that prompts alter only what they claim to."""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import sys
from typing import TYPE_CHECKING

from it_study.commands import flags, prompting
from it_study.commands.flags import Command
from it_study.commands.progress import BuildProgress, CountProgress
from it_study.conditions import Condition
from it_study.corpus import locate, natinst
from it_study.data import tensorflow_setup
from it_study.errors import InputError, visible
from it_study.instructions import surfaces
from it_study.storage import text_files

if TYPE_CHECKING:
  from it_study.audit.certificates import prompt_file
  from it_study.audit.certificates.certificate import Certificate
  from it_study.audit.certificates.certify import OnFailure
  from it_study.audit.certificates.failures import Failure


def _add_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR', help='corpus directory')
  flags.add_module_flag(parser)
  flags.add_selection_flags(parser)
  parser.add_argument(
    '--data_dir',
    metavar='DIR',
    help='folder of the rows; default: a folder of the cache',
  )
  parser.add_argument(
    '--condition',
    action='extend',
    nargs='+',
    metavar='NAME',
    help='condition names; default: every definition level, most with 0 to 2 '
    'original and delusive examples',
  )
  parser.add_argument(
    '--split',
    action='extend',
    nargs='+',
    help='train, validation or test; default: all three',
  )
  parser.add_argument(
    '--prompts',
    metavar='F.jsonl',
    help='certify the prompts of this file, not the stored rows',
  )
  parser.add_argument(
    '--partial',
    action='store_true',
    help='the file may hold part of a split, as prompt --task, --id and '
    '--limit write it; the verdict says how much; default: missing prompts '
    'are failures',
  )
  flags.add_length_flags(parser)
  parser.add_argument(
    '--out',
    metavar='F.jsonl',
    help='write the certificate, then every failure, to F.jsonl',
  )
  parser.add_argument(
    '--num_workers',
    type=int,
    metavar='N',
    help='number of processes; default: at most 2',
  )


def verify(options: argparse.Namespace) -> int:
  """Certifies alterations; returns status 2 if a claim does not hold."""
  corpus = natinst.open_corpus(
    locate.find(options.directory),
    track=options.track,
    exclusions=options.exclude,
  )
  for split in options.split or ():
    corpus.check_has(split)
  if options.partial and not options.prompts:
    raise InputError(
      '--partial needs --prompts F.jsonl: only a file may hold part of a split.'
    )
  if options.num_workers is not None and options.num_workers < 1:
    raise InputError(
      f'--num_workers is {options.num_workers}; it must be at least 1.'
    )
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
    print(visible('\n'.join(certificate.lines())))
    _hint(certificate, options)
  elif not certificate.is_clean:
    print(certificate.verdict(), file=sys.stderr)
  return 0 if certificate.is_clean else 2


COMMAND = Command(
  name='verify',
  run=verify,
  summary='certify that altered instructions are what they claim to be',
  example='it-study corpus verify miniature --split test '
  '--condition natinst_def_simplified_ex_delusive2',
  add_flags=_add_flags,
  details='Exit status 2 if anything fails, else 0.',
)


def _of_rows(
  corpus: natinst.Corpus,
  options: argparse.Namespace,
  *,
  on_failure: 'OnFailure | None',
) -> 'Certificate':
  tensorflow_setup.import_tensorflow()
  from it_study.audit.certificates import certify
  from it_study.data import tfds_builder

  data_dir = options.data_dir
  if data_dir is not None:
    name = pathlib.Path(data_dir) / tfds_builder.NAME / tfds_builder.VERSION
    if not name.is_dir():
      raise InputError(
        f'{data_dir} holds no rows: there is no directory {name}. Build them '
        f"with 'it-study corpus build {options.directory} --data_dir "
        f"{data_dir}'."
      )
    # Rows are not rebuilt here, since their faults are what is looked for.
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
  on_failure: 'OnFailure | None',
) -> 'Certificate':
  from it_study.audit.certificates import prompt_file

  rows = prompt_file.read_prompts(options.prompts)
  condition = Condition.from_name(_condition_name(rows, options))
  for option in ('data_dir', 'split'):
    if getattr(options, option):
      raise InputError(
        f'--{option} selects stored rows; leave it out with --prompts.'
      )
  around = prompting.format_of(condition, options, corpus=options.directory)
  template = surfaces.template_of(condition)
  rows = [
    dataclasses.replace(
      row, inputs=around.remove_from(row.inputs, template=template)
    )
    for row in rows
  ]
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
  rows: 'Sequence[prompt_file.PromptRow]', options: argparse.Namespace
) -> str:
  """Returns the one condition that all prompts of a file claim to follow."""
  names = options.condition or sorted({row.condition or '' for row in rows})
  if '' in names:
    raise InputError(
      f'{options.prompts}: rows do not name their condition, as in files of '
      "'it-study prompt --out'. Name it with --condition NAME."
    )
  if len(names) != 1:
    source = '--condition names' if options.condition else 'its rows name'
    raise InputError(
      f'{options.prompts}: expected prompts of one condition; {source} '
      f'{len(names)}: {", ".join(names)}. Give one --condition, and a file '
      'with only its prompts.'
    )
  return names[0]


def _hint(certificate: 'Certificate', options: argparse.Namespace) -> None:
  """Prints likely causes of failures of prompts in a file."""
  if options.prompts and {'task-missing', 'row-missing'} & set(
    certificate.tally.failures
  ):
    print('If the file is meant to hold part of a split, add --partial.')
  cut = {'instance-text', 'example-count'} & set(certificate.tally.failures)
  if options.prompts and cut and options.max_input_length is None:
    print(
      'If these prompts were truncated, add --max_input_length and '
      '--vocabulary.'
    )


def _check_limit(options: argparse.Namespace) -> None:
  """Sets the vocabulary that --max_input_length counts tokens with."""
  options.max_input_length = flags.input_length(options)
  if options.max_input_length is None:
    return
  tensorflow_setup.import_tensorflow()
  from it_study.data import prepare

  prepare.set_or_check_vocabulary(options.vocabulary, corpus=options.directory)
