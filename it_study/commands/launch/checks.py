"""What is checked of a command before machines are asked for to run it."""

import argparse
from collections.abc import Callable, Sequence
import importlib.util
import json
import sys

from it_study import gin_utils, timed_process
from it_study.commands.runs import runs, settings
from it_study.errors import InputError
from launch import accelerators

# They run as one program on all hosts; all others run in one process.
_OF_MANY_HOSTS = ('train', 'predict')
_MESH = {'data': 'MESH_DATA', 'fsdp': 'MESH_FSDP', 'model': 'MESH_MODEL'}
_OUTPUT_MACROS = {'train': 'MODEL_DIR', 'predict': 'INFER_OUTPUT_DIR'}
# Large models take minutes to compile.
_PLAN_SECONDS = 3600.0


def check_fits(
  options: argparse.Namespace,
  words: Sequence[str],
  *,
  accelerator: accelerators.Accelerator,
  say: Callable[[str], None],
  is_memory_checked: bool = True,
) -> list[str]:
  """Checks that a command can run on a slice, and where its output goes.

  Args:
    options: of the command.
    words: the same, as it was typed.
    accelerator: the slice.
    say: is told what could not be checked.
    is_memory_checked: whether to compile for the slice, where that can be done.

  Returns:
    The folders that the command writes to.

  Raises:
    InputError: it cannot run there.
  """
  command = options.command
  check_processes(command, accelerator.hosts, where=accelerator.name)
  if command not in runs.SUPPLIED:
    return []
  accelerators.check_mesh(accelerator, **_mesh(options))
  if is_memory_checked and command != 'predict':
    _check_memory(words, accelerator, say)
  if command == 'study':
    output = options.study_dir
  else:
    output = str(gin_utils.macro(_OUTPUT_MACROS[command]))
  settings.check_output(output, processes=accelerator.hosts)
  return [output]


def check_gpus(
  options: argparse.Namespace, *, nodes: int, gpus_per_node: int, processes: int
) -> None:
  """Checks that a command can run on the nodes of a cluster.

  Args:
    options: of the command.
    nodes: of the cluster.
    gpus_per_node: of each; 0 is none.
    processes: in all.

  Raises:
    InputError: it cannot run there.
  """
  where = f'{nodes} x {gpus_per_node} GPUs'
  check_processes(options.command, processes, where=where)
  if gpus_per_node and options.command in runs.SUPPLIED:
    accelerators.check_mesh_of(
      nodes * gpus_per_node, **_mesh(options), where=where
    )


def check_processes(command: str, processes: int, *, where: str) -> None:
  """Raises `InputError` unless a command runs in so many processes."""
  if processes > 1 and command not in _OF_MANY_HOSTS:
    raise InputError(
      f'{command} runs in one process, and {where} takes {processes}: run it '
      'in one, or run train.'
    )


def _mesh(options: argparse.Namespace) -> dict[str, int]:
  """The sizes of the mesh, by the configuration of a command."""
  runs.configure(
    options,
    files=options.gin_file or runs.DEFAULT_FILES.get(options.command, []),
    supplied=runs.SUPPLIED[options.command],
  )
  sizes = {}
  for axis, name in _MESH.items():
    size = gin_utils.macro(name)
    if not isinstance(size, int) or size == 0 or size < -1:
      raise InputError(f'{name} is {size!r}; give a number from 1 up, or -1.')
    sizes[axis] = size
  return sizes


def _check_memory(
  words: Sequence[str],
  accelerator: accelerators.Accelerator,
  say: Callable[[str], None],
) -> None:
  """Compiles a training step for the slice, and refuses what does not fit."""
  from it_study.training.planning import tpu_topologies

  name = accelerator.slice_name
  unchecked = f'whether a step fits the memory of {accelerator.name} was not '
  if accelerator.topology not in tpu_topologies.TOPOLOGIES.get(
    accelerator.version, ()
  ):
    say(f'{unchecked}checked: nothing here compiles for {name}')
    return
  if importlib.util.find_spec('libtpu') is None:
    say(
      f"{unchecked}checked: that needs libtpu, pip install 'it_study[tpu-aot]'"
    )
    return
  say(f'compiling a step for {name}, to see whether it fits')
  done = timed_process.run(
    [
      *(sys.executable, '-P', '-m', 'it_study.cli', 'plan', '--json'),
      *(f'--topology={name}', *_gin_words(words)),
    ],
    seconds=_PLAN_SECONDS,
  )
  if done.status != 0:
    reason = done.last_line.removeprefix('it-study: ') or 'no end in time'
    if 'does not fit' in reason:
      raise InputError(f'{accelerator.name}: {reason}')
    say(f'{unchecked}checked: {reason}')
    return
  result = json.loads(done.output.splitlines()[-1])
  needed, memory = result['total_bytes'], result['device_memory_bytes']
  if memory is None:
    say(f'{unchecked}checked: its memory is not known to the compiler')
    return
  share = f'{needed / 2**30:.1f} of {memory / 2**30:.0f} GiB a chip'
  if needed > memory:
    raise InputError(
      f'{accelerator.name}: a step takes {share}. Try a smaller '
      'MICROBATCH_SIZE, more of MESH_FSDP or MESH_MODEL, or a larger type.'
    )
  say(f'a step takes {share}')


def _gin_words(words: Sequence[str]) -> list[str]:
  """Those of the words that are for gin; `plan` takes no others of theirs."""
  found = []
  for index, word in enumerate(words):
    if word.startswith(('--gin.', '--gin_file=', '--gin_search_paths=')):
      found.append(word)
    elif word in ('--gin_file', '--gin_search_paths'):
      found += words[index : index + 2]
  return found
