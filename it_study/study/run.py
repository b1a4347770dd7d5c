"""A study: a grid of cells, each trained, predicted and scored once."""

from collections.abc import Callable, Mapping, Sequence
import os
import pathlib
from typing import Any

from it_study.conditions import Condition
from it_study.errors import InputError, shown
from it_study.evaluation.stats.margins import MARGIN
from it_study.storage import text_files
from it_study.storage.manifest import DONE
from it_study.storage.shared_folder import SharedFolder, open_folder
from it_study.study import config_text, finished, grid, run_record, subjects
from it_study.study.request import Request, extend
from it_study.study.run_record import RunRecord
from it_study.study.subjects import Corpora, OwnTask
from it_study.study.worker import ANSWERS, Engine, Step, Worker

RESULTS = 'results.jsonl'
# Files that describe the study itself.
_RECORDS = ('study.gin', 'run.json')
_NO_RECORD = RunRecord()
# Lists in run.json that grow from run to run, and the type of their entries.
_HISTORY = {
  'conditions': str,
  'seeds': int,
  'test_conditions': str,
  'earlier_runs': dict,
}


def run_study(
  *,
  corpus: str | os.PathLike[str] | None,
  conditions: Sequence[Condition | str],
  seeds: Sequence[int],
  study_dir: str | os.PathLike,
  engine: Engine,
  splits: Sequence[str] = ('test', 'validation'),
  test_conditions: Sequence[str] = (),
  initial_checkpoint_path: str | os.PathLike | None = None,
  answer_dir: str | os.PathLike | None = None,
  equivalence_margin: float = MARGIN,
  record: RunRecord = _NO_RECORD,
  on_step: Callable[[Step], None] | None = None,
) -> pathlib.Path:
  """Runs what is missing of a grid and writes results.jsonl.

  A training or cell with DONE in its folder is never run again, and one that
  was interrupted is resumed. Any number of workers may call this for one
  shared folder; each takes work that no other is doing. Conditions, seeds and
  test conditions may be added to a study later; only the new cells run then.

  Args:
    corpus: Directory of task files, already in use; None without conditions.
    conditions: Conditions to train under, and names of own tasks to train on.
    seeds: Seeds of the trainings and of the baselines' draws.
    study_dir: Folder of the study; `gs://…` is worked on in a local copy below
      the cache.
    engine: Engine to train and predict with.
    splits: Splits to test on.
    test_conditions: Names of conditions to test every model under, besides its
      own and the original instructions, and of own tasks to test it on.
    initial_checkpoint_path: Weights that every training starts from, and that
      the untuned model has; None for random weights, drawn from the seed.
    answer_dir: Answer cache; None for `answers` in the study folder.
    equivalence_margin: Largest difference, in points, that counts as none.
    record: Configuration and details of this run, for run.json.
    on_step: Callback, called with every step.

  Returns:
    The path of results.jsonl.

  Raises:
    InputError: If the folder holds a study of another configuration or corpus,
      a task cannot be trained on or tested, a condition needs more training
      tasks than there are, a setting is not valid, or a file of the study is
      damaged and cannot be repaired.
  """
  request = Request(
    corpus=corpus,
    conditions=subjects.find(conditions, setting=subjects.TRAINED),
    seeds=seeds,
    splits=splits,
    test_conditions=subjects.find(test_conditions, setting=subjects.TESTED),
    equivalence_margin=equivalence_margin,
    instances_per_test_task=engine.instances_per_test_task,
  )
  request.check()
  folder = open_folder(study_dir)
  with folder.one_at_a_time():
    corpora, trainings, cells = _register(folder, request, record)
  _report_results(folder, cells, on_step)
  worker = Worker(
    folder=folder,
    corpora=corpora,
    config=record.config,
    engine=engine,
    initial_checkpoint_path=initial_checkpoint_path,
    answer_dir=answer_dir or folder.path / ANSWERS,
    planned=len(trainings) + len(cells),
    on_step=on_step or (lambda step: None),
  )
  lines: dict[str, str] = {}

  def write_results() -> None:
    _write_results(folder.path, cells, lines)
    folder.publish(RESULTS)

  worker.run(cells, on_finished=write_results)
  return folder.path / RESULTS


