"""A study: a grid of cells, each trained, predicted and scored once."""

from collections.abc import Callable, Sequence
import json
import os
import pathlib
import re
from typing import Any

from it_study.conditions import Condition, check_several
from it_study.corpus import natinst
from it_study.errors import InputError
from it_study.evaluation import label_rules
from it_study.evaluation.stats.comparison import MARGIN, check_margin
from it_study.storage import text_files
from it_study.storage.shared_folder import open_folder
from it_study.study import grid, run_record
from it_study.study.worker import (
  ANSWERS,
  DONE,
  Step,
  Worker,
  training_piece,
  write_json,
)

RESULTS = 'results.jsonl'
# What the folder says of the study itself.
_RECORDS = ('study.gin', 'run.json')


def run_study(
  *,
  corpus: str | os.PathLike,
  conditions: Sequence[Condition],
  seeds: Sequence[int],
  study_dir: str | os.PathLike,
  finetune: Callable[..., dict[str, Any]],
  predict: Callable[..., pathlib.Path],
  splits: Sequence[str] = ('test', 'validation'),
  test_conditions: Sequence[str] = (),
  initial_checkpoint_path: str | os.PathLike | None = None,
  answer_dir: str | os.PathLike | None = None,
  equivalence_margin: float = MARGIN,
  config: str = '',
  run: dict[str, Any] | None = None,
  on_step: Callable[[Step], None] | None = None,
) -> pathlib.Path:
  """Runs what is not finished of a grid and writes results.jsonl.

  A training or cell with DONE in its folder is never run again; what was
  stopped continues where it stood. Any number of workers may call this for one
  folder that they share, each then does what no other is doing. Seeds and test
  conditions may be added to a study that has begun: only the cells that are
  missing run then.

  Args:
    corpus: directory of task files, already in use.
    conditions: to train under.
    seeds: of trainings and of the baselines' draws.
    study_dir: gets the study folder; `gs://…` is worked on in a copy below
      the cache.
    finetune: an engine's, configured; is given task, folder, seed.
    predict: an engine's, configured; is given task, checkpoint, split, folder.
    splits: to test on.
    test_conditions: names of conditions to test every model under, besides its
      own and the original instructions.
    initial_checkpoint_path: what every training starts from, which is then the
      untuned model too; None means random weights, drawn by the seed.
    answer_dir: where answers are kept, never to be computed twice; None is
      `answers` in the study folder.
    equivalence_margin: largest difference, in points, that counts as none.
    config: the whole configuration as text.
    run: what to record of this run beside it: versions, device, commit.
    on_step: called as work goes on.

  Returns:
    The path of results.jsonl.

  Raises:
    InputError: if the folder holds a study of another configuration or corpus,
      a condition asks for more training tasks than there are, the seeds are
      none, a split or a test condition is unknown, or the margin is not between
      0 and 100.
  """
  check_margin(equivalence_margin, setting='EQUIVALENCE_MARGIN')
  _check_seeds(seeds)
  # A folder would be claimed for good by what cannot run.
  check_several(splits, setting='run_study.splits')
  for split in splits:
    natinst.check_split(split)
  check_several(test_conditions, setting='TEST_CONDITIONS')
  opened = natinst.open_corpus(corpus)
  tested = [Condition.from_name(name) for name in test_conditions]
  for condition in conditions:
    natinst.check_num_tasks(
      condition.num_tasks, len(opened.train_tasks), setting=condition.name
    )
  folder = open_folder(study_dir)
  study_dir = folder.path
  with folder.one_at_a_time():
    folder.fetch(*_RECORDS)
    before = _recorded(study_dir)
    seeds = _grown(before.get('seeds'), seeds)
    test_conditions = _grown(
      before.get('test_conditions'), [c.for_test().name for c in tested]
    )
    trainings, cells = grid.plan(
      conditions=conditions,
      seeds=seeds,
      splits=splits,
      test_conditions=[Condition.from_name(name) for name in test_conditions],
    )
    _claim(
      study_dir,
      config=config,
      grown={'SEEDS': tuple(seeds), 'TEST_CONDITIONS': tuple(test_conditions)}
      if before
      else {},
    )
    record = {
      'corpus': os.fspath(corpus),
      'fingerprint': opened.fingerprint(),
      'corpus_stats': run_record.task_counts(opened),
      'label_rules': label_rules.expectations(opened),
      'delusive_sources': run_record.delusive_sources(opened, conditions),
      'num_cells': len(cells),
      'seeds': seeds,
      'test_conditions': test_conditions,
      'equivalence_margin': equivalence_margin,
      **(run or {}),
    }
    write_json(
      study_dir / 'run.json', _continue_record(study_dir, before, record)
    )
    folder.publish(*_RECORDS)
  worker = Worker(
    folder=folder,
    corpus=opened,
    config=config,
    finetune=finetune,
    predict=predict,
    initial_checkpoint_path=initial_checkpoint_path,
    answer_dir=answer_dir or study_dir / ANSWERS,
    planned=len(trainings) + len(cells),
    on_step=on_step or (lambda step: None),
  )
  lines: dict[str, str] = {}

  def write_results():
    _write_results(study_dir, cells, lines)
    folder.publish(RESULTS)

  worker.run(cells, on_finished=write_results)
  return study_dir / RESULTS


