"""SeqIO tasks as users register them, for the benchmarks: two and a mixture."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

import functools
import os

import seqio
import tensorflow as tf

from it_study import seqio_lib

# Arguments of `it-study`, which finds this module in `environment()`.
SETTINGS = (
  '--gin_file=models/t5_1_1_tiny.gin',
  '--gin.CORPUS=None',
  '--gin.IT_STUDY_VOCABULARY=byte',
  '--gin.MIXTURE_OR_TASK_MODULE=own_tasks',
  '--gin.MIXTURE_OR_TASK_NAME=own_mixture',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 32, 'targets': 8}",
)
_NUM_EXAMPLES = 300


def environment() -> dict[str, str]:
  """Returns this process's environment, with this module's folder to import."""
  folders = [os.path.dirname(__file__), os.environ.get('PYTHONPATH', '')]
  return {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': os.pathsep.join(filter(None, folders)),
  }


def _read(
  kind: str, split: str, shuffle_files: bool = False, seed: int | None = None
) -> tf.data.Dataset:
  """Reads numbers to call even or odd, or to repeat."""
  del shuffle_files, seed
  start = 0 if split == 'train' else _NUM_EXAMPLES
  numbers = range(start, start + _NUM_EXAMPLES)
  answers = {
    'own_even': [('even', 'odd')[n % 2] for n in numbers],
    'own_echo': [str(n) for n in numbers],
  }
  return tf.data.Dataset.from_tensor_slices(
    {
      'inputs': [f'{kind}: {n}' for n in numbers],
      'targets': answers[kind],
    }
  )


for _name in ('own_even', 'own_echo'):
  seqio.TaskRegistry.add(
    _name,
    source=seqio.FunctionDataSource(
      functools.partial(_read, _name), splits=('train', 'test')
    ),
    preprocessors=[
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos_after_trim,
    ],
    output_features=seqio_lib.output_features(),
  )
seqio_lib.declare('own_even', label_space=['even', 'odd'])
seqio_lib.declare('own_echo', kind='generation')
seqio_lib.add_mixture('own_mixture', {'own_even': 1, 'own_echo': 2})