def _register(
  folder: SharedFolder, request: Request, record: RunRecord
) -> tuple[Corpora, list[grid.Training], list[grid.Cell]]:
  """Claims the folder for a study, or extends the study that is there.

  Returns:
    The instances, trainings and cells of all runs so far and of this one.
  """
  folder.fetch(*_RECORDS)
  before = _recorded(folder.path)
  whole = request.continuing(before)
  corpora, trainings, cells = whole.open()
  tested = [subject.name for subject in whole.test_conditions]
  extended: dict[str, list] = {}
  if before:
    extended |= dict.fromkeys(('TEST_CONDITIONS', 'TEST_TASKS'), tested)
    extended['SEEDS'] = list(whole.seeds)
  _claim(
    folder.path,
    config=record.config,
    extended=extended,
    recorded=before.get('conditions'),
    requested=[subject.name for subject in request.conditions],
  )
  facts = {
    **run_record.corpus_facts(request.corpus, corpora, whole.conditions),
    'num_cells': len(cells),
    'conditions': [subject.name for subject in whole.conditions],
    'seeds': list(whole.seeds),
    'test_conditions': tested,
    **run_record.own_facts(corpora, whole.splits),
    **run_record.template_facts([*whole.conditions, *whole.test_conditions]),
    'equivalence_margin': request.equivalence_margin,
    **record.details,
  }
  text_files.write_sealed(
    folder.path / 'run.json', _continue_record(folder.path, before, facts)
  )
  folder.publish(*_RECORDS)
  return corpora, trainings, cells


def _report_results(
  folder: SharedFolder,
  cells: Sequence[grid.Cell],
  on_step: Callable[[Step], None] | None,
) -> None:
  """Reports how many cells earlier runs have finished, if any."""
  folder.fetch(RESULTS)
  path = folder.path / RESULTS
  finished = path.read_bytes().count(b'\n') if path.is_file() else 0
  if finished and on_step is not None:
    on_step(
      Step(cell='', phase='resume', finished=finished, planned=len(cells))
    )


def _recorded(study_dir: pathlib.Path) -> dict[str, Any]:
  """Returns the run.json of earlier runs, empty before the first."""
  path = study_dir / 'run.json'
  if not path.exists():
    return {}
  advice = (
    'If corpus and vocabulary are still those of the study, remove the file: '
    'this run writes it again.'
  )
  record = text_files.read_sealed(path, advice=advice)
  for name, kind in _HISTORY.items():
    values = record.get(name, [])
    if not isinstance(values, list) or any(type(v) is not kind for v in values):
      raise InputError(
        f'{path}: {name}: expected a list of {kind.__name__}, got '
        f'{shown(values)}. {advice}'
      )
  return record


def _claim(
  study_dir: pathlib.Path,
  *,
  config: str,
  extended: Mapping[str, list],
  recorded: list[str] | None,
  requested: list[str],
) -> None:
  """Makes the folder this study's, or checks that it is.

  Args:
    study_dir: Folder of the study.
    config: Configuration as text.
    extended: Values of macros that may differ from the folder's configuration.
    recorded: Names of the conditions so far; None if an earlier version, which
      did not record them, began the study: they must then stay the same.
    requested: Names of the conditions in `config`.
  """
  path = study_dir / 'study.gin'
  if not path.exists():
    text_files.write_text(path, config)
    return
  before = _read_config(path, expected=config)
  for name, value in extended.items():
    before = config_text.with_macro(before, name, tuple(value))
    config = config_text.with_macro(config, name, tuple(value))
  there, now = before, config
  if recorded is not None:
    there, now = map(config_text.without_conditions, (before, config))
    names = extend(recorded, requested)
    if names != requested:
      # The request names not all of them.
      is_new = names != recorded
      config = config_text.with_conditions(before, names) if is_new else before
  if there != now:
    raise InputError(
      f'{study_dir} holds a study of another configuration '
      f'({config_text.first_difference(there, now)}). Name another '
      '--study_dir, or run it with the settings in its study.gin.'
    )
  text_files.write_text(path, config)


def _read_config(path: pathlib.Path, *, expected: str) -> str:
  """Returns the text of study.gin; raises `InputError` if it is damaged."""
  if text_files.read_bytes(path) == expected.encode():
    return expected
  try:
    text = text_files.read_text(path)
    if not text.endswith('\n'):
      raise InputError(f'{path}: ends within a line.')
  except InputError as error:
    raise InputError(
      f'{error} If the settings are still those of the study, as in the '
      'config.gin of its trainings, remove the file: this run writes it again.'
    ) from None
  return text


