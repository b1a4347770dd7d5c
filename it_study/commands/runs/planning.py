"""plan: what a training needs, computed without its devices."""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any

from it_study import gin_utils
from it_study.commands.progress import PhaseProgress
from it_study.commands.runs import configuration, settings as run_settings
from it_study.errors import InputError
from it_study.storage.storage_path import expanded

if TYPE_CHECKING:
  from it_study.training.settings import MeshSettings

# Rows of the released T5 models' embedding tables.
_T5_VOCABULARY_SIZE = 32_128
# Macros that only a run needs.
_UNUSED = ('CORPUS', *configuration.PER_UNIT_MACROS)
# Arguments of `finetune` that shape a training step.
_ARGUMENTS = (
  'model_config',
  'optimizer',
  'batch_size',
  'microbatch_size',
  'pack',
  'task_feature_lengths',
  'dtype',
  'lora',
  *run_settings.MESH,
)
_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB')


def plan(options: argparse.Namespace) -> None:
  """Prints what a training step needs, from its compiled program."""
  if options.devices is not None and options.devices < 1:
    raise InputError(
      f'--devices is {options.devices}; give a whole number from 1 up.'
    )
  if options.topology is not None:
    if options.devices is not None:
      raise InputError(
        f'--devices={options.devices} and --topology={options.topology}: a '
        'topology says how many devices there are; give one of the two.'
      )
    from it_study.training.planning import tpu_topologies

    tpu_topologies.check(options.topology)
  if options.vocabulary_size is not None and options.vocabulary_size < 1:
    raise InputError(
      f'--vocabulary_size is {options.vocabulary_size}; give a whole number '
      'from 1 up.'
    )
  configuration.configure(options, files=options.gin_file, supplied=_UNUSED)
  from it_study.engines import model_setup
  from it_study.report import text
  from it_study.training.planning import plan as plan_lib
  from it_study.training.settings import check_lengths, check_whole

  arguments = run_settings.of_training(
    _ARGUMENTS, run='a training: runs/finetune.gin'
  )
  sizes = run_settings.mesh_of(arguments)
  check_whole(BATCH_SIZE=arguments['batch_size'])
  check_lengths(arguments['task_feature_lengths'])
  devices: Sequence[Any]
  if options.topology is not None:
    _keep_to_cpu(1)
    devices = tpu_topologies.devices(options.topology)
  else:
    devices = _virtual_devices(options.devices, sizes)
  config, remarks = _model_config(
    arguments['model_config'], arguments['dtype'], options.vocabulary_size
  )
  mesh = sizes.make(devices)
  where = options.topology or text.count(mesh.size, 'virtual CPU device')
  if not options.quiet:
    print(
      f'compiling a step for {where}: '
      f'{_expected_time(options.topology, config)}',
      file=sys.stderr,
    )
  with PhaseProgress(plan_lib.PHASES, quiet=options.quiet) as on_phase:
    result = plan_lib.plan(
      model_config=config,
      optimizer=arguments['optimizer'],
      mesh=mesh,
      batch_size=arguments['batch_size'],
      lengths=arguments['task_feature_lengths'],
      microbatch_size=arguments['microbatch_size'],
      packed=arguments['pack'],
      layout=model_setup.row_layout(config),
      lora=arguments['lora'],
      on_phase=on_phase,
    )
  if result.is_estimate:
    remarks.insert(0, _estimate(config.dtype))
  if result.num_lora_parameters is not None:
    remarks.append(
      'FLOPs by formula are those of training all parameters; LoRA skips some '
      'of the backward pass.'
    )
  if result.unknown_loops:
    remarks.append(
      f'The number of iterations of {result.unknown_loops} loops is not known; '
      'they count once.'
    )
  if options.json:
    print(json.dumps({**result.to_dict(), 'remarks': remarks}))
  elif not options.quiet:
    print('\n'.join(_lines(result, remarks, where=where)))


