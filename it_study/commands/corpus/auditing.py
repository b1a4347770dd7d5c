"""corpus check and audit: what is wrong with a corpus."""

import argparse
from collections.abc import Sequence
import csv
import dataclasses
import functools
import io
import json
import sys

from it_study.audit import corpus_check
from it_study.commands.progress import BuildProgress
from it_study.corpus import exclusions, findings, locate, natinst
from it_study.corpus.findings import ERROR, WARNING, CorpusFinding
from it_study.storage import text_files


def check(options: argparse.Namespace) -> int:
  """Validates every task; status 2 if one cannot be used."""
  with BuildProgress(quiet=options.quiet) as show:
    corpus, found = corpus_check.check(
      locate.find(options.directory),
      track=options.track,
      exclusions=options.exclude,
      on_task=functools.partial(show, 'parse'),
    )
  return _tell(options, corpus, found)


def audit(options: argparse.Namespace) -> int:
  """Tells what training shares with test; status 2 if test is trained on."""
  # NumPy is slow to import.
  from it_study.audit import overlap_report

  corpus = natinst.open_corpus(
    locate.find(options.directory),
    track=options.track,
    exclusions=options.exclude,
  )
  with BuildProgress(quiet=options.quiet) as show:
    found = overlap_report.audit(corpus, on_progress=show)
  return _tell(options, corpus, found, allowed=options.allow_overlap)


def _tell(
  options: argparse.Namespace,
  corpus: natinst.Corpus,
  found: Sequence[CorpusFinding],
  *,
  allowed: bool = False,
) -> int:
  """Prints and writes findings; `allowed` makes warnings of errors."""
  if options.write_exclusions:
    left_out = exclusions.make(
      (*exclusions.from_findings(found), *corpus.exclusions)
    )
    text_files.write_text(
      options.write_exclusions, exclusions.to_text(left_out, findings=found)
    )
  if allowed:
    found = [
      dataclasses.replace(finding, severity=WARNING)
      if finding.severity == ERROR
      else finding
      for finding in found
    ]
  if options.out:
    to_text = _csv if options.out.endswith('.csv') else findings.json_lines
    text_files.write_text(options.out, to_text(found))
  told = findings.at_least(found, ERROR if options.quiet else options.severity)
  if options.json:
    print(
      json.dumps(
        {
          f'{severity}s': [
            finding.to_json()
            for finding in findings.ordered(told)
            if finding.severity == severity
          ]
          for severity in findings.SEVERITIES
        }
      )
    )
  else:
    for severity, line in findings.lines(told):
      print(line, file=sys.stderr if severity == ERROR else sys.stdout)
    if not options.quiet:
      tests = findings.plural(len(corpus.test_tasks), 'test task')
      print(
        f'{len(corpus.train_tasks)} training and {tests}: '
        f'{findings.summary(found)}'
      )
  return 2 if findings.has_errors(found) else 0


def _csv(found: Sequence[CorpusFinding]) -> str:
  """A table of all findings, ids of instances parted by spaces."""
  columns = [field.name for field in dataclasses.fields(CorpusFinding)]
  text = io.StringIO()
  writer = csv.DictWriter(text, columns, lineterminator='\n')
  writer.writeheader()
  for finding in findings.ordered(found):
    row = finding.to_json()
    writer.writerow(row | {'instances': ' '.join(row['instances'])})
  return text.getvalue()
