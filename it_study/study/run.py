"""A study: a grid of cells, each trained, predicted and scored once."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
import pathlib
from typing import Any

from it_study.conditions import Condition, check_several
from it_study.corpus import natinst
from it_study.errors import InputError, shown
from it_study.evaluation import label_rules
from it_study.evaluation.stats.comparison import MARGIN, check_margin
from it_study.storage import text_files
from it_study.storage.manifest import DONE
from it_study.storage.shared_folder import SharedFolder, open_folder
from it_study.study import config_text, finished, grid, run_record
from it_study.study.run_record import RunRecord
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
  corpus: str | os.PathLike[str],
  conditions: Sequence[Condition],
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
    corpus: Directory of task files, already in use.
    conditions: Conditions to train under.
    seeds: Seeds of the trainings and of the baselines' draws.
    study_dir: Folder of the study; `gs://…` is worked on in a local copy below
      the cache.
    engine: Engine to train and predict with.
    splits: Splits to test on.
    test_conditions: Names of conditions to test every model under, besides its
      own and the original instructions.
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
      a condition needs more training tasks than there are, a setting is not
      valid, or a file of the study is damaged and cannot be repaired.
  """
  request = _Request(
    conditions=conditions,
    seeds=seeds,
    splits=splits,
    test_conditions=test_conditions,
    equivalence_margin=equivalence_margin,
  )
  opened = _open(corpus, engine)
  request.check(opened)
  folder = open_folder(study_dir)
  with folder.one_at_a_time():
    trainings, cells = _register(
      folder, request, record, corpus=opened, corpus_path=os.fspath(corpus)
    )
  _report_results(folder, cells, on_step)
  worker = Worker(
    folder=folder,
    corpus=opened,
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


def _open(corpus: str | os.PathLike[str], engine: Engine) -> natinst.Corpus:
  """Returns a corpus of the instances that an engine answers."""
  number = natinst.check_test_instances(engine.instances_per_test_task)
  opened = natinst.open_corpus(os.fspath(corpus))
  return dataclasses.replace(opened, test_instances=number)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Request:
  """The grid that a call of `run_study` asks for; see its arguments."""

  conditions: Sequence[Condition]
  seeds: Sequence[int]
  splits: Sequence[str]
  test_conditions: Sequence[str]
  equivalence_margin: float

  def check(self, corpus: natinst.Corpus) -> None:
    """Raises `InputError` if it cannot run.

    To be called before the folder is claimed, as a claim is for good.
    """
    check_margin(self.equivalence_margin, setting='EQUIVALENCE_MARGIN')
    _check_seeds(self.seeds)
    check_several(self.splits, setting='run_study.splits')
    for split in (*(('train',) if self.conditions else ()), *self.splits):
      corpus.check_has(split)
    check_several(self.test_conditions, setting='TEST_CONDITIONS')
    for name in self.test_conditions:
      Condition.from_name(name).check_test()
    for condition in self.conditions:
      natinst.check_num_tasks(
        condition.num_tasks, len(corpus.train_tasks), setting=condition.name
      )


def _register(
  folder: SharedFolder,
  request: _Request,
  record: RunRecord,
  *,
  corpus: natinst.Corpus,
  corpus_path: str,
) -> tuple[list[grid.Training], list[grid.Cell]]:
  """Claims the folder for a study, or extends the study that is there.

  Returns:
    The trainings and cells of all runs so far and of this one.
  """
  folder.fetch(*_RECORDS)
  before = _recorded(folder.path)
  seeds = _extend(before.get('seeds'), request.seeds)
  test_conditions = _extend(
    before.get('test_conditions'),
    [
      Condition.from_name(name).for_test().name
      for name in request.test_conditions
    ],
  )
  requested = [condition.name for condition in request.conditions]
  names = _extend(before.get('conditions'), requested)
  conditions = [Condition.from_name(name) for name in names]
  trainings, cells = grid.plan(
    conditions=conditions,
    seeds=seeds,
    splits=request.splits,
    test_conditions=[Condition.from_name(name) for name in test_conditions],
  )
  extended = {}
  if before:
    extended = {'SEEDS': seeds, 'TEST_CONDITIONS': test_conditions}
  _claim(
    folder.path,
    config=record.config,
    extended=extended,
    recorded=before.get('conditions'),
    requested=requested,
  )
  facts = {
    'corpus': corpus_path,
    'fingerprint': corpus.fingerprint(),
    'corpus_stats': run_record.task_counts(corpus),
    'label_rules': label_rules.expectations(corpus),
    'delusive_sources': run_record.delusive_sources(corpus, conditions),
    'num_cells': len(cells),
    'conditions': names,
    'seeds': seeds,
    'test_conditions': test_conditions,
    'equivalence_margin': request.equivalence_margin,
    **record.details,
  }
  text_files.write_sealed(
    folder.path / 'run.json', _continue_record(folder.path, before, facts)
  )
  folder.publish(*_RECORDS)
  return trainings, cells


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


def _extend(before: list | None, now: Sequence) -> list:
  """Returns the earlier values, then the new ones, each once."""
  return list(dict.fromkeys((*(before or ()), *now)))


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
    names = _extend(recorded, requested)
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
    InputError: If an earlier run had another corpus or vocabulary.
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
  if cell.training is not None and cell.training.condition is not None:
    units.append(cell.training.folder)
  return all((study_dir / unit / DONE).exists() for unit in units)


def _result(
  study_dir: pathlib.Path, folder: pathlib.Path, cell: grid.Cell
) -> dict[str, Any]:
  """Returns a line of results.jsonl; see `docs/results.md`."""
  tested = cell.test_condition
  # Of a model that was trained, and of one that answered.
  trained: dict[str, Any] = {}
  inferred: dict[str, Any] = {}
  name = condition = None
  if cell.training is not None:
    inferred = finished.read_record(folder / finished.INFERENCE)
    if cell.training.condition is not None:
      trained = finished.read_record(study_dir / cell.training.folder / DONE)
      name, condition = cell.training.name, cell.training.condition.name
  return {
    'cell': cell.name,
    'training': name,
    'train_condition': condition,
    'test_condition': None if tested is None else tested.name,
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
  }
