"""Generates a corpus of any size whose text lengths are realistic.

  python benchmarks/corpus_generator.py DIR [--tasks 900] [--instances 3000]

Lengths follow those of natural-instructions. The same arguments give the same
bytes.
"""

import argparse
import json
import math
import pathlib
import random

# Words of ordinary length; their meaning does not matter.
_WORDS = (
  'the of and to in is that it was for on are as with his they at be this from '
  'have or by one had not but what all were when we there can an your which '
  'their said if do will each about how up out them then she many some so '
  'these would other into has more her two like him see time could no make '
  'than first been its who now people my made over did down only way find use '
  'may water long little very after words called just where most know question '
  'sentence passage following answer statement given reviewer restaurant '
  'temperature government understanding nevertheless'
)
# Mean and standard deviation of the logarithm of lengths in characters,
# measured over the 57 tasks of the shared sample: a task's mean input, an input
# relative to its task's mean, definitions, outputs.
_INPUT, _WITHIN, _DEFINITION, _OUTPUT = (
  (5.25, 1.18),
  (0.0, 0.31),
  (5.66, 0.68),
  (2.48, 1.55),
)
_SHORTEST, _LONGEST = 1, 6000
_LABELS = ('yes', 'no', 'positive', 'negative', 'neutral', 'entailment')
# Share of training tasks in the public collection.
_TRAIN_SHARE = 757 / (757 + 119)


def write_corpus(
  directory: pathlib.Path, *, num_tasks: int, num_instances: int, seed: int = 0
) -> int:
  """Writes a corpus: the same arguments give the same bytes.

  Half of the tasks are classification tasks. Files are indented like those of
  natural-instructions.

  Args:
    directory: Folder to create; must not exist.
    num_tasks: Number of training and test tasks together, in the proportion of
      the public collection.
    num_instances: Number of instances of each task.
    seed: Seed for the texts.

  Returns:
    Size of the task files in bytes.
  """
  (directory / 'tasks').mkdir(parents=True)
  splits = directory / 'splits/default'
  splits.mkdir(parents=True)
  text = _long_text(random.Random(seed))
  names, size = [], 0
  for index in range(num_tasks):
    name = f'task{index:04d}_generated'
    names.append(name)
    content = _task(random.Random(f'{seed} {name}'), text, name, num_instances)
    path = directory / f'tasks/{name}.json'
    size += path.write_bytes(content.encode())
  num_train = max(1, min(num_tasks - 1, round(num_tasks * _TRAIN_SHARE)))
  for split, chosen in (
    ('train', names[:num_train]),
    ('test', names[num_train:]),
  ):
    (splits / f'{split}_tasks.txt').write_text('\n'.join(chosen) + '\n')
  return size


def main() -> None:
  """Writes a corpus and prints its size."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    'directory', type=pathlib.Path, help='folder to create; must not exist'
  )
  parser.add_argument(
    '--tasks', type=int, default=900, help='tasks (default: %(default)s)'
  )
  parser.add_argument(
    '--instances',
    type=int,
    default=3000,
    help='instances per task (default: %(default)s)',
  )
  parser.add_argument(
    '--seed',
    type=int,
    default=0,
    help='seed for the texts (default: %(default)s)',
  )
  options = parser.parse_args()
  size = write_corpus(
    options.directory,
    num_tasks=options.tasks,
    num_instances=options.instances,
    seed=options.seed,
  )
  print(f'{size / 1e6:,.0f} MB in {options.directory}')


def _long_text(draw: random.Random) -> str:
  return ' '.join(draw.choices(_WORDS.split(), k=200_000))


def _task(draw: random.Random, text: str, name: str, num_instances: int) -> str:
  """Returns the text of a task file."""
  mean = draw.gauss(*_INPUT)
  is_classification = draw.random() < 0.5
  mean_output = draw.gauss(*_OUTPUT)

  def excerpt(location: float, scale: float = 0.0) -> str:
    length = round(math.exp(draw.gauss(location, scale)))
    length = max(_SHORTEST, min(_LONGEST, length))
    start = draw.randrange(len(text) - length)
    return text[start : start + length]

  def output() -> str:
    if is_classification:
      return draw.choice(_LABELS)
    return excerpt(mean_output, _WITHIN[1])

  def example(index: int) -> dict:
    return {
      'input': excerpt(mean),
      'output': output(),
      'explanation': f'Example {index} shows it.',
    }

  fields = {
    'Contributors': ['generated'],
    'Source': ['generated'],
    'Categories': ['Generated'],
    'Reasoning': [],
    'Definition': [excerpt(*_DEFINITION)],
    'Input_language': ['English'],
    'Output_language': ['English'],
    'Domains': ['Generated'],
    'Positive Examples': [example(index) for index in range(3)],
    'Negative Examples': [example(index) for index in range(2)],
  }
  head = json.dumps(fields, indent=4)[:-2]
  # Written by hand, since json.dumps is slow with an indentation; no text here
  # needs escaping.
  instances = ',\n'.join(
    '        {\n'
    f'            "id": "{name}-{draw.getrandbits(128):032x}",\n'
    f'            "input": "{excerpt(mean, _WITHIN[1])}",\n'
    f'            "output": [\n                "{output()}"\n            ]\n'
    '        }'
    for _ in range(num_instances)
  )
  return f'{head},\n    "Instances": [\n{instances}\n    ]\n}}\n'


if __name__ == '__main__':
  main()
