"""All commands, in the order of the help."""

from it_study.commands import (
  baseline,
  compare,
  completion,
  convert,
  prompting,
  reporting,
  score,
)
from it_study.commands.corpus import (
  audit,
  build,
  check,
  controls,
  fetch,
  mini,
  stats,
  verify,
)
from it_study.commands.doctor import doctor
from it_study.commands.export import lm_eval
from it_study.commands.flags import Command, Group
from it_study.commands.launch import local, slurm, ssh, tpu_vm
from it_study.commands.runs import diagnose, fetch_model, flags as runs

COMMANDS: tuple[Command, ...] = (
  runs.STUDY,
  reporting.REPORT,
  reporting.VIEW,
  runs.TRAIN,
  runs.PLAN,
  runs.PREDICT,
  diagnose.COMMAND,
  convert.COMMAND,
  fetch_model.COMMAND,
  score.COMMAND,
  baseline.COMMAND,
  compare.COMMAND,
  prompting.PROMPT,
  prompting.EXPLAIN,
  doctor.COMMAND,
  completion.COMMAND,
)

CORPUS_COMMANDS: tuple[Command, ...] = (
  fetch.COMMAND,
  mini.COMMAND,
  controls.COMMAND,
  check.COMMAND,
  audit.COMMAND,
  stats.COMMAND,
  build.COMMAND,
  verify.COMMAND,
)

LAUNCH_COMMANDS: tuple[Command, ...] = (
  local.COMMAND,
  tpu_vm.COMMAND,
  slurm.COMMAND,
  ssh.COMMAND,
)

EXPORT_COMMANDS: tuple[Command, ...] = (lm_eval.COMMAND,)

GROUPS: tuple[Group, ...] = (
  Group(
    name='corpus',
    summary='fetch, check, describe or build a corpus',
    description=(
      'A corpus is a directory laid out like natural-instructions: tasks/ and '
      'splits/.'
    ),
    example=mini.COMMAND.example,
    commands=CORPUS_COMMANDS,
  ),
  Group(
    name='export',
    summary="write a study's prompts for other engines",
    description="Writes a study's prompts for other engines.",
    example=lm_eval.COMMAND.example,
    commands=EXPORT_COMMANDS,
  ),
  Group(
    name='launch',
    summary='start all processes of a run: here, on a cluster or in a cloud',
    description=(
      'Starts all processes of a run. The command to run follows --.'
    ),
    example=local.COMMAND.example,
    commands=LAUNCH_COMMANDS,
  ),
)
