"""export lm_eval: a condition's prompts as tasks for lm-evaluation-harness."""

import argparse
import collections
from collections.abc import Iterator
import dataclasses
import itertools
import json
import pathlib

from it_study.commands import flags, prompting
from it_study.commands.flags import Command
from it_study.commands.progress import CountProgress
from it_study.conditions import Condition, standard_grid
from it_study.corpus import natinst
from it_study.data.tokens import prompt_formats
from it_study.evaluation.formats import lm_eval
from it_study.instructions import labels, tk_instruct
from it_study.instructions.tk_instruct import TkInstruct
from it_study.predictions import Prediction
from it_study.storage import local_folders, text_files

# TASK_FEATURE_LENGTHS['targets'] of runs/common.gin.
_TARGET_LENGTH = 128


def _add_flags(parser: argparse.ArgumentParser) -> None:
  flags.add_corpus_flag(parser, required=True)
  flags.add_condition_flag(parser)
  flags.add_module_flag(parser)
  flags.add_split_flag(parser)
  parser.add_argument('--task', metavar='T', help='only prompts of this task')
  flags.add_length_flags(parser)
  parser.add_argument(
    '--max_target_length',
    type=int,
    default=_TARGET_LENGTH,
    metavar='N',
    help='maximum length of an answer in tokens; default %(default)s',
  )
  flags.add_selection_flags(parser)
  parser.add_argument(
    '--out', required=True, metavar='DIR', help='folder to write the tasks to'
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Exported:
  """The tasks of a condition: their names, and their numbers of prompts."""

  condition: Condition | TkInstruct
  num_prompts: int
  num_ranked: int

  @property
  def names(self) -> list[str]:
    name = self.condition.name
    return [name, lm_eval.ranked_name(name)] if self.num_ranked else [name]


def export(options: argparse.Namespace) -> None:
  """Writes the tasks of some conditions."""
  conditions = [tk_instruct.from_name(name) for name in options.condition]
  max_tokens = flags.length_of(
    options, 'max_target_length', default=_TARGET_LENGTH
  )
  assert max_tokens is not None, 'the flag has a default'
  if options.split != 'train':
    for condition in conditions:
      if isinstance(condition, Condition):
        condition.check_test()
  corpus = prompting.open_corpus(options)
  folder = pathlib.Path(options.out)
  local_folders.make_directory(folder)
  exported = [
    _export(corpus, condition, options, folder, max_tokens)
    for condition in conditions or standard_grid()
  ]
  if options.json:
    print(json.dumps({e.condition.name: e.names for e in exported}))
  elif not options.quiet:
    _say_how_to_run(exported, folder)


COMMAND = Command(
  name='lm_eval',
  run=export,
  summary='write prompts as tasks for lm-evaluation-harness',
  example='it-study export lm_eval --corpus miniature '
  '--condition natinst_def_original_ex_original2_fmtchat --out /tmp/lm_eval',
  add_flags=_add_flags,
  details=(
    'Each condition becomes a task of its name, which answers all prompts '
    'freely, and one that ranks the labels of classification tasks, NAME'
    f'{lm_eval.ranked_name("")}. it-study score reads the samples that '
    'lm_eval logs.'
  ),
)


def _export(
  corpus: natinst.Corpus,
  condition: Condition | TkInstruct,
  options: argparse.Namespace,
  folder: pathlib.Path,
  max_tokens: int,
) -> _Exported:
  """Writes the tasks of one condition."""
  counts: collections.Counter[str] = collections.Counter()
  with CountProgress(condition.name, quiet=options.quiet) as show:
    rows = prompting.render(
      prompting.instances_of(corpus, options, show),
      corpus=corpus,
      condition=condition,
      limit=prompting.limit_of(options, condition),
      counts=counts,
    )
    documents = list(_documents(rows, condition))
  if not options.quiet:
    prompting.note_fewer_examples(counts)
  ranked = [document for document in documents if 'choices' in document]
  exported = _Exported(
    condition=condition, num_prompts=len(documents), num_ranked=len(ranked)
  )
  for name, chosen in zip(exported.names, (documents, ranked), strict=False):
    data = f'{name}.jsonl'
    text_files.write_lines(folder / data, map(text_files.json_line, chosen))
    if name == condition.name:
      task = lm_eval.generation_task(name, data=data, max_tokens=max_tokens)
    else:
      task = lm_eval.ranking_task(name, data=data)
    text_files.write_text(folder / f'{name}.yaml', task)
  return exported


def _documents(
  rows: Iterator[prompting.Rendered], condition: Condition | TkInstruct
) -> Iterator[dict[str, str]]:
  name = _format_of(condition)
  around = prompt_formats.make_format('plain' if name == 'chat' else name, None)
  # The harness puts a prompt in the chat template of the model that it runs.
  around = dataclasses.replace(around, moves_space=name == 'plain')
  for row in rows:
    yield lm_eval.make_document(
      Prediction.of_instance(
        row.task,
        row.seen,
        split=row.found.split,
        inputs=around.apply(row.prompt.text),
        prediction='',
        test_condition=condition.name,
        prior_targets=labels.prior_references(
          task=row.found.task,
          references=row.seen.outputs,
          condition=row.condition,
        ),
        engine=lm_eval.ENGINE,
      ),
      prompt_format=name,
      answer_start=around.answer_start(row.prompt.text),
    )


def _format_of(condition: Condition | TkInstruct) -> str:
  if isinstance(condition, Condition):
    return condition.prompt_format
  return 'plain'


def _say_how_to_run(exported: list[_Exported], folder: pathlib.Path) -> None:
  """Prints what was written, and a command for each kind of prompt format."""
  for task in exported:
    print(
      f'{task.condition.name}: {task.num_prompts:,} prompts, labels of '
      f'{task.num_ranked:,} to rank'
    )
  print('\nTo run them, where lm-evaluation-harness is installed:')
  print(f'  cd {folder}')

  def is_chat(task: _Exported) -> bool:
    return _format_of(task.condition) == lm_eval.CHAT

  for chat, group in itertools.groupby(sorted(exported, key=is_chat), is_chat):
    names = ','.join(name for task in group for name in task.names)
    template = ' --apply_chat_template' if chat else ''
    print(
      '  lm_eval run --model hf --model_args pretrained=MODEL --include_path . '
      f'--tasks {names}{template} --log_samples --output_path answers'
    )
  print('  it-study score answers/MODEL/samples_TASK_TIME.jsonl')