def _model_config(
  model_config: Any, dtype: str, vocabulary_size: int | None
) -> tuple[Any, list[str]]:
  """Returns the model's configuration, and remarks on what it assumes.

  Raises:
    InputError: If nothing says how large the vocabulary is.
  """
  from it_study.engines import model_setup

  remarks = []
  if dtype == 'auto':
    dtype = 'bfloat16'
    remarks.append("DTYPE is 'auto': assuming bfloat16, as on an accelerator.")
  if vocabulary_size is None:
    reason = _use_local_vocabulary()
    if reason is not None:
      vocabulary_size = _t5_size(reason)
      remarks.append(f"{reason}: assuming T5's {vocabulary_size:,} rows.")
  if vocabulary_size is None:
    config = model_setup.complete_config(model_config, dtype=dtype)
  else:
    config = model_config(vocab_size=vocabulary_size, dtype=dtype)
  name = type(config).__name__
  if not gin_utils.bound(name, ('scan_layers',)):
    config = dataclasses.replace(config, scan_layers=True)
    remarks.append(
      f'{name}.scan_layers is not set: assuming True, so that one layer of a '
      'stack is compiled, not each.'
    )
  return config, remarks


def _t5_size(reason: str) -> int:
  """Returns the rows of T5's embedding table.

  Args:
    reason: Reason why the vocabulary is not known, for an error.

  Raises:
    InputError: If the model is decoder-only.
  """
  if configuration.is_decoder_only():
    raise InputError(
      f'{reason}, and a decoder-only model has that of its weights. Give the '
      'rows of its embedding table, such as --vocabulary_size=32000 for LLaMA, '
      'or set IT_STUDY_VOCABULARY to a folder with tokenizer.json.'
    )
  return _T5_VOCABULARY_SIZE


def _expected_time(topology: str | None, config: Any) -> str:
  """Says how long planning takes, as measured in benchmarks/RESULTS.md."""
  minutes = '1 to 4 minutes' if topology is None else '2 to 10 minutes'
  if not config.scan_layers:
    name = type(config).__name__
    return f'{minutes} with {name}.scan_layers, longer without it'
  return f'{minutes} on two CPU cores, for models up to 11B parameters'


def _estimate(dtype: str) -> str:
  """Says how a program for CPU devices differs from one for accelerators."""
  remark = (
    'This is an estimate from virtual CPU devices. They send gradients of '
    'sharded parameters by all-reduce; an accelerator may send half as many '
    'bytes, by reduce-scatter.'
  )
  if dtype == 'bfloat16':
    remark += (
      ' They also store and send some bfloat16 values in float32, which takes '
      'twice as many bytes.'
    )
  return remark


def _use_local_vocabulary() -> str | None:
  """Makes the configured vocabulary current; returns why, if it cannot."""
  from it_study.data import vocabularies

  name = str(
    gin_utils.macro('IT_STUDY_VOCABULARY')
    or os.environ.get(vocabularies.VARIABLE, '')
  )
  if not name:
    return 'No vocabulary is set'
  if name != vocabularies.BYTE and not os.path.exists(expanded(name)):
    return f'Vocabulary {name} is not on this machine'
  vocabularies.set_vocabulary(name)
  return None


def _virtual_devices(count: int | None, mesh: 'MeshSettings') -> Sequence[Any]:
  """Starts JAX on `count` CPU devices, by default as many as the mesh needs."""
  if count is None:
    sizes = (mesh.data, mesh.fsdp, mesh.model)
    count = math.prod(size for size in sizes if size != -1)
    # Sizes below 1 are reported when the mesh is made.
    count = max(count, 1)
  return _keep_to_cpu(count)


def _keep_to_cpu(count: int) -> Sequence[Any]:
  """Starts JAX on virtual CPU devices, whatever accelerator there is."""
  import jax

  # The program is compiled to be measured, not to be run later.
  jax.config.update('jax_enable_compilation_cache', False)
  try:
    jax.config.update('jax_platforms', 'cpu')
    jax.config.update('jax_num_cpu_devices', count)
  except RuntimeError:
    devices = jax.local_devices(backend='cpu')
    if len(devices) < count:
      raise InputError(
        f'a plan for {count} devices needs its own process: JAX is already '
        f'running, with {len(devices)}. Run it-study plan by itself.'
      ) from None
    return devices[:count]
  return jax.local_devices(backend='cpu')


