"""Findings of corpus check and audit: the flags that choose, the output."""

import argparse
from collections.abc import Sequence
import csv
import dataclasses
import io
import json
import sys

from it_study.commands import flags
from it_study.corpus import exclusions, findings as findings_lib, natinst
from it_study.corpus.findings import ERROR, WARNING, CorpusFinding
from it_study.errors import visible
from it_study.storage import text_files


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that both commands have."""
  parser.add_argument('directory', metavar='DIR', help='corpus directory')
  flags.add_module_flag(parser)
  flags.add_selection_flags(parser)
  parser.add_argument(
    '--severity',
    choices=('error', 'warning', 'note'),
    default='note',
    help='least severity to print; default %(default)s, which prints all',
  )
  parser.add_argument(
    '--out',
    metavar='F',
    help='write all findings to F, as CSV if F ends in .csv, else JSON lines',
  )
  parser.add_argument(
    '--write_exclusions',
    metavar='F',
    help='write an exclusion list that removes every error to F',
  )


def write(
  options: argparse.Namespace,
  corpus: natinst.Corpus,
  findings: Sequence[CorpusFinding],
  *,
  errors_allowed: bool = False,
) -> int:
  """Prints findings, writes the files requested, and returns the exit status.

  Args:
    options: Options of the command.
    corpus: Corpus that was examined.
    findings: All findings.
    errors_allowed: Whether errors count as warnings.

  Returns:
    2 if there are errors, else 0.
  """
  if options.write_exclusions:
    excluded = exclusions.make(
      (*exclusions.from_findings(findings), *corpus.exclusions)
    )
    text_files.write_text(
      options.write_exclusions, exclusions.to_text(excluded, findings=findings)
    )
  if errors_allowed:
    findings = [
      dataclasses.replace(finding, severity=WARNING)
      if finding.severity == ERROR
      else finding
      for finding in findings
    ]
  if options.out:
    to_text = _csv if options.out.endswith('.csv') else findings_lib.json_lines
    text_files.write_text(options.out, to_text(findings))
  printed = findings_lib.at_least(
    findings, ERROR if options.quiet else options.severity
  )
  if options.json:
    print(json.dumps(_by_severity(printed)))
  else:
    for severity, line in findings_lib.lines(printed):
      stream = sys.stderr if severity == ERROR else sys.stdout
      print(visible(line), file=stream)
    if not options.quiet:
      tests = findings_lib.plural(len(corpus.test_tasks), 'test task')
      print(
        f'{len(corpus.train_tasks)} training and {tests}: '
        f'{findings_lib.summary(findings)}'
      )
  return 2 if findings_lib.has_errors(findings) else 0


def _by_severity(findings: Sequence[CorpusFinding]) -> dict[str, list]:
  return {
    f'{severity}s': [
      finding.to_json()
      for finding in findings_lib.ordered(findings)
      if finding.severity == severity
    ]
    for severity in findings_lib.SEVERITIES
  }


def _csv(findings: Sequence[CorpusFinding]) -> str:
  """Returns findings as CSV, instance ids separated by spaces."""
  columns = [field.name for field in dataclasses.fields(CorpusFinding)]
  text = io.StringIO()
  writer = csv.DictWriter(text, columns, lineterminator='\n')
  writer.writeheader()
  for finding in findings_lib.ordered(findings):
    instances = ' '.join(finding.instances)
    writer.writerow(finding.to_json() | {'instances': instances})
  return text.getvalue()
