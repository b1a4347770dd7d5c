"""A small corpus to certify, its rows, and ways to damage them."""

from collections.abc import Callable, Mapping
import dataclasses
import json
import pathlib
import shutil

from it_study.audit.certificates import certify
from it_study.audit.certificates.certificate import Certificate
from it_study.conditions import DEFINITION_LEVELS, EXAMPLE_LEVELS, Condition
from it_study.corpus import natinst
from it_study.data import tfds_builder

ORIGINAL = 'natinst_def_original_ex_original2'
DELUSIVE = 'natinst_def_original_ex_delusive2'


def write_corpus(
  directory: pathlib.Path, *, definitions: Mapping[str, str] | None = None
) -> pathlib.Path:
  """Two tasks of each kind on each side of the split.

  `definitions` replaces definitions, by name of the task.
  """
  sides = {
    'train': {
      'task1_mood': _task('Say good or bad.', 'Sentiment', _moods(), 40),
      'task2_hot': _task('Is it hot?', 'Weather', _answers('hot'), 40),
      'task3_next': _task('Count on.', 'Numbers', _numbers(1), 14),
      'task4_back': _task('Count back', 'Backwards', _numbers(-1), 14),
    },
    'test': {
      'task5_wet': _task('Is it wet?', 'Entailment', _answers('wet'), 105),
      'task6_dark': _task('Is it dark?', 'Shade', _answers('dark'), 30),
      'task7_twice': _task('Count twice.', 'Title', _numbers(2), 6),
      'task8_thrice': _task('Count thrice.', 'Data', _numbers(3), 6),
    },
  }
  (directory / 'tasks').mkdir(parents=True)
  (directory / 'splits/default').mkdir(parents=True)
  for side, tasks in sides.items():
    path = directory / f'splits/default/{side}_tasks.txt'
    path.write_text(''.join(f'{name}\n' for name in tasks))
    for name, task in tasks.items():
      if name in (definitions or {}):
        task['Definition'] = [definitions[name]]
      for index, instance in enumerate(task['Instances']):
        instance['id'] = f'{name[:5]}-{index}'
      (directory / f'tasks/{name}.json').write_text(json.dumps(task))
  return directory


@dataclasses.dataclass(frozen=True)
class Bench:
  """A corpus with its rows, which can be certified repeatedly."""

  corpus: natinst.Corpus
  data_dir: pathlib.Path

  def certify(self, *names: str, split='test', **settings) -> Certificate:
    return certify.certify(
      corpus=self.corpus,
      data_dir=self.data_dir,
      conditions=[Condition.from_name(name) for name in names],
      splits=(split,),
      num_workers=0,
      **settings,
    )

  def codes(self, *names: str, **settings) -> dict[str, int]:
    """Returns the number of failures by code."""
    return dict(self.certify(*names, **settings).tally.failures)

  def copy(self, directory: pathlib.Path) -> 'Bench':
    """Returns the same corpus with a copy of its rows."""
    shutil.copytree(self.data_dir, directory)
    return Bench(self.corpus, directory)

  def edit(self, split: str, change: Callable[[list[dict]], object]) -> None:
    """Rewrites a split's records.

    `change` takes a list of rows, each feature a list of texts or integers, and
    returns a new list, or None if it has changed the list in place.
    """
    import tensorflow as tf

    path = self.file(split)
    rows = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      features = tf.train.Example.FromString(record).features.feature
      rows.append({name: _values(f) for name, f in features.items()})
    changed = change(rows)
    with tf.io.TFRecordWriter(str(path)) as writer:
      for row in rows if changed is None else changed:
        writer.write(_record(row))

  def file(self, split: str) -> pathlib.Path:
    (path,) = self.data_dir.rglob(f'*-{split}.tfrecord*')
    return path


def build_bench(
  directory: pathlib.Path, *, definitions: Mapping[str, str] | None = None
) -> Bench:
  corpus = natinst.open_corpus(
    write_corpus(directory / 'corpus', definitions=definitions)
  )
  data_dir = tfds_builder.build_rows(corpus, data_dir=directory / 'rows')
  return Bench(corpus, data_dir)


def replace_level(
  monkeypatch, name: str, change: Callable, *, axis: str = 'definition'
) -> None:
  """Makes a level return `change(output, task, tasks)`."""
  registry = DEFINITION_LEVELS if axis == 'definition' else EXAMPLE_LEVELS
  real = registry.get(name)

  def changed(*, task, instance, condition, tasks=None):
    shown = real(task=task, instance=instance, condition=condition, tasks=tasks)
    return change(shown, task, tasks)

  fake = dataclasses.replace(real, function=changed, needs_tasks=True)
  monkeypatch.setitem(registry._levels, name, fake)


def of_task(task_name: str, change: Callable) -> Callable:
  """Restricts a change of a level to one task."""
  return lambda shown, task, tasks: (
    change(shown, tasks) if task.name == task_name else shown
  )


def _values(feature) -> list:
  if feature.HasField('int64_list'):
    return list(feature.int64_list.value)
  return [value.decode() for value in feature.bytes_list.value]


def _record(row: dict) -> bytes:
  import tensorflow as tf

  example = tf.train.Example()
  for name, values in row.items():
    feature = example.features.feature[name]
    if all(isinstance(value, int) for value in values):
      feature.int64_list.value.extend(values)
    else:
      feature.bytes_list.value.extend(value.encode() for value in values)
  return example.SerializeToString()


def _task(definition: str, category: str, texts: dict, count: int) -> dict:
  def shown(triples):
    return [{'input': i, 'output': o, 'explanation': e} for i, o, e in triples]

  return {
    'Definition': [definition],
    'Categories': [category],
    'Positive Examples': shown(texts['positive']),
    'Negative Examples': shown(texts['negative']),
    'Instances': [
      {'input': f'{texts["noun"]} {i}', 'output': texts['outputs'](i)}
      for i in range(count)
    ],
  }


def _moods() -> dict:
  return {
    'noun': 'day',
    'outputs': lambda i: [['good', 'bad'][i % 2]],
    'positive': [
      ('a sunny day', 'good', 'The sun shines.'),
      ('a broken leg', 'bad', 'It hurts'),
      ('a new coat', 'good', None),
    ],
    'negative': [
      ('a lost dog', 'good', 'It is not.'),
      ('a found dog', 'terrible', 'No such word.'),
    ],
  }


def _answers(word: str) -> dict:
  return {
    'noun': f'Is thing {word}',
    'outputs': lambda i: [['yes', 'no'][i % 2], ['Yes', 'No'][i % 2]],
    'positive': [
      (f'Is sand {word}?', 'yes', 'We tried.'),
      (f'Is snow {word}?', 'no', 'We know.'),
    ],
    'negative': [(f'Is soup {word}?', 'no', '')],
  }


def _numbers(step: int) -> dict:
  return {
    'noun': 'number',
    'outputs': lambda i: f'{i} and {i + step}',
    'positive': [
      ('three', f'{3 + step}', 'So it goes.'),
      ('five', f'{5 + step}', 'So it goes'),
      ('nine', f'{9 + step}', None),
    ],
    'negative': [('seven', 'eleventy', 'There is none.')],
  }