def _lines(result: Any, remarks: Sequence[str], *, where: str) -> list[str]:
  """Returns the plan as lines of a table."""
  model = result.model
  mesh = ' x '.join(f'{axis} {size}' for axis, size in result.mesh.items())
  rows = [
    ('for', f'{where} ({mesh})'),
    (
      'model',
      f'{result.num_parameters:,} parameters'
      f'{_of_lora(result.num_lora_parameters)}, {model["dtype"]}, remat '
      f'{model["remat_policy"]}',
    ),
    (
      'batch',
      f'{result.batch_size} rows of {result.lengths["inputs"]} + '
      f'{result.lengths["targets"]} tokens'
      f'{", packed" if result.packed else ""}, in '
      f'{result.num_microbatches} microbatch'
      f'{"" if result.num_microbatches == 1 else "es"}',
    ),
    ('', ''),
    ('bytes per device', ''),
    ('  parameters', _size(result.parameter_bytes)),
    ('  optimizer state', _size(result.optimizer_bytes)),
    ('  batch', _size(result.batch_bytes)),
    ('  activations, gradients', _size(result.temporary_bytes)),
    ('  padding, program', _size(result.other_bytes)),
    ('  total', _of_memory(result)),
    ('', ''),
    ('FLOPs per step', ''),
    ('  by formula', f'{result.model_flops:.4g}'),
    (
      '  compiled',
      f'{result.program_flops:.4g} in matrix products '
      f'({result.program_flops / result.model_flops:.3f} of the formula)',
    ),
  ]
  if result.compiler_flops:
    rows.append(
      (
        "  compiler's count",
        f'{result.compiler_flops:.4g} per device, each loop counted once',
      )
    )
  rows += [
    ('', ''),
    ('sent per step, per device', '' if result.collectives else 'nothing'),
  ]
  rows += [
    (
      f'  {kind}',
      f'{_size(traffic.sent_bytes)} in {traffic.count:,} operations on '
      f'{_size(traffic.payload_bytes)}',
    )
    for kind, traffic in sorted(result.collectives.items())
  ]
  rows.append(('', ''))
  if result.estimated_seconds is not None:
    rows.append(
      (
        'seconds per step',
        f"{result.estimated_seconds:.4g} by the compiler's cycles, without "
        'waiting for other devices',
      )
    )
  rows.append(
    (
      'planning took',
      f'{result.trace_seconds:.1f} s to trace, {result.compile_seconds:.1f} s '
      'to compile',
    )
  )
  width = max(len(name) for name, _ in rows) + 2
  return [
    *(f'{name:{width}}{value}'.rstrip() for name, value in rows),
    *remarks,
  ]


def _of_lora(number: int | None) -> str:
  return '' if number is None else f' and {number:,} of LoRA'


def _of_memory(result: Any) -> str:
  """Formats the bytes needed, as a share of the device's if those are known."""
  if result.device_memory_bytes is None:
    return _size(result.total_bytes)
  share = result.total_bytes / result.device_memory_bytes
  verdict = '' if share <= 1 else ': TOO MUCH'
  return (
    f'{_size(result.total_bytes)}, {share:.0%} of '
    f'{_size(result.device_memory_bytes)}{verdict}'
  )


def _size(number: float) -> str:
  """Formats bytes in the largest unit that gives 1 or more.

  >>> _size(1536), _size(0)
  ('1.50 KiB', '0 B')
  """
  power = 0
  while abs(number) >= 1024 and power < len(_UNITS) - 1:
    number /= 1024
    power += 1
  return f'{number:.2f} {_UNITS[power]}' if power else f'{number:.0f} B'