def _continue_record(
  study_dir: pathlib.Path, before: dict[str, Any], record: dict[str, Any]
) -> dict[str, Any]:
  """Returns a record with the machines of this study's earlier runs.

  Raises:
    InputError: If an earlier run had another corpus or vocabulary, other
      instances of a test task, or another template.
  """
  if not before:
    return record
  for name, what in (('fingerprint', 'corpus'), ('vocabulary', 'vocabulary')):
    if before.get(name) != record.get(name):
      raise InputError(
        f'{study_dir} holds a study of another {what}: {name} there '
        f'{before.get(name)!r}, now {record.get(name)!r}. Name another '
        '--study_dir.'
      )
  for field, what in (
    ('test_tasks', 'other instances of'),
    ('prompt_templates', 'another template of'),
  ):
    there = before.get(field, {})
    for name, now in record.get(field, {}).items():
      if there.get(name, now) != now:
        raise InputError(
          f'{study_dir} holds a study of {what} {name}: there {there[name]}, '
          f'now {now}. Name another --study_dir.'
        )
  machine = ('versions', 'git_commit', 'device')
  earlier = list(before.get('earlier_runs', []))
  if any(before.get(name) != record.get(name) for name in machine):
    earlier.append({name: before.get(name) for name in machine})
  return {**record, 'earlier_runs': earlier} if earlier else record


def _write_results(
  study_dir: pathlib.Path, cells: Sequence[grid.Cell], lines: dict[str, str]
) -> None:
  """Rewrites results.jsonl.

  Args:
    study_dir: Folder of the study.
    cells: Cells in the order of the file's lines.
    lines: Lines by cell name; new ones are added, so that each is read once.
  """
  for cell in cells:
    if cell.name not in lines and _is_done(study_dir, cell):
      result = _result(study_dir, study_dir / cell.folder, cell)
      lines[cell.name] = text_files.json_line(result)
  text = ''.join(lines[cell.name] for cell in cells if cell.name in lines)
  text_files.write_text(study_dir / RESULTS, text)


def _is_done(study_dir: pathlib.Path, cell: grid.Cell) -> bool:
  """Returns whether a cell and its training are done.

  A training whose DONE was damaged is run again, although its cells are done.
  """
  units = [cell.folder]
  if cell.training is not None and cell.training.subject is not None:
    units.append(cell.training.folder)
  return all((study_dir / unit / DONE).exists() for unit in units)


def _result(
  study_dir: pathlib.Path, folder: pathlib.Path, cell: grid.Cell
) -> dict[str, Any]:
  """Returns a line of results.jsonl; see `docs/results.md`."""
  tested = cell.tested
  # Of a model that was trained, and of one that answered.
  trained: dict[str, Any] = {}
  inferred: dict[str, Any] = {}
  name = condition = None
  if cell.training is not None:
    inferred = finished.read_record(folder / finished.INFERENCE)
    if cell.training.subject is not None:
      trained = finished.read_record(study_dir / cell.training.folder / DONE)
      name, condition = cell.training.name, cell.training.subject.name
  is_model = cell.training is not None
  own = {}
  if isinstance(tested, OwnTask):
    own['test_task'] = tested.name
  if 'task_metrics' in inferred:
    own['task_metrics'] = inferred['task_metrics']
  return {
    'cell': cell.name,
    'training': name,
    'train_condition': condition,
    'test_condition': tested.name if tested and is_model else None,
    'matched': cell.matched,
    'original_instructions': cell.original_instructions,
    'split': cell.split,
    'seed': cell.seed,
    'engine': inferred.get('engine', 'baseline'),
    'baseline': cell.baseline,
    'metrics': finished.read_record(folder / finished.METRICS),
    'num_shortened': inferred.get('num_shortened', 0),
    'num_dropped_examples': inferred.get('num_dropped_examples', 0),
    'input_kept': inferred.get('input_kept'),
    'num_unreachable': inferred.get('num_unreachable'),
    'num_cut_targets': trained.get('num_cut_targets'),
    'num_train_examples': trained.get('num_examples'),
    'train_steps': trained.get('train_steps'),
    'train_seconds': trained.get('train_seconds'),
    'predict_seconds': inferred.get('seconds'),
    **own,
  }