def _recorded(study_dir: pathlib.Path) -> dict[str, Any]:
  """What run.json says of earlier runs, empty before the first."""
  path = study_dir / 'run.json'
  return _read_json(path) if path.exists() else {}


def _check_seeds(seeds: object) -> None:
  if (
    not isinstance(seeds, list | tuple)
    or not seeds
    or not all(type(seed) is int for seed in seeds)
  ):
    raise InputError(
      f'SEEDS is {seeds!r}; give whole numbers in brackets, such as (0, 1, 2), '
      'or (0,) for one.'
    )


def _grown(before: list | None, now: Sequence) -> list:
  """What was asked for before, then what is new: nothing is dropped."""
  return list(dict.fromkeys((*(before or ()), *now)))


def _claim(
  study_dir: pathlib.Path, *, config: str, grown: dict[str, tuple]
) -> None:
  """Makes the folder this study's, or checks that it is.

  Args:
    study_dir: of the study.
    config: the configuration as text.
    grown: macros that may differ from what is there, and what they are now.
  """
  path = study_dir / 'study.gin'
  if not path.exists():
    text_files.write_text(path, config)
    return
  before = path.read_text(encoding='utf-8')
  for name, value in grown.items():
    before = _with_macro(before, name, value)
    config = _with_macro(config, name, value)
  if before != config:
    raise InputError(
      f'{study_dir} holds a study of another configuration '
      f'({_first_difference(before, config)}). Name another --study_dir, or '
      'run it with the settings in its study.gin.'
    )
  text_files.write_text(path, config)


def _with_macro(config: str, name: str, value: tuple) -> str:
  """A configuration with another value of a macro, where it has that macro."""
  statement = re.compile(rf'^{name} = .*\n(?:[ )\]].*\n)*', re.MULTILINE)
  return statement.sub(lambda _: f'{name} = {value!r}\n', config, count=1)


def _first_difference(before: str, after: str) -> str:
  old, new = before.splitlines(), after.splitlines()
  for line in new:
    if line not in old:
      name = line.split(' = ')[0]
      was = [o for o in old if o.split(' = ')[0] == name]
      return f'now {line!r}, there {was[0]!r}' if was else f'now {line!r}'
  gone = [line for line in old if line not in new]
  return f'there {gone[0]!r}' if gone else 'order of lines'


def _continue_record(
  study_dir: pathlib.Path, before: dict[str, Any], record: dict[str, Any]
) -> dict[str, Any]:
  """The record with what earlier runs of this study ran on.

  Raises:
    InputError: if they had another corpus or vocabulary.
  """
  if not before:
    return record
  for name, shown in (('fingerprint', 'corpus'), ('vocabulary', 'vocabulary')):
    if before.get(name) != record.get(name):
      raise InputError(
        f'{study_dir} holds a study of another {shown}: {name} there '
        f'{before.get(name)!r}, now {record.get(name)!r}. Name another '
        '--study_dir.'
      )
  machine = ('versions', 'git_commit', 'device')
  earlier = list(before.get('earlier_runs', []))
  if any(before.get(name) != record.get(name) for name in machine):
    earlier.append({name: before.get(name) for name in machine})
  return {**record, 'earlier_runs': earlier} if earlier else record


def _write_results(
  study_dir: pathlib.Path, cells: Sequence[grid.Cell], lines: dict[str, str]
) -> None:
  """Writes results.jsonl anew; `lines` holds those that were read before."""
  for cell in cells:
    folder = study_dir / 'cells' / cell.name
    if cell.name not in lines and (folder / DONE).exists():
      result = _result(study_dir, folder, cell)
      lines[cell.name] = text_files.json_line(result)
  text = ''.join(lines[cell.name] for cell in cells if cell.name in lines)
  text_files.write_text(study_dir / RESULTS, text)


def _result(
  study_dir: pathlib.Path, folder: pathlib.Path, cell: grid.Cell
) -> dict[str, Any]:
  training = cell.training
  condition = training.condition if training is not None else None
  trained = inferred = {}
  if condition is not None:
    trained = _read_json(study_dir / training_piece(training) / DONE)
  if training is not None:
    inferred = _read_json(folder / 'inference.json')
  return {
    'cell': cell.name,
    'training': training.name if condition is not None else None,
    'train_condition': None if condition is None else condition.name,
    'test_condition': cell.test_condition.name if training else None,
    'matched': cell.matched,
    'original_instructions': cell.original_instructions,
    'split': cell.split,
    'seed': cell.seed,
    'engine': inferred.get('engine', 'baseline'),
    'baseline': cell.baseline,
    'metrics': _read_json(folder / 'metrics.json'),
    'num_shortened': inferred.get('num_shortened', 0),
    'num_dropped_examples': inferred.get('num_dropped_examples', 0),
    'input_kept': inferred.get('input_kept'),
    'train_steps': trained.get('train_steps'),
    'train_seconds': trained.get('train_seconds'),
    'predict_seconds': inferred.get('seconds'),
  }


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  return json.loads(path.read_text(encoding='utf-8'))
