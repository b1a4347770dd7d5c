"""Checks that a command can run, before machines are requested for it."""

import argparse
from collections.abc import Callable, Sequence
import importlib.util
import sys

from it_study import gin_utils
from it_study.commands.runs import configuration, settings
from it_study.errors import InputError
from it_study.processes import timed_process
from it_study.storage import text_files
from launch import accelerators

# These run as one program on all hosts; all others run in one process.
_MULTI_PROCESS = ('train', 'predict')
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
  """Checks that a command can run on a slice; returns its output folders.

  Args:
    options: Options of the command.
    words: Words of the command line.
    accelerator: The slice.
    say: Receives a line for each check that is not possible.
    is_memory_checked: Whether to compile for the slice, where possible.

  Returns:
    The folders that the command writes to.

  Raises:
    InputError: If the command cannot run there.
  """
  command = options.command
  check_processes(command, accelerator.hosts, where=accelerator.name)
  if command not in configuration.SUPPLIED:
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
    options: Options of the command.
    nodes: Number of nodes.
    gpus_per_node: Number of GPUs of each node; 0 for none.
    processes: Number of processes on all nodes.

  Raises:
    InputError: If the command cannot run there.
  """
  where = f'{nodes} x {gpus_per_node} GPUs'
  check_processes(options.command, processes, where=where)
  if gpus_per_node and options.command in configuration.SUPPLIED:
    mesh = _mesh(options)
    accelerators.check_mesh_of(
      nodes * gpus_per_node,
      data=mesh['data'],
      fsdp=mesh['fsdp'],
      model=mesh['model'],
      where=where,
    )


def check_processes(command: str, processes: int, *, where: str) -> None:
  """Raises `InputError` unless a command can run in that many processes."""
  if processes > 1 and command not in _MULTI_PROCESS:
    raise InputError(
      f'{command} runs in a single process, found {processes} ({where}). Only '
      'train and predict run in several.'
    )


def _mesh(options: argparse.Namespace) -> dict[str, int]:
  """Returns the mesh sizes from the configuration of a command."""
  command = options.command
  configuration.configure(
    options,
    files=options.gin_file or configuration.DEFAULT_FILES.get(command, []),
    supplied=configuration.SUPPLIED[command],
  )
  sizes = {}
  for axis, name in _MESH.items():
    size = gin_utils.macro(name)
    if not isinstance(size, int) or size == 0 or size < -1:
      raise InputError(f'{name} is {size!r}; it must be at least 1, or -1.')
    sizes[axis] = size
  return sizes


def _check_memory(
  words: Sequence[str],
  accelerator: accelerators.Accelerator,
  say: Callable[[str], None],
) -> None:
  """Compiles a training step for the slice; raises if it does not fit."""
  from it_study.training.planning import tpu_topologies

  name = accelerator.slice_name
  unchecked = f'memory of {accelerator.name} not checked'
  if accelerator.topology not in tpu_topologies.TOPOLOGIES.get(
    accelerator.version, ()
  ):
    say(f'{unchecked}: no compiler for {name}')
    return
  if importlib.util.find_spec('libtpu') is None:
    say(f"{unchecked}: libtpu missing, pip install 'it_study[tpu-aot]'")
    return
  say(f'compiling a step for {name} to check that it fits')
  done = timed_process.run(
    [
      *(sys.executable, '-P', '-m', 'it_study.cli', 'plan', '--json'),
      *(f'--topology={name}', *_gin_words(words)),
    ],
    seconds=_PLAN_SECONDS,
  )
  if done.status != 0:
    reason = done.last_line.removeprefix('it-study: ') or 'plan timed out'
    if 'does not fit' in reason:
      raise InputError(f'{accelerator.name}: {reason}')
    say(f'{unchecked}: {reason}')
    return
  result = text_files.parse_object(
    done.output.splitlines()[-1], where='it-study plan'
  )
  needed, memory = result['total_bytes'], result['device_memory_bytes']
  if memory is None:
    say(f'{unchecked}: the compiler does not know its memory')
    return
  share = f'{needed / 2**30:.1f} of {memory / 2**30:.0f} GiB per chip'
  if needed > memory:
    raise InputError(
      f'{accelerator.name}: a step needs {share}. Use a smaller '
      'MICROBATCH_SIZE, a larger MESH_FSDP or MESH_MODEL, or a larger --type.'
    )
  say(f'a step needs {share}')


def _gin_words(words: Sequence[str]) -> list[str]:
  """Returns the words that configure gin, the only ones that plan accepts."""
  gin_words: list[str] = []
  for index, word in enumerate(words):
    if word.startswith(('--gin.', '--gin_file=', '--gin_search_paths=')):
      gin_words.append(word)
    elif word in ('--gin_file', '--gin_search_paths'):
      gin_words += words[index : index + 2]
  return gin_words
