"""Writes t5x_checkpoints.tar.xz: t5x_golden.npz's models as T5X saves them.

Run from the root of the repository, with T5X on the import path:

  python tests/golden/make_t5x_checkpoints.py

The archive holds `FOLDER/checkpoint_STEP/…` for each entry of `SAVED`.
`tests/checkpoints/t5x/reading_test.py` reads them without T5X and compares them
with the npz file; `tests/checkpoints/t5x/upstream_test.py` does the same with
checkpoints that it has T5X write.
"""

import importlib.util
import pathlib
import tarfile
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PATH = pathlib.Path(__file__).with_name('t5x_checkpoints.tar.xz')
# Folder: variant, whether Orbax writes it, dtype of stored parameters, step.
SAVED = {
  'v1_1_msgpack': ('v1_1', False, 'float32', 1000),
  'v1_1_orbax': ('v1_1', True, 'float32', 1000),
  'v1_0_msgpack': ('v1_0', False, 'bfloat16', 7),
  'v1_0_orbax': ('v1_0', True, 'bfloat16', 7),
}

_SPEC = importlib.util.spec_from_file_location(
  'make_t5x_golden', pathlib.Path(__file__).with_name('make_t5x_golden.py')
)
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)


def params_of(variant: str) -> dict[str, Any]:
  """Returns the parameters of t5x_golden.npz, nested, in float32."""
  with np.load(golden.PATH) as arrays:
    prefix = f'{variant}/params/'
    return golden.nest(
      {
        name.removeprefix(prefix): arrays[name]
        for name in arrays.files
        if name.startswith(prefix)
      }
    )


def make_state(
  variant: str, *, module: Any = None, for_training: bool = True
) -> tuple[Any, Any]:
  """Returns T5X's partitioner, and an initializer of the model's state."""
  # isort: off
  import seqio
  from t5x import adafactor, models, partitioning, utils
  # isort: on

  vocabulary = seqio.PassThroughVocabulary(
    golden.DIMENSIONS['vocab_size'], eos_id=1
  )
  model = models.EncoderDecoderModel(
    module=module or golden.t5x_module(variant),
    input_vocabulary=vocabulary,
    output_vocabulary=vocabulary,
    optimizer_def=adafactor.Adafactor(
      decay_rate=0.8,
      step_offset=0,
      logical_factor_rules=adafactor.standard_logical_factor_rules(),
    ),
  )
  partitioner = partitioning.PjitPartitioner(
    num_partitions=1,
    logical_axis_rules=partitioning.standard_logical_axis_rules(),
  )
  initializer = utils.TrainStateInitializer(
    optimizer_def=model.optimizer_def if for_training else None,
    init_fn=model.get_initial_variables,
    input_shapes={
      'encoder_input_tokens': (2, 8),
      'decoder_input_tokens': (2, 8),
      'decoder_target_tokens': (2, 8),
    },
    partitioner=partitioner,
  )
  return partitioner, initializer


def save(
  directory: pathlib.Path,
  variant: str,
  params: Any,
  *,
  use_orbax: bool,
  dtype: str,
  step: int,
  module: Any = None,
) -> None:
  """Has T5X write `directory/checkpoint_STEP`, Adafactor's state included.

  Args:
    directory: Folder of the checkpoint; created if it does not exist.
    variant: Variant of T5, a key of `VARIANTS` in make_t5x_golden.py.
    params: Parameters to save; None for random ones.
    use_orbax: Whether Orbax writes the checkpoint instead of T5X's own code.
    dtype: Dtype of the stored parameters.
    step: Step of the checkpoint.
    module: Network to use instead of the variant's; None for the variant's.
  """
  # isort: off
  import flax
  from t5x import checkpoints
  # isort: on

  partitioner, initializer = make_state(variant, module=module)
  state = initializer.from_scratch(jax.random.PRNGKey(0))
  if params is not None:
    state = state.replace_params(flax.core.freeze(params))
  mesh_axes = partitioner.get_mesh_axes(state)
  # Sharded by T5X's partitioner, or it would write each tensor as if it were on
  # one device.
  state = partitioner.partition(
    lambda state: state,
    in_axis_resources=None,
    out_axis_resources=mesh_axes,
  )(state.replace_step(jnp.array(step)))
  shapes = initializer.global_train_state_shape
  directory.mkdir(parents=True, exist_ok=True)
  if use_orbax:
    manager = checkpoints.OrbaxCheckpointManagerInterface(
      str(directory), shapes, partitioner, save_dtype=jnp.dtype(dtype)
    )
    manager.save(state)
    manager.close()
  else:
    checkpoints.Checkpointer(
      shapes, partitioner, str(directory), save_dtype=jnp.dtype(dtype)
    ).save(state)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
  """Removes the owner and the time of a file, so that archives are equal."""
  entry.uid = entry.gid = entry.mtime = 0
  entry.uname = entry.gname = ''
  return entry


def main() -> None:
  with tempfile.TemporaryDirectory() as scratch:
    for folder, (variant, use_orbax, dtype, step) in SAVED.items():
      save(
        pathlib.Path(scratch, folder),
        variant,
        params_of(variant),
        use_orbax=use_orbax,
        dtype=dtype,
        step=step,
      )
    with tarfile.open(PATH, 'w:xz', preset=9) as archive:
      for file in sorted(pathlib.Path(scratch).rglob('*')):
        # Orbax writes its own path into this file.
        if file.is_file() and file.name != 'commit_success.txt':
          archive.add(file, file.relative_to(scratch), filter=_anonymous)
  print(f'{PATH}: {PATH.stat().st_size} bytes')


if __name__ == '__main__':
  main()
